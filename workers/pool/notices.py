"""What the loop's thread has to tell Celery, delivered on the consumer's thread (rule D)."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from gateway.telemetry import log
from workers.pool.flight import Callback

_Notice = tuple[Callable[..., Any], tuple[Any, ...]]


class Notices:
    """An ordered queue of calls for the consumer's thread.

    Celery's callbacks acknowledge messages and publish events; a broker that stalls blocks whoever calls them. On the
    loop's thread that stopped every body in flight for as long as the broker stalled.
    """

    def __init__(self) -> None:
        # SimpleQueue, because signal handlers run between any two steps of this thread and it is reentrant.
        self._queue: SimpleQueue[_Notice] = SimpleQueue()
        self._hub: Any = None

    def attach(self, hub: Any) -> None:
        """Take the consumer's hub; called again after every reconnect."""
        self._hub = hub

    def post(self, callback: Callback, *args: Any) -> None:
        """Have `callback(*args)` called on the consumer's thread, in the order of posting. From any thread; not from a
        signal handler, because the hub's own lock is not reentrant."""
        if callback is None:
            return
        self._queue.put((callback, args))
        self.wake()

    def wake(self) -> None:
        """Have the consumer's thread leave its poll. Not from a signal handler, see `post`."""
        if self._hub is not None:
            # One call for every notice: the hub keeps its calls in a set, without order, so each reads all there are.
            self._hub.call_soon(self.deliver)

    def nudge(self) -> None:
        """End the waiting of `deliver_until` so that it looks at its condition. From anywhere."""
        self._queue.put((_nothing, ()))

    def deliver(self) -> None:
        """Make all calls that wait. On the consumer's thread."""
        with suppress(Empty):
            while True:
                self._call(*self._queue.get_nowait())

    def deliver_until(self, done: Callable[[], bool], timeout_s: float) -> None:
        """Make calls as they come until `done()` or `timeout_s` passed. Whoever makes `done` true nudges."""
        end = time.monotonic() + timeout_s
        while not done() and (left := end - time.monotonic()) > 0:
            with suppress(Empty):
                self._call(*self._queue.get(timeout=left))

    def _call(self, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            callback(*args)
        except Exception as exc:
            # Passed on, it would end the consumer's loop and strand the notices behind it. A broken connection, the
            # usual cause, is found by the consumer itself at its next read.
            log.error("pool.notice.failed", error=repr(exc))


def _nothing() -> None:
    """A notice that only wakes who waits for one."""
