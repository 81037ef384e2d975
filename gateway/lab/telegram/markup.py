"""Inline keyboards. Source: Bot API, InlineKeyboardMarkup and InlineKeyboardButton."""

from __future__ import annotations

from typing import Any

from gateway.lab.feed import Json
from gateway.lab.telegram.errors import bad_request

MAX_BUTTONS = 100
MAX_BUTTONS_PER_ROW = 8
MAX_DATA_BYTES = 64


def check_markup(raw: Any) -> Json | None:
    """A reply_markup as it is stored; None for none. Raises Refusal."""
    if raw is None or raw == {}:
        return None
    if not isinstance(raw, dict):
        raise bad_request("object expected as reply markup")
    if "inline_keyboard" not in raw:
        # Reply keyboards, ForceReply and their removal change the client, not the message.
        return None
    rows = raw["inline_keyboard"]
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise bad_request('field "inline_keyboard" must be an Array of Arrays')
    if sum(len(row) for row in rows) > MAX_BUTTONS or any(len(row) > MAX_BUTTONS_PER_ROW for row in rows):
        raise bad_request("reply markup is too long")
    for button in (button for row in rows for button in row):
        _check_button(button)
    return {"inline_keyboard": rows} if rows else None


def _check_button(button: Any) -> None:
    if not isinstance(button, dict) or not isinstance(button.get("text"), str) or not button["text"]:
        raise bad_request("can't parse inline keyboard button: text is required")
    if "callback_data" in button:
        data = button["callback_data"]
        if not isinstance(data, str) or not 1 <= len(data.encode()) <= MAX_DATA_BYTES:
            raise bad_request("BUTTON_DATA_INVALID")
    elif "url" in button:
        if not str(button["url"]).startswith(("http://", "https://", "tg://")):
            raise bad_request("BUTTON_URL_INVALID")
    else:
        raise bad_request("can't parse inline keyboard button: text buttons are unallowed in the inline keyboard")
