"""Telegram's webhook: checked, stored, and only then answered with 200.

Wire facts: Bot API, setWebhook: the header X-Telegram-Bot-Api-Secret-Token carries our secret; a non-2xx answer makes
Telegram send the update again, in order per chat, for about a day.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import structlog
from telegram import Bot

from gateway.domain.adapter import Accept, Accepted, HttpRequest, HttpResponse
from gateway.domain.errors import SettingsInvalid
from gateway.telegram.normalise import BotIdentity
from gateway.telegram.updates import ALLOWED_UPDATES, Malformed, read_update

log: structlog.stdlib.BoundLogger = structlog.get_logger("threadway")

PATH = "/telegram/webhook"
SECRET_HEADER = "x-telegram-bot-api-secret-token"  # noqa: S105 - the header's name
_SECRET_FORM = re.compile(r"[A-Za-z0-9_-]{1,256}")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_CONNECTIONS = 40
"""Telegram's own default; each conversation is delivered one update at a time whatever the number."""
_AGAIN = HttpResponse(503, b"try again", {"Retry-After": "5"})


def check_settings(url: str, secret: str, api_base_url: str) -> None:
    """Raise SettingsInvalid where Telegram would refuse the webhook, or where it would be reachable in plain text."""
    errors = []
    parts = urlsplit(url)
    plain_is_fine = urlsplit(api_base_url).hostname in _LOOPBACK  # the lab or a test: nothing leaves this machine
    if parts.scheme != "https" and not (parts.scheme == "http" and plain_is_fine):
        errors.append("TELEGRAM_WEBHOOK_URL: Telegram calls https only (http is for a loopback TELEGRAM_API_BASE_URL)")
    if not parts.hostname:
        errors.append("TELEGRAM_WEBHOOK_URL: names no host")
    if not _SECRET_FORM.fullmatch(secret):
        errors.append("TELEGRAM_WEBHOOK_SECRET: 1-256 characters of A-Z a-z 0-9 _ - (Bot API, setWebhook)")
    if errors:
        raise SettingsInvalid(errors)


async def register(bot: Bot, url: str, secret: str) -> None:
    """Tell Telegram where to call us. Safe to call twice; raises the library's TelegramError."""
    await bot.set_webhook(url, secret_token=secret, allowed_updates=ALLOWED_UPDATES, max_connections=_CONNECTIONS)


async def take(
    request: HttpRequest, me: BotIdentity | None, secret: str, accept: Accept, settled: Callable[[Any], None]
) -> HttpResponse:
    """Answer one request: 401 without our secret, 400 for what is no update, 503 for what could not be stored.

    `settled` is told of the update once its mail is durable. StoreDown comes through. A poison update is logged and
    answered with 200: Telegram would repeat it for a day and hold back everything else of its chat.
    """
    given = request.headers.get(SECRET_HEADER, "")
    if not hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode()):
        return HttpResponse(401, b"wrong secret")
    try:
        raw = json.loads(request.body)
    except (ValueError, RecursionError):
        return HttpResponse(400, b"not JSON")
    if not isinstance(raw, dict) or type(raw.get("update_id")) is not int:
        return HttpResponse(400, b"not an update")
    if me is None:
        return _AGAIN  # we do not know our own name yet, so not whether a group means us
    try:
        mail = read_update(raw, me)
    except Malformed as error:
        log.error("telegram.update.skipped", bot=me.id, reason=str(error))
        return HttpResponse(200)
    if mail is None:
        return HttpResponse(200)
    if await accept(mail) is Accepted.FULL:
        return _AGAIN  # Telegram keeps one queue per chat: nobody else waits
    settled(raw)
    return HttpResponse(200)
