"""Time as a value: the clock everybody is handed, and the arithmetic of waiting. Pure but for `SystemClock`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

CALL_SHARE = 0.45
"""Creating and posting calls end within this share of a lease, so that no stale holder's call outlives it."""


class Clock(Protocol):
    """The only source of time; tests advance a fake instead of waiting."""

    def now(self) -> datetime:
        """Aware UTC; for records only."""

    def monotonic(self) -> float:
        """Seconds; for every duration."""

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """See Clock.now."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See Clock.monotonic."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See Clock.sleep."""
        await asyncio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """How long to wait before the next look at a run: a share of its age, within bounds.

    Short runs are seen almost at once, long ones are looked at every `ceiling_s`, and no reply waits longer than that.
    The price is about twice the looks of "every second" on usual runs; docs/decisions/0003-polling.md has the figures.
    """

    share: float = 0.15
    floor_s: float = 0.25
    ceiling_s: float = 1.5
    jitter: float = 0.1
    """The delay is multiplied by 1 ± jitter so that turns started together do not poll together."""
    looks_per_s: float = 400.0
    """About what one process can look without falling behind: a crowd of turns raises the floor."""

    def delay(self, age_s: float, chance: float, retry_after_s: float = 0.0, crowd: int = 0) -> float:
        """Seconds before the next look at a run of `age_s`; `chance` in [0, 1) spreads it.

        `crowd` is how many runs this process follows. Never above `ceiling_s` unless the other side asked for more by
        `retry_after_s`.
        """
        floor = max(self.floor_s, crowd / self.looks_per_s)
        wait = min(max(age_s * self.share, floor), self.ceiling_s)
        wait = min(wait * (1 + self.jitter * (2 * chance - 1)), self.ceiling_s)
        return max(wait, retry_after_s)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff with full jitter over the upper half; for calls that failed, never for looking at runs."""

    first_s: float = 0.5
    factor: float = 2.0
    ceiling_s: float = 15.0

    def delay(self, attempt: int, chance: float, retry_after_s: float | None = None) -> float:
        """Seconds before attempt number `attempt` + 1 (0-based); at least what the other side asked for."""
        steps = min(attempt, 32)  # 2.0 ** 5000 overflows a float
        wait = min(self.first_s * self.factor**steps, self.ceiling_s) * (0.5 + 0.5 * chance)
        return max(wait, retry_after_s or 0.0)
