"""`threadway …` as people run it: a process of its own, its two outputs apart, and a look at what it leaves behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.flow.processes import ROOT, until

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "TEST_REDIS_SERVER", "LD_LIBRARY_PATH")
_MARK = "TW_TEST_MARK"


class Place:
    """An empty folder to run commands in, and a clean environment that marks every process started from it."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.mark = uuid4().hex
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self.env = {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "200", _MARK: self.mark, **variables}

    @property
    def data_dir(self) -> Path:
        """Where threadway keeps its data when nobody says anything else."""
        return self.folder / ".threadway"

    def processes(self) -> dict[int, str]:
        """Everything that was started from here and runs: process id → command line.

        By the mark in the environment, and by the folder in the arguments: the Redis server gets no environment.
        """
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                arguments = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                ours = f"{_MARK}={self.mark}".encode() in (entry / "environ").read_bytes()
                zombie = not arguments
            except OSError:  # it has just ended
                continue
            if not zombie and (ours or str(self.folder) in arguments):
                found[int(entry.name)] = arguments
        return found

    async def until_empty(self, timeout_s: float = 12.0) -> None:
        """Return when nothing runs any more; fails naming what still does."""

        async def empty() -> bool:
            return not self.processes()

        try:
            await until(empty, timeout_s)
        except TimeoutError:
            raise AssertionError(f"still running after {timeout_s} s: {self.processes()}") from None

    async def end(self) -> None:
        """Kill what a failed test has left."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        await self.until_empty()

    async def start(self, *arguments: str, stdin: bytes | None = None, terminal: bool = False, **more: str) -> Command:
        """Start `threadway <arguments>`, a process group of its own; `terminal`: its stderr is one."""
        ours, theirs = pty.openpty() if terminal else (None, asyncio.subprocess.PIPE)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gateway",
            *arguments,
            env={**self.env, **more},
            cwd=self.folder,
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
            limit=2**24,
        )
        errors = process.stderr
        if ours is not None:
            os.close(theirs)
            errors = await _stream(ours)
        if process.stdin is not None:
            process.stdin.write(stdin or b"")
            process.stdin.close()
        assert errors is not None
        return Command(" ".join(arguments), process, errors)

    async def run(self, *arguments: str, stdin: bytes | None = None, timeout_s: float = 60.0, **more: str) -> Command:
        """Start it and return when it has ended; killed when it takes longer."""
        command = await self.start(*arguments, stdin=stdin, terminal=False, **more)
        try:
            await command.ended(timeout_s)
        except TimeoutError:
            command.kill()
            await command.ended(10)
            raise AssertionError(f"`threadway {command.name}` ran for more than {timeout_s} s\n{command}") from None
        return command


class Command:
    """One running or ended command."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, errors: asyncio.StreamReader) -> None:
        self.name = name
        self.pid = process.pid
        self._process = process
        self._out: list[str] = []
        self._err: list[str] = []
        self._news = asyncio.Event()
        assert process.stdout is not None
        self._reading = [
            asyncio.create_task(self._read(process.stdout, self._out)),
            asyncio.create_task(self._read(errors, self._err)),
        ]

    async def _read(self, stream: asyncio.StreamReader, lines: list[str]) -> None:
        try:
            async for line in stream:
                lines.append(line.decode(errors="replace").rstrip("\r\n"))
                self._news.set()
        except OSError:  # EIO: the last writer of a terminal is gone
            pass
        self._news.set()

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.returncode

    @property
    def out(self) -> str:
        """What it wrote to stdout."""
        return "\n".join(self._out)

    @property
    def err(self) -> list[str]:
        """The lines it wrote to stderr."""
        return self._err

    def events(self, name: str) -> list[dict[str, Any]]:
        """The log events of one name."""
        logged = [json.loads(line) for line in self._err if line.startswith("{")]
        return [event for event in logged if event["event"] == name]

    def child(self, name: str) -> int:
        """The process id of its newest "gateway", "worker" or "redis"."""
        if name == "redis":
            return int(self.events("redis.started")[-1]["pid"])
        return int([event for event in self.events("child.started") if event["child"] == name][-1]["pid"])

    async def until(self, condition: Any, timeout_s: float = 40.0) -> None:
        """Return when `condition()` is true, which is asked at every new line; fails with all lines."""
        try:
            async with asyncio.timeout(timeout_s):
                while not condition():
                    assert not all(task.done() for task in self._reading), f"ended early\n{self}"
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"not within {timeout_s} s\n{self}") from None

    async def ready(self) -> str:
        """The address that `up` says when a message would be answered."""
        await self.until(lambda: self._out)
        return self._out[0].removeprefix("threadway is ready: ")

    def interrupt(self) -> None:
        """Ctrl-C: a terminal tells the whole foreground process group."""
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.killpg(self.pid, signal.SIGINT)

    def terminate(self) -> None:
        """SIGTERM to the command alone."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL to the command alone."""
        self._process.kill()

    async def ended(self, timeout_s: float = 12.0) -> int:
        """The exit code, once it has ended and everything it wrote is here."""
        async with asyncio.timeout(timeout_s):
            code = await self._process.wait()
            if self.code != -signal.SIGKILL:  # else its children may still hold our pipes
                await asyncio.gather(*self._reading)
            return code

    def __str__(self) -> str:
        return f"--- stdout, exit code {self.code}\n{self.out}\n--- stderr\n" + "\n".join(self._err[-60:])


@asynccontextmanager
async def place(folder: Path, **variables: str) -> AsyncIterator[Place]:
    """A place that is empty of processes afterwards."""
    made = Place(folder, **variables)
    try:
        yield made
    finally:
        await made.end()


async def _stream(descriptor: int) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=2**20)
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    return reader
