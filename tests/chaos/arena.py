"""Where workers and gateways die: one Redis and one fork server for all, and for each case a place of its own.

A place has its own Redis database, platforms, backend and gateway, so that whatever is left behind there was left by
its own processes, and cases run side by side.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path

import aiohttp
import redis.asyncio

from gateway.domain.pacing import Clock, SystemClock
from gateway.lab.client import LabClient
from gateway.lab.faults import Platform
from gateway.lab.standalone import Served, serve_lab
from tests.chaos.crew import Crew
from tests.chaos.forkserver import ForkServer, fork_server
from tests.chaos.kept import Kept, soon
from tests.chaos.place import Place
from tests.chaos.strict import serve_strictly
from tests.conftest import _server_binary
from tests.flow.processes import environment, free_port

DATABASES = 512
LEASE_S = 2
"""Calls time out after 0.45 of it (DESIGN §4): with less, a busy machine looks like a platform that is away."""
LONG_S = 5.0
"""What a minute is to the lab's platforms, which would keep a test waiting for it."""


class PlatformClock(Clock):
    """The platforms' clock: a minute or more, as they wait before they try once more, is over when a gateway has come
    back, and in LONG_S at the latest."""

    def __init__(self) -> None:
        self._back = asyncio.Event()
        self._real = SystemClock()

    def back(self) -> None:
        """A gateway has come back: whoever waits tries once more."""
        self._back.set()
        self._back = asyncio.Event()  # who begins to wait now waits for the next one

    def now(self) -> datetime:
        """See Clock.now."""
        return self._real.now()

    def monotonic(self) -> float:
        """See Clock.monotonic."""
        return self._real.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See Clock.sleep."""
        if seconds < 60:
            await self._real.sleep(seconds)
        else:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._back.wait(), LONG_S)


class Arena:
    """What all places share. Belongs to one event loop."""

    def __init__(self, folder: Path, socket: Path, forks: ForkServer) -> None:
        self._folder, self._socket, self._forks = folder, socket, forks
        self._numbers = itertools.count(1)

    @asynccontextmanager
    async def place(self, platform: Platform, settings: str, *, webhook: bool = False) -> AsyncIterator[Place]:
        """A new place whose processes read `settings` as their threadway.toml; nothing of it runs after the block.

        webhook: Telegram brings its updates, instead of being asked for them.
        """
        number = next(self._numbers)
        url = f"unix://{self._socket}?db={number % DATABASES}"
        folder = self._folder / str(number)
        folder.mkdir()
        (folder / "threadway.toml").write_text(settings)
        port, clock = free_port(), PlatformClock()
        own = f"http://127.0.0.1:{port}"
        async with AsyncExitStack() as stack:
            backend = await stack.enter_async_context(serve_strictly())
            served = await stack.enter_async_context(serve_lab(clock=clock, slack_events_url=f"{own}/slack/events"))
            lab = await stack.enter_async_context(LabClient(served.url))
            http = await stack.enter_async_context(aiohttp.ClientSession())
            store = redis.asyncio.Redis.from_url(url, decode_responses=True)
            stack.push_async_callback(store.aclose)
            tokens = _tokens(platform, served)
            if webhook:
                tokens["TELEGRAM_WEBHOOK_URL"] = f"{own}/telegram/webhook"
            env = environment(
                folder,
                url,
                THREADWAY_BACKEND="assistants",
                OPENAI_BASE_URL=backend.url,
                THREADWAY_MODEL="fake",
                THREADWAY_LEASE_S=str(LEASE_S),
                THREADWAY_LAB="off",
                **tokens,
            )
            crew = Crew(self._forks, http, folder, env, port, tokens, clock.back)
            stack.push_async_callback(crew.close)
            yield Place(platform, number, folder, lab, backend, crew, Kept(store))


def _tokens(platform: Platform, served: Served) -> dict[str, str]:
    if platform == "telegram":
        return {"TELEGRAM_BOT_TOKEN": served.telegram_token, "TELEGRAM_API_BASE_URL": served.telegram_url}
    return {
        "SLACK_BOT_TOKEN": served.slack_bot_token,
        "SLACK_SIGNING_SECRET": served.slack_signing_secret,
        "SLACK_API_BASE_URL": served.slack_url,
    }


@asynccontextmanager
async def open_arena() -> AsyncIterator[Arena]:
    """A Redis with a database for each case, and a warm fork server."""
    folder = Path(tempfile.mkdtemp(prefix="tw-crash-"))
    socket = folder / "r.sock"
    server = subprocess.Popen(  # noqa: ASYNC220  returns at once
        [_server_binary(), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", "",
         "--databases", str(DATABASES), "--appendonly", "yes", "--appendfsync", "everysec",
         "--maxmemory-policy", "noeviction"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with fork_server() as forks:
            await soon(lambda: _answers(socket))
            yield Arena(folder, socket, forks)
    finally:
        server.terminate()
        server.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


async def _answers(socket: Path) -> bool:
    async with redis.asyncio.Redis(unix_socket_path=str(socket)) as client:
        try:
            return bool(await client.ping())
        except redis.exceptions.RedisError:
            return False
