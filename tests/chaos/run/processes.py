"""Real processes by number: forked from a warm server or started anew, killed, stopped, waited for; none is left."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.forkserver import Forked, ForkServer, fork_server
from tests.chaos.run.lifeline import Lifeline

ROOT = Path(__file__).parents[3]
START_S = 40.0


@dataclass
class Process:
    """One running process."""

    pid: int
    log: Path
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return not self.ended.is_set()

    def send(self, number: signal.Signals) -> None:
        """A signal; nothing where it has ended."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        self.send(signal.SIGKILL)
        await self.ended.wait()

    async def says(self, words: str, timeout_s: float = START_S) -> bool:
        """Whether its log has `words`, waited for; False when it ended without."""
        wanted, seen = words.encode(), 0
        async with asyncio.timeout(timeout_s):
            while True:
                ended = not self.alive
                with self.log.open("rb") as file:
                    file.seek(max(0, seen - len(wanted)))
                    if wanted in (data := file.read()):
                        return True
                    seen += len(data)
                if ended:
                    return False
                await asyncio.sleep(0.05)


class Processes:
    """Starts processes. `async with`; at its end all of them are killed, and when this process dies, too."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lifeline = Lifeline()
        self._running: dict[int, Process] = {}
        self._forks: ForkServer | None = None
        self._one_at_a_time = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._count = 0

    async def __aenter__(self) -> Processes:
        """Nothing runs yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Kill everything; nothing of a run is worth an orderly end."""
        for process in list(self._running.values()):
            process.send(signal.SIGKILL)
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                for process in list(self._running.values()):
                    await process.ended.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()
        self._lifeline.close()

    async def fork(self, name: str, arguments: Sequence[str], env: Mapping[str, str]) -> Process:
        """`threadway <arguments>` from a server that has the imports done: two cores could otherwise do little but
        import what was killed."""
        async with self._one_at_a_time:
            if self._forks is None:
                self._forks = await self._stack.enter_async_context(fork_server())
        log = self._log(name)
        forked = await self._forks.start(log.stem, arguments, env, log.parent)
        process = self._add(forked.pid, log)
        self._begin(self._follow(forked, process))
        return process

    async def start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> Process:
        """Any program."""
        log = self._log(name)
        with log.open("ab") as out:
            child = await asyncio.create_subprocess_exec(
                *command, env=dict(env), cwd=self._folder, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        process = self._add(child.pid, log)
        self._begin(self._reap(child, process))
        return process

    def _log(self, name: str) -> Path:
        self._count += 1
        path = self._folder / "logs" / f"{self._count:04d}-{name}.log"
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return path

    def _add(self, pid: int, log: Path) -> Process:
        process = self._running[pid] = Process(pid, log)
        self._lifeline.hold(pid)
        return process

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reap(self, child: asyncio.subprocess.Process, process: Process) -> None:
        await child.wait()
        self._gone(process)

    async def _follow(self, forked: Forked, process: Process) -> None:
        await asyncio.shield(forked.ended)
        self._gone(process)

    def _gone(self, process: Process) -> None:
        if self._running.get(process.pid) is process:
            del self._running[process.pid]
        self._lifeline.let_go(process.pid)
        process.ended.set()


def environment(**more: str) -> dict[str, str]:
    """This process's environment without anything that is threadway's, and `more`."""
    ours = ("THREADWAY", "TW_", "TELEGRAM_", "SLACK_", "OPENAI_", "REDIS_URL", "CELERY_", "DATABASE_URL", "COV")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**clean, "PYTHONPATH": str(ROOT), **more}
