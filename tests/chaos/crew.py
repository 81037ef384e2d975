"""The processes of a place: started warm, armed, and ended with it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import aiohttp

from tests.chaos.forkserver import Forked, ForkServer
from tests.chaos.kept import PATIENCE_S, soon


class Crew:
    """Workers and gateways that share an environment."""

    def __init__(
        self,
        forks: ForkServer,
        http: aiohttp.ClientSession,
        folder: Path,
        env: Mapping[str, str],
        port: int,
        tokens: Collection[str],
        try_again: Callable[[], None],
    ) -> None:
        """`port`: the gateway's. `tokens`: the names in `env` that a blind worker does not get. `try_again` is for the
        platforms: a gateway that does not die is there."""
        self._forks, self._http, self._folder = forks, http, folder
        self._env, self._port, self._tokens = dict(env), port, tokens
        self._try_again = try_again
        self.processes: list[Forked] = []

    async def worker(self, arm: str = "", *, blind: bool = False) -> Forked:
        """Start a worker that dies at `arm`; a blind one knows no platform."""
        env = {name: value for name, value in self._env.items() if not (blind and name in self._tokens)}
        return await self._start("worker", ["worker", "-c", "20"], env, arm)

    async def gateway(self, arm: str = "") -> Forked:
        """Start the gateway and wait until it is ready; `arm` as above."""
        gateway = await self._start("gateway", ["gateway"], self._env | {"THREADWAY_PORT": str(self._port)}, arm)
        try:
            await soon(self._ready)
        except TimeoutError:
            raise AssertionError(f"{gateway.name} does not get ready") from None
        if not arm:
            self._try_again()
        return gateway

    async def _ready(self) -> bool:
        try:
            async with self._http.get(f"http://127.0.0.1:{self._port}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def _start(self, kind: str, argv: Sequence[str], env: dict[str, str], arm: str) -> Forked:
        name = f"{kind}-{len(self.processes)}"
        process = await self._forks.start(name, argv, env | {"TW_CRASH_AT": arm}, self._folder)
        self.processes.append(process)
        return process

    async def death(self, process: Forked, arm: str) -> None:
        """Wait until a process has died where it was to die. Raises AssertionError when it did not."""
        try:
            code = await process.wait(PATIENCE_S)
        except TimeoutError:
            raise AssertionError(f"{process.name} never came to {arm}") from None
        assert code == -signal.SIGKILL, f"{process.name} ended with {code} instead of dying at {arm}"

    async def close(self) -> None:
        """Kill what still runs."""
        await asyncio.gather(*(process.end() for process in self.processes))
