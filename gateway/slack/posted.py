"""Whether a part arrived: look for its key in the metadata of what is posted.

Wire facts: https://docs.slack.dev/reference/methods/conversations.replies and …history: `oldest` bounds the window, a
cursor leads through its pages, in whatever order they come; apps that are sold outside the Marketplace get 15 messages
once a minute. Nothing promises that a message is listed as soon as it is posted, and people have seen it come later.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient

from gateway.domain.errors import Ambiguous, DeliveryRefused, Retryable, ThreadwayError
from gateway.domain.pacing import Clock
from gateway.slack.address import Address
from gateway.slack.failures import FOREIGN, error_code, translate

METADATA = "threadway_part"
"""event_type of the metadata that names a part."""

_SKEW_MS = 300_000
"""How far Slack's clock and ours may differ; Slack's signatures allow no more either."""
_PAGE, _PAGES = 200, 50
_INTERRUPTED = 1_000
"""Looks that are remembered while Slack keeps us waiting in the middle of them."""
_AGAIN_S = 0.1


@dataclass(slots=True)
class _Look:
    """One walk through the pages of a window."""

    began_at: float
    cursor: str = ""
    pages: int = 0


class Posted:
    """Looks for parts. Lives on one event loop.

    "It is not there" is said only by a look that began `settle_s` after the last call for the part ended without an
    answer: until then Slack may still carry it out, or have done so and not list it yet. That is known of calls made
    through this adapter; whoever takes a part over from another process comes later than that by the lease, which
    outlives every call that was begun under it.
    """

    def __init__(self, client: AsyncWebClient, clock: Clock, *, settle_s: float) -> None:
        self._client, self._clock, self._settle_s = client, clock, settle_s
        self._settled_at: dict[str, float] = {}
        self._interrupted: OrderedDict[tuple[Address, str], _Look] = OrderedDict()

    def unanswered(self, key: str) -> None:
        """A call for the part `key` has ended just now, and nobody knows what came of it."""
        now = self._clock.monotonic()
        self._settled_at = {known: at for known, at in self._settled_at.items() if at > now}
        self._settled_at[key] = now + self._settle_s

    async def find(self, address: Address, key: str, since_ms: int) -> str | None:
        """The ts of the part posted under `key` since `since_ms`, None if it surely is not there.

        A look that Slack interrupts goes on where it stopped when it is asked for again: a window of two pages would
        otherwise never end for an app that may see one a minute. Raises Retryable, DeliveryRefused.
        """
        look = self._interrupted.pop((address, key), None) or _Look(self._clock.monotonic())
        oldest = f"{max(since_ms - _SKEW_MS, 0) / 1000:.6f}"
        while True:
            try:
                messages, look.cursor = await self._page(address, oldest, look.cursor)
            except FOREIGN as error:
                cause = _translate(error)
                if isinstance(cause, Retryable) and not _is_lost(error):
                    self._interrupted[address, key] = look
                    if len(self._interrupted) > _INTERRUPTED:
                        self._interrupted.popitem(last=False)
                raise cause from error
            for message in messages:
                if _is_part(message, key):
                    return str(message["ts"])
            if not look.cursor:
                break
            look.pages += 1
            if look.pages >= _PAGES:  # more of the same will not help: that many do not come while a reply is posted
                raise DeliveryRefused("Slack: too many messages since then to look through")
        settled_at = self._settled_at.get(key, look.began_at)
        if look.began_at < settled_at:
            wait_s = max(settled_at - self._clock.monotonic(), _AGAIN_S)
            raise Ambiguous("Slack: it may still be on its way", retry_after_s=wait_s)
        return None

    async def _page(self, address: Address, oldest: str, cursor: str) -> tuple[list[Any], str]:
        """One page of the window and the cursor of the next, "" after the last."""
        window: dict[str, Any] = {"channel": address.channel, "oldest": oldest, "limit": _PAGE}
        window |= {"include_all_metadata": True, "cursor": cursor or None}
        if address.root:
            answer = await self._client.conversations_replies(ts=address.root, **window)
        else:
            answer = await self._client.conversations_history(**window)
        messages = answer.get("messages")
        if not isinstance(messages, list):
            raise ValueError("an answer without messages")
        return messages, str((answer.get("response_metadata") or {}).get("next_cursor") or "")


def _translate(error: Exception) -> ThreadwayError:
    """As for other calls, but that the token's kind may not do for reading while it does for posting."""
    if isinstance(error, SlackApiError) and error_code(error) == "not_allowed_token_type":
        return DeliveryRefused("Slack: not_allowed_token_type")
    return Ambiguous("Slack: the cursor is gone") if _is_lost(error) else translate(error)


def _is_lost(error: Exception) -> bool:
    return isinstance(error, SlackApiError) and error_code(error) == "invalid_cursor"


def _is_part(message: Any, key: str) -> bool:
    metadata = message.get("metadata") if isinstance(message, dict) else None
    if not isinstance(metadata, dict) or metadata.get("event_type") != METADATA:
        return False
    payload = metadata.get("event_payload")
    return isinstance(payload, dict) and payload.get("key") == key
