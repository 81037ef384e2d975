"""Blocks as a chat shows them: bold headings, "•" and "1." lists, ☐ ☑, one level of quotes, fixed-width tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from markdown_it.token import Token

from gateway.markdown.inline import inline_runs
from gateway.markdown.runs import Kind, Run, Style, coalesce
from gateway.markdown.table import format_table

_RULE = "─" * 12
_INDENT = "   "
_DEEPEST_INDENT = 8
_TASK = re.compile(r"\[([ xX])\]\s+")
_LANGUAGE = re.compile(r"[\w#+.-]{1,40}")
_BOLD = Style(Kind.BOLD)
_QUOTE = frozenset({Style(Kind.QUOTE)})


def lay_out(tokens: Sequence[Token], unused_definitions: Iterable[str] = ()) -> list[Run]:
    """Block tokens → runs; link definitions that nothing refers to follow as they were written."""
    layout = _Layout()
    for token in tokens:
        layout.take(token)
    runs = coalesce(layout.runs)
    for definition in unused_definitions:
        runs.append(Run(f"\n{definition}" if runs else definition))
    return coalesce(runs)


@dataclass
class _List:
    ordered: bool
    number: int = 1


class _Layout:
    """Takes block tokens in order and writes runs.

    Spaces between blocks, list markers and indents are only noted, and written when the next text comes: a block that
    turns out empty leaves nothing behind.
    """

    def __init__(self) -> None:
        self.runs: list[Run] = []
        self._lists: list[_List] = []
        self._marker = ""  # of a list item whose text has not come yet, with its indent
        self._newlines = 0  # owed before the next text
        self._last_line = 0  # where the source of the last written block ended
        self._quotes = 0
        self._quote_number = 0  # tells two neighbouring quotes apart
        self._written_quote = 0
        self._heading = False
        self._table: list[list[list[Run]]] | None = None
        self._aligns: list[str] = []

    def take(self, token: Token) -> None:
        """Write, or note, what one token says."""
        handler = getattr(self, f"_on_{token.type}", None)
        if handler:
            handler(token)

    # what each kind of token does

    def _on_heading_open(self, token: Token) -> None:
        self._heading = True
        self._start_block(token)

    def _on_heading_close(self, _: Token) -> None:
        self._heading = False

    def _on_paragraph_open(self, token: Token) -> None:
        self._start_block(token)

    def _on_inline(self, token: Token) -> None:
        runs = inline_runs(token.children or [])
        if self._table is not None:
            self._table[-1].append(runs)
            return
        if self._marker and runs and (task := _TASK.match(runs[0].text)):
            box = "☐ " if task[1] == " " else "☑ "
            self._marker = self._marker.removesuffix("• ") + box
            runs[0] = Run(runs[0].text[task.end() :], runs[0].styles)
        self._write(runs)

    def _on_fence(self, token: Token) -> None:
        language = _LANGUAGE.match(token.info.strip())
        self._start_block(token)
        self._write_pre(token.content.rstrip("\n"), language[0] if language else "")

    def _on_code_block(self, token: Token) -> None:
        self._start_block(token)
        self._write_pre(token.content.rstrip("\n"))

    def _on_hr(self, token: Token) -> None:
        self._start_block(token)
        self._write([Run(_RULE)])

    def _on_blockquote_open(self, _: Token) -> None:
        self._quotes += 1
        if self._quotes == 1:
            self._quote_number += 1

    def _on_blockquote_close(self, _: Token) -> None:
        self._quotes -= 1

    def _on_bullet_list_open(self, _: Token) -> None:
        self._write_marker()  # of an outer item that starts with this list
        self._lists.append(_List(ordered=False))

    def _on_ordered_list_open(self, token: Token) -> None:
        self._write_marker()
        self._lists.append(_List(ordered=True, number=int(token.attrs.get("start", 1))))

    def _on_bullet_list_close(self, _: Token) -> None:
        self._lists.pop()

    _on_ordered_list_close = _on_bullet_list_close

    def _on_list_item_open(self, token: Token) -> None:
        self._start_block(token)
        current = self._lists[-1]
        self._marker = self._indent(1) + (f"{current.number}{token.markup} " if current.ordered else "• ")
        current.number += 1

    def _on_list_item_close(self, _: Token) -> None:
        self._write_marker()  # of an item without text

    def _on_table_open(self, token: Token) -> None:
        self._start_block(token)
        self._table, self._aligns = [], []

    def _on_tr_open(self, _: Token) -> None:
        if self._table is not None:
            self._table.append([])

    def _on_th_open(self, token: Token) -> None:
        self._aligns.append(str(token.attrs.get("style", "")).removeprefix("text-align:"))

    def _on_table_close(self, _: Token) -> None:
        rows, self._table = self._table or [], None
        self._write_pre(format_table([["".join(r.text for r in cell) for cell in row] for row in rows], self._aligns))
        # A fixed-width block can hold no links: the cells' links follow below it.
        links = dict.fromkeys(r for row in rows for cell in row for r in cell if r.has(Kind.LINK))
        for link in links:
            self._newlines = 1
            self._write([Run(link.text, frozenset(s for s in link.styles if s.kind is Kind.LINK))])

    # writing

    def _start_block(self, token: Token) -> None:
        """A blank line between blocks where the source has one, else just a new line."""
        first, end = token.map or (self._last_line, self._last_line)
        self._newlines = max(self._newlines, 2 if first > self._last_line else 1)
        if token.type != "list_item_open":
            self._last_line = end
        else:
            self._last_line = max(self._last_line, first)  # its first paragraph stands on the same line

    def _write(self, runs: Iterable[Run]) -> None:
        quote = _QUOTE if self._quotes else frozenset()
        for run in runs:
            styles = run.styles | quote
            if self._heading and not run.has(Kind.CODE):
                styles |= {_BOLD}
            for at, line in enumerate(run.text.split("\n")):
                self._newlines = 1 if at else self._newlines
                if line:
                    self._begin_line()
                    self.runs.append(Run(line, styles))

    def _write_pre(self, text: str, language: str = "") -> None:
        """A fixed-width block; it stands at the margin even inside a list, so that copied code is the code."""
        if not text.strip():
            return
        self._write_marker()
        self._write_newlines()
        pre = frozenset({Style(Kind.PRE, language)})
        self.runs.append(Run(text, pre | _QUOTE if self._quotes else pre))
        self._newlines = 1

    def _write_marker(self) -> None:
        if self._marker:
            self._marker = self._marker.rstrip()
            self._begin_line()
            self._newlines = 1

    def _begin_line(self) -> None:
        """Write what is owed before text: line ends, then the item's marker or the indent of its further lines."""
        if not self._newlines and self.runs:
            return
        self._write_newlines()
        self.runs.append(Run(self._marker or self._indent(), _QUOTE if self._quotes else frozenset()))
        self._marker = ""

    def _indent(self, less: int = 0) -> str:
        return _INDENT * (min(len(self._lists), _DEEPEST_INDENT) - less)

    def _write_newlines(self) -> None:
        """The line ends belong to a quote only if it goes on after them."""
        number = self._quote_number if self._quotes else 0
        if self.runs:
            self.runs.append(
                Run("\n" * self._newlines, _QUOTE if number and number == self._written_quote else frozenset())
            )
        self._newlines = 0
        self._written_quote = number
