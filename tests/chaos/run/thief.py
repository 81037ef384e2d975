"""Wake-ups that never arrive: somebody stands in the broker's queue like a worker, and keeps some of what he gets."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import redis
import redis.asyncio

from gateway.queue import TURNS
from tests.chaos.run.redis_servers import RedisProcess

_PAUSE_S = 0.2


class Thief:
    """Takes a share of all wake-ups, whatever becomes of the broker."""

    def __init__(self, broker: RedisProcess, share: float) -> None:
        self._broker, self._share = broker, share
        self.stolen = 0
        """Wake-ups that never arrived."""
        self._here = 0
        """Of them, those from the server that runs now: it counts from its own start."""

    async def run(self) -> None:
        """Steal until cancelled."""
        while not cancelled():
            self._here = 0
            with suppress(redis.RedisError, OSError):
                async with redis.asyncio.Redis(unix_socket_path=str(self._broker.socket)) as client:
                    while not cancelled():
                        await self._one(client)
            await asyncio.sleep(_PAUSE_S)

    async def _one(self, client: redis.asyncio.Redis) -> None:
        """Wait for a wake-up; keep it as long as the share is not reached, else give it back."""
        found = await client.brpop([TURNS], timeout=1)
        if found is None:
            return
        published = (await client.info("commandstats")).get("cmdstat_lpush", {}).get("calls", 0)
        if self._here < self._share * published:
            self._here += 1
            self.stolen += 1
        else:
            await client.rpush(TURNS, found[1])
            await asyncio.sleep(_PAUSE_S)  # the next ones are for the workers


def cancelled() -> bool:
    """Whether this task is to end: Redis's client makes a time-out out of a cancellation that comes at a bad moment."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
