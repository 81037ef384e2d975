"""Real processes for tests: gateway, workers, the strict backend; each ended by its own test."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

ROOT = Path(__file__).parent.parent.parent


def free_port() -> int:
    """A port nobody listens on now; below those that the system hands out by itself (Linux: from 32768), or a
    connection of somebody else's could take it before it is used."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Process:
    """One running process with its log kept for the assertion that fails."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.process = process
        self.lines: list[str] = []
        self._new_line = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode(errors="replace").rstrip())
            self._new_line.set()
        self._new_line.set()

    async def until_line(self, part: str, timeout_s: float = 30.0) -> str:
        """The first line that contains `part`; fails with the log when the process ends before."""
        seen = 0
        async with asyncio.timeout(timeout_s):
            while True:
                for line in self.lines[seen:]:
                    if part in line:
                        return line
                seen = len(self.lines)
                if self._reading.done():
                    raise AssertionError(f"{self.name} ended without saying {part!r}:\n" + "\n".join(self.lines[-60:]))
                self._new_line.clear()
                await self._new_line.wait()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    async def wait(self, timeout_s: float = 20.0) -> int:
        """The exit code."""
        return await asyncio.wait_for(self.process.wait(), timeout_s)

    async def end(self) -> None:
        """SIGTERM, then SIGKILL."""
        if self.process.returncode is None:
            self.terminate()
            try:
                await self.wait(15)
            except TimeoutError:
                self.kill()
                await self.process.wait()
        await asyncio.gather(self._reading, return_exceptions=True)


def environment(tmp_path: Path, redis_url: str, **more: str) -> dict[str, str]:
    """A clean environment for threadway's processes; `more` overrides it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("THREADWAY", "TW_"))}
    return {
        **clean,
        "REDIS_URL": redis_url,
        "THREADWAY_DATA_DIR": str(tmp_path / "data"),
        "THREADWAY_API_KEY": "tw-test-key-0123456789abcdef",
        "PYTHONPATH": str(ROOT),
        **more,
    }


async def start(name: str, arguments: list[str], env: Mapping[str, str], cwd: Path) -> Process:
    """Start `python <arguments>` in `cwd`, so that no .env or threadway.toml of the developer is read."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *arguments,
        env=dict(env),
        cwd=cwd,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=2**20,
    )
    return Process(name, process)


class Backend:
    """The strict Assistants server and its control."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http

    async def control(self, **switches: Any) -> None:
        """Set the server's switches (down, delay_s)."""
        async with self._http.post(f"{self.url}/control", json=switches) as answer:
            assert answer.status == 200

    async def log(self) -> dict[str, Any]:
        """Everything that happened there."""
        async with self._http.get(f"{self.url}/control/log") as answer:
            return dict(await answer.json())


class Fleet:
    """Starts processes of one test and ends them all."""

    def __init__(self, tmp_path: Path, env: dict[str, str]) -> None:
        self.tmp_path = tmp_path
        self.env = env
        self.processes: list[Process] = []

    async def start(self, name: str, arguments: list[str], **more: str) -> Process:
        """Start a process of ours with the fleet's environment and `more`."""
        process = await start(name, arguments, {**self.env, **more}, self.tmp_path)
        self.processes.append(process)
        return process

    async def worker(self, *options: str, **more: str) -> Process:
        """A worker that takes wake-ups."""
        worker = await self.start("worker", ["-m", "gateway", "worker", *options], **more)
        await worker.until_line("celery@", 60)
        return worker

    async def gateway(self, **more: str) -> tuple[Process, str]:
        """A gateway that is ready, and its URL."""
        port = more.get("THREADWAY_PORT") or str(free_port())
        gateway = await self.start("gateway", ["-m", "gateway", "gateway"], **{"THREADWAY_PORT": port, **more})
        url = f"http://127.0.0.1:{port}"
        await until_ready(url, gateway)
        return gateway, url

    @asynccontextmanager
    async def backend(self) -> AsyncIterator[Backend]:
        """The strict Assistants server, which the fleet's later processes use as their upstream."""
        port = free_port()
        server = await self.start("backend", ["-m", "tests.flow.assistants_server", str(port)])
        await server.until_line("ready")
        url = f"http://127.0.0.1:{port}"
        self.env |= {"THREADWAY_BACKEND": "assistants", "OPENAI_BASE_URL": f"{url}/v1", "THREADWAY_MODEL": "fake"}
        async with aiohttp.ClientSession() as http:
            yield Backend(url, http)

    async def end(self) -> None:
        """End every process."""
        await asyncio.gather(*(process.end() for process in self.processes))

    def show(self) -> None:
        """Print what the processes said last; pytest shows it where a test failed."""
        for process in self.processes:
            print(f"--- {process.name} {process.process.pid}")
            print("\n".join(process.lines[-80:]))


async def until_ready(url: str, process: Process, timeout_s: float = 30.0) -> None:
    """Return when /readyz says 200."""
    said: object = "no answer"
    end = time.monotonic() + timeout_s
    async with aiohttp.ClientSession() as http:
        while time.monotonic() < end and process.process.returncode is None:
            try:
                async with http.get(f"{url}/readyz") as answer:
                    if answer.status == 200:
                        return
                    said = await answer.text()
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(0.05)
    raise AssertionError(f"{process.name} is not ready: {said}\n" + "\n".join(process.lines[-60:]))


async def until(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """Await `condition()` again and again until it is true; its value."""
    async with asyncio.timeout(timeout_s):
        while not (value := await condition()):  # noqa: ASYNC110  other processes set no events
            await asyncio.sleep(0.02)
        return value
