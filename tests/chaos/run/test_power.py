"""A power cut takes what was not synced, and only that."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio

from gateway.redis_server import find_server
from tests.chaos.run.power import Power
from tests.chaos.run.processes import Processes
from tests.chaos.run.redis_servers import RedisProcess
from tests.flow.processes import until


@pytest.fixture
def power(tmp_path: Path) -> Power:
    built = Power.build(tmp_path)
    if isinstance(built, str):
        pytest.skip(built)
    return built


@asynccontextmanager
async def server(tmp_path: Path, power: Power, fsync: str) -> AsyncIterator[RedisProcess]:
    program = os.environ.get("TEST_REDIS_SERVER") or str(find_server())
    async with Processes(tmp_path) as processes:
        started = RedisProcess.state(processes, tmp_path / "state", program, fsync, power)
        await started.start()
        yield started


def client(of: RedisProcess) -> redis.asyncio.Redis:
    return redis.asyncio.Redis(unix_socket_path=str(of.socket), decode_responses=True)


async def test_with_always_every_answered_write_is_there_after_the_cut(tmp_path: Path, power: Power) -> None:
    async with server(tmp_path, power, "always") as state:
        for number in range(5):
            async with client(state) as before:
                await asyncio.gather(*(before.set(f"{number}.{n}", n) for n in range(50)))
            await state.cut()
        async with client(state) as after:
            assert await after.dbsize() == 250
        assert len(state.outages) == 5


async def test_with_everysec_a_write_that_was_not_synced_is_gone(tmp_path: Path, power: Power) -> None:
    async with server(tmp_path, power, "everysec") as state:
        for number in range(5):  # the second may just be over: then this write was synced, and the next is not
            async with client(state) as before:
                await before.set(f"key {number}", "x")
            await state.cut()
        async with client(state) as after:
            assert await after.dbsize() < 5
        assert state.unsynced_bytes > 0


async def test_a_kill_takes_nothing_whatever_was_synced(tmp_path: Path, power: Power) -> None:
    async with server(tmp_path, power, "no") as state:
        async with client(state) as before:
            await before.set("key", "kept")
        await state.kill()
        async with client(state) as after:
            assert await after.get("key") == "kept"


async def test_a_rewritten_file_survives_under_its_new_name(tmp_path: Path, power: Power) -> None:
    async with server(tmp_path, power, "always") as state:
        async with client(state) as before:
            await before.set("key", "kept")
            await before.bgrewriteaof()
            await until(lambda: _rewritten(before))
            await before.set("other", "kept, too")
        await state.cut()
        async with client(state) as after:
            assert await after.mget("key", "other") == ["kept", "kept, too"]


async def _rewritten(of: redis.asyncio.Redis) -> bool:
    return not (await of.info("persistence"))["aof_rewrite_in_progress"]


def test_the_cut_shortens_each_file_to_what_was_synced(tmp_path: Path, power: Power) -> None:
    data = tmp_path / "data"
    data.mkdir()
    script = (
        "import os, sys; f = open(sys.argv[1] + '/new', 'ab', 0); f.write(b'12345'); os.fsync(f.fileno());"
        "f.write(b'678'); os.rename(sys.argv[1] + '/new', sys.argv[1] + '/renamed');"
        "open(sys.argv[1] + '/never', 'w').write('x')"
    )
    subprocess.run(["python3", "-c", script, str(data)], env={**os.environ, **power.environment}, check=True)
    assert power.cut(data) == 4
    assert ((data / "renamed").read_bytes(), (data / "never").read_bytes()) == (b"12345", b"")
    assert power.cut(data) == 0, "what is left is on the disk"
