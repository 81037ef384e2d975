"""The bot's mailbox: updates wait until they are confirmed, by getUpdates' offset or by a webhook's 2xx.

Sources: Bot API, getUpdates and setWebhook; the published Bot API server for what the page leaves open (which call gets
the 409, webhook order and delays).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections import deque
from dataclasses import dataclass, field

from gateway.domain.pacing import Clock
from gateway.lab.background import Background
from gateway.lab.courier import Courier
from gateway.lab.faults import Faults
from gateway.lab.feed import Json
from gateway.telemetry import log

KEPT_S = 24 * 3600
MAX_PENDING = 10_000
WEBHOOK_LIMIT_S = 60.0
NOT_BY_DEFAULT = {"chat_member", "message_reaction", "message_reaction_count"}


class Conflict(Exception):
    """409; the text is Telegram's description after "Conflict: "."""


@dataclass(slots=True)
class Pending:
    """One update that the bot has not confirmed."""

    update_id: int
    chat_id: int
    body: Json
    at_s: float
    twice: bool = False
    """A fault switch wants it delivered once more after it was confirmed."""


@dataclass(slots=True)
class Webhook:
    """What setWebhook set."""

    url: str
    secret: str = ""
    max_connections: int = 40
    last_error_s: int = 0
    last_error: str = ""
    lanes: dict[int, asyncio.Task[None]] = field(default_factory=dict)
    """Per chat, the task that delivers in order."""


class Updates:
    """The queue of one bot. Used on one event loop."""

    def __init__(self, clock: Clock, faults: Faults, courier: Courier, background: Background) -> None:
        self._clock, self._faults, self._courier, self._background = clock, faults, courier, background
        # From the clock, not from 1: a restarted lab must not reuse the ids that threadway remembers for a day.
        self._last_id = round(clock.now().timestamp() * 1000)
        self._pending: deque[Pending] = deque()
        self._again: list[Pending] = []
        self._poll: asyncio.Future[None] | None = None
        self._allowed: frozenset[str] | None = None
        self._chance = random.Random(faults.seed)  # noqa: S311 (delays, not secrets)
        self._closed = False
        self.webhook: Webhook | None = None

    def push(self, kind: str, chat_id: int, payload: Json) -> int | None:
        """Queue an update; returns its id, None when the bot did not ask for this kind."""
        wanted = kind not in NOT_BY_DEFAULT if self._allowed is None else kind in self._allowed
        if not wanted:
            return None
        self._last_id += 1
        body = {"update_id": self._last_id, kind: payload}
        twice = self._faults.duplicate("telegram")
        self._pending.append(Pending(self._last_id, chat_id, body, self._clock.now().timestamp(), twice))
        while len(self._pending) > MAX_PENDING:
            self._pending.popleft()
        if self.webhook is not None:
            self._lane(self.webhook, chat_id)
        elif self._poll is not None and not self._poll.done():
            self._poll.set_result(None)
        return self._last_id

    async def get(self, offset: int, limit: int, timeout_s: float, allowed: list[str] | None) -> list[Json]:
        """getUpdates: confirm everything below `offset`, then wait up to `timeout_s` for something to hand out.

        A negative offset keeps only that many of the newest. `allowed` holds for updates made from now on and for later
        calls without it. Raises Conflict while a webhook is set, and in the *older* of two calls that wait at once.
        """
        if self.webhook is not None:
            raise Conflict(
                "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
            )
        if self._poll is not None and not self._poll.done():
            self._poll.set_exception(
                Conflict("terminated by other getUpdates request; make sure that only one bot instance is running")
            )
        self.allow(allowed)
        self._confirm(offset)
        if not self._pending and not self._again and timeout_s > 0 and not self._closed:
            await self._wait(timeout_s)
        batch = [*self._again, *self._pending][:limit]
        self._again = [p for p in self._again if p not in batch]
        return [p.body for p in batch]

    def allow(self, kinds: list[str] | None) -> None:
        """Which kinds to make from now on: None leaves it, an empty list is the default."""
        if kinds is not None:
            self._allowed = frozenset(kinds) or None

    def set_webhook(self, url: str, secret: str, max_connections: int) -> None:
        """Deliver by POST from now on, what is pending first. Ends a waiting getUpdates with Conflict."""
        self.delete_webhook()
        if self._poll is not None and not self._poll.done():
            self._poll.set_exception(Conflict("terminated by setWebhook request"))
        self.webhook = Webhook(url, secret, max_connections)
        for chat_id in {p.chat_id for p in self._pending}:
            self._lane(self.webhook, chat_id)

    def delete_webhook(self) -> None:
        """Stop delivering; unconfirmed updates stay for getUpdates. May be called without a webhook."""
        webhook, self.webhook = self.webhook, None
        for lane in webhook.lanes.values() if webhook else ():
            lane.cancel()

    def drop_pending(self) -> None:
        """Forget every unconfirmed update."""
        self._pending.clear()
        self._again.clear()

    def view(self) -> Json:
        """Bot API WebhookInfo."""
        info: Json = {
            "url": self.webhook.url if self.webhook else "",
            "has_custom_certificate": False,
            "pending_update_count": len(self._pending),
        }
        if self.webhook:
            info["max_connections"] = self.webhook.max_connections
            if self.webhook.last_error_s:
                info["last_error_date"] = self.webhook.last_error_s
                info["last_error_message"] = self.webhook.last_error
        if self._allowed is not None:
            info["allowed_updates"] = sorted(self._allowed)
        return info

    def close(self) -> None:
        """End a waiting getUpdates with an empty answer and let no later one wait; may be called twice."""
        self._closed = True
        if self._poll is not None and not self._poll.done():
            self._poll.set_result(None)

    def _confirm(self, offset: int) -> None:
        oldest_s = self._clock.now().timestamp() - KEPT_S
        if offset < 0:
            offset = self._pending[offset].update_id if len(self._pending) >= -offset else 0
        kept: deque[Pending] = deque()
        for pending in self._pending:
            if pending.update_id < offset:
                if pending.twice:
                    pending.twice = False
                    self._again.append(pending)
            elif pending.at_s >= oldest_s:
                kept.append(pending)
        self._pending = kept

    async def _wait(self, timeout_s: float) -> None:
        waiting = self._poll = asyncio.get_running_loop().create_future()
        timer = asyncio.ensure_future(self._clock.sleep(timeout_s))
        try:
            await asyncio.wait({waiting, timer}, return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                waiting.result()
        finally:
            waiting.cancel()
            timer.cancel()
            if self._poll is waiting:
                self._poll = None

    def _lane(self, webhook: Webhook, chat_id: int) -> None:
        lane = webhook.lanes.get(chat_id)
        if lane is None or lane.done():
            webhook.lanes[chat_id] = self._background.start(self._deliver(webhook, chat_id))

    async def _deliver(self, webhook: Webhook, chat_id: int) -> None:
        """One chat's updates in order: the next waits for the 2xx of the one before, as on the real server."""
        failures = 0
        while pending := next((p for p in self._pending if p.chat_id == chat_id), None):
            headers = {"Content-Type": "application/json"}
            if webhook.secret:
                headers["X-Telegram-Bot-Api-Secret-Token"] = webhook.secret
            body = json.dumps(pending.body, ensure_ascii=False).encode()
            answer = await self._courier.post(webhook.url, body, headers, WEBHOOK_LIMIT_S)
            expired = self._clock.now().timestamp() - pending.at_s > KEPT_S
            if answer.accepted or expired:
                failures = 0
                if pending.twice:
                    pending.twice = False
                elif pending in self._pending:
                    self._pending.remove(pending)
                continue
            webhook.last_error_s = int(self._clock.now().timestamp())
            webhook.last_error = _complaint(answer.status, answer.reason)
            log.warning("lab.webhook.failed", update=pending.update_id, status=answer.status, reason=answer.reason)
            await self._clock.sleep(self._delay(failures, answer.headers.get("retry-after", "")))
            failures += 1

    def _delay(self, failures: int, retry_after: str) -> float:
        if retry_after.isdecimal():
            return float(min(int(retry_after), 3600))
        return float(min(2 ** min(failures, 10), self._chance.uniform(60, 120)))


def _complaint(status: int, reason: str) -> str:
    if status:
        return f"Wrong response from the webhook: {status}"
    return "Read timeout expired" if reason == "http_timeout" else "Connection refused"
