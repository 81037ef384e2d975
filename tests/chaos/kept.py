"""A case's one conversation as Redis keeps it: to look at, to wait for, and to spoil."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import redis.asyncio

PATIENCE_S = 25.0
IDLE_FIELDS = {"thread", "seq", "fence"}
"""All that a conversation's state holds while nothing is at work (finish.lua)."""


async def soon(condition: Callable[[], Awaitable[Any]]) -> None:
    """Return when `condition()` is true, looked at ten times a second. Raises TimeoutError after PATIENCE_S."""
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():  # noqa: ASYNC110  other processes set no events
            await asyncio.sleep(0.1)


class Kept:
    """The keys of the only conversation in a database."""

    def __init__(self, store: redis.asyncio.Redis) -> None:
        self._store = store
        self._state = ""
        self._sent = 0

    async def _key(self, kind: str) -> str | None:
        """The name of one of the conversation's keys ("i" inbox, "s" state, "x" dead letters, "due"); None before its
        first message."""
        if not self._state:
            self._state = next(iter([key async for key in self._store.scan_iter("tw:{p??}:s:*", count=1000)]), "")
        if kind == "due":
            return self._state.partition("s:")[0] + "due" if self._state else None
        return self._state.replace(":s:", f":{kind}:", 1) or None

    async def mail(self) -> list[str]:
        """The envelopes in the inbox."""
        inbox = await self._key("i")
        return [str(envelope) for envelope in await self._store.lrange(inbox, 0, -1)] if inbox else []

    async def state(self) -> dict[str, str]:
        """The conversation's state; {} before its first message."""
        state = await self._key("s")
        return {str(name): str(value) for name, value in (await self._store.hgetall(state)).items()} if state else {}

    def sent(self) -> None:
        """One more message is on its way."""
        self._sent += 1

    async def arrived(self) -> None:
        """Return when every message that was sent has been stored."""

        async def all_there() -> bool:
            return int((await self.state()).get("seq", 0)) >= self._sent

        await soon(all_there)

    async def unfinished(self) -> dict[str, Any]:
        """What is left to be done, {} when everything is."""
        state, due, inbox = await self.state(), await self._key("due"), await self.mail()
        left: dict[str, Any] = {name: value for name, value in state.items() if name not in IDLE_FIELDS}
        left |= {"inbox": inbox} if inbox else {}
        if due and (waiting := await self._store.zrange(due, 0, -1)):
            left["due"] = waiting
        if (seq := int(state.get("seq", 0))) != self._sent:
            left["messages"] = f"{seq} of {self._sent}"
        return left

    async def idle(self) -> None:
        """Return when nothing is left to be done. Raises AssertionError."""

        async def done() -> bool:
            return not await self.unfinished()

        try:
            await soon(done)
        except TimeoutError:
            raise AssertionError(f"left behind: {await self.unfinished()}") from None

    async def lease_ended(self) -> None:
        """Return when nobody's lease on the conversation lives any more."""

        async def ended() -> bool:
            seconds, micros = await self._store.time()
            return float((await self.state()).get("lease", 0)) < seconds * 1000 + micros / 1000

        await soon(ended)

    async def beats(self) -> None:
        """Return when the lease has been renewed three times: its holder knows by then what is waiting."""
        seen: set[str] = set()

        async def thrice() -> bool:
            seen.add((await self.state()).get("lease", ""))
            return len(seen - {""}) > 3

        await soon(thrice)

    async def waits(self, text: str) -> None:
        """Return when `text` is among the waiting mail."""

        async def there() -> bool:
            return any(text in envelope for envelope in await self.mail())

        await soon(there)

    async def garble(self) -> Callable[[], Awaitable[object]]:
        """Make the first waiting message unreadable; what is returned makes it readable again."""
        inbox, (envelope, *_) = str(await self._key("i")), await self.mail()
        await self._store.lset(inbox, 0, envelope[: len(envelope) // 2])

        async def mend() -> None:
            await self._store.lset(inbox, 0, envelope)

        return mend

    async def taken_before(self, tries: int) -> None:
        """As if so many workers had died over the conversation's turn."""
        state = str(await self._key("s"))
        await self._store.hset(state, mapping={"phase": "collected", "n": 1, "tries": tries})

    async def dead(self) -> int:
        """How many dead letters the conversation has."""
        return int(await self._store.llen(str(await self._key("x"))))
