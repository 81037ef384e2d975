"""A turn in a worker's hands: its stored state, its lease and the two kept in step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from gateway.domain import crash
from gateway.domain.errors import LeaseLost, StoreDown
from gateway.domain.messages import InboundMessage
from gateway.domain.pacing import Clock
from gateway.domain.turns import Turn
from gateway.store import Store
from gateway.store.turns import Fields
from workers.holding import Hold

T = TypeVar("T")
AGAIN_S = 0.2


class Progress:
    """Writes a turn's progress under its fence; every write renews the lease.

    A Redis that is away for less than the lease costs a pause and nothing else: writes may be repeated, and are until
    the lease has surely ended. Only then StoreDown comes out.
    """

    def __init__(self, turn: Turn, hold: Hold, store: Store, clock: Clock, *, lease_s: float) -> None:
        self.turn = turn
        self.hold = hold
        self._store = store
        self._clock = clock
        self._lease_s = lease_s
        self._taken_at = clock.monotonic()

    @property
    def now_ms(self) -> int:
        """Redis's time, as far as this worker can know it without asking."""
        return self.turn.taken_ms + int((self._clock.monotonic() - self._taken_at) * 1000)

    async def step(self, fields: Fields) -> None:
        """Write fields of the turn ("" deletes one). Raises LeaseLost, StoreDown."""

        async def write() -> None:
            self._check()
            asked_at = self._clock.monotonic()
            crash.at("progress.step")
            if await self._store.turns.step(self.turn.lease, fields, lease_s=self._lease_s):
                self.hold.stop.set()
            self.hold.renewed(asked_at)

        await self._patiently(write)

    async def park(self, delay_s: float, fields: Fields | None = None, *, clean: bool = True) -> None:
        """Put the turn down for a while and give the lease back. Raises LeaseLost, StoreDown.

        A stop that came while we held it ends the pause before it begins: whether we saw to it, nobody knows here. Who
        takes the turn up with the stop on record has seen to it first, and may pause.
        """
        heard = self.turn.stop_requested
        await self._patiently(
            lambda: self._store.turns.park(self.turn.lease, delay_s, fields, clean=clean, heard=heard)
        )
        self.trace("parked", for_s=round(delay_s, 2))

    async def extend(self, max_batch: int) -> list[InboundMessage]:
        """Let the messages that wait behind the turn join it, without a run; those that joined.

        Raises LeaseLost, StoreDown.
        """
        self._check()
        asked_at = self._clock.monotonic()
        joined = await self._patiently(
            lambda: self._store.turns.extend(self.turn.lease, max_batch=max_batch, lease_s=self._lease_s)
        )
        self.hold.renewed(asked_at)
        return joined

    async def behind(self, limit: int) -> list[str]:
        """The envelopes of the plain messages that wait directly behind the turn. Raises LeaseLost, StoreDown."""
        return await self._patiently(lambda: self._store.turns.behind(self.turn.lease, limit))

    async def reject(self, envelopes: Sequence[str]) -> int:
        """Take these waiting messages out, unanswered; how many were still there. Raises LeaseLost, StoreDown."""
        return await self._patiently(lambda: self._store.turns.reject(self.turn.lease, envelopes))

    async def finish(self, *, through_stop: bool = False, new_thread: bool = False, keep_reply_s: float = 0.0) -> int:
        """End the turn; how many messages wait now. `keep_reply_s` keeps its parts for so long, for /last.

        Raises LeaseLost, StoreDown.
        """
        self._check()
        return await self._patiently(
            lambda: self._store.turns.finish(
                self.turn.lease,
                through_stop=through_stop,
                new_thread=new_thread,
                keep_reply_s=keep_reply_s,
                turn_id=self.turn.id,
            )
        )

    async def bury(self, stage: str, reason: str) -> None:
        """Keep the turn as a dead letter. Raises LeaseLost, StoreDown."""
        self._check()  # letters carry no fence: whoever has the turn now may well answer it
        await self._patiently(lambda: self._store.dead_letters.bury(self.turn, stage, reason, self.now_ms))

    async def _patiently(self, write: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                crash.at("progress.write")
                return await write()
            except StoreDown:
                if self.hold.lost:
                    raise
            await self._clock.sleep(AGAIN_S)

    def _check(self) -> None:
        """Write nothing once the lease has ended by our clock: it would give that lease a second life in Redis."""
        if self.hold.lost:
            raise LeaseLost(self.turn.conversation)

    def trace(self, event: str, **detail: object) -> None:
        """Note an event in the timeline of every message of the batch."""
        for message in self.turn.batch:
            self._store.timeline.record(self.turn.conversation, message.message_id, event, turn=self.turn.id, **detail)
