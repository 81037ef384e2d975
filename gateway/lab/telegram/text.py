"""Text as the Bot API sees it: UTF-16 offsets, entities found in what people write and checked in what bots send.

Source: Bot API, "MessageEntity" and "Formatting options"; sendMessage: 1-4096 characters after entities parsing.
"""

from __future__ import annotations

import re
from typing import Any

from gateway.lab.feed import Json

MAX_TEXT_UTF16 = 4096
MAX_ENTITIES = 100
"""Telegram ignores what comes after these."""

_QUOTES = {"blockquote", "expandable_blockquote"}
_CODE = {"code", "pre"}
_NEEDS = {"text_link": ("url", str), "text_mention": ("user", dict), "custom_emoji": ("custom_emoji_id", str)}
TYPES = {
    "mention", "hashtag", "cashtag", "bot_command", "url", "email", "phone_number", "bold", "italic", "underline",
    "strikethrough", "spoiler", *_QUOTES, *_CODE, *_NEEDS,
}  # fmt: skip
_FOUND = re.compile(
    r"(?P<url>https?://[^\s<>\"]+[^\s<>\".,;:!?)\]])"
    r"|(?P<email>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)"
    r"|(?<![\w/@])(?P<bot_command>/[A-Za-z0-9_]{1,64}(?:@[A-Za-z0-9_]{3,32})?)(?![\w/@])"
    r"|(?<![\w@])(?P<mention>@[A-Za-z0-9_]{4,32})(?![\w@])"
    r"|(?<![\w#])(?P<hashtag>#\w*[^\W\d]\w*)"
)


class BadText(ValueError):
    """The Bot API's words after "Bad Request: "."""


def utf16_len(text: str) -> int:
    """Length in UTF-16 units, the unit of every Telegram offset."""
    return len(text) + sum(1 for char in text if ord(char) > 0xFFFF)


def utf16_cut(text: str, offset: int, length: int) -> str:
    """The part of `text` that an entity covers; offsets must not split a surrogate pair."""
    return text.encode("utf-16-le")[2 * offset : 2 * (offset + length)].decode("utf-16-le")


def find_entities(text: str) -> list[Json]:
    """The entities Telegram finds by itself in a message: links, addresses, commands, mentions, hashtags."""
    return [
        {
            "type": str(found.lastgroup),
            "offset": utf16_len(text[: found.start()]),
            "length": utf16_len(found.group()),
        }
        for found in _FOUND.finditer(text)
    ][:MAX_ENTITIES]


def check_text(text: str, raw_entities: Any, *, limit: int = MAX_TEXT_UTF16) -> tuple[str, list[Json]]:
    """Validate and trim a bot's text with its entities; returns both as Telegram stores them.

    Raises BadText. The real server mends or drops some broken entities in silence; here each is refused, because a bot
    that sends one has miscounted and its users would see it.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadText("strings must be encoded in UTF-8") from None
    entities = _check_entities(text, raw_entities)
    text, entities = _trim(text, entities)
    if not text:
        raise BadText("message text is empty")
    if utf16_len(text) > limit:
        raise BadText("message is too long")
    found = [
        e for e in find_entities(text) if not any(e["offset"] < _end(g) and g["offset"] < _end(e) for g in entities)
    ]
    return text, sorted([*entities, *found], key=lambda e: (e["offset"], -e["length"]))[:MAX_ENTITIES]


def _check_entities(text: str, raw: Any) -> list[Json]:
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise BadText("can't parse entities: expected an Array of MessageEntity")
    total = utf16_len(text)
    halves = _surrogate_halves(text)
    for entity in raw:
        _check_entity(entity, total, halves)
    ordered = sorted(raw, key=lambda e: (e["offset"], -e["length"]))
    _check_nesting(ordered)
    return ordered[:MAX_ENTITIES]


def _check_entity(entity: Any, total: int, halves: set[int]) -> None:
    if not isinstance(entity, dict):
        raise BadText("can't parse entities: a MessageEntity must be an Object")
    kind: Any = entity.get("type")
    offset: Any = entity.get("offset")
    length: Any = entity.get("length")
    if not isinstance(kind, str) or kind not in TYPES:
        raise BadText(f"can't parse entities: unsupported type {str(kind)[:40]!r} specified")
    if not _whole(offset) or not _whole(length):
        raise BadText(f"can't parse entities: offset and length of {kind} must be Numbers")
    if offset < 0 or length <= 0 or offset + length > total:
        raise BadText(f"can't parse entities: {kind} at {offset}+{length} lies outside of the text ({total})")
    if offset in halves or offset + length in halves:
        raise BadText(f"can't parse entities: {kind} at {offset}+{length} begins or ends inside of a surrogate pair")
    if kind in _NEEDS:
        name, wanted = _NEEDS[kind]
        if not isinstance(entity.get(name), wanted) or not entity[name]:
            raise BadText(f"can't parse entities: {kind} needs {name}")


def _check_nesting(ordered: list[Json]) -> None:
    """Bot API: entities do not overlap in part; pre and code hold nothing and sit in nothing but a quote; quotes do not
    nest."""
    open_ones: list[Json] = []
    for entity in ordered:
        while open_ones and _end(open_ones[-1]) <= entity["offset"]:
            open_ones.pop()
        for outer in open_ones:
            if _end(outer) < _end(entity):
                raise BadText(f"can't parse entities: {entity['type']} overlaps {outer['type']} in part")
            kinds = {outer["type"], entity["type"]}
            if kinds <= _QUOTES or (kinds & _CODE and not kinds & _QUOTES):
                raise BadText(f"can't parse entities: {entity['type']} can't be inside of {outer['type']}")
        open_ones.append(entity)


def _trim(text: str, entities: list[Json]) -> tuple[str, list[Json]]:
    left = utf16_len(text) - utf16_len(text.lstrip())
    trimmed = text.strip()
    total = utf16_len(trimmed)
    kept = []
    for entity in entities:
        start = max(entity["offset"] - left, 0)
        end = min(_end(entity) - left, total)
        if start < end:
            kept.append({**entity, "offset": start, "length": end - start})
    return trimmed, kept


def _surrogate_halves(text: str) -> set[int]:
    halves, position = set(), 0
    for char in text:
        if ord(char) > 0xFFFF:
            halves.add(position + 1)
            position += 1
        position += 1
    return halves


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _end(entity: Json) -> int:
    return int(entity["offset"]) + int(entity["length"])
