"""Markdown as models write it → styled runs → pieces that fit a platform's limit. Pure: no state, no I/O.

`render` reads Markdown (parse.py: what counts as Markdown; layout.py, inline.py, table.py: what it looks like in a
chat), `split` cuts the result (split.py), `spans` turns a piece into properly nested spans (runs.py). A platform's
own module only has to name the styles. Text that was made to be slow takes no longer than any other of its length.
"""

from __future__ import annotations

import structlog

from gateway.markdown.layout import lay_out
from gateway.markdown.parse import Block, clean, parse
from gateway.markdown.parse import outline as _outline
from gateway.markdown.runs import Kind, Run, Span, Style, is_blank, plain, spans, utf16
from gateway.markdown.split import split

__all__ = [
    "Block",
    "Kind",
    "Run",
    "Span",
    "Style",
    "clean",
    "is_blank",
    "outline",
    "plain",
    "render",
    "spans",
    "split",
    "utf16",
]

_log = structlog.get_logger("threadway")


def render(markdown: str) -> list[Run]:
    """Markdown → runs of equally styled text. Never raises, and never loses a reply.

    Text that is nothing but markup ("#", ">") and text the parser fails on come back as they are, unstyled; text
    without a visible character gives []. Raw HTML and LaTeX are shown as they stand. Lone surrogates become U+FFFD,
    control characters go.
    """
    text = clean(markdown)
    if is_blank(text):
        return []
    try:
        runs = lay_out(*parse(text))
    except Exception as error:
        _tell(error, text)
        runs = []
    return [Run(text.strip())] if is_blank(plain(runs)) else runs


def outline(markdown: str) -> list[Block]:
    """Where the blocks of a `clean` text stand, for platforms that take Markdown themselves. Never raises; [] if the
    parser fails, which is to say that all of it is plain text."""
    try:
        return _outline(markdown)
    except Exception as error:
        _tell(error, markdown)
        return []


def _tell(error: Exception, text: str) -> None:
    # Everything may be caught here, and only here: a reply without its bold is better than none, and which of the
    # parser's many rules fails on which text cannot be listed.
    _log.warning("markdown.failed", error=type(error).__name__, chars=len(text))
