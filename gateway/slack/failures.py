"""What slack-sdk and aiohttp raise → our error tree, by one question: did Slack perhaps do it?

Wire facts: https://docs.slack.dev/reference/methods/chat.postMessage (errors) and
https://docs.slack.dev/apis/web-api/rate-limits (429, Retry-After in seconds).
"""

from __future__ import annotations

from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError

from gateway.domain.errors import (
    Ambiguous,
    DeliveryRefused,
    FormatRefused,
    RateLimited,
    ThreadwayError,
    TokenRefused,
    Unreachable,
)

FOREIGN = (SlackClientError, aiohttp.ClientError, TimeoutError, OSError, ValueError)
"""Everything a call of the SDK can raise; ValueError for an answer that is no JSON."""


class TooLate(aiohttp.ClientError):
    """Our own refusal to send: the request would have left too late. Nothing was sent."""


_DEFAULT_WAIT_S = 30.0
_TOKEN = frozenset(
    ["invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive", "not_allowed_token_type"]
)
_MARKUP = frozenset(["invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "invalid_block_type"])
_SLOW_DOWN = frozenset(["ratelimited", "rate_limited", "message_limit_exceeded"])
_PERHAPS_DONE = frozenset(["internal_error", "fatal_error", "request_timeout", "service_unavailable"])
"""Slack's words for "something went wrong on our side"; of fatal_error the docs say that parts may have succeeded."""


def translate(error: Exception) -> ThreadwayError:
    """Our word for `error`. Messages hold Slack's error code at most: no token, no text, no address."""
    if isinstance(error, SlackApiError):
        return _refusal(error)
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | aiohttp.InvalidURL | TooLate):
        return Unreachable(f"Slack: {type(error).__name__}")  # also of a proxy: nothing was sent
    return Ambiguous(f"Slack: {type(error).__name__}")


def error_code(error: SlackApiError) -> str:
    """Slack's error code, "" where the answer has none (an HTML page of a proxy, a 5xx)."""
    data = getattr(error.response, "data", None)
    code = data.get("error") if isinstance(data, dict) else None
    return code if isinstance(code, str) else ""


def _refusal(error: SlackApiError) -> ThreadwayError:
    # the SDK hands on either its own response class or, where the body is no JSON, the HTTP library's
    status = int(getattr(error.response, "status_code", 0) or getattr(error.response, "status", 0))
    code = error_code(error)
    told = f"Slack: {code or status}"
    if status == 429 or code in _SLOW_DOWN:
        return RateLimited(told, retry_after_s=_retry_after_s(getattr(error.response, "headers", {})))
    if code in _TOKEN:
        return TokenRefused(told)
    if code in _MARKUP:
        return FormatRefused(told)
    if not code or code in _PERHAPS_DONE or status >= 500:
        return Ambiguous(told)
    return DeliveryRefused(told)


def _retry_after_s(headers: Any) -> float:
    """Slack's wish; half a minute where it names none, as for its own SDK."""
    try:
        return max(float(headers.get("Retry-After", _DEFAULT_WAIT_S)), 0.0)
    except (TypeError, ValueError):
        return _DEFAULT_WAIT_S
