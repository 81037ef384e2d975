"""What a fleet that has nothing to do costs Redis, and how soon the work of a killed worker is found."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from gateway.store.keys import PARTITIONS, SWEEPERS
from gateway.store.rounds import share
from tests.flow.conftest import Terminal
from tests.flow.processes import Backend, Fleet, until

WATCHED_S = 5.0
CALLS_PER_S = 20


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    yield client
    await client.aclose()


async def calls(raw: redis.asyncio.Redis, seconds: float) -> Counter[str]:
    """What clients ask Redis within `seconds`, by command; what scripts do inside is no round trip."""
    seen: Counter[str] = Counter()
    began: float | None = None
    async with raw.monitor() as watching:
        async for call in watching.listen():
            began = began or call["time"]
            if call["time"] - began > seconds:
                return seen
            if call["client_type"] != "lua":
                seen[call["command"].split()[0].upper()] += 1
    raise AssertionError("not reached")


async def test_an_idle_worker_asks_redis_seldom(fleet: Fleet, backend: Backend, raw: redis.asyncio.Redis) -> None:
    """All of its connections: sweep, heartbeat, nudges, Celery's queues, its remote control and its own heartbeat."""
    await fleet.worker("-c", "50")
    seen = await calls(raw, WATCHED_S)
    assert seen["EVALSHA"] >= 2, f"the sweep looks about once a second: {seen}"
    assert seen.total() / WATCHED_S <= CALLS_PER_S, seen


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("lease_s", [3.0, 10.0])
async def test_the_last_worker_of_a_fleet_finds_in_time_what_all_the_others_held(
    fleet: Fleet, backend: Backend, terminal: Terminal, raw: redis.asyncio.Redis, lease_s: float
) -> None:
    """Within a lease + 2 s of their end; their partitions have to become its own first."""
    fleet.env["THREADWAY_LEASE_S"] = str(lease_s)
    workers = [await fleet.worker("-c", "100") for _ in range(4)]

    async def roster() -> list[str]:
        return sorted(str(name) for name in await raw.zrange(SWEEPERS, 0, -1))

    async def all_there() -> bool:
        return len(await roster()) == len(workers)

    await until(all_there)
    before = {name: share(name, await roster()) for name in await roster()}
    assert sorted(number for numbers in before.values() for number in numbers) == list(range(PARTITIONS))
    people, text = [f"p{n}" for n in range(40)], f"slow {lease_s + 3:g}"
    for person in people:
        await terminal.say(person, text)

    async def all_running() -> bool:
        return len((await backend.log())["runs"]) == len(people)

    await until(all_running)
    for dead in workers[1:]:
        dead.kill()
    killed = time.monotonic()

    async def taken_over() -> bool:
        return sum('"turn.taken"' in line for line in workers[0].lines) >= len(people)

    await until(taken_over)
    assert time.monotonic() - killed <= lease_s + 2
    (left,) = await roster()
    assert int(left.rpartition(":")[2]) == workers[0].process.pid
    for person in people:
        assert await terminal.hear(person) == f"echo 1: {text}"
    assert len((await backend.log())["runs"]) == len(people), "no run was made twice"
