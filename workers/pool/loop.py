"""The process's one event loop, in a thread of its own, with the resources that live on it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from typing import Any, TypeVar

from gateway.telemetry import log

T = TypeVar("T")
OpenResources = Callable[[AsyncExitStack], Awaitable[None]]

TICK_S = 0.1
WINDOW_S = 30.0


class LagMeter:
    """How late the loop runs its timers. Written on the loop's thread, read from any."""

    def __init__(self) -> None:
        self._due: float | None = None
        self._lag_s = self._worst_s = self._worst_before_s = 0.0
        self._window_ends = 0.0

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to measure, every 0.1 s for as long as the loop runs."""
        self._window_ends = time.monotonic() + WINDOW_S
        self._arm(loop)

    @property
    def lag_s(self) -> float:
        """Seconds by which the last timer was late; a loop that is blocked now counts as late until now."""
        return max(self._lag_s, time.monotonic() - self._due if self._due is not None else 0.0)

    @property
    def worst_s(self) -> float:
        """The worst lag of the last 30 to 60 seconds."""
        return max(self.lag_s, self._worst_s, self._worst_before_s)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        self._due = time.monotonic() + TICK_S
        loop.call_later(TICK_S, self._tick, loop)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic()
        if now > self._window_ends:
            self._worst_before_s, self._worst_s, self._window_ends = self._worst_s, 0.0, now + WINDOW_S
        self._lag_s = max(0.0, now - (self._due or now))
        self._worst_s = max(self._worst_s, self._lag_s)
        self._arm(loop)


class LoopThread:
    """Owns the loop, its thread (`turn-loop`) and the exit stack of what was opened on it. Used once.

    The thread is a daemon: a body that blocks the loop cannot hold up the end of the process.
    """

    def __init__(self, on_lost: Callable[[BaseException | None], None] | None = None) -> None:
        """`on_lost(error)` is called on the loop when the resources end by themselves (a task group in the stack
        failed): what runs on them cannot go on."""
        self.lag = LagMeter()
        self._on_lost = on_lost
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_log_uncaught)
        self._thread = threading.Thread(target=self._run, name="turn-loop", daemon=True)
        self._opened: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._closing = asyncio.Event()
        self._host: asyncio.Task[None] | None = None
        self._ended = False

    def start(
        self, open_resources: OpenResources, *, timeout_s: float = 30.0, check: Callable[[], None] | None = None
    ) -> None:
        """Start the thread, await `open_resources(stack)` on its loop and return when that is done.

        Raises what it raised, or TimeoutError after `timeout_s`; what was opened by then is closed. `check` is called
        ten times a second meanwhile and may raise to give up. Call `stop` after a failure too.
        """
        self._thread.start()
        self.post(self._open, open_resources, timeout_s)
        give_up = time.monotonic() + timeout_s + 1  # the loop itself keeps the time, unless the opening blocks it
        while not concurrent.futures.wait([self._opened], timeout=TICK_S).done:
            if check is not None:
                check()
            if time.monotonic() > give_up:
                raise TimeoutError(f"opening the resources blocked the event loop for {timeout_s:g} s")
        self._opened.result()

    def post(self, callback: Callable[..., object], *args: Any) -> None:
        """Have `callback(*args)` called on the loop, in order. From any thread and from signal handlers; after the end
        of the loop it does nothing."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(callback, *args)

    def call(self, coro: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Run `coro` as a task on the loop. From any other thread."""
        return asyncio.run_coroutine_threadsafe(coro, self._loop)

    def stop(self, timeout_s: float = 1.0) -> bool:
        """Close the resources on the loop, end what still runs, end the loop and its thread.

        True when all that was done. After `timeout_s` for the resources, and as much again for the rest, the thread is
        left behind and dies with the process. May be called twice, and after a failed start.
        """
        if self._thread.is_alive():
            self.post(self._end, timeout_s)
            self._thread.join(2 * timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self.lag.start(self._loop)
        while not self._ended:
            try:
                self._loop.run_forever()
            except BaseException as exc:
                # asyncio lets SystemExit and KeyboardInterrupt of any task out of the loop. Here they would end the
                # thread under everybody else's feet, so the loop goes on.
                log.critical("pool.loop.interrupted", error=repr(exc))
        self._loop.close()

    def _open(self, open_resources: OpenResources, timeout_s: float) -> None:
        self._host = self._loop.create_task(self._keep(open_resources, timeout_s), name="resources")
        self._host.add_done_callback(self._kept)

    async def _keep(self, open_resources: OpenResources, timeout_s: float) -> None:
        # One task opens, holds and closes everything: cancel scopes and task groups must end in the task they began in.
        async with AsyncExitStack() as stack:
            deadline = asyncio.timeout(timeout_s)
            try:
                async with deadline:
                    await open_resources(stack)
            except TimeoutError:
                if deadline.expired():
                    raise TimeoutError(f"the resources were not open after {timeout_s:g} s") from None
                raise
            self._opened.set_result(None)
            await self._closing.wait()

    def _kept(self, host: asyncio.Task[None]) -> None:
        error = RuntimeError("cancelled") if host.cancelled() else host.exception()
        if not self._opened.done():
            self._opened.set_exception(error or RuntimeError("the resources ended while they were opened"))
        elif self._closing.is_set():
            if error is not None:
                log.error("pool.resources.close_failed", error=repr(error))
        else:
            log.critical("pool.resources.lost", error=repr(error))
            if self._on_lost is not None:
                self._on_lost(error)

    def _end(self, timeout_s: float) -> None:
        if not self._closing.is_set():
            self._closing.set()
            self._ender = self._loop.create_task(self._wind_up(timeout_s), name="end of the loop")

    async def _wind_up(self, timeout_s: float) -> None:
        if self._host is not None:
            if not self._opened.done():
                self._host.cancel()
            _, stuck = await asyncio.wait([self._host], timeout=timeout_s)
            if stuck:
                log.error("pool.resources.stuck", waited_s=timeout_s)
        rest = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in rest:
            task.cancel()
        if rest:
            await asyncio.wait(rest, timeout=timeout_s / 4)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._loop.shutdown_asyncgens(), timeout_s / 4)
        self._ended = True
        self._loop.stop()


def _log_uncaught(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The loop's exception handler: nothing that nobody awaited disappears."""
    error = context.get("exception")
    log.error(
        "pool.loop.uncaught",
        what=context.get("message", ""),
        error=repr(error) if error is not None else None,
        exc_info=error,
    )
