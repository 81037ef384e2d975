"""Composition root of a worker: settings → store → backend, tools, adapters → Celery tasks; start and hand-over.

Celery loads `workers.main:celery`, which `threadway worker` execs with our pool. Everything that lives on the event
loop is opened when the pool starts, and closed on the same loop.
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import socket
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar, cast

from celery import Celery
from prometheus_client import start_http_server

from gateway.assistants.records import open_database
from gateway.assistants.service import Desk
from gateway.domain.errors import Retryable
from gateway.domain.messages import ConversationKey
from gateway.domain.pacing import RetryPolicy, SystemClock
from gateway.queue import RUN_TASK, RUNS, TURN_TASK, TURNS, Waker, make_celery
from gateway.registry import Ports, build_adapters, call_timeout_s
from gateway.settings import Backend, Settings
from gateway.store import Store
from gateway.telemetry import RUNS_IN_FLIGHT, TURNS_IN_FLIGHT, log
from workers.assembly import backend_address, make_model, plan, spec, tool_context
from workers.backends.assistants import AssistantsBackend
from workers.budget import Budget
from workers.definitions import Definitions
from workers.deps import Deps
from workers.executor import Executor
from workers.holding import Keeper
from workers.pool import AsyncTask
from workers.sweep import Sweep
from workers.turn import stack_of, work
from workers.wait import Pace

T = TypeVar("T")


class Worker:
    """One worker process: what its tasks work with."""

    def __init__(self, settings: Settings, celery: Celery, *, concurrency: int) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.celery = celery
        self.waker = Waker(celery)
        self.turns = Budget(concurrency, lambda name: self.waker.wake_turn(ConversationKey(name)), TURNS_IN_FLIGHT)
        self.runs = Budget(settings.runs_concurrency or concurrency, self.waker.wake_run, RUNS_IN_FLIGHT)
        self.deps: Deps | None = None
        self.executor: Executor | None = None
        self.sweep: Sweep | None = None
        self._background: set[asyncio.Task[Any]] = set()
        self._beginning = 0
        self._alarms: dict[ConversationKey, float] = {}

    async def open(self, stack: AsyncExitStack) -> None:
        """Connect everything; what was opened is closed by `stack`. Redis and the database being away is waited out."""
        settings = self.settings
        store = Store(settings.redis_url_value())
        stack.push_async_callback(store.close)
        await _until_up(lambda: _checked(store), self.clock, "redis")
        if settings.lab == "on":
            store.timeline.switch_on()
        adapters = build_adapters(settings, Ports(mailbox=store.mailbox))
        for adapter in adapters.values():
            stack.push_async_callback(adapter.close)
        desk = await self._open_runs(stack)
        self.deps = self._make_deps(store, stack, adapters)
        if settings.metrics_port is not None:
            server, _ = start_http_server(settings.metrics_port, addr=settings.host)
            stack.callback(server.shutdown)
            log.info("metrics.served", port=server.server_port)
        self.sweep = Sweep(
            store,
            self.clock,
            self.name,
            wake_turn=self.found,
            wake_run=self._wake_run,
            due_runs=desk.due if desk else None,
            room=lambda: self.turns.free if TURNS in self._queues else 0,
            room_runs=lambda: self.runs.free if RUNS in self._queues else 0,
        )
        keeper = self.deps.keeper
        stack.push_async_callback(self.end_background)
        for name, loop in (
            ("heartbeat", keeper.run),
            ("sweep", self.sweep.run),
            ("nudges", lambda: store.nudges.listen(keeper.nudged)),
        ):
            self._begin(_for_ever(name, loop, self.clock))
        stack.callback(self.waker.close)
        log.info("worker.ready", worker=self.name, turns=self.turns.limit, runs=self.runs.limit if desk else 0)

    @property
    def _queues(self) -> Collection[str]:
        """What this worker consumes; Celery knows when its pool starts."""
        return cast(Collection[str], self.celery.amqp.queues.consume_from)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def end_background(self) -> None:
        ending = list(self._background)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def turn(self, conversation: str) -> str:
        """Conversation X has mail. Never raises but CancelledError; one word for Celery's log."""
        deps = self.deps
        assert deps is not None
        return await _said_once(
            TURN_TASK, conversation, self.turns.run(conversation, lambda name: work(ConversationKey(name), deps))
        )

    async def run(self, run_id: str) -> str:
        """Run X of the embedded service is queued. As `turn`."""
        if self.executor is None:
            return "no embedded service here"
        return await _said_once(RUN_TASK, run_id, self.runs.run(run_id, self.executor.execute))

    def wake_later(self, conversation: ConversationKey, in_s: float) -> None:
        """Wake a conversation in `in_s`, unless that is to happen before: whoever is woken then, looks again."""
        at = self.clock.monotonic() + in_s
        if self._alarms.get(conversation, math.inf) <= at:
            return
        self._alarms[conversation] = at

        async def wake() -> None:
            await self.clock.sleep(in_s)
            if self._alarms.get(conversation) == at:
                del self._alarms[conversation]
            self.waker.wake_turn(conversation)

        self._begin(wake())

    def found(self, conversation: ConversationKey) -> None:
        """What the sweep found is begun here while there is room: a wake-up has been lost already, or a worker has
        died, and another wake-up might take the same way. A broker that takes none keeps nobody from his answer; it is
        asked all the same, to learn when it is back."""
        room = self.turns.free > self._beginning
        if not room or not self.waker.healthy:
            self.waker.wake_turn(conversation)
        if room or not self.waker.healthy:
            self._beginning += 1  # a sweep names many before the first of them takes its place
            self._begin(self._begun(conversation))

    async def _begun(self, conversation: ConversationKey) -> str:
        self._beginning -= 1
        return await self.turn(conversation)

    def _wake_run(self, run_id: str) -> None:
        self.waker.wake_run(run_id)
        if not self.waker.healthy:
            self._begin(self.run(run_id))

    async def _open_runs(self, stack: AsyncExitStack) -> Desk | None:
        settings = self.settings
        if settings.backend is not Backend.EMBEDDED:
            return None
        database = await _until_up(
            lambda: open_database(settings.database_url_value(), migrate=settings.auto_migrate), self.clock, "database"
        )
        stack.push_async_callback(database.close)

        async def wake(run_id: str) -> None:
            self.waker.wake_run(run_id)

        desk = Desk(database, wake=wake)
        model = make_model(settings)
        stack.push_async_callback(model.close)
        self.executor = Executor(desk, model, lease_s=settings.lease_s, clock=self.clock, retry=RetryPolicy())
        return desk

    def _make_deps(self, store: Store, stack: AsyncExitStack, adapters: Any) -> Deps:
        settings = self.settings
        url, key = backend_address(settings)
        backend = AssistantsBackend(url, key, call_timeout_s=call_timeout_s(settings), proxy=settings.proxy_for(url))
        stack.push_async_callback(backend.close)
        plans = {conf.name: plan(conf) for conf in settings.assistants}
        specs = {conf.name: spec(conf, plans[conf.name], settings) for conf in settings.assistants}
        return Deps(
            store=store,
            backend=backend,
            definitions=Definitions(store, backend, url, specs, self.clock),
            adapters=adapters,
            plan_for=lambda conversation: plans[settings.route(conversation).name],
            context_for=lambda turn, call: tool_context(store, turn, call),
            keeper=Keeper(store, self.clock, lease_s=settings.lease_s),
            pace=Pace(self.clock, crowd=lambda: self.turns.active),
            lease_s=settings.lease_s,
            turn_timeout_s=settings.turn_timeout_s,
            while_running=settings.conversations.while_running,
            doubts={"telegram": settings.delivery.telegram},
            later=self.wake_later,
            crowded=lambda: self.turns.crowded,
        )

    async def hand_over(self) -> None:
        """Put every held turn down, so that another worker takes it up at once; before the turns are cancelled."""
        if self.deps is None or self.sweep is None:
            return
        leaving = asyncio.create_task(self.sweep.leave())
        given, failed = await self.deps.keeper.hand_over()
        for lease in given:
            self.waker.wake_turn(lease.conversation)
        await asyncio.gather(leaving, return_exceptions=True)
        log.info("worker.handed_over", turns=len(given), failed=failed)
        gc.freeze()  # the interpreter's last collection would go through everything that is about to vanish anyway


async def _checked(store: Store) -> None:
    for warning in await store.check_server():
        log.warning("redis.risk", why=warning)


async def _until_up(attempt: Callable[[], Awaitable[T]], clock: SystemClock, what: str) -> T:
    """Repeat a start-up step through an outage; refused settings are raised through."""
    tries = 0
    while True:
        try:
            return await attempt()
        except (Retryable, OSError) as away:
            if tries % 10 == 0:
                log.warning("start.waiting", what=what, error=str(away))
        await clock.sleep(min(2.0, 0.2 * 2 ** min(tries, 4)))
        tries += 1


async def _said_once(task: str, about: str, body: Awaitable[str]) -> str:
    """Let nothing out of a task's body: Celery would print each exception whole, its words included, and in an outage
    one for every turn. Nothing is lost with it: mail, turn and run stay stored, and the sweep wakes somebody."""
    try:
        return await body
    except Retryable as away:
        log.warning("wake_up.in_vain", task=task, about=about, error=type(away).__name__)
        return "in vain"
    except Exception as error:
        log.error("wake_up.broke", task=task, about=about, error=type(error).__name__, stack=stack_of(error))
        return "broke"


async def _for_ever(name: str, loop: Callable[[], Awaitable[None]], clock: SystemClock) -> None:
    """A worker whose heartbeat or sweep ended by an error nobody expected would lose every long turn in silence."""
    while True:
        try:
            await loop()
        except Exception as error:
            log.error("worker.loop_broke", loop=name, error=type(error).__name__, stack=stack_of(error))
        await clock.sleep(1.0)


def make_worker_app(settings: Settings, *, concurrency: int) -> Celery:
    """The Celery app with its two tasks."""
    celery = make_celery(settings.broker_url(settings.redis_url_value()), task_cls=AsyncTask)
    worker = Worker(settings, celery, concurrency=concurrency)
    celery.open_resources = worker.open
    celery.hand_over = worker.hand_over
    celery.opening_s = math.inf  # Redis or the database being away is waited out, however long it lasts

    @celery.task(name=TURN_TASK)  # type: ignore[untyped-decorator]  # celery ships no types
    async def turn(conversation: str) -> str:
        """Conversation X has mail."""
        return await worker.turn(conversation)

    @celery.task(name=RUN_TASK)  # type: ignore[untyped-decorator]
    async def run(run_id: str) -> str:
        """Run X of the embedded service is queued."""
        return await worker.run(run_id)

    return celery
