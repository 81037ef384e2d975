"""Slack's escaped text → what a person would read. Pure.

Wire facts: https://docs.slack.dev/messaging/formatting-message-text: & < > arrive as entities, everything in <…> is a
reference: <@U…>, <#C…|name>, <!here>, <!subteam^S…|@name>, <!date^…^…|fallback>, <url|label>.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(r"<([^<>\n]*)>|&(amp|lt|gt);")
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">"}


def without_mention(text: str, own_user_id: str) -> tuple[str, bool]:
    """`text` readable and without our own mention, and whether it was there."""
    ours = re.compile(rf"<@{re.escape(own_user_id)}(?:\|[^<>]*)?>[ \t]?")
    stripped, mentions = ours.subn("", text)
    return readable(stripped).strip(), mentions > 0


def readable(text: str) -> str:
    """References written out, entities decoded once ("&amp;lt;" is the text "&lt;")."""
    return clean(_TOKEN.sub(lambda match: _write_out(match[1]) if match[2] is None else _ENTITIES[match[2]], text))


def _write_out(reference: str) -> str:
    target, _, label = reference.partition("|")
    label = _decode(label)
    match target[:1]:
        case "@":
            return "@" + (label.removeprefix("@") or target[1:])
        case "#":
            return "#" + (label.removeprefix("#") or target[1:])
        case "!":
            return label or "@" + target[1:].partition("^")[0]
    address = _decode(target)
    if not label or label == address or address in (f"mailto:{label}", f"http://{label}", f"https://{label}"):
        return label or address
    return f"{label} ({address})"


def _decode(text: str) -> str:
    return re.sub(r"&(amp|lt|gt);", lambda match: _ENTITIES[match[1]], text)


def clean(text: str) -> str:
    """`text` without what JSON may carry but neither Redis nor SQL can store: lone surrogates and NUL."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")
