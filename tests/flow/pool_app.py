"""The Celery app that tests/flow/test_pool.py runs in worker processes; it tells what happens through a Redis list.

POOL_TEST_BROKER is the broker's URL, POOL_TEST_REPORTS the URL of the Redis that takes reports and opens gates.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import redis
import redis.asyncio
import structlog
from celery import Celery, current_task, signals

from gateway.telemetry import configure_logging
from workers.pool import AsyncTask

PREFETCH = int(os.environ.get("POOL_TEST_PREFETCH", "1"))
"""Above 1 the broker gives out more than there are slots, as RabbitMQ does in any case."""

structlog.contextvars.bind_contextvars(process="pool_test")

app = Celery("pool_test", broker=os.environ.get("POOL_TEST_BROKER"), task_cls=AsyncTask)
app.conf.update(
    task_acks_late=False,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=PREFETCH,
    worker_disable_prefetch=PREFETCH == 1,
    worker_enable_prefetch_count_reduction=False,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"socket_timeout": 10},
)

gates: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
reports: redis.asyncio.Redis


async def report(what: str, **more: Any) -> None:
    """Tell the test."""
    line = json.dumps({"what": what, "thread": threading.current_thread().name, **more})
    await reports.rpush("reports", line)


async def open_resources(stack: AsyncExitStack) -> None:
    """A Redis client and the watcher of gates, as the real composition root opens its own."""
    global reports
    if fault := os.environ.get("POOL_TEST_FAULT"):
        raise RuntimeError(fault)
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        os.environ["POOL_TEST_REPORTS"], max_connections=16, timeout=10
    )
    reports = redis.asyncio.Redis.from_pool(pool)
    stack.push_async_callback(reports.aclose)
    stack.push_async_callback(report, "closed")
    watcher = asyncio.create_task(_watch_gates())
    stack.callback(watcher.cancel)
    await report("opened")


async def _watch_gates() -> None:
    while True:
        # Not for ever: redis-py gives a reply as long as its socket time limit, also to a command that waits.
        opened: Any = await reports.blpop(["gates"], timeout=1)
        if opened:
            gates[opened[1].decode()].set()


async def hand_over() -> None:
    """Called by the pool at stop."""
    await report("handed_over")


app.open_resources = open_resources
app.hand_over = hand_over


def _log(**_: Any) -> None:
    configure_logging("INFO", json=True)


def _ready(**_: Any) -> None:
    with redis.Redis.from_url(os.environ["POOL_TEST_REPORTS"]) as client:
        client.rpush("reports", json.dumps({"what": "ready"}))


signals.setup_logging.connect(_log)
signals.worker_ready.connect(_ready)


def body(name: str, **options: Any) -> Callable[[Callable[..., object]], Any]:
    """A task with a body of its own name."""
    return lambda function: app.task(name=name, **options)(function)


@body("hold")
async def hold(gate: str, number: int = 0) -> None:
    """Stay in flight until the gate opens; on a cancel do what a turn does: one Redis write."""
    await report("begun", number=number)
    try:
        await gates[gate].wait()
    except asyncio.CancelledError:
        await report("released", number=number)
        raise
    await report("ended", number=number)


@body("hold_briefly", soft_time_limit=0.2)
async def hold_briefly(gate: str) -> None:
    """Has a soft limit."""
    await hold.run(gate)


@body("hold_hard", time_limit=0.2)
async def hold_hard(gate: str) -> None:
    """Has a hard limit."""
    await hold.run(gate)


class _Escape(BaseException):
    pass


@body("escape")
async def escape(kind: str) -> None:
    """End by something that is no Exception."""
    await report("escaping", kind=kind)
    if kind == "cancel":
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        await asyncio.Event().wait()
    if kind == "child":  # asyncio lets this one out of the loop itself
        await asyncio.create_task(_escape_from_child())
    raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "own": _Escape(), "error": ValueError("no")}[kind]


async def _escape_from_child() -> None:
    raise SystemExit(4)


@body("identity", bind=True)
async def identity(self: Any, gate: str, number: int) -> None:
    """Report everything that must still be this task's own after awaits, one in a child task and one in a thread."""
    clean = structlog.contextvars.get_contextvars() == {"process": "pool_test"}
    structlog.contextvars.bind_contextvars(number=number)
    before = self.request.id
    await report("begun")
    await gates[gate].wait()

    async def in_child() -> Any:
        await asyncio.sleep(0)
        return structlog.contextvars.get_contextvars().get("number")

    seen = [
        structlog.contextvars.get_contextvars().get("number"),
        await asyncio.create_task(in_child()),
        await asyncio.to_thread(lambda: structlog.contextvars.get_contextvars().get("number")),
        self.request.args[1],
        current_task.request.args[1],
    ]
    await report("identity", clean=clean, right=seen == [number] * 5 and before == self.request.id, number=number)


@body("again", bind=True, max_retries=2)
async def again(self: Any) -> None:
    """Retry once; Celery counts."""
    await report("tried", retries=self.request.retries)
    if not self.request.retries:
        raise self.retry(countdown=0)


@body("plain")
def plain() -> None:
    """Not a coroutine."""
    with redis.Redis.from_url(os.environ["POOL_TEST_REPORTS"]) as client:
        client.rpush("reports", json.dumps({"what": "plain", "thread": threading.current_thread().name}))


@body("deaf")
async def deaf() -> None:
    """Swallow every cancel."""
    await report("begun")
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await report("deaf")


@body("block")
async def block() -> None:
    """Block the loop, which nobody may."""
    await report("begun")
    time.sleep(30)  # noqa: ASYNC251 - the fault under test
