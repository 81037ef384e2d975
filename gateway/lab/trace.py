"""What happened to a message on its way through threadway, told beside it on the page."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.domain.pacing import Clock, RetryPolicy
from gateway.lab.feed import Feed, Json
from gateway.telemetry import log

KEPT_PER_CHAT = 300
_EVENT = re.compile(r"[a-z][a-z0-9_.]{0,63}")


class TraceSource(Protocol):
    """Where the trace comes from (Redis streams); wired by the composition root."""

    def subscribe(self) -> AsyncIterator[Mapping[str, Any]]:
        """An async generator of {"conversation", "message", "event", "at_ms", "detail"} from now on.

        `message` is the platform's message id or the event id (one of the inbound message's dedupe keys), "" where the
        step belongs to the conversation's newest message. May be subscribed to again after it ended or raised.
        """


@dataclass(frozen=True, slots=True)
class Place:
    """Where a traced message stands: chat, thread (topic or thread root, "" for none) and the user's message."""

    platform: str
    chat: str
    thread: str
    message: str


Locate = Callable[[str, str], Place | None]
"""(conversation key, message) → place, None for what this lab does not know."""


@dataclass(slots=True)
class Traces:
    """The last steps of each chat, and the feed they go to."""

    feed: Feed
    clock: Clock
    locators: dict[str, Locate] = field(default_factory=dict)
    """By platform, the first part of a conversation key."""
    _kept: dict[tuple[str, str], deque[Json]] = field(default_factory=dict)

    def now_ms(self) -> int:
        """The clock's time, ms since the epoch."""
        return round(self.clock.now().timestamp() * 1000)

    def note(
        self,
        place: Place,
        event: str,
        *,
        at_ms: int | None = None,
        detail: Mapping[str, Any] | None = None,
        by: str = "lab",
    ) -> None:
        """Record one step of a message and tell the page."""
        step: Json = {
            "type": "trace",
            "platform": place.platform,
            "chat": place.chat,
            "thread": place.thread,
            "message": place.message,
            "event": event,
            "at_ms": self.now_ms() if at_ms is None else at_ms,
            "detail": dict(detail or {}),
            "by": by,
        }
        self._kept.setdefault((place.platform, place.chat), deque(maxlen=KEPT_PER_CHAT)).append(step)
        self.feed.publish(step)

    def of_chat(self, platform: str, chat: str) -> list[Json]:
        """The kept steps of one chat, oldest first."""
        return list(self._kept.get((platform, chat), ()))

    async def pump(self, source: TraceSource) -> None:
        """Bring in the source's steps until cancelled; a source that fails is subscribed to again, with backoff."""
        policy, failures = RetryPolicy(), 0
        while True:
            try:
                async for step in source.subscribe():
                    failures = 0
                    self.take(step)
            except Exception as error:  # a trace is decoration: whatever it raises, the chats go on
                log.warning("lab.trace.failed", error=type(error).__name__)
            await self.clock.sleep(policy.delay(failures, chance=0.5))
            failures += 1

    def take(self, step: Mapping[str, Any]) -> None:
        """Record one step of a source; what is malformed or belongs to no chat of this lab is left out."""
        key, message, event = step.get("conversation"), step.get("message") or "", step.get("event")
        at_ms, detail = step.get("at_ms"), step.get("detail") or {}
        if not isinstance(key, str) or not isinstance(at_ms, int) or not isinstance(detail, Mapping):
            return
        if not isinstance(event, str) or not _EVENT.fullmatch(event):
            return
        locate = self.locators.get(key.partition(":")[0])
        place = locate(key, str(message)) if locate else None
        if place is not None:
            self.note(place, event, at_ms=at_ms, detail=detail, by="threadway")
