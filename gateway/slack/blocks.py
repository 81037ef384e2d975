"""A Markdown document → pieces that are documents of their own. Pure.

Cuts between blocks; where one block is too long, between its lines, and a code fence is closed and opened again with
the same info string.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from gateway.markdown import Block, Run, is_blank, plain, split, utf16


@dataclass(frozen=True, slots=True)
class _Fence:
    """A code block that may be cut between the lines first … end - 1."""

    first: int
    end: int
    opening: str
    """The line before them."""
    reopen: str
    close: str


def cut(lines: list[str], blocks: list[Block], limit_utf16: int) -> list[str]:
    """The document in pieces of at most `limit_utf16` UTF-16 units, none of them blank. `blocks` is its outline."""
    borders = sorted({0, len(lines), *(block.first for block in blocks if block.top)})
    fences = {at: fence for fence in _fences(lines, blocks, limit_utf16) for at in range(fence.first, fence.end)}
    piece = _Piece(limit_utf16)
    for first, end in pairwise(borders):
        size = utf16("\n".join(lines[first:end]).rstrip())
        if piece.size > limit_utf16 // 3 and size <= limit_utf16 < piece.size + size:
            piece.finish()
        for at in range(first, end):
            piece.add(lines[at], fences.get(at))
    piece.finish()
    return piece.done


def _fences(lines: list[str], blocks: list[Block], limit_utf16: int) -> Iterator[_Fence]:
    for block in blocks:
        if block.kind != "fence":
            continue
        opening = lines[block.first]
        # Inside a list item the prefix is its marker, which must not come again, or the white space under it.
        prefix = re.sub(r"[^>\s]", " ", opening.partition(block.markup)[0])
        close = prefix + block.markup
        closed = block.end - 1 > block.first and lines[block.end - 1].lstrip("> \t").startswith(block.markup)
        if utf16(close + close + block.info) < limit_utf16 // 4:  # else the code would find no room
            yield _Fence(block.first + 1, block.end - closed, opening, close + block.info, close)


class _Piece:
    """The piece in the making, and those that are done."""

    def __init__(self, limit_utf16: int) -> None:
        self.done: list[str] = []
        self.size = 0
        self._limit = limit_utf16
        self._lines: list[str] = []
        self._fresh = True  # nothing but a reopened fence is in it

    def add(self, line: str, fence: _Fence | None) -> None:
        """Append a line; finish the piece before it when it would not fit."""
        for part in self._parts(line, fence):
            if self.size + utf16(part) + self._reserve(fence) > self._limit and not self._fresh:
                self.finish(fence)
                if fence:
                    self._push(fence.reopen)
            self._push(part)
            self._fresh = False

    def finish(self, fence: _Fence | None = None) -> None:
        """End the piece; `fence` is the code block the cut goes through."""
        if fence and self._lines[-1] == fence.opening:
            del self._lines[-1]  # no code follows it here
            fence = None
        text = "\n".join(self._lines).strip("\n").rstrip()
        if not self._fresh and not is_blank(text):
            self.done.append(f"{text}\n{fence.close}" if fence else text)
        self._lines, self.size, self._fresh = [], 0, True

    def _push(self, line: str) -> None:
        self._lines.append(line)
        self.size += utf16(line) + 1

    @staticmethod
    def _reserve(fence: _Fence | None) -> int:
        return utf16(fence.close) + 1 if fence else 0

    def _parts(self, line: str, fence: _Fence | None) -> list[str]:
        overhead = self._reserve(fence) + (utf16(fence.reopen) + 1 if fence else 0)
        if utf16(line) <= self._limit - overhead:
            return [line]
        return [plain(part) for part in split([Run(line)], self._limit - overhead)]
