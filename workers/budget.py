"""How many turns, or runs, one process works on at a time.

Each kind has its own budget, so that a turn that waits for a run never holds the slot that the run needs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable

from prometheus_client import Gauge


class Budget:
    """A counted right to work. What comes over it is remembered by name and woken when something ends."""

    def __init__(self, limit: int, wake: Callable[[str], None], gauge: Gauge, *, remembered: int = 10_000) -> None:
        self.limit = limit
        self._wake = wake
        self._gauge = gauge
        self._remembered = remembered
        self._active: set[str] = set()
        self._waiting: OrderedDict[str, None] = OrderedDict()

    @property
    def active(self) -> int:
        """How many are at work now."""
        return len(self._active)

    @property
    def free(self) -> int:
        """How many more could begin now."""
        return self.limit - len(self._active)

    @property
    def crowded(self) -> bool:
        """Whether somebody waits for a place."""
        return bool(self._waiting)

    async def run(self, name: str, body: Callable[[str], Awaitable[None]]) -> str:
        """Work on `name` if the budget allows, else return at once; what is refused stays due and is woken later.

        A second call for a name that is at work returns at once. Returns one word for Celery's log.
        """
        if name in self._active:
            return "at work"
        if self.free <= 0:
            if len(self._waiting) < self._remembered:
                self._waiting[name] = None
            return "over budget"
        self._waiting.pop(name, None)
        self._active.add(name)
        self._gauge.inc()
        try:
            await body(name)
        finally:
            self._active.discard(name)
            self._gauge.dec()
            if self._waiting:
                self._wake(self._waiting.popitem(last=False)[0])
        return "done"
