"""Which blocks a message may carry. Sources: docs.slack.dev, Block Kit reference; the limits of slack_sdk's models."""

from __future__ import annotations

from typing import Any

from gateway.lab.feed import Json
from gateway.lab.slack.errors import Refusal

MAX_BLOCKS = 50
MAX_MARKDOWN_CHARS = 12_000
"""Over all markdown blocks of a payload; the limit of all blocks' text together is undocumented and about the same."""
_ELEMENTS = {"actions": 25, "context": 10, "context_actions": 5}
_OTHERS = {"divider", "image", "rich_text", "table", "file", "video", "section", "header", "markdown"}
MAX_DEPTH = 20


def check_blocks(raw: Any) -> list[Json]:
    """Validate the blocks of a message; [] for none. Raises Refusal: invalid_blocks_format, invalid_blocks,
    msg_blocks_too_long."""
    if raw is None:
        return []
    if not isinstance(raw, list) or not all(isinstance(block, dict) for block in raw):
        raise Refusal("invalid_blocks_format")
    if len(raw) > MAX_BLOCKS:
        raise _invalid(f"no more than {MAX_BLOCKS} items allowed", "/blocks")
    seen: set[str] = set()
    for number, block in enumerate(raw):
        where = f"/blocks/{number}"
        _check_block(block, where)
        name = block.get("block_id")
        if name is not None and (not isinstance(name, str) or len(name) > 255 or name in seen):
            raise _invalid("block_id must be unique and no more than 255 characters", f"{where}/block_id")
        seen.add(name or "")
    if sum(_chars(block, 0) for block in raw) > MAX_MARKDOWN_CHARS:
        raise Refusal("msg_blocks_too_long")
    return [{"block_id": f"b{number}", **block} for number, block in enumerate(raw)]


def button_values(blocks: list[Json]) -> list[tuple[Json, Json]]:
    """(block, element) of everything that can be pressed."""
    return [
        (block, element)
        for block in blocks
        if block.get("type") == "actions"
        for element in block.get("elements", [])
        if element.get("type") == "button"
    ]


def _check_block(block: Json, where: str) -> None:
    kind = block.get("type")
    if kind in _ELEMENTS:
        elements = block.get("elements")
        if not isinstance(elements, list) or not 1 <= len(elements) <= _ELEMENTS[kind]:
            raise _invalid(f"must have 1 to {_ELEMENTS[kind]} elements", f"{where}/elements")
        for number, element in enumerate(elements):
            _check_element(element, f"{where}/elements/{number}")
        names = [element["action_id"] for element in elements if element.get("action_id")]
        if len(names) != len(set(map(str, names))):
            raise _invalid("action_id must be unique within a block", f"{where}/elements")
    elif kind == "section":
        _check_section(block, where)
    elif kind == "header":
        _check_text(block.get("text"), 150, f"{where}/text", {"plain_text"})
    elif kind == "markdown":
        text = block.get("text")
        if not isinstance(text, str) or not text:
            raise _invalid("missing required field: text", f"{where}/text")
    elif kind == "image":
        if not block.get("alt_text") or not (block.get("image_url") or block.get("slack_file")):
            raise _invalid("missing required field: image_url or alt_text", where)
    elif kind in {"rich_text", "table"}:
        parts = block.get("elements" if kind == "rich_text" else "rows")
        if not isinstance(parts, list) or not 1 <= len(parts) <= 100:
            raise _invalid("missing or too many parts", where)
    elif kind not in _OTHERS:
        raise _invalid(f"unsupported type: {str(kind)[:40]}", f"{where}/type")


def _check_section(block: Json, where: str) -> None:
    fields = block.get("fields")
    if block.get("text") is None and not fields:
        raise _invalid("missing required field: text or fields", where)
    if block.get("text") is not None:
        _check_text(block["text"], 3000, f"{where}/text")
    if fields is not None:
        if not isinstance(fields, list) or not 1 <= len(fields) <= 10:
            raise _invalid("must have 1 to 10 fields", f"{where}/fields")
        for number, text in enumerate(fields):
            _check_text(text, 2000, f"{where}/fields/{number}")


def _check_element(element: Any, where: str) -> None:
    if not isinstance(element, dict) or not isinstance(element.get("type"), str):
        raise _invalid("missing required field: type", where)
    if element["type"] == "button":
        _check_text(element.get("text"), 75, f"{where}/text", {"plain_text"})
        if not 1 <= len(str(element.get("value", "-"))) <= 2000 or len(str(element.get("action_id", ""))) > 255:
            raise _invalid("value or action_id is too long or empty", where)


def _check_text(text: Any, limit: int, where: str, kinds: set[str] | None = None) -> None:
    if not isinstance(text, dict) or text.get("type") not in (kinds or {"plain_text", "mrkdwn"}):
        raise _invalid("must be a text object", where)
    words = text.get("text")
    if not isinstance(words, str) or not 1 <= len(words) <= limit:
        raise _invalid(f"must be 1 to {limit} characters", f"{where}/text")


def _chars(value: Any, depth: int) -> int:
    if depth > MAX_DEPTH:
        raise _invalid("blocks are nested too deeply", "/blocks")
    if isinstance(value, dict):
        own = len(value["text"]) if isinstance(value.get("text"), str) else 0
        return own + sum(_chars(inner, depth + 1) for inner in value.values())
    return sum(_chars(inner, depth + 1) for inner in value) if isinstance(value, list) else 0


def _invalid(what: str, where: str) -> Refusal:
    return Refusal("invalid_blocks", f"[ERROR] {what} [json-pointer:{where}]")
