"""What people type, as Slack writes it into events: escaped text with <@U…> mentions, and its rich_text block.

Source: docs.slack.dev, "Formatting text for app surfaces", escaping text; event payloads of message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.lab.feed import Json

_TOKEN = re.compile(r"<@(U[A-Z0-9]{2,20})>")


def escape(text: str) -> str:
    """The three characters that Slack escapes."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def mention_pattern(names: Mapping[str, str]) -> re.Pattern[str]:
    """Finds @Name (any case) of the given names and written-out <@U…> tokens."""
    longest_first = sorted(names, key=len, reverse=True)
    words = "|".join(re.escape(name) for name in longest_first)
    return re.compile(rf"<@(?P<id>U[A-Z0-9]{{2,20}})>|(?<![\w@])@(?P<name>{words})(?!\w)", re.IGNORECASE)


def compose(typed: str, names: Mapping[str, str]) -> tuple[str, Json]:
    """What was typed → (event text, rich_text block). `names` maps lower-case names to user ids.

    A token <@U…> of a known user is taken as a mention too, for tests that know ids.
    """
    text, elements, position = "", [], 0
    known = set(names.values())
    for found in mention_pattern(names).finditer(typed):
        user_id = found["id"].upper() if found["id"] else names[found["name"].lower()]
        if user_id not in known:
            continue
        before = typed[position : found.start()]
        if before:
            elements.append({"type": "text", "text": before})
        elements.append({"type": "user", "user_id": user_id})
        text += f"{escape(before)}<@{user_id}>"
        position = found.end()
    rest = typed[position:]
    if rest:
        elements.append({"type": "text", "text": rest})
    section = {"type": "rich_text_section", "elements": elements}
    return text + escape(rest), {"type": "rich_text", "block_id": "b1", "elements": [section]}


def mentioned(text: str) -> list[str]:
    """The user ids that an event text mentions."""
    return _TOKEN.findall(text)
