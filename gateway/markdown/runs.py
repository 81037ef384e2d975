"""Styled text as values: what every other file of this room makes or takes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """A way to set text. The order of definition is the order of nesting when two styles cover the same text."""

    QUOTE = "quote"
    BOLD = "bold"
    ITALIC = "italic"
    STRIKE = "strike"
    LINK = "link"
    CODE = "code"
    PRE = "pre"


_RANK = {kind: rank for rank, kind in enumerate(Kind)}


class Style(NamedTuple):
    """A kind and what it needs to know: a link's URL, the language of a code block."""

    kind: Kind
    value: str = ""


class Span(NamedTuple):
    """Where a style lies: text[start:end], in code points."""

    start: int
    end: int
    style: Style


@dataclass(frozen=True, slots=True)
class Run:
    """Text set in one way. A run with CODE or PRE has no other style but QUOTE; there is one LINK at most."""

    text: str
    styles: frozenset[Style] = frozenset()

    def has(self, kind: Kind) -> bool:
        """Whether one of the styles is of this kind."""
        return any(style.kind is kind for style in self.styles)


def plain(runs: Iterable[Run]) -> str:
    """The text without its styles."""
    return "".join(run.text for run in runs)


def utf16(text: str) -> int:
    """Length in UTF-16 units, the measure of Telegram's limits and offsets (Bot API, MessageEntity)."""
    return len(text) + sum(char > "\uffff" for char in text) if not text.isascii() else len(text)


# Seen by no one although Unicode calls them letters or symbols: fillers of Hangul, blank Braille, object replacement.
_FILLERS = frozenset("\u034f\u115f\u1160\u2800\u3164\uffa0\ufffc")


def is_blank(text: str) -> bool:
    """Whether nobody would see anything: platforms refuse such a message (Bot API: "message text is empty")."""
    return all(
        char.isspace() or char in _FILLERS or unicodedata.category(char) in ("Cc", "Cf", "Zs", "Zl", "Zp")
        for char in text
    )


def coalesce(runs: Iterable[Run]) -> list[Run]:
    """The same text with equally styled neighbours joined and empty runs left out."""
    joined: list[tuple[list[str], frozenset[Style]]] = []
    for run in runs:
        if not run.text:
            continue
        if joined and joined[-1][1] == run.styles:
            joined[-1][0].append(run.text)
        else:
            joined.append(([run.text], run.styles))
    return [Run("".join(texts), styles) for texts, styles in joined]


def spans(runs: Sequence[Run]) -> list[Span]:
    """The styles of `runs` as spans that nest: any two are apart, or one holds the other. Sorted, outer ones first.

    A style that would overlap another in part is cut in two.
    """
    starts = [0]
    for run in runs:
        starts.append(starts[-1] + len(run.text))
    reach: list[dict[Style, int]] = [{} for _ in runs]  # where each style of a run ends, seen from that run on
    for at in range(len(runs) - 1, -1, -1):
        following = reach[at + 1] if at + 1 < len(runs) else {}
        reach[at] = {style: following.get(style, starts[at + 1]) for style in runs[at].styles}

    found: list[Span] = []
    opened: list[tuple[int, Style]] = []
    for at, styles in enumerate([*(run.styles for run in runs), frozenset[Style]()]):
        keep = 0
        while keep < len(opened) and opened[keep][1] in styles:
            keep += 1
        found.extend(Span(start, starts[at], style) for start, style in opened[keep:])
        del opened[keep:]
        new = styles - {style for _, style in opened}
        opened.extend((starts[at], s) for s in sorted(new, key=lambda s: (-reach[at][s], _RANK[s.kind], s.value)))
    return sorted(found, key=lambda span: (span.start, -span.end, _RANK[span.style.kind]))
