"""What flows: a message's timeline, nudges between processes, replies on their way to a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import StrEnum
from typing import Any, cast

from redis import exceptions as failures
from redis.asyncio import Redis

from gateway.domain.errors import StoreDown
from gateway.domain.messages import ConversationKey
from gateway.store import keys
from gateway.store.turns import Script

_KEPT_EVENTS = 5000
_PENDING_EVENTS = 2000


class Timeline:
    """What happened to each message, step by step: best effort, capped, for the lab's page and `why`; never the truth.

    Off until `switch_on`: each event is a write, and Redis fsyncs every write.
    """

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self._call = call
        self._pending: list[str] = []
        self._on = False
        self._flushing: asyncio.Task[None] | None = None

    def switch_on(self) -> None:
        """Keep events from now on. May be called twice."""
        self._on = True

    def record(self, conversation: ConversationKey, message: str, event: str, **detail: object) -> None:
        """Note an event of a message; returns at once, never raises."""
        if not self._on or len(self._pending) >= _PENDING_EVENTS:
            return
        entry = {
            "conversation": conversation,
            "message": message,
            "event": event,
            "at_ms": int(time.time() * 1000),
            "detail": detail,
        }
        self._pending.append(json.dumps(entry, ensure_ascii=False))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def _flush(self) -> None:
        while self._pending:
            entry = self._pending.pop(0)
            with contextlib.suppress(StoreDown):
                await self._call("XADD", keys.TRACE, "MAXLEN", "~", _KEPT_EVENTS, "*", "e", entry)

    async def subscribe(self) -> AsyncIterator[dict[str, Any]]:
        """Events from now on, for ever; Redis being away is waited out."""
        last = "$"
        while True:
            try:
                found = await self._call("XREAD", "COUNT", 200, "BLOCK", 2000, "STREAMS", keys.TRACE, last)
            except StoreDown:
                await asyncio.sleep(1)
                continue
            streams = found.values() if isinstance(found, dict) else [entries for _, entries in found or []]
            for entries in streams:
                for entry in _entries(entries):
                    last, fields = entry[0], entry[1]
                    raw = fields["e"] if isinstance(fields, dict) else fields[1]
                    yield json.loads(raw)


def _entries(entries: Any) -> list[Any]:
    """redis-py nests stream entries once more in some protocol versions."""
    if entries and isinstance(entries[0], list) and entries[0] and isinstance(entries[0][0], list | tuple):
        return list(entries[0])
    return list(entries)


class Nudge(StrEnum):
    """What whoever holds a conversation should look at."""

    STOP = "stop"
    MAIL = "mail"


class Nudges:
    """Words between processes, "look now": lost ones cost a heartbeat's delay, nothing else."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def send(self, nudge: Nudge, conversation: ConversationKey) -> None:
        """Tell whoever holds the conversation what came in. Never raises."""
        with contextlib.suppress(failures.RedisError, OSError):
            await cast(Awaitable[Any], self._redis.publish(keys.NUDGES, f"{nudge} {conversation}"))

    async def listen(self, heard: Callable[[Nudge, ConversationKey], None]) -> None:
        """Call `heard` for each nudge, until cancelled; Redis being away is waited out."""
        while True:
            with contextlib.suppress(failures.RedisError, OSError):
                async with self._redis.pubsub(ignore_subscribe_messages=True) as channel:
                    await channel.subscribe(keys.NUDGES)
                    while True:
                        found = await channel.get_message(timeout=2)
                        if found and found["type"] == "message":
                            word, _, conversation = found["data"].partition(" ")
                            if word in tuple(Nudge):  # what a newer version may say is left to the heartbeat
                                heard(Nudge(word), ConversationKey(conversation))
            await asyncio.sleep(1)


class Mailbox:
    """Replies on their way to terminals."""

    def __init__(self, deliver: Script, redis: Redis) -> None:
        self._deliver = deliver
        self._redis = redis

    async def put(self, user: str, text: str) -> None:
        """Leave a reply for a terminal; it is kept for an hour. Raises StoreDown; a full Redis is none."""
        await self._deliver([keys.mailbox(user)], [text, keys.MAILBOX_S])

    async def take(self, user: str, timeout_s: float) -> str | None:
        """The oldest reply, waiting up to `timeout_s` for one; None if none came. Raises StoreDown."""
        try:
            found = await cast(Awaitable[Any], self._redis.blpop([keys.mailbox(user)], timeout=min(timeout_s, 2.0)))
        except (failures.RedisError, OSError) as away:
            raise StoreDown(f"Redis is away: {type(away).__name__}") from away
        return str(found[1]) if found else None
