"""One Celery task on its way through the pool, from the consumer's hands to its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

Callback = Callable[..., Any] | None


class Reason(IntEnum):
    """Why the pool cancelled a body. A later cancel counts only if it ranks higher, so that a body which cleans up is
    not interrupted by a second cancel of the same weight."""

    SOFT_LIMIT = 1
    SHUTDOWN = 2
    TERMINATED = 3
    HARD_LIMIT = 4


@dataclass(frozen=True, slots=True)
class Told:
    """Celery's callbacks for one task; they belong to the consumer's thread."""

    accepted: Callback = None
    succeeded: Callback = None
    failed: Callback = None
    timed_out: Callback = None


@dataclass(eq=False, slots=True)
class Flight:
    """A task that waits for a slot or holds one. Touched on the loop's thread only."""

    id: int
    """Given to Celery as the worker's pid, so that terminating one task means one flight."""
    trace: Callable[[], Any]
    """Celery's tracer with its arguments."""
    told: Told
    threaded: bool = False
    """A plain `def`, run in a thread: it cannot be cancelled."""
    soft_limit_s: float | None = None
    hard_limit_s: float | None = None
    reason: Reason | None = None
    started: bool = False
    task: asyncio.Task[None] | None = None
    timers: list[asyncio.TimerHandle] = field(default_factory=list)

    def cancel(self, reason: Reason) -> bool:
        """Cancel the body at its next await. False when it cannot be, or is already for a reason as strong.

        Before its first step the flight is only marked: cancelling an asyncio task that never ran would skip the
        tracer, and Celery would wait for the outcome for ever. The bridge looks at the mark before it calls the body.
        """
        if self.threaded or (self.reason is not None and reason <= self.reason):
            return False
        self.reason = reason
        if self.started and self.task is not None:
            self.task.cancel(reason.name)
        return True

    def drop_timers(self) -> None:
        """Forget the time limits."""
        for timer in self.timers:
            timer.cancel()
        self.timers.clear()
