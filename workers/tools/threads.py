"""A bounded pool of daemon threads for functions that block.

Why not concurrent.futures.ThreadPoolExecutor: the interpreter joins its threads at exit, so that one user's function
stuck in a socket would keep a worker alive after SIGTERM until somebody kills it. A thread cannot be stopped; a daemon
thread can at least be left behind.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonThreads:
    """Runs blocking functions beside the event loop, at most `limit` at a time; usable from any loop and any thread.

    Threads are made as they are needed and then kept.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._guard = threading.Lock()
        self._threads = 0
        self._free = 0
        """Threads less the calls that they work on or that wait for one."""

    async def run(self, function: Callable[[], T]) -> T:
        """`function()`'s result, called in one of the threads with the caller's context variables.

        Raises what it raised; SystemExit and the like come as RuntimeError, because they would end the event loop.
        Cancelling takes a waiting call out of the line; a running one goes on unseen and keeps its thread to its end.
        """
        future: Future[T] = Future()
        context = contextvars.copy_context()
        with self._guard:
            if self._free <= 0 and self._threads < self._limit:
                threading.Thread(target=self._work, name="threadway-tool", daemon=True).start()
                self._threads += 1
                self._free += 1
            self._free -= 1
        self._waiting.put((future, lambda: context.run(function)))
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while True:
            future, function = self._waiting.get()
            wanted = future.set_running_or_notify_cancel()
            result, error = _call(function) if wanted else (None, None)
            with self._guard:
                self._free += 1  # before the caller hears of it: its next call shall find this thread
            if error is not None:
                future.set_exception(error)
            elif wanted:
                future.set_result(result)
            del future, function, result, error  # an idle thread must not keep the last call's values alive


def _call(function: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return function(), None
    except StopIteration as error:  # asyncio refuses to carry it, and the caller would wait for ever
        return None, RuntimeError(f"the function raised {error!r}")
    except Exception as error:
        return None, error
    except BaseException as error:
        return None, RuntimeError(f"the function raised {error!r}")
