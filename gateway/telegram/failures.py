"""What python-telegram-bot raises → our error tree, by one question: did Telegram perhaps do it?

Wire facts: Bot API "Making requests" and ResponseParameters; the library maps 401 and 404 to InvalidToken, 403 to
Forbidden, 400 to BadRequest, 409 to Conflict, all other statuses and every transport fault to NetworkError.
"""

from __future__ import annotations

import warnings
from datetime import timedelta

import httpx
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
)

from gateway.domain.errors import (
    Ambiguous,
    ConversationMoved,
    DeliveryRefused,
    FormatRefused,
    RateLimited,
    ThreadwayError,
    TokenRefused,
    Unreachable,
)
from gateway.telegram.address import Address

_NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.LocalProtocolError,
    RuntimeError,  # the HTTP client is closed
)


def translate(error: TelegramError, address: Address | None = None) -> ThreadwayError:
    """Our word for `error`; `address` is where a message should have gone. Messages hold no token and no text."""
    if isinstance(error, RetryAfter):
        return RateLimited("Telegram: flood control", retry_after_s=retry_after_s(error))
    if isinstance(error, InvalidToken):
        return TokenRefused("Telegram refuses the bot token")
    if isinstance(error, ChatMigrated) and address is not None:
        moved = Address(address.bot_id, error.new_chat_id, address.topic)
        return ConversationMoved(moved.key)
    if isinstance(error, Forbidden):
        return DeliveryRefused(f"Telegram: {error.message}")
    if isinstance(error, BadRequest):
        refusal = FormatRefused if _about_markup(error.message) else DeliveryRefused
        return refusal(f"Telegram: {error.message}")
    if isinstance(error.__cause__, _NEVER_SENT):
        return Unreachable(f"Telegram: {type(error.__cause__).__name__}")
    if isinstance(error, NetworkError) and error.message.startswith("Too Many Requests"):
        return RateLimited("Telegram: too many requests")  # a 429 without its parameters, seen behind proxies
    # The rest: time-outs and resets after sending, 5xx, an answer that is no JSON. The library's message may quote the
    # answer, so only its kind goes on.
    return Ambiguous(f"Telegram: {type(error).__name__}")


def retry_after_s(error: RetryAfter) -> float:
    """Telegram's wish in seconds, whichever type this version of the library gives it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # announces the change from int to timedelta at each read
        wish: int | timedelta = error.retry_after
    return wish.total_seconds() if isinstance(wish, timedelta) else float(wish)


def thread_is_gone(error: TelegramError) -> bool:
    """Whether the topic does not exist (any more): nothing was sent, the chat itself may still take the message."""
    return isinstance(error, BadRequest) and "message thread not found" in error.message.lower()


def not_modified(error: TelegramError) -> bool:
    """Whether an edit found the message as it should become: it arrived before, or the text is the same."""
    return isinstance(error, BadRequest) and "message is not modified" in error.message.lower()


def _about_markup(description: str) -> bool:
    lowered = description.lower()
    return "can't parse entities" in lowered or "entity" in lowered or "entities" in lowered
