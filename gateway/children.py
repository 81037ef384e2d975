"""Our own child processes: started, restarted with backoff, ended; none outlives us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.domain.pacing import Clock, RetryPolicy
from gateway.orphan import VARIABLE
from gateway.telemetry import log

STEADY_S = 30.0
"""A child that lived this long was well: it starts anew with the shortest backoff, whatever it ended with."""
BACKOFF = RetryPolicy(first_s=0.2)
_FAILED, _USAGE = 1, 2
"""Exit codes of our commands."""


class ChildFailed(Exception):
    """A child ended with an exit code that starting it again cannot change; it has said why on stderr."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} ended with exit code {code}")
        self.code = code


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with `changes`, which win over .env and over NAME_FILE; "" means the default."""
    return {**os.environ, **{f"{name}_FILE": "" for name in changes}, **changes}


class Backoff:
    """How long to wait before a process that died is started again: longer each time, unless it had been steady."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._deaths = 0
        self._born = clock.monotonic()

    def born(self) -> None:
        """It was started."""
        self._born = self._clock.monotonic()

    @property
    def steady(self) -> bool:
        """Whether it has lived long enough to count as well."""
        return self._clock.monotonic() - self._born > STEADY_S

    def died(self) -> float:
        """Seconds to wait."""
        self._deaths = 0 if self.steady else self._deaths + 1
        return BACKOFF.delay(self._deaths, random.random())  # noqa: S311  spreads load only


class Child:
    """One kept-alive process of `threadway <arguments>`; its stderr is ours, or goes to `logfile`."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        env: Mapping[str, str],
        clock: Clock,
        *,
        logfile: Path | None = None,
    ) -> None:
        self.name = name
        self._arguments = arguments
        self._env = dict(env)
        self._backoff = Backoff(clock)
        self._logfile = logfile
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()
        self._gone.set()

    async def keep(self) -> None:
        """Start it, and start it again whenever it ends, until `stop`; call once, and let `stop` end it.

        Raises ChildFailed when starting it again is of no use: wrong settings (2), or a start that failed (1).
        """
        while not self._stopping.is_set():
            code = await self._run()
            if self._stopping.is_set():
                return
            if code == _USAGE or (code == _FAILED and not self._backoff.steady):
                raise ChildFailed(self.name, code)
            wait_s = self._backoff.died()
            log.warning("child.died", child=self.name, code=code, again_in_s=round(wait_s, 2))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait_s)

    async def _run(self) -> int:
        self._gone.clear()
        read, write = os.pipe()
        try:
            try:
                process = self._process = await self._spawn(read)
            finally:
                os.close(read)
            self._backoff.born()
            log.info("child.started", child=self.name, pid=process.pid)
            if self._stopping.is_set():  # `stop` came while the process was made and found nobody to tell
                self._send(signal.SIGTERM)
            return await process.wait()
        finally:
            os.close(write)
            self._gone.set()

    async def _spawn(self, lifeline: int) -> asyncio.subprocess.Process:
        with contextlib.ExitStack() as opened:
            errors = opened.enter_context(self._logfile.open("ab")) if self._logfile else None
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway",
                *self._arguments,
                env={**self._env, VARIABLE: str(lifeline)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=errors,
                pass_fds=(lifeline,),
                start_new_session=True,  # the terminal's Ctrl-C is ours to pass on, in our order
            )

    async def stop(self, grace_s: float) -> None:
        """SIGTERM, wait up to `grace_s`, SIGKILL; returns when it is gone for good. May be called twice."""
        self._stopping.set()
        self._send(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._gone.wait(), grace_s)
        except TimeoutError:
            log.warning("child.killed", child=self.name, after_s=grace_s)
            self.kill()
            await self._gone.wait()

    def kill(self) -> None:
        """SIGKILL now, for somebody who will not wait for `stop`, which is to be called all the same."""
        self._stopping.set()
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
