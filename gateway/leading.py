"""Roles that one replica of many may have: polling a bot, registering a webhook."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from gateway.domain.errors import StoreDown
from gateway.domain.pacing import Clock
from gateway.store import Store


class Leading:
    """Hands out terms: stretches of time in which this replica alone has a role."""

    def __init__(self, store: Store, clock: Clock, *, lease_s: float) -> None:
        self._store = store
        self._clock = clock
        self._lease_s = lease_s

    @asynccontextmanager
    async def term(self, role: str) -> AsyncIterator[Term]:
        """Wait for the role, hold it inside the block, give it back. Raises StoreDown while waiting."""
        owner = uuid4().hex
        asked_at = self._clock.monotonic()
        while not await self._store.leases.lead(role, owner, ttl_s=self._lease_s):
            await self._clock.sleep(self._lease_s / 5)
            asked_at = self._clock.monotonic()
        term = Term(self._clock, asked_at + self._lease_s)
        keeping = asyncio.create_task(self._keep(role, owner, term))
        try:
            yield term
        finally:
            keeping.cancel()
            term.end()
            with suppress(StoreDown):
                await self._store.leases.resign(role, owner)

    async def _keep(self, role: str, owner: str, term: Term) -> None:
        try:
            while term.valid():
                await self._clock.sleep(self._lease_s / 5)
                asked_at = self._clock.monotonic()
                with suppress(StoreDown):
                    if not await self._store.leases.lead(role, owner, ttl_s=self._lease_s):
                        break
                    term.until = asked_at + self._lease_s
        finally:
            term.end()  # also for an error nobody expected: a term that nobody keeps must not look like one


class Term:
    """One term; ends by the local clock when Redis cannot be asked."""

    def __init__(self, clock: Clock, until: float) -> None:
        self.until = until
        self._clock = clock
        self._ended = asyncio.Event()

    def valid(self) -> bool:
        """Whether the role is ours now."""
        return not self._ended.is_set() and self._clock.monotonic() < self.until

    async def lost(self) -> None:
        """Return when the term has ended."""
        await self._ended.wait()

    def end(self) -> None:
        """The role is not ours any more."""
        self._ended.set()


class PollOffsets:
    """How far each bot's updates are stored, so that no restart skips or repeats more than it must."""

    def __init__(self, store: Store, *, life_s: float) -> None:
        self._store = store
        self._life_s = life_s

    async def get(self, bot_id: int) -> int | None:
        """The offset to ask from, None where none is kept. Raises StoreDown."""
        kept = await self._store.shared.get(f"telegram:{bot_id}:offset")
        return int(kept) if kept else None

    async def set(self, bot_id: int, offset: int) -> None:
        """Keep an offset. Raises StoreDown."""
        await self._store.shared.set(f"telegram:{bot_id}:offset", str(offset), life_s=self._life_s)


class PollSpill:
    """Updates of a bot that a full conversation could not take; see gateway.telegram.Spill."""

    def __init__(self, store: Store) -> None:
        self._shared = store.shared

    async def keep(self, bot_id: int, update_id: int, update: str) -> None:
        """See Spill.keep."""
        await self._shared.put_entry(_spill(bot_id), str(update_id), update)

    async def kept(self, bot_id: int) -> dict[int, str]:
        """See Spill.kept."""
        return {int(number): update for number, update in (await self._shared.entries(_spill(bot_id))).items()}

    async def drop(self, bot_id: int, update_id: int) -> None:
        """See Spill.drop."""
        await self._shared.drop_entry(_spill(bot_id), str(update_id))


def _spill(bot_id: int) -> str:
    return f"telegram:{bot_id}:spill"
