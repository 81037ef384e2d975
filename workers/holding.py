"""Keep what we hold: one heartbeat for all leases of the process, and the turn is dropped when its lease is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gateway.domain.errors import LeaseLost, StoreDown
from gateway.domain.messages import ConversationKey
from gateway.domain.pacing import Clock
from gateway.domain.turns import Lease
from gateway.store import Store
from gateway.store.leases import Beat
from gateway.telemetry import log


class Hold:
    """One held lease: is it still ours, and did the user ask to stop?"""

    def __init__(self, lease: Lease, clock: Clock, lease_s: float) -> None:
        self.lease = lease
        self.stop = asyncio.Event()
        """Set when the user asks to stop."""
        self._clock = clock
        self._lease_s = lease_s
        self._until = clock.monotonic() + lease_s
        self._lost = False
        self._cancel: Callable[[], object] | None = None

    def check(self) -> None:
        """Raise LeaseLost unless the lease is surely ours; called right before every call that has an effect outside.

        A paused process wakes up with a lease that others took meanwhile: the local clock knows it without asking.
        """
        if self._lost or self._clock.monotonic() >= self._until:
            raise LeaseLost(self.lease.conversation)

    @property
    def lost(self) -> bool:
        """Whether the lease has gone to somebody else, or nobody could renew it in time."""
        return self._lost or self._clock.monotonic() >= self._until

    def renewed(self, asked_at: float) -> None:
        """The lease was renewed by a call begun at `asked_at` (monotonic): Redis's own time can only be later."""
        self._until = max(self._until, asked_at + self._lease_s)

    def drop(self) -> None:
        """The lease is lost: end the turn at its next await."""
        self._lost = True
        if self._cancel:
            self._cancel()


class Keeper:
    """Renews every lease that this process holds, all in one round trip, three times per lease."""

    def __init__(self, store: Store, clock: Clock, *, lease_s: float) -> None:
        self._store = store
        self._clock = clock
        self._lease_s = lease_s
        self._holds: dict[ConversationKey, Hold] = {}

    @asynccontextmanager
    async def holding(self, lease: Lease) -> AsyncIterator[Hold]:
        """Keep `lease` alive inside the block; when it is lost, the block is cancelled and LeaseLost comes out."""
        hold = Hold(lease, self._clock, self._lease_s)
        body = asyncio.current_task()
        assert body is not None
        hold._cancel = body.cancel
        self._holds[lease.conversation] = hold
        try:
            yield hold
        except asyncio.CancelledError:
            if hold._lost and body.uncancel() == 0:
                raise LeaseLost(lease.conversation) from None
            raise
        finally:
            hold._cancel = None
            if self._holds.get(lease.conversation) is hold:
                del self._holds[lease.conversation]

    @property
    def leases(self) -> list[Lease]:
        """What this process holds now."""
        return [hold.lease for hold in self._holds.values()]

    def nudged(self, conversation: ConversationKey) -> None:
        """A stop was asked for: it is stored already, this only saves waiting for the next heartbeat."""
        if hold := self._holds.get(conversation):
            hold.stop.set()

    async def beat(self) -> None:
        """One heartbeat. Raises StoreDown, after dropping what could not be renewed in time."""
        holds = {hold.lease: hold for hold in self._holds.values()}
        asked_at = self._clock.monotonic()
        try:
            beats = await self._store.leases.renew(list(holds), lease_s=self._lease_s) if holds else {}
        finally:
            for hold in holds.values():
                if hold.lost and hold._cancel:
                    hold.drop()
        for lease, beat in beats.items():
            hold = holds[lease]
            if beat is Beat.LOST:
                if self._holds.get(lease.conversation) is hold:  # else it finished while we asked
                    log.warning("lease.lost", conversation=lease.conversation)
                    hold.drop()
                continue
            hold.renewed(asked_at)
            if beat is Beat.STOP:
                hold.stop.set()

    async def run(self) -> None:
        """Beat until cancelled; Redis being away ends leases by the clock, not this loop."""
        while True:
            await self._clock.sleep(self._lease_s / 3)
            try:
                await self.beat()
            except StoreDown as away:
                log.warning("heartbeat.failed", held=len(self._holds), error=str(away))
