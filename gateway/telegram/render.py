"""Runs → Telegram text and entities. Pure.

Entities instead of parse_mode: nothing has to be escaped, "can't parse entities" cannot happen, and they survive a cut.
Wire facts: Bot API 10.x, sendMessage (1–4096 UTF-16 units) and "Formatting options" (code and pre overlap with nothing
but a blockquote, blockquotes do not nest, no partial overlaps, of more than 100 entities the rest is ignored).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from gateway import markdown
from gateway.domain.messages import OutboundPart
from gateway.markdown import Kind, Run, Span

_TYPES = {
    Kind.QUOTE: "blockquote",
    Kind.BOLD: "bold",
    Kind.ITALIC: "italic",
    Kind.STRIKE: "strikethrough",
    Kind.LINK: "text_link",
    Kind.CODE: "code",
    Kind.PRE: "pre",
}
_MAX_ENTITIES = 100


def render(reply: str, limit_utf16: int = 4096) -> list[OutboundPart]:
    """A Markdown reply → messages of at most `limit_utf16` UTF-16 units.

    `markup["entities"]` holds MessageEntity objects as dicts; there is no such key without any. Never raises for any
    text; text without a visible character gives [].
    """
    pieces = markdown.split(markdown.render(reply), limit_utf16, _MAX_ENTITIES)
    return [_part(piece) for piece in pieces]


def _part(piece: Sequence[Run]) -> OutboundPart:
    text = markdown.plain(piece)
    units = list(accumulate((2 if char > "\uffff" else 1 for char in text), initial=0))
    entities = [
        _entity(span, units)
        for span in markdown.spans(piece)
        # Telegram links a bare address by itself, and then asks nobody to confirm the click.
        if not (span.style.kind is Kind.LINK and span.style.value == text[span.start : span.end])
    ]
    return OutboundPart(text, {"entities": entities} if entities else {})


def _entity(span: Span, units: Sequence[int]) -> dict[str, Any]:
    offset = units[span.start]
    entity: dict[str, Any] = {
        "type": _TYPES[span.style.kind],
        "offset": offset,
        "length": units[span.end] - offset,
    }
    if span.style.kind is Kind.LINK:
        entity["url"] = span.style.value
    elif span.style.kind is Kind.PRE and span.style.value:
        entity["language"] = span.style.value
    return entity
