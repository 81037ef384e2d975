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
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeVar

from celery import Celery
from prometheus_client import start_http_server

from gateway.assistants.records import open_database
from gateway.assistants.service import Desk
from gateway.domain.errors import Retryable
from gateway.domain.messages import ConversationKey
from gateway.domain.pacing import RetryPolicy, SystemClock
from gateway.domain.turns import Turn
from gateway.queue import RUN_TASK, TURN_TASK, Waker, make_celery
from gateway.registry import Ports, build_adapters, call_timeout_s
from gateway.settings import AssistantConf, Backend, Settings
from gateway.store import Store
from gateway.telemetry import RUNS_IN_FLIGHT, TURNS_IN_FLIGHT, log
from workers.backends import AssistantSpec, ToolCall, ToolSpec
from workers.backends.assistants import AssistantsBackend
from workers.budget import Budget
from workers.definitions import Definitions
from workers.executor import Executor
from workers.holding import Keeper
from workers.models import Model
from workers.pool import AsyncTask
from workers.sweep import Sweep
from workers.tools import ToolContext, load_tools
from workers.turn import AssistantPlan, Deps, work
from workers.wait import Pace

T = TypeVar("T")


class Worker:
    """One worker process: what its tasks work with."""

    def __init__(self, settings: Settings, celery: Celery, *, concurrency: int) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self.waker = Waker(celery)
        self.turns = Budget(concurrency, lambda name: self.waker.wake_turn(ConversationKey(name)), TURNS_IN_FLIGHT)
        self.runs = Budget(settings.runs_concurrency or concurrency, self.waker.wake_run, RUNS_IN_FLIGHT)
        self.deps: Deps | None = None
        self.executor: Executor | None = None
        self._background: list[asyncio.Task[Any]] = []

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
        sweep = Sweep(
            store,
            self.clock,
            self.name,
            wake_turn=self.waker.wake_turn,
            wake_run=self.waker.wake_run,
            due_runs=desk.due if desk else None,
            room=lambda: self.turns.free,
        )
        keeper = self.deps.keeper
        self._start(stack, keeper.run(), sweep.run(), store.nudges.listen(keeper.nudged))
        stack.callback(self.waker.close)
        log.info("worker.ready", worker=self.name, turns=self.turns.limit, runs=self.runs.limit if desk else 0)

    def _start(self, stack: AsyncExitStack, *loops: Any) -> None:
        self._background = [asyncio.create_task(loop) for loop in loops]

        async def end() -> None:
            for task in self._background:
                task.cancel()
            await asyncio.gather(*self._background, return_exceptions=True)

        stack.push_async_callback(end)

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
            context_for=lambda turn, call: _context(store, turn, call),
            keeper=Keeper(store, self.clock, lease_s=settings.lease_s),
            pace=Pace(self.clock, crowd=lambda: self.turns.active),
            lease_s=settings.lease_s,
            turn_timeout_s=settings.turn_timeout_s,
        )

    async def hand_over(self) -> None:
        """Put every held turn down, so that another worker takes it up at once; before the turns are cancelled."""
        if self.deps is None:
            return
        leases = self.deps.keeper.leases
        turns = self.deps.store.turns
        given = await asyncio.gather(*(turns.park(lease, 0.0) for lease in leases), return_exceptions=True)
        for lease in leases:
            self.waker.wake_turn(lease.conversation)
        await asyncio.gather(self.deps.store.shared.forget_worker(self.name), return_exceptions=True)
        failed = sum(isinstance(answer, BaseException) for answer in given)
        log.info("worker.handed_over", turns=len(leases) - failed, failed=failed)
        gc.freeze()  # the interpreter's last collection would go through everything that is about to vanish anyway


def plan(conf: AssistantConf) -> AssistantPlan:
    """An assistant's function tools, ready to be called. Raises SettingsInvalid."""
    return AssistantPlan(
        name=conf.name,
        tools=load_tools(conf.functions),
        max_tool_rounds=conf.max_tool_rounds,
    )


def spec(conf: AssistantConf, planned: AssistantPlan, settings: Settings) -> AssistantSpec:
    """An assistant as the backend is told about it."""
    return AssistantSpec(
        name=conf.name,
        model=conf.model or settings.model or "demo",
        instructions=conf.instructions,
        functions=tuple(ToolSpec(t.name, t.description, t.parameters) for t in planned.tools.values()),
        hosted=conf.hosted,
        assistant_id=conf.assistant_id or "",
    )


def backend_address(settings: Settings) -> tuple[str, str]:
    """Where the assistants backend is, and its key: our own service when the backend is embedded."""
    if settings.backend is Backend.EMBEDDED:
        return settings.effective_api_url, settings.api_key_value()
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else "none"
    assert settings.openai_base_url is not None  # checked by the settings
    return settings.openai_base_url, key


def make_model(settings: Settings) -> Model:
    """The model behind the embedded service: the upstream's Chat Completions, or the demo model."""
    if settings.demo:
        from workers.models.demo import DemoModel

        return DemoModel(SystemClock())
    from workers.models.chat_completions import ChatCompletionsModel

    url = settings.upstream_base_url or ""
    return ChatCompletionsModel(
        base_url=url,
        api_key=settings.openai_api_key.get_secret_value() if settings.openai_api_key else None,
        proxy=settings.proxy_for(url),
        models=settings.models,
        default_model=settings.model,
    )


def _context(store: Store, turn: Turn, call: ToolCall) -> ToolContext:
    asker = turn.last
    return ToolContext(
        conversation=turn.conversation,
        author_id=asker.author_id,
        language=asker.language,
        call_key=f"{turn.run}:{call.id}",
        memory=_Memory(store, turn.conversation),
    )


class _Memory:
    """The conversation's memory, as the tools see it."""

    def __init__(self, store: Store, conversation: ConversationKey) -> None:
        self._store = store
        self._conversation = conversation

    async def remember(self, key: str, value: str) -> None:
        await self._store.conversations.remember(self._conversation, key, value)

    async def recall(self, key: str | None = None) -> dict[str, str]:
        return await self._store.conversations.recall(self._conversation, key)


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
        deps = worker.deps
        assert deps is not None
        return await worker.turns.run(conversation, lambda name: work(ConversationKey(name), deps))

    @celery.task(name=RUN_TASK)  # type: ignore[untyped-decorator]
    async def run(run_id: str) -> str:
        """Run X of the embedded service is queued."""
        executor = worker.executor
        if executor is None:
            return "no embedded service here"
        return await worker.runs.run(run_id, executor.execute)

    return celery
