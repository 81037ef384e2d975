"""The whole of threadway on one machine, as its operators would run it, and every part of it mortal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.domain.pacing import SystemClock
from gateway.lab.standalone import Served, serve_lab
from gateway.redis_server import find_server
from tests.chaos.run.door import Door
from tests.chaos.run.history import Blow, History
from tests.chaos.run.plan import GATEWAYS, WORKERS, Plan
from tests.chaos.run.power import Power
from tests.chaos.run.processes import Process, Processes, environment
from tests.chaos.run.redis_servers import RedisProcess
from tests.chaos.run.wire import Wire, wires
from tests.flow.processes import free_port

_PLATFORM_PATIENCE_S = 4.0


class ImpatientClock(SystemClock):
    """The platforms' clock: no pause is longer than a few seconds. Slack's third retry comes after five minutes, and a
    run of one minute shall see it."""

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await super().sleep(min(seconds, _PLATFORM_PATIENCE_S))


@dataclass
class Actor:
    """A gateway, a worker or the backend: one process after another in the same role."""

    name: str
    arguments: list[str]
    env: dict[str, str]
    ready_words: str
    process: Process | None = None
    ready: bool = False
    """It has said that it works, and is neither stopped nor told to end."""


class Stage:
    """What the faults act on."""

    def __init__(self, plan: Plan, folder: Path, processes: Processes, history: History) -> None:
        self.plan, self.history = plan, history
        self._folder, self._processes = folder, processes
        self.power = Power.build(folder)
        able = self.power if isinstance(self.power, Power) else None
        program = plan.redis_server or str(find_server())
        self.state = RedisProcess.state(processes, folder / "state", program, plan.appendfsync, able)
        self.broker = RedisProcess.broker(processes, folder / "broker", program)
        self.journal = folder / "journal.jsonl"
        ports = [free_port() for _ in range(GATEWAYS + 1)]
        self._ports, self._backend_port = ports[:GATEWAYS], ports[-1]
        self.door = Door(self._ports, history, plan.chance("door"))
        self.to_lab = Wire("lab", plan.chance("to lab"))
        self.to_backend = Wire("backend", plan.chance("to backend"))
        self.backend = Actor("backend", [], environment(), "ready")
        self.workers: list[Actor] = []
        self.gateways: list[Actor] = []
        self.lives: list[Process] = []
        """Everybody who ever lived."""
        self._closing = False
        self._keepers: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def set_up(self) -> AsyncIterator[Served]:
        """Everything runs when this yields the lab."""
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.door.serve())
            url = f"http://127.0.0.1:{self.door.here}"
            lab = await stack.enter_async_context(
                serve_lab(clock=ImpatientClock(), slack_events_url=f"{url}/slack/events", seed=self.plan.seed)
            )
            stack.enter_context(interruptible())
            self.to_lab.port = int(lab.public_url.rpartition(":")[2])
            self.to_backend.port = self._backend_port
            await stack.enter_async_context(wires(self.to_lab, self.to_backend))
            self._cast(lab, url)
            stack.push_async_callback(self._end)
            await asyncio.gather(self.state.start(), self.broker.start())
            await asyncio.gather(*(self.enter(actor) for actor in self._everybody()))
            for actor in self._everybody():
                if not actor.ready and actor.process:
                    raise RuntimeError(f"{actor.name} did not start:\n{actor.process.log.read_text()[-2000:]}")
            yield lab

    def _everybody(self) -> tuple[Actor, ...]:
        return (self.backend, *self.gateways, *self.workers)

    def _cast(self, lab: Served, url: str) -> None:
        front = f"http://127.0.0.1:{self.to_lab.here}"
        env = environment(
            REDIS_URL=self.state.url,
            CELERY_BROKER_URL=self.broker.broker_url,
            THREADWAY_BACKEND="assistants",
            OPENAI_BASE_URL=f"http://127.0.0.1:{self.to_backend.here}/v1",
            THREADWAY_MODEL="strict",
            THREADWAY_LEASE_S=f"{self.plan.lease_s:g}",
            THREADWAY_LAB="off",
            THREADWAY_CONFIG=str(self._config()),
            THREADWAY_DATA_DIR=str(self._folder / "data"),
            THREADWAY_API_KEY="tw-chaos-key-0123456789abcdef",
            TELEGRAM_BOT_TOKEN=lab.telegram_token,
            TELEGRAM_API_BASE_URL=lab.telegram_url.replace(lab.public_url, front),
            TELEGRAM_WEBHOOK_URL=f"{url}/telegram/webhook",
            SLACK_BOT_TOKEN=lab.slack_bot_token,
            SLACK_SIGNING_SECRET=lab.slack_signing_secret,
            SLACK_API_BASE_URL=lab.slack_url.replace(lab.public_url, front),
        )
        port, seed = str(self._backend_port), str(self.plan.seed)
        program = [sys.executable, "-m", "tests.chaos.run.backend"]
        self.backend.arguments = [*program, port, str(self.journal), seed]
        for number in self._ports:
            more = {"THREADWAY_PORT": str(number)}
            self.gateways.append(Actor("gateway", ["gateway"], env | more, "gateway.listening"))
        # Each could take all conversations alone: nobody waits for a slot here.
        worker = ["worker", "-c", str(self.plan.conversations)]
        self.workers = [Actor("worker", worker, env, "worker.ready") for _ in range(WORKERS)]

    def _config(self) -> Path:
        path = self._folder / "threadway.toml"
        path.write_text(f'[delivery]\ntelegram = "{self.plan.delivery}"\n')
        return path

    async def enter(self, actor: Actor) -> None:
        """A new process in this role; returns when it works or has ended. Whoever ends is followed by another one at
        once, as under any supervisor."""
        start = self._processes.start if actor is self.backend else self._processes.fork
        process = actor.process = await start(actor.name, actor.arguments, actor.env)
        self.lives.append(process)
        self._keep(self._follow(actor, process))
        ready = await process.says(actor.ready_words)
        actor.ready = ready and process is actor.process

    async def _follow(self, actor: Actor, process: Process) -> None:
        await process.ended.wait()
        if actor.process is process and not self._closing:
            actor.ready = False
            await self.enter(actor)

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._keepers.add(task)
        task.add_done_callback(self._keepers.discard)

    def blow(self, kind: str, pid: int = 0) -> None:
        """Write down what was done to whom."""
        self.history.blows.append(Blow(time.time(), kind, pid))

    def fit_workers(self) -> list[Actor]:
        """Workers that work."""
        return [worker for worker in self.workers if worker.ready and worker.process and worker.process.alive]

    async def _end(self) -> None:
        self._closing = True
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM are for us: the lab's HTTP server would take them for itself, and wait for its clients."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
