"""Periodic repair, in every worker whatever its queues: re-wake what is due and unheld (lost wake-ups, ended leases,
parked turns), and the embedded service's runs that nobody executes."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

from gateway.domain.errors import StoreDown
from gateway.domain.messages import ConversationKey
from gateway.domain.pacing import Clock
from gateway.store import PARTITIONS, Store
from gateway.telemetry import DUE, SWEPT, log

INTERVAL_S = 0.7
"""A lone worker looks this often; in a fleet of n each looks n times more rarely, so that the fleet's rhythm stays."""
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
    ) -> None:
        """`room` says how many more turns this process could begin: a full one leaves the waking to others."""
        self._store = store
        self._clock = clock
        self._worker = worker
        self._wake_turn = wake_turn
        self._wake_run = wake_run
        self._due_runs = due_runs
        self._room = room
        self._fleet = 1

    async def once(self) -> int:
        """One pass over all partitions, one round trip unless much is due; how many were woken. Raises StoreDown."""
        limit = min(LIMIT, self._room())
        found = await self._store.leases.sweep(range(PARTITIONS), limit=limit, again_s=AGAIN_S)
        DUE.set(found.total)
        for conversation in found.conversations:
            self._wake_turn(conversation)
        runs = await self._due_runs(LIMIT) if self._due_runs else ()
        for run_id in runs:
            self._wake_run(run_id)
        SWEPT.labels("turn").inc(len(found.conversations))
        SWEPT.labels("run").inc(len(runs))
        if found.conversations or runs:
            log.info("sweep.woke", turns=len(found.conversations), runs=len(runs))
        return len(found.conversations) + len(runs)

    async def run(self) -> None:
        """Sweep until cancelled; Redis or the database being away is waited out."""
        while True:
            try:
                self._fleet = await self._store.shared.report_worker(self._worker, now_s=self._clock.now().timestamp())
                await self.once()
            except StoreDown as away:
                log.warning("sweep.failed", error=str(away))
            except Exception as error:  # a sweep that ends for ever would strand work: say so and go on
                log.exception("sweep.failed", error=type(error).__name__)
            await self._clock.sleep(INTERVAL_S * self._fleet * random.uniform(0.8, 1.2))  # noqa: S311  not a secret
