"""A reply → Slack messages, each one `markdown` block. Pure.

Wire facts: a markdown block takes 12,000 characters (docs.slack.dev, "Markdown block"); `msg_blocks_too_long` was seen
from about 11,300 on, hence 11,000; `text` is cut at 40,000 (chat.postMessage) and what notifications show.
"""

from __future__ import annotations

import re

from gateway import markdown
from gateway.domain.messages import OutboundPart
from gateway.slack.blocks import cut
from gateway.slack.mrkdwn import escape, mrkdwn, write
from gateway.slack.neutral import neutralise

__all__ = ["mrkdwn", "render"]

_BLOCK_LIMIT = 11_000
_TEXT_LIMIT = 40_000
_FALLBACK_LIMIT = 3_000
_LEAST_LIMIT = 1_000


def render(reply: str) -> list[OutboundPart]:
    """A Markdown reply → messages. Never raises for any text; text without a visible character gives [].

    `markup["blocks"]` is one markdown block of at most 11,000 UTF-16 units; `markup["fallback"]` the short plain text
    for notifications (at most 3,000 characters); `text` the whole content as mrkdwn (at most 40,000 characters) in case
    the blocks are refused. In none of them a mention (`<!channel>`, `<@U…>`, `<#C…>`) is alive.
    """
    text = markdown.clean(reply)
    if markdown.is_blank(text):
        return []
    lines = text.split("\n")
    harmless = "\n".join(neutralise(lines, markdown.outline(text)))
    return _parts(harmless, _BLOCK_LIMIT)


def _parts(text: str, limit_utf16: int) -> list[OutboundPart]:
    parts: list[OutboundPart] = []
    for piece in cut(text.split("\n"), markdown.outline(text), limit_utf16):
        runs = markdown.render(piece)
        whole = write(runs)
        if len(whole) > _TEXT_LIMIT and limit_utf16 > _LEAST_LIMIT:  # wide tables and "&" grow
            parts += _parts(piece, limit_utf16 // 2)
        else:
            markup = {
                "blocks": [{"type": "markdown", "text": piece}],
                "fallback": _clip(escape(markdown.plain(runs)), _FALLBACK_LIMIT),
            }
            parts.append(OutboundPart(_clip(whole, _TEXT_LIMIT), markup))
    return parts


def _clip(escaped: str, limit: int) -> str:
    """The first `limit` characters, the last of them "…" where something is missing, and no half of an escape."""
    if len(escaped) <= limit:
        return escaped
    return re.sub(r"&\w{0,3}$", "", escaped[: limit - 1]) + "…"
