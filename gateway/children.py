"""Our own child processes: started, restarted with backoff, ended; none outlives us."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence

from gateway.domain.pacing import Clock, RetryPolicy
from gateway.orphan import VARIABLE
from gateway.telemetry import log

STEADY_S = 30.0
"""A child that lived this long starts anew with the shortest backoff."""


class ChildFailed(Exception):
    """A child ended at once with an exit code that retrying cannot change (1 refused, 2 settings)."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"{name} ended with exit code {code}")
        self.code = code


class Child:
    """One kept-alive process of `threadway <arguments>`."""

    def __init__(
        self, name: str, arguments: Sequence[str], env: Mapping[str, str], clock: Clock, *, quiet: bool = False
    ) -> None:
        self.name = name
        self._arguments = arguments
        self._env = dict(env)
        self._clock = clock
        self._quiet = quiet
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self._lifeline: int | None = None

    @property
    def pid(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self._process else None

    async def keep(self) -> None:
        """Start it, and start it again whenever it ends, until `stop`. Raises ChildFailed when that is of no use."""
        deaths = 0
        while not self._stopping:
            born = self._clock.monotonic()
            code = await self._run()
            if self._stopping:
                return
            if code in (1, 2):
                raise ChildFailed(self.name, code)
            deaths = 0 if self._clock.monotonic() - born > STEADY_S else deaths + 1
            wait_s = RetryPolicy(first_s=0.2).delay(deaths, random.random())  # noqa: S311  spreads load only
            log.warning("child.died", child=self.name, code=code, again_in_s=round(wait_s, 2))
            await self._clock.sleep(wait_s)

    async def _run(self) -> int:
        read, write = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway",
                *self._arguments,
                env={**self._env, VARIABLE: str(read)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL if self._quiet else None,
                pass_fds=(read,),
                start_new_session=True,  # the terminal's Ctrl-C is ours to pass on, in our order
            )
        finally:
            os.close(read)
        self._lifeline = write
        log.info("child.started", child=self.name, pid=self._process.pid)
        try:
            return await self._process.wait()
        finally:
            os.close(write)

    async def stop(self, grace_s: float = 8.0) -> None:
        """SIGTERM, wait, SIGKILL. May be called twice."""
        self._stopping = True
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), grace_s)
        except TimeoutError:
            log.warning("child.killed", child=self.name)
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
