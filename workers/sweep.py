"""Periodic repair in every worker, for the queues that it consumes: re-wake what is due and unheld (lost wake-ups,
ended leases, parked turns), and the embedded service's runs that nobody executes.

The workers with room share the partitions, so that the fleet looks at each about once a second however big it is. It
needs Redis alone: a broker that lost everything costs one pass.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from gateway.domain.errors import Retryable
from gateway.domain.messages import ConversationKey
from gateway.domain.pacing import Clock
from gateway.store import Store
from gateway.store.rounds import share
from gateway.telemetry import DUE, SWEPT, log

INTERVAL_S = 0.8
GONE_S = 2.5
"""A worker that missed three reports has no share any more. Its partitions are others' before the leases that it held
end, also with a lease of 3 s: renewed every third of it, one lasts 2 s at least after its holder's death."""
AGAIN_S = 1.5
LATE_S = 0.7
"""What another worker should have seen by now is woken by whoever sees it: that one died, or has no time."""
LIMIT = 200
"""Wake-ups per pass at most: what is not woken now is due again in a moment, and a flood of wake-ups helps nobody."""
LEAST = 50
"""A worker with little room wakes so many all the same: its partitions are its alone, and others may have room."""


class Sweep:
    """Looks for what is due, publishes wake-ups, and does nothing else: taking the work is the wake-up's task."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        worker: str,
        *,
        wake_turn: Callable[[ConversationKey], None],
        wake_run: Callable[[str], None],
        due_runs: Callable[[int], Awaitable[Sequence[str]]] | None,
        room: Callable[[], int],
        room_runs: Callable[[], int] = lambda: LIMIT,
    ) -> None:
        """`room` and `room_runs` say how many more turns and runs this process could begin.

        A full one leaves its share to others, and so does one that does not consume the queue: where nobody does,
        wake-ups would pile up in the broker, each conversation's again and again.
        """
        self._store = store
        self._clock = clock
        self._worker = worker
        self._wake_turn = wake_turn
        self._wake_run = wake_run
        self._due_runs = due_runs
        self._room = room
        self._room_runs = room_runs
        self._sweepers: list[str] = []
        self._share: list[int] = []
        self._reporting = asyncio.Lock()
        self._left = False

    async def once(self) -> int:
        """One report and one look at our share of the partitions; how many were woken. Raises StoreDown."""
        room = self._room()
        if not await self._report(room > 0):
            return 0
        limit = min(LIMIT, max(LEAST, room)) if room > 0 else 0
        found = await self._store.rounds.sweep(self._share, limit=limit, again_s=AGAIN_S, late_s=LATE_S)
        DUE.set(found.total)
        for conversation in found.conversations:
            self._wake_turn(conversation)
        limit = min(LIMIT, self._room_runs())
        runs = await self._due_runs(limit) if self._due_runs and limit > 0 else ()
        for run_id in runs:
            self._wake_run(run_id)
        SWEPT.labels("turn").inc(len(found.conversations))
        SWEPT.labels("run").inc(len(runs))
        if found.conversations or runs:
            log.info("sweep.woke", turns=len(found.conversations), runs=len(runs))
        return len(found.conversations) + len(runs)

    async def leave(self) -> None:
        """Take no part any more: our share is the others' at their next report. Raises StoreDown."""
        self._left = True
        async with self._reporting:  # a report that is on its way would put us back
            await self._store.rounds.leave(self._worker)

    async def _report(self, sweeps: bool) -> bool:
        async with self._reporting:
            if self._left:
                return False
            sweepers = await self._store.rounds.report(self._worker, gone_s=GONE_S, sweeps=sweeps)
        if sweepers != self._sweepers:
            self._sweepers = sweepers
            self._share = share(self._worker, sweepers)
        return True

    async def run(self) -> None:
        """Sweep until cancelled; Redis or the database being away is waited out. Any other error comes out."""
        while True:
            try:
                await self.once()
            except Retryable as away:
                log.warning("sweep.failed", error=str(away))
            await self._clock.sleep(INTERVAL_S * random.uniform(0.8, 1.2))  # noqa: S311  not a secret
