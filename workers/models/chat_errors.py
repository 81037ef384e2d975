"""What a Chat Completions server's error means for us."""

from __future__ import annotations

import re
from collections.abc import Sequence

import aiohttp
import httpx2
from openai import APIConnectionError, APIError, APIStatusError

from gateway.domain.errors import BackendDown, BackendRefused, RateLimited, ThreadwayError, Unreachable
from workers.sdk_errors import never_connected, retry_after, server_words

FOREIGN = (APIError, httpx2.HTTPError, aiohttp.ClientError, ValueError)
"""All that a call through the SDK may raise: its own errors, what leaks from its transport, and broken JSON."""
_QUOTA = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
"""Arrive as 429 and do not pass by waiting."""
_PASSING = frozenset({408, 409, 425})


def translated(error: Exception, secret: str) -> ThreadwayError:
    """The error in our words: RateLimited, Unreachable, BackendDown (worth a retry) or BackendRefused (not). Pure.

    `secret` is the key of the call; it appears in no message.
    """
    if isinstance(error, APIStatusError):
        return _of_status(error, secret)
    if never_connected(error):
        return Unreachable("the model's server cannot be reached")
    if isinstance(error, ValueError):
        return BackendDown("the model's server sent broken JSON")
    if isinstance(error, APIError) and not isinstance(error, APIConnectionError):  # inside a stream
        return (
            BackendRefused(server_words(error, secret))
            if error.code in _QUOTA
            else BackendDown("the model's server broke off")
        )
    return BackendDown("the model's server did not answer")


def _of_status(error: APIStatusError, secret: str) -> ThreadwayError:
    status = error.status_code
    if status == 429:
        if error.code in _QUOTA or error.type in _QUOTA:
            return BackendRefused(server_words(error, secret))
        return RateLimited("the model's server says to slow down", retry_after_s=retry_after(error.response.headers))
    if status >= 500 or status in _PASSING:
        return BackendDown(f"the model's server answered {status}", retry_after_s=retry_after(error.response.headers))
    return BackendRefused(f"{status}: {server_words(error, secret)}")


def refused_parameter(error: Exception, names: Sequence[str]) -> str | None:
    """Which of `names` a 400 or 422 refuses; None if it refuses something else.

    OpenAI names it as `param` with code unsupported_parameter or unsupported_value; other servers only in the text.
    """
    if not isinstance(error, APIStatusError) or error.status_code not in (400, 422):
        return None
    if error.param:
        return error.param if error.param in names else None
    text = error.message
    return next((name for name in names if re.search(rf"(?<!\w){name}(?!\w)", text)), None)
