"""The pool itself: who gets a slot, who waits, and how everything ends."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import itertools
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from functools import cache, partial
from typing import Any

import greenlet
from billiard.einfo import ExceptionInfo
from celery.concurrency.base import BasePool
from celery.signals import worker_shutting_down
from celery.worker import state

from gateway.telemetry import log
from workers.pool.bridge import carry
from workers.pool.flight import Callback, Flight, Reason, Told
from workers.pool.loop import LoopThread
from workers.pool.notices import Notices

GRACE_S = 1.5
OPENING_S = 30.0
EXIT_FAILED = 1
PLAIN_THREADS = 4
"""Threads for tasks that are a plain `def`; meant for Celery's own few."""


class TurnPool(BasePool):  # type: ignore[misc]  # celery ships no types
    """Celery's pool of coroutines; `-c` is the number of tasks in flight.

    Celery calls every method on the consumer's thread (some from a signal handler on it). Flights are begun, counted
    and ended on the loop's thread alone, so neither needs a lock.
    """

    signal_safe = False
    body_can_be_buffer = True
    task_join_will_block = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._grace_s = float(getattr(self.app, "grace_s", GRACE_S))
        self._opening_s = float(getattr(self.app, "opening_s", OPENING_S))
        self._loop = LoopThread(on_lost=self._give_up)
        self._notices = Notices()
        self._threads = ThreadPoolExecutor(PLAIN_THREADS, "plain-task")
        self._is_coroutine = cache(self._ask_is_coroutine)
        self._ids = itertools.count(1)
        self._stopping = False
        # From here on: the loop's thread only.
        self._waiting: deque[Flight] = deque()
        self._flights: dict[int, Flight] = {}
        self._draining = False

    # --- Celery's side: the consumer's thread ---------------------------------------------------------------------

    def on_start(self) -> None:
        """Start the loop and open the app's resources on it; nothing is fetched from the broker before.

        A failure is one CRITICAL line and exit code 1; a traceback would bury what the operator has to do.
        """
        worker_shutting_down.connect(self._wake_consumer, weak=False)
        try:
            if self.options.get("threads"):  # Celery's word for: this transport has no event loop
                raise RuntimeError("this broker's transport has no event loop; use Redis or RabbitMQ")
            open_resources = getattr(self.app, "open_resources", _open_nothing)
            self._loop.start(open_resources, timeout_s=self._opening_s, check=state.maybe_shutdown)
        except Exception as exc:
            log.critical("pool.start.failed", error=f"{type(exc).__name__}: {exc}")
            self._loop.stop()
            raise SystemExit(EXIT_FAILED) from None
        except BaseException:  # asked to stop while the resources were opened
            self._loop.stop()
            raise

    def register_with_event_loop(self, hub: Any) -> None:
        """Take the consumer's hub. Called at start and after every reconnect."""
        self._notices.attach(hub)

    def on_apply(
        self,
        target: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        callback: Callback = None,
        accept_callback: Callback = None,
        error_callback: Callback = None,
        timeout_callback: Callback = None,
        timeout: float | None = None,
        soft_timeout: float | None = None,
        **_: Any,
    ) -> None:
        """Take one task from the consumer; `args[0]` is its name. It is accepted when it gets a slot (rule C)."""
        flight = Flight(
            id=next(self._ids),
            trace=partial(target, *args, **(kwargs or {})),
            told=Told(accept_callback, callback, error_callback, timeout_callback),
            threaded=not self._is_coroutine(args[0]),
            soft_limit_s=soft_timeout or self.options.get("soft_timeout"),
            hard_limit_s=timeout or self.options.get("timeout"),
        )
        self._loop.post(self._admit, flight)

    def terminate_job(self, pid: int, signal: int | None = None) -> None:
        """Cancel one flight (remote control's `terminate`); one that has ended is fine.

        Celery's cold shutdown calls this for every task from a signal handler and stops the pool next. The cancel
        takes the way over the hub, which does not run then, so `on_stop` hands over first and cancels as a shutdown.
        """
        self._loop.post(self._notices.post, self._loop.post, self._terminate, pid)

    def grow(self, n: int = 1) -> None:
        """Add `n` slots at once."""
        self.limit += n
        self._loop.post(self._fill)

    def shrink(self, n: int = 1) -> None:
        """Take `n` slots away; what is in flight stays until it ends. Raises ValueError where none would be left."""
        if n >= self.limit:
            raise ValueError(f"the pool has {self.limit} slots and keeps at least one")
        self.limit -= n

    def flush(self) -> None:
        """The connection is gone and with it every message not acknowledged: the broker gives them out again."""
        self._loop.post(self._waiting.clear)

    def on_close(self) -> None:
        """Shutdown begins, the consumer stops first: give no slot to anybody any more."""
        self._loop.post(self._drain)

    def on_stop(self) -> None:
        """Hand over, cancel, wait for the bodies within the grace, close the resources on the loop, end the loop.

        May be called again, also from a signal handler while it runs: Celery's cold shutdown stops the pool there,
        then stops and terminates it once more. Takes at most the grace and about two seconds, whatever the bodies do.
        """
        if self._stopping:
            return
        self._stopping = True
        self._loop.post(self._drain)  # ahead of every terminate_job that the wait below lets through
        landing = self._loop.call(self._land())
        landing.add_done_callback(lambda _: self._notices.nudge())
        self._notices.deliver_until(landing.done, self._grace_s + 0.5)
        if not landing.done():
            log.critical("pool.loop.stuck", lag_s=round(self._loop.lag.lag_s, 1))
        self._loop.stop(timeout_s=0.5 if landing.done() else 0.1)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._notices.deliver()

    on_terminate = on_stop

    def _get_info(self) -> dict[str, Any]:
        """For `celery inspect stats`; lags in milliseconds, the worst of the last half to whole minute."""
        info: dict[str, Any] = super()._get_info()
        return info | {
            "in-flight": len(self._flights),
            "waiting": len(self._waiting),
            "loop-lag-ms": round(self._loop.lag.lag_s * 1000, 1),
            "worst-loop-lag-ms": round(self._loop.lag.worst_s * 1000, 1),
        }

    def _wake_consumer(self, **_: Any) -> None:
        """In a signal handler: the consumer looks at its shutdown flag between two polls, and an idle poll costs the
        stop half a second and more. Posted through the loop, because the hub's lock is not reentrant."""
        self._loop.post(self._notices.wake)

    def _ask_is_coroutine(self, task_name: str) -> bool:
        return inspect.iscoroutinefunction(inspect.unwrap(self.app.tasks[task_name].run))

    # --- the loop's thread ----------------------------------------------------------------------------------------

    def _admit(self, flight: Flight) -> None:
        if not self._draining:  # else it stays unacknowledged and goes back to the broker
            self._waiting.append(flight)
            self._fill()

    def _fill(self) -> None:
        while self._waiting and len(self._flights) < self.limit and not self._draining:
            self._begin(self._waiting.popleft())

    def _begin(self, flight: Flight) -> None:
        self._flights[flight.id] = flight
        self._notices.post(flight.told.accepted, flight.id, time.monotonic())
        loop = asyncio.get_running_loop()
        if flight.soft_limit_s and not flight.threaded:
            flight.timers.append(loop.call_later(flight.soft_limit_s, self._soft_limit, flight))
        if flight.hard_limit_s and not flight.threaded:
            flight.timers.append(loop.call_later(flight.hard_limit_s, self._hard_limit, flight))
        flight.task = loop.create_task(self._fly(flight), name=f"flight {flight.id}")
        flight.task.add_done_callback(partial(self._landed, flight))

    async def _fly(self, flight: Flight) -> None:
        trace = partial(self._trace, flight)
        if flight.threaded:
            run = partial(contextvars.copy_context().run, trace)
            await asyncio.get_running_loop().run_in_executor(self._threads, run)
        else:
            await carry(flight, trace)

    def _trace(self, flight: Flight) -> None:
        """Run Celery's tracer and post its result; in the flight's greenlet or thread."""
        try:
            result = flight.trace()
        except greenlet.GreenletExit:  # the loop is gone, nobody listens
            raise
        except BaseException:
            # The tracer turns whatever a task raises into a result; this is its own failure, or a signal receiver's.
            self._notices.post(flight.told.failed, ExceptionInfo())
        else:
            self._notices.post(flight.told.succeeded, result)

    def _landed(self, flight: Flight, task: asyncio.Task[None]) -> None:
        flight.drop_timers()
        del self._flights[flight.id]
        self._fill()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("pool.flight.broken", error=repr(error), exc_info=error)

    def _soft_limit(self, flight: Flight) -> None:
        if flight.cancel(Reason.SOFT_LIMIT):
            self._notices.post(flight.told.timed_out, True, flight.soft_limit_s)

    def _hard_limit(self, flight: Flight) -> None:
        if flight.cancel(Reason.HARD_LIMIT):
            self._notices.post(flight.told.timed_out, False, flight.hard_limit_s)

    def _terminate(self, flight_id: int) -> None:
        if not self._draining and (flight := self._flights.get(flight_id)) is not None:
            flight.cancel(Reason.TERMINATED)

    def _drain(self) -> None:
        self._draining = True
        self._waiting.clear()

    async def _land(self) -> None:
        """Bring every flight down within the grace; hand-over may take up to two thirds of it."""
        self._drain()
        deadline = time.monotonic() + self._grace_s
        try:
            async with asyncio.timeout(self._grace_s * 2 / 3):
                await getattr(self.app, "hand_over", _hand_over_nothing)()
        except Exception as exc:
            log.error("pool.hand_over.failed", error=repr(exc))  # leases run out by themselves, only later
        tasks = [flight.task for flight in self._flights.values() if flight.task is not None]
        for flight in self._flights.values():
            flight.cancel(Reason.SHUTDOWN)
        if tasks:
            _, deaf = await asyncio.wait(tasks, timeout=deadline - time.monotonic())
            if deaf:
                log.warning("pool.bodies.left", count=len(deaf), grace_s=self._grace_s)

    def _give_up(self, _: BaseException | None) -> None:
        """The resources ended by themselves: end the process as failed, so that its supervisor starts a new one."""
        state.should_stop = EXIT_FAILED
        self._notices.wake()


async def _open_nothing(_: AsyncExitStack) -> None:
    """For apps without resources."""


async def _hand_over_nothing() -> None:
    """For apps with nothing to hand over."""
