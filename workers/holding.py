"""Keep what we hold: one heartbeat for all leases of the process; a lost one drops its turn, a stop hands all over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from gateway.domain.errors import LeaseLost, StoreDown
from gateway.domain.messages import ConversationKey
from gateway.domain.pacing import CALL_SHARE, Clock
from gateway.domain.turns import Lease
from gateway.store import Store
from gateway.store.leases import Beat
from gateway.store.streams import Nudge
from gateway.telemetry import log

EFFECT_S = 0.6
"""How long a hand-over waits for a call that is on its way; the pool gives it a second in all."""


class Hold:
    """One held lease: is it still ours, and did the user ask to stop?"""

    def __init__(self, lease: Lease, clock: Clock, lease_s: float) -> None:
        self.lease = lease
        self.stop = asyncio.Event()
        """Set when the user asks to stop."""
        self.mail = asyncio.Event()
        """Set when messages have come in that may join the turn, or ask for its end; cleared by who has seen to it."""
        self.unsettled = False
        """A call ended without an answer: it may still arrive, so that whoever asks at once would hear no."""
        self._clock = clock
        self._lease_s = lease_s
        self._until = clock.monotonic() + lease_s
        self._lost = False
        self._leaving = False
        self._acting = 0
        self._still = asyncio.Event()
        self._still.set()
        self._cancel: Callable[[], object] | None = None

    def check(self) -> None:
        """Raise LeaseLost unless the lease is surely ours; called right before every call that has an effect outside.

        A paused process wakes up with a lease that others took meanwhile: the local clock knows it without asking. And
        a process that hands over begins nothing any more: whoever takes the turn up would do the same beside it. What
        was begun (`acting`) is brought to its end: its intent is on record, and would be taken for the deed.
        """
        if self.lost or (self._leaving and not self._acting):
            raise LeaseLost(self.lease.conversation)

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Around a call that has an effect outside, together with writing down what came of it. Raises as `check`.

        A hand-over waits for the end of the block: while the effect is on its way, the next worker, asking whether it
        has happened, would hear no.
        """
        self.check()
        self._acting += 1
        self._still.clear()
        try:
            yield
        finally:
            self._acting -= 1
            if not self._acting:
                self._still.set()

    async def leave(self) -> bool:
        """Begin nothing any more, and wait `EFFECT_S` at most for what has begun; whether it has come to its end."""
        self._leaving = True
        with suppress(TimeoutError):
            async with asyncio.timeout(EFFECT_S):
                await self._still.wait()
        return self._still.is_set()

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
        cancel, self._cancel = self._cancel, None  # once: a second cancellation would outlive the end of the first
        if cancel:
            cancel()


class Keeper:
    """Renews every lease that this process holds, all in one round trip, three times per lease."""

    def __init__(self, store: Store, clock: Clock, *, lease_s: float) -> None:
        self._store = store
        self._clock = clock
        self._lease_s = lease_s
        self._holds: dict[ConversationKey, Hold] = {}
        self.leaving = False
        """The process hands over: no turn is begun any more."""

    @asynccontextmanager
    async def holding(self, lease: Lease) -> AsyncIterator[Hold]:
        """Keep `lease` alive inside the block; when it is lost, the block is cancelled and LeaseLost comes out."""
        if self.leaving:  # it was on its way when the hand-over began
            await self._store.turns.park(lease, 0.0)
            raise LeaseLost(lease.conversation)
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

    async def hand_over(self) -> tuple[list[Lease], int]:
        """Put every held turn down for others to take at once; the leases put down, and how many could not be.

        Called once, before the bodies are cancelled. A turn whose call is still on its way after `EFFECT_S`, or ended
        without an answer, is put down for as long as such a call may take. Never raises.
        """
        self.leaving = True
        holds = list(self._holds.values())
        answers = await asyncio.gather(*(self._put_down(hold) for hold in holds), return_exceptions=True)
        given = [hold.lease for hold, answer in zip(holds, answers, strict=True) if answer is True]
        return given, sum(isinstance(answer, BaseException) for answer in answers)

    async def _put_down(self, hold: Hold) -> bool:
        settled = await hold.leave() and not hold.unsettled
        delay_s = 0.0 if settled else CALL_SHARE * self._lease_s
        try:
            await self._store.turns.park(hold.lease, delay_s, heard=True)
        except LeaseLost:
            return False  # it came to its end meanwhile
        log.info("turn.handed_over", conversation=hold.lease.conversation, for_s=delay_s)
        return True

    def nudged(self, nudge: Nudge, conversation: ConversationKey) -> None:
        """Something came in that is stored already: this only saves waiting for the next heartbeat."""
        if hold := self._holds.get(conversation):
            (hold.stop if nudge is Nudge.STOP else hold.mail).set()

    async def beat(self) -> None:
        """One heartbeat. Raises StoreDown, after dropping what could not be renewed in time."""
        self._drop_lost()  # before the beat: it would give a lease that has ended a second life, which nobody uses
        holds = {hold.lease: hold for hold in self._holds.values()}
        asked_at = self._clock.monotonic()
        try:
            beats = await self._store.leases.renew(list(holds), lease_s=self._lease_s) if holds else {}
        except StoreDown:
            self._drop_lost()
            raise
        for lease, beat in beats.items():
            hold = holds[lease]
            if not beat & Beat.OURS:
                if self._holds.get(lease.conversation) is hold and not self.leaving:  # else it ended while we asked
                    log.warning("lease.lost", conversation=lease.conversation)
                    hold.drop()
                continue
            hold.renewed(asked_at)
            if beat & Beat.STOP:
                hold.stop.set()
            if beat & Beat.MAIL:
                hold.mail.set()

    def _drop_lost(self) -> None:
        for hold in list(self._holds.values()):
            if hold.lost:
                hold.drop()

    async def run(self) -> None:
        """Beat until cancelled; Redis being away ends leases by the clock, not this loop."""
        while True:
            await self._clock.sleep(self._lease_s / 3)
            try:
                await self.beat()
            except StoreDown as away:
                log.warning("heartbeat.failed", held=len(self._holds), error=str(away))
