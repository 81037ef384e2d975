"""From Celery's synchronous tracer to a coroutine and back: the greenlet bridge and the task class that uses it."""

from __future__ import annotations

import asyncio
import inspect
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import greenlet
from celery import Task
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from celery.worker.request import Request

from workers.pool.flight import Flight, Reason

HANDED_OVER = "handed over"
"""What a body cancelled by shutdown returns to Celery: the work is stored, another worker goes on with it."""


class BodyExited(Exception):
    """A body ended by a BaseException (SystemExit, KeyboardInterrupt, a cancel of its own); its repr is the message."""


class Rider(greenlet.greenlet):  # type: ignore[misc]  # greenlet ships no types
    """The greenlet of one flight: the tracer and, inside it, the coroutine."""

    flight: Flight


@types.coroutine
def carry(flight: Flight, body: Callable[[], None]) -> Generator[Any, Any, None]:
    """Run the synchronous `body` in a greenlet of its own; awaited by the flight's asyncio task.

    Whatever future a coroutine in the body waits for comes out here and is awaited by the asyncio task, so timeouts,
    task groups and cancels of asyncio find the task they expect.
    """
    rider = Rider(body, greenlet.getcurrent())
    rider.flight = flight
    # Shared, not copied: what the body binds (log fields, spans) is seen by the tracer's signals, and the reverse.
    rider.gr_context = greenlet.getcurrent().gr_context
    flight.started = True
    future = rider.switch()
    while not rider.dead:
        try:
            value = yield future
        except BaseException as exc:
            rider.parent = greenlet.getcurrent()  # each step of the asyncio task may come from another greenlet
            future = rider.throw(exc)
        else:
            rider.parent = greenlet.getcurrent()
            future = rider.switch(value)


def drive(coro: Coroutine[Any, Any, Any]) -> Any:
    """Run `coro` to its end from inside a Rider and return its result; only the futures it awaits leave the greenlet.

    Rule A: were the coroutine itself awaited outside, Celery's stacks, kept per greenlet, would be empty in it.
    """
    rider = greenlet.getcurrent()
    step: Callable[[Any], Any] = coro.send
    value: Any = None
    try:
        while True:
            try:
                future = step(value)
            except StopIteration as stop:
                return stop.value
            try:
                step, value = coro.send, rider.parent.switch(future)
            except BaseException as exc:
                step, value = coro.throw, exc
    finally:
        del value, step  # an exception kept here would hold this frame, which holds the exception


def _outcome(flight: Flight) -> str:
    """What a cancelled body tells Celery."""
    if flight.reason is Reason.SHUTDOWN:
        return HANDED_OVER
    if flight.reason is Reason.SOFT_LIMIT:
        raise SoftTimeLimitExceeded(flight.soft_limit_s)
    if flight.reason is None:
        raise BodyExited("the body cancelled itself")
    raise Ignore(flight.reason.name)  # Celery announced it already: revoked, or failed by its hard limit


class Message(Request):  # type: ignore[misc]  # celery ships no types
    """One message from the broker, as Celery's worker holds it."""

    def acknowledge(self) -> None:
        """Tell the broker, where its queue wants to be told. Celery tells it in any case; with a queue consumed without
        acknowledgements kombu (5.7) asks for the channel to do so, and one that is closed just then ends the consumer.
        """
        queue = self.app.amqp.queues.get(self.delivery_info.get("routing_key"))
        if queue is not None and queue.no_ack:
            self.acknowledged = True
        else:
            super().acknowledge()


class AsyncTask(Task):  # type: ignore[misc]  # celery ships no types
    """A Celery task whose body may be `async def`; use it as `Celery(task_cls=AsyncTask)`.

    Bodies are plain coroutines. They see `self.request` (with `bind=True`) and `current_task`; asyncio tasks that they
    start see the context variables only. A cancel reaches them as CancelledError at an await: clean up and let it pass.
    Publishing (`delay`, `self.retry`) talks to the broker on the loop's thread and stops the loop while the broker
    stalls; publish from a thread. `autoretry_for` does not see what a coroutine raises.
    """

    abstract = True
    Request = Message

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body and return its result. Called by the tracer; outside the pool (eager mode) it runs a loop."""
        rider = greenlet.getcurrent()
        if not isinstance(rider, Rider):
            result = self.run(*args, **kwargs)
            return asyncio.run(result) if inspect.iscoroutine(result) else result
        flight = rider.flight
        try:
            if flight.reason is not None:
                raise asyncio.CancelledError  # cancelled before its first step: the body is not begun
            result = self.run(*args, **kwargs)
            return drive(result) if inspect.iscoroutine(result) else result
        except asyncio.CancelledError:
            return _outcome(flight)
        except Exception:
            raise
        except BaseException as exc:
            # Rule B. The tracer lets it through, past retries, signals and its log line; Celery's own pools then make
            # a result of it that Request.on_success cannot read, and the request counts as active for ever.
            raise BodyExited(repr(exc)) from exc
