"""What the official SDK's exceptions tell, whichever protocol is spoken over it: shared by backends and models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
from openai import APIError

_KEY = re.compile(r"\b(?:sk|pk|key|gsk|xai|tw)-[^\s\"',;]+|(?i:bearer\s+)[^\s\"',;]+")
_MAX_MESSAGE_CHARS = 300


def never_connected(error: BaseException) -> bool:
    """Whether the request surely was not sent.

    The SDK's aiohttp transport shows a refused connection, a cut one and a time-out alike as ConnectTimeout (openai
    3.54); what aiohttp itself raised stands at the end of the chain.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
            return True
        cause = cause.__cause__
    return False


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server wishes us to wait: `retry-after-ms`, else `retry-after` in seconds or as a date."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        if re.fullmatch(r"\d{1,9}(?:\.\d{1,9})?", value):
            return float(value) * scale
    try:
        moment = parsedate_to_datetime(headers.get("retry-after", ""))
    except ValueError:
        return None
    return max((moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds(), 0.0)


def server_words(error: APIError, secret: str) -> str:
    """The server's own words in one line: clipped, and without a key, which servers like to repeat."""
    body: object = error.body
    for key in ("error", "message", "detail"):  # {"error": "…"} and {"detail": "…"} are no envelope, but common
        if isinstance(body, dict):
            body = body.get(key, body)
    line = " ".join((body if isinstance(body, str) and body.strip() else "no reason given").split())
    shown = line.replace(secret, "***") if secret else line
    return _KEY.sub("***", shown)[:_MAX_MESSAGE_CHARS]
