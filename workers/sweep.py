"""Periodic repair in every worker, for the queues that it consumes: re-wake what is due and unheld (lost wake-ups,
ended leases, parked turns), and the embedded service's runs that nobody executes."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from gateway.domain.errors import Retryable, StoreDown
from gateway.domain.messages import ConversationKey
from gateway.domain.pacing import Clock
from gateway.store import PARTITIONS, Store
from gateway.telemetry import DUE, SWEPT, log

INTERVAL_S = 0.7
"""A lone worker looks this often; in a fleet of n each looks n times more rarely, so that the fleet's rhythm stays."""
LONGEST_INTERVAL_S = 1.5
"""But never more rarely than this: the last one of a big fleet has to notice within a lease + 2 s that it is alone."""
AGAIN_S = 1.5
LIMIT = 50
"""Wake-ups per pass at most: what is not woken now is due again in a moment, and a flood of wake-ups helps nobody."""


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

        A full one leaves the waking to others, and so does one that does not consume the queue: where nobody does,
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
        self._fleet = 1

    async def once(self) -> int:
        """One pass over all partitions, one round trip unless much is due; how many were woken. Raises StoreDown."""
        limit = min(LIMIT, self._room())
        found = await self._store.leases.sweep(range(PARTITIONS), limit=limit, again_s=AGAIN_S)
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

    async def run(self) -> None:
        """Sweep until cancelled; Redis or the database being away is waited out. Any other error comes out."""
        while True:
            try:
                with suppress(StoreDown):  # a full Redis takes no report, work goes on; if it is away, `once` says so
                    now_s = self._clock.now().timestamp()
                    self._fleet = await self._store.shared.report_worker(self._worker, now_s=now_s)
                await self.once()
            except Retryable as away:
                log.warning("sweep.failed", error=str(away))
            interval_s = min(INTERVAL_S * self._fleet, LONGEST_INTERVAL_S)
            await self._clock.sleep(interval_s * random.uniform(0.8, 1.2))  # noqa: S311  not a secret
