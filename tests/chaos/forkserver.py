"""A warm fork server: processes of threadway that are at work a moment after they were asked for.

`python -m gateway worker` spends a second or two of CPU on imports alone; a list of a hundred processes cannot. This
process imports everything once, starts no thread and no loop, and forks a child for each request. The child runs the
command line itself, in a process group, folder and environment of its own; what it would exec runs in the same process.

Asked over a socket, one JSON object a line:
    {"argv": ["worker", "-c", "20"], "env": {…}, "cwd": "…", "log": "…"}   →   {"pid": 4711}
    later, when it has ended                                               →   {"pid": 4711, "status": -9}
When the asker's end closes, every child is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

from tests.flow.processes import ROOT

WARM = (
    *("gateway.cli", "gateway.serve", "gateway.app", "gateway.lab", "gateway.children", "gateway.orphan"),
    *("gateway.telegram", "gateway.slack", "gateway.console", "workers.app", "workers.pool", "workers.tools.builtin"),
    *("celery.bin.celery", "celery.bin.worker", "celery.apps.worker", "celery.app.amqp", "celery.app.control"),
    *("celery.app.log", "celery.app.events", "celery.backends.base", "celery.fixups.django", "celery.events"),
    *("celery.worker.worker", "celery.worker.autoscale", "celery.worker.components", "celery.worker.consumer"),
    *("celery.worker.consumer.delayed_delivery", "celery.worker.strategy", "kombu.transport.redis", "billiard.pool"),
    *("openai.resources.beta.beta", "openai.resources.beta.assistants", "aiohttp", "httpcore", "httpcore2"),
    *("openai.resources.beta.threads.runs", "openai.resources.beta.threads.messages", "redis.asyncio", "truststore"),
)
"""What a worker or a gateway imports in the end. `workers.main` is not among them: it reads the settings."""


class Forked:
    """One child, as its asker sees it."""

    def __init__(self, name: str, pid: int, log: Path, ended: asyncio.Future[int]) -> None:
        self.name = name
        self.pid = pid
        self.log = log
        self.ended = ended
        """The exit code; negative: the signal that ended it."""

    @property
    def said(self) -> str:
        """Everything it has written so far."""
        return self.log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    async def wait(self, timeout_s: float = 20.0) -> int:
        """Its exit code. Raises TimeoutError."""
        return await asyncio.wait_for(asyncio.shield(self.ended), timeout_s)

    async def end(self) -> None:
        """SIGKILL, and wait; for what need not end well. May be called twice."""
        self.send(signal.SIGKILL)
        await self.wait()


class ForkServer:
    """The asker's side. Belongs to one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._born: asyncio.Queue[int] = asyncio.Queue()
        self._ends: dict[int, asyncio.Future[int]] = {}
        self._one_at_a_time = asyncio.Lock()
        self._reading = asyncio.create_task(self._read())

    async def start(self, name: str, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> Forked:
        """Start `threadway <argv>` with exactly `env`; its output goes to `cwd`/<name>.log. Raises AssertionError when
        the server is gone."""
        log = cwd / f"{name}.log"
        log.touch()
        request = {"argv": list(argv), "env": dict(env), "cwd": str(cwd), "log": str(log)}
        async with self._one_at_a_time:  # answers have no number: the next birth is ours
            assert not self._reading.done(), "the fork server is gone"
            self._writer.write(json.dumps(request).encode() + b"\n")
            await self._writer.drain()
            pid = await asyncio.wait_for(self._born.get(), 20)
        assert pid, "the fork server has ended; stderr says why"
        return Forked(name, pid, log, self._ends[pid])

    async def _read(self) -> None:
        async for line in self._reader:
            told = json.loads(line)
            if "status" in told:
                self._ends.pop(told["pid"]).set_result(told["status"])
            else:
                self._ends[told["pid"]] = asyncio.get_running_loop().create_future()
                self._born.put_nowait(told["pid"])
        self._born.put_nowait(0)

    async def close(self) -> None:
        """Kill every child and the server."""
        self._writer.close()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


@asynccontextmanager
async def fork_server() -> AsyncIterator[ForkServer]:
    """A server that is warm; it and all its children are gone after the block."""
    ours, theirs = socket.socketpair()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("THREADWAY", "TW_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.forkserver", str(theirs.fileno())),
        cwd=ROOT,
        env=environment,
        pass_fds=(theirs.fileno(),),
        start_new_session=True,  # Ctrl-C in a terminal ends the tests, and they end us
    )
    theirs.close()
    server = ForkServer(*await asyncio.open_connection(sock=ours, limit=2**20))
    try:
        yield server
    finally:
        await server.close()
        await asyncio.wait_for(process.wait(), 20)


# --- the server's side ------------------------------------------------------------------------------------------------


def serve(connection: socket.socket) -> None:
    """Fork on request and tell of every end, until the other side closes."""
    for name in WARM:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a thread does not survive a fork: some import started one"
    gc.collect()
    gc.freeze()  # a child's collector would touch, and so copy, every page of what was imported
    woken, wakes = socket.socketpair()
    wakes.setblocking(False)
    signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler the wakeup descriptor stays silent
    children: set[int] = set()
    try:
        with selectors.DefaultSelector() as waiting, connection.makefile("rb", buffering=0) as requests:
            waiting.register(connection, selectors.EVENT_READ)
            waiting.register(woken, selectors.EVENT_READ)
            while True:
                for key, _ in waiting.select():
                    if key.fileobj is woken:
                        woken.recv(4096)
                        _tell_ends(connection, children)
                    elif line := requests.readline():
                        request = json.loads(line)
                        children.add(pid := _fork(request, close=(connection, woken, wakes)))
                        connection.sendall(json.dumps({"pid": pid}).encode() + b"\n")
                    else:
                        return
    finally:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _tell_ends(connection: socket.socket, children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        children.discard(pid)
        told = {"pid": pid, "status": os.waitstatus_to_exitcode(status)}
        connection.sendall(json.dumps(told).encode() + b"\n")


def _fork(request: dict[str, Any], *, close: Sequence[socket.socket]) -> int:
    if pid := os.fork():
        return pid
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for connection in close:
            connection.close()
        _become(request)
        code = _run(request["argv"])
    except BaseException:  # whatever it was, this process must never return into the server's loop
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _become(request: dict[str, Any]) -> None:
    """A process group, a folder, an environment and an output of its own, as a freshly started process has."""
    os.setpgid(0, 0)
    os.chdir(request["cwd"])
    output = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), output, output)):
        os.dup2(descriptor, number)
    os.environ.clear()
    os.environ.update(request["env"])
    from gateway.domain import crash

    crash.arm(os.environ.get(crash.VARIABLE, ""))  # it has read the server's environment


def _run(argv: Sequence[str]) -> int:
    """The command line; its exit code."""
    from gateway import cli

    sys.argv = ["threadway", *argv]
    os.execve = _instead_of_exec  # type: ignore[assignment]  # exec would throw away what is warm
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _instead_of_exec(path: str, argv: Sequence[str], env: Mapping[str, str]) -> NoReturn:
    """Do in this process what `python … -m module arguments` would do in a new one."""
    assert path == sys.executable, f"only Python can be run here, not {path}"
    os.environ.clear()
    os.environ.update(env)
    importlib.reload(importlib.import_module("celery.concurrency"))  # it reads the name of our pool when imported
    at = list(argv).index("-m")
    sys.argv = [argv[0], *argv[at + 2 :]]
    runpy.run_module(argv[at + 1], run_name="__main__", alter_sys=True)
    raise SystemExit(0)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
