"""Tables: chats have none, so columns are lined up in a fixed-width block."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import zip_longest

_WIDEST_COLUMN = 40
"""Cells are padded up to here (columns of a fixed-width font): one endless cell must not fill every row with blanks."""


def width(text: str) -> int:
    """Columns `text` takes in a fixed-width font: East Asian characters and emoji take two, combining marks none."""
    columns, last, joined = 0, 0, False
    for char in text:
        if char == "\u200d":  # the next emoji melts into the last one
            joined = True
        elif char == "\ufe0f":  # the last character is shown as an emoji
            columns, last = columns + (last == 1), 2
        elif not joined and unicodedata.category(char) not in ("Mn", "Me", "Cf"):
            last = 2 if unicodedata.east_asian_width(char) in "WF" else 1
            columns += last
        else:
            joined = False
    return columns


def format_table(rows: Sequence[Sequence[str]], aligns: Sequence[str]) -> str:
    """Rows of cell texts, the header first → lines. `aligns`: "left", "right" or "center" per column."""
    rows = [[cell.replace("\n", " ").strip() for cell in row] for row in rows]
    widths = [max(1, min(_WIDEST_COLUMN, max(map(width, column)))) for column in zip_longest(*rows, fillvalue="")]
    lines = [_line(row, widths, aligns) for row in rows]
    lines.insert(1, "-+-".join("-" * columns for columns in widths))
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int], aligns: Sequence[str]) -> str:
    used = max((at for at, cell in enumerate(row, 1) if cell), default=0)  # no bars for what a short row leaves out
    return " | ".join(map(_pad, row[:used], widths, aligns)).rstrip()


def _pad(cell: str, columns: int, align: str) -> str:
    missing = max(0, columns - width(cell))
    left = {"right": missing, "center": missing // 2}.get(align, 0)
    return " " * left + cell + " " * (missing - left)
