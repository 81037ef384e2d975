"""The two Redis servers of a run: the state's, which keeps everything, and the broker's, which may forget."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path

from gateway.redis_server.address import Answer, ping
from tests.chaos.run.history import Outage
from tests.chaos.run.power import Power
from tests.chaos.run.processes import Process, Processes, environment

_READY_S = 30.0


class RedisProcess:
    """A server on a unix socket in a folder of its own; killed and started again at will."""

    def __init__(
        self, processes: Processes, folder: Path, program: str, *options: str, power: Power | None = None
    ) -> None:
        self._processes, self._folder, self._program, self._power = processes, folder, program, power
        self._data = folder / "data"
        self._data.mkdir(parents=True)
        self.socket = folder / "r.sock"
        self._options = options
        self._process: Process | None = None
        self.one_at_a_time = asyncio.Lock()
        self.outages: list[Outage] = []
        self.unsynced_bytes = 0
        """What power cuts have taken so far."""

    @classmethod
    def state(cls, processes: Processes, folder: Path, program: str, fsync: str, power: Power | None) -> RedisProcess:
        """With an append-only file."""
        options = ("--appendonly", "yes", "--appendfsync", fsync, "--maxmemory-policy", "noeviction")
        return cls(processes, folder, program, *options, power=power)

    @classmethod
    def broker(cls, processes: Processes, folder: Path, program: str) -> RedisProcess:
        """In memory."""
        return cls(processes, folder, program, "--appendonly", "no")

    @property
    def url(self) -> str:
        """For REDIS_URL."""
        return f"unix://{self.socket}?db=0"

    @property
    def broker_url(self) -> str:
        """For CELERY_BROKER_URL."""
        return f"redis+socket://{self.socket}?virtual_host=0"

    async def start(self) -> None:
        """Start it; returns when it answers."""
        command = [self._program, "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._data)]
        env = environment(**(self._power.environment if self._power else {}))
        self._process = await self._processes.start("redis", [*command, "--save", "", *self._options], env)
        async with asyncio.timeout(_READY_S):
            while await asyncio.to_thread(ping, str(self.socket)) is not Answer.READY:
                if not self._process.alive:
                    raise RuntimeError(f"Redis ended: {self._process.log.read_text()[-500:]}")
                await asyncio.sleep(0.01)

    async def kill(self, *, away_s: float = 0.0) -> int:
        """kill -9, and after a pause a new one; the pid of the one that was."""
        return await asyncio.shield(self._bring_down(away_s, cut=False))

    async def cut(self, *, away_s: float = 0.0) -> int:
        """A power cut: what was not synced is gone when it is back. Needs `power`."""
        return await asyncio.shield(self._bring_down(away_s, cut=True))

    async def settled(self) -> None:
        """Return when nobody is bringing it down: a cancelled `kill` or `cut` still comes to its end."""
        async with self.one_at_a_time:
            pass

    async def _bring_down(self, away_s: float, *, cut: bool) -> int:
        async with self.one_at_a_time:
            assert self._process is not None
            began, pid = time.time(), self._process.pid
            await self._process.kill()
            if cut:
                assert self._power is not None
                self.unsynced_bytes += self._power.cut(self._data)
            await asyncio.sleep(away_s)
            await self.start()
            self.outages.append(Outage(began, time.time()))
            return pid


def version(program: str) -> str:
    """What the server says of itself, shortened: "Valkey server v=9.1.2"."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return " ".join(said.split()[:3])
