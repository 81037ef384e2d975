"""Telegram's updates, as decoded JSON → mail. Pure."""

from __future__ import annotations

from telegram import Update

from gateway.domain.adapter import Mail
from gateway.telegram import buttons
from gateway.telegram.normalise import BotIdentity, amend, normalise

ALLOWED_UPDATES = ("message", "edited_message", "callback_query")
"""What we ask Telegram for: exactly what is read here. Everything else would be fetched to be thrown away."""


class Malformed(ValueError):
    """Bytes that are no update: retrying cannot help, its sender has to see a refusal (webhook) or we a log line."""


def read_update(raw: object, me: BotIdentity) -> Mail | None:
    """The mail in one update, None where there is nothing for us to do. Raises Malformed, nothing else."""
    if not isinstance(raw, dict) or type(raw.get("update_id")) is not int:
        raise Malformed("no update_id")
    try:
        return _read(Update.de_json(raw), me)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, OSError, RecursionError) as error:
        # the library trusts Telegram's types; a field of a wrong one surfaces as any of these, here or there
        raise Malformed(f"update {raw['update_id']}: {type(error).__name__}") from error


def _read(update: Update, me: BotIdentity) -> Mail | None:
    if update.message is not None:
        return normalise(update.message, update.update_id, me)
    if update.edited_message is not None:
        return amend(update.edited_message, update.update_id, me)
    if update.callback_query is not None:
        return buttons.read_press(update.callback_query, update.update_id, me)
    return None
