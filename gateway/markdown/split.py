"""Runs → pieces that fit. Cuts where a reader would, never inside a surrogate pair, a letter's accents or an emoji."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence

from gateway.markdown.runs import Kind, Run, Style, coalesce, is_blank, plain, spans, utf16

_FEWEST_ENTITIES = 8
"""More styles than this never start at one place, so every piece can hold some text."""
_LONGEST_CLUSTER_CHARS = 64
# Places to cut at, best first: between paragraphs, before a list item, between lines, between words or sentences.
_PLACES = [
    re.compile(r"(?=\n\n)"),
    re.compile(r"(?=\n *(?:[•☐☑]|\d{1,9}[.)]) )"),
    re.compile(r"(?=\n)"),
    re.compile(r"(?=[ \t])|(?<=[。！？；，、])"),
]
_LINE_END = re.compile(r"(?=\n)")


def split(runs: Sequence[Run], limit_utf16: int, max_entities: int = 100) -> list[list[Run]]:
    """Cut `runs` into pieces of at most `limit_utf16` UTF-16 units and `max_entities` spans each.

    All visible text is kept, in order; only white space at the cuts goes. Styles go on behind a cut. No piece is blank.
    Code blocks are cut only where nothing else past a third of the piece can be, and then between lines. Raises
    ValueError for a limit under 2 or fewer than 8 entities.
    """
    if limit_utf16 < 2 or max_entities < _FEWEST_ENTITIES:
        raise ValueError(f"limit_utf16 must be 2 or more, max_entities {_FEWEST_ENTITIES} or more")
    text = _Text(coalesce(runs))
    pieces: list[list[Run]] = []
    at = text.skip_blank(0)
    while at < len(text.plain):
        end = text.cut_before(at, text.reach(at, limit_utf16, max_entities))
        piece = text.slice(at, end)
        while len(found := spans(piece)) > max_entities:  # `reach` does not know which styles `spans` will cut in two
            end = text.cut_before(at, at + found[max_entities].start)
            piece = text.slice(at, end)
        if not is_blank(plain(piece)):
            pieces.append(piece)
        at = text.skip_blank(end)
    return pieces


class _Text:
    """Runs with their text in one string, to look for places in."""

    def __init__(self, runs: list[Run]) -> None:
        self._runs = runs
        self.plain = plain(runs)
        self._starts: list[int] = []
        self._begun: list[int] = []  # styles begun in the runs up to and including this one
        start = begun = 0
        before: frozenset[Style] = frozenset()
        for run in runs:
            begun += len(run.styles - before)
            self._starts.append(start)
            self._begun.append(begun)
            start += len(run.text)
            before = run.styles

    def reach(self, at: int, limit_utf16: int, max_entities: int) -> int:
        """How far `limit_utf16` units and about `max_entities` spans go from `at`."""
        end = min(len(self.plain), at + limit_utf16)
        index = bisect_right(self._starts, at) - 1
        allowed = max_entities - len(self._runs[index].styles)
        beyond = bisect_right(self._begun, self._begun[index] + allowed)
        if beyond < len(self._runs):
            end = min(end, self._starts[beyond])
        while (excess := utf16(self.plain[at:end]) - limit_utf16) > 0:
            end -= (excess + 1) // 2
        return end

    def skip_blank(self, at: int) -> int:
        """The first place from `at` on where a piece may start: the indent of a line of code is kept."""
        while at < len(self.plain) and self.plain[at].isspace():
            if self.plain[at] != "\n" and self._run_at(at).has(Kind.PRE):
                break
            at += 1
        return at

    def slice(self, at: int, end: int) -> list[Run]:
        """The runs of plain[at:end] without white space at the end."""
        while end > at and self.plain[end - 1].isspace():
            end -= 1
        piece: list[Run] = []
        index = bisect_right(self._starts, at) - 1
        while at < end:
            run, start = self._runs[index], self._starts[index]
            piece.append(Run(run.text[at - start : end - start], run.styles))
            at, index = start + len(run.text), index + 1
        return piece

    def cut_before(self, at: int, end: int) -> int:
        """The best place in (at, end] to end a piece that starts at `at`; `end` itself when the text ends there."""
        if end >= len(self.plain):
            return end
        low = max(at + 1, at + (end - at) // 3)
        for place in _PLACES[:3]:
            if (found := self._last(place, low, end, inside_code=False)) is not None:
                return found
        for place, inside_code in ((_LINE_END, True), (_PLACES[3], False), (_PLACES[3], True)):
            if (found := self._last(place, low, end, inside_code)) is not None:
                return found
        return self._cluster_start(at, end)

    def _last(self, place: re.Pattern[str], low: int, end: int, inside_code: bool) -> int | None:
        found = [match.start() for match in place.finditer(self.plain, low, end + 40) if match.start() <= end]
        return next((at for at in reversed(found) if inside_code or not self._in_code(at)), None)

    def _in_code(self, at: int) -> bool:
        """Whether a cut at `at` would go through code; its two ends do not count."""
        index = bisect_right(self._starts, at) - 1
        run = self._runs[index]
        return self._starts[index] < at and (run.has(Kind.PRE) or run.has(Kind.CODE))

    def _run_at(self, at: int) -> Run:
        return self._runs[bisect_right(self._starts, at) - 1]

    def _cluster_start(self, at: int, end: int) -> int:
        """The last place up to `end` that does not tear what is seen as one character; `end` if there is none near."""
        for cut in range(end, max(at, end - _LONGEST_CLUSTER_CHARS), -1):
            if not _is_joined(self.plain, cut):
                return cut
        return end


def _is_joined(text: str, at: int) -> bool:
    """Whether text[at - 1] and text[at] belong to one visible character (a working part of UAX #29)."""
    before, after = text[at - 1], text[at]
    if before == "\u200d" or after == "\u200d" or "\U0001f3fb" <= after <= "\U0001f3ff":
        return True
    if "\U0001f1e6" <= after <= "\U0001f1ff":  # flags are pairs: count the letters before the cut
        start = at
        while start and at - start < _LONGEST_CLUSTER_CHARS and "\U0001f1e6" <= text[start - 1] <= "\U0001f1ff":
            start -= 1
        return (at - start) % 2 == 1
    tag = "\U000e0020" <= after <= "\U000e007f"
    hangul = "\u1160" <= after <= "\u11ff"
    return tag or hangul or unicodedata.category(after) in ("Mn", "Me", "Mc")
