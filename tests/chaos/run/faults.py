"""Who is hit, when: each kind of fault in a rhythm of its own, drawn from the seed."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import redis
import redis.asyncio

from tests.chaos.run.plan import PER_MINUTE, Plan
from tests.chaos.run.power import Power
from tests.chaos.run.stage import Actor, Stage
from tests.chaos.run.thief import Thief, cancelled

FEWEST_WORKERS = 2
"""So many are left alone: recovery is measured against them."""


class Faults:
    """Runs until cancelled."""

    def __init__(self, plan: Plan, stage: Stage) -> None:
        self._plan, self._stage = plan, stage
        self.thief = Thief(stage.broker, plan.dropped_wake_ups)
        self._acts: dict[str, Callable[[random.Random], Awaitable[None]]] = {
            "kill worker": self._kill_worker,
            "term worker": self._term_worker,
            "stop worker": self._stop_worker,
            "kill gateway": self._kill_gateway,
            "kill backend": self._kill_backend,
            "kill redis": self._kill_redis,
            "power cut": self._cut_power,
            "flush broker": self._flush_broker,
            "kill broker": self._kill_broker,
            "cut wires": self._cut_wires,
        }

    async def run(self) -> None:
        """All kinds at once, until cancelled; then nobody stays stopped."""
        stage, plan = self._stage, self._plan
        stage.door.duplicate_rate, stage.door.lost_ack_rate = plan.duplicate_rate, plan.lost_ack_rate
        stage.to_lab.rate = stage.to_backend.rate = plan.mishaps
        try:
            async with asyncio.TaskGroup() as group:
                for kind in PER_MINUTE:
                    if self._possible(kind):
                        group.create_task(self._repeat(kind, plan.rate(kind)))
                group.create_task(self.thief.run())
        finally:
            stage.door.duplicate_rate = stage.door.lost_ack_rate = 0.0
            stage.to_lab.rate = stage.to_backend.rate = 0.0
            for worker in stage.workers:
                if worker.process:
                    worker.process.send(signal.SIGCONT)
            await asyncio.gather(stage.state.settled(), stage.broker.settled())

    def _possible(self, kind: str) -> bool:
        able = kind != "power cut" or isinstance(self._stage.power, Power)
        return able and self._plan.rate(kind) > 0

    async def _repeat(self, kind: str, rate: float) -> None:
        chance = self._plan.chance(kind)
        # The first one early: a short run shall see every kind. Bounded, so that rare kinds come, too.
        await asyncio.sleep(chance.uniform(0, min(1 / rate, self._plan.seconds / 2)))
        while not cancelled():
            began = time.monotonic()
            await self._acts[kind](chance)
            pause_s = min(chance.expovariate(rate), 3 / rate)
            await asyncio.sleep(max(0.05, pause_s - (time.monotonic() - began)))

    def _victim(self, chance: random.Random) -> Actor | None:
        fit = self._stage.fit_workers()
        return chance.choice(fit) if len(fit) > FEWEST_WORKERS else None

    async def _kill_worker(self, chance: random.Random) -> None:
        if victim := self._victim(chance):
            await self._kill(victim, "kill worker")

    async def _kill(self, actor: Actor, kind: str) -> None:
        if actor.process and actor.process.alive:
            actor.ready = False
            self._stage.blow(kind, actor.process.pid)
            await actor.process.kill()

    async def _term_worker(self, chance: random.Random) -> None:
        if (victim := self._victim(chance)) and victim.process:
            victim.ready = False
            self._stage.blow("term worker", victim.process.pid)
            victim.process.send(signal.SIGTERM)
            await victim.process.ended.wait()

    async def _stop_worker(self, chance: random.Random) -> None:
        if (victim := self._victim(chance)) and (process := victim.process):
            victim.ready = False
            self._stage.blow("stop worker", process.pid)
            process.send(signal.SIGSTOP)
            try:
                await asyncio.sleep(self._plan.lease_s + 1.5)
            finally:
                process.send(signal.SIGCONT)
            victim.ready = victim.process is process and process.alive

    async def _kill_gateway(self, chance: random.Random) -> None:
        await self._kill(chance.choice(self._stage.gateways), "kill gateway")

    async def _kill_backend(self, chance: random.Random) -> None:
        await self._kill(self._stage.backend, "kill backend")

    async def _kill_redis(self, chance: random.Random) -> None:
        self._stage.blow("kill redis", await self._stage.state.kill(away_s=chance.uniform(0, 1)))

    async def _cut_power(self, chance: random.Random) -> None:
        self._stage.blow("power cut", await self._stage.state.cut(away_s=chance.uniform(0, 0.5)))

    async def _kill_broker(self, chance: random.Random) -> None:
        self._stage.blow("kill broker", await self._stage.broker.kill(away_s=chance.uniform(0, 2)))

    async def _flush_broker(self, chance: random.Random) -> None:
        self._stage.blow("flush broker")
        with suppress(redis.RedisError, OSError):
            async with redis.asyncio.Redis(unix_socket_path=str(self._stage.broker.socket)) as client:
                await client.flushall()

    async def _cut_wires(self, chance: random.Random) -> None:
        self._stage.blow("cut wires")
        chance.choice((self._stage.to_lab, self._stage.to_backend)).cut_all()
