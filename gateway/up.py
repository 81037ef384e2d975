"""Everything on one machine in one process tree: Redis, gateway, workers, and the lab when no platform is set up."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack, closing

import aiohttp

from gateway.children import Child, ChildFailed
from gateway.domain.errors import SettingsInvalid, StoreDown
from gateway.domain.pacing import Clock, SystemClock
from gateway.redis_server import RedisServer, ServerFailed, ServerMissing
from gateway.settings import Settings, load
from gateway.store import Store
from gateway.telemetry import log


class Fleet:
    """Redis unless one is given, one gateway, one worker: what answers a message."""

    def __init__(self, settings: Settings, clock: Clock, extra: Mapping[str, str], *, quiet: bool = False) -> None:
        self.settings = settings
        self.extra = dict(extra)
        self._clock = clock
        self._quiet = quiet
        self._children: list[Child] = []
        self._keeping: list[asyncio.Task[None]] = []
        self._redis: RedisServer | None = None

    async def start(self) -> None:
        """Start what is needed, in order. Raises ServerMissing, ServerFailed."""
        if self.settings.redis_url is None:
            self._redis = RedisServer(self.settings.data_dir)
            await self._redis.start()
            self.extra["REDIS_URL"] = self._redis.url
            self._keeping.append(asyncio.create_task(self._keep_redis(self._redis)))
        env = {**os.environ, **self.extra}
        metrics = {} if self.settings.metrics_port is None else {"THREADWAY_METRICS_PORT": "0"}
        gateway = Child("gateway", ["gateway"], env, self._clock, quiet=self._quiet)
        worker = Child("worker", ["worker"], {**env, **metrics}, self._clock, quiet=self._quiet)
        self._children = [gateway, worker]
        self._keeping += [asyncio.create_task(child.keep()) for child in self._children]

    async def _keep_redis(self, server: RedisServer) -> None:
        while True:
            status = await server.wait()
            log.warning("child.died", child="redis", code=status)
            await self._clock.sleep(0.5)
            await server.start()

    async def until_ready(self) -> None:
        """Return when a message would be answered: the gateway says ready and a worker has reported.

        Raises ChildFailed when a child gives up meanwhile.
        """
        store = Store(self.extra.get("REDIS_URL") or self.settings.redis_url_value(), connections=4)
        host = "127.0.0.1" if self.settings.host in ("0.0.0.0", "::") else self.settings.host  # noqa: S104
        url = f"http://{host}:{self.extra.get('THREADWAY_PORT', self.settings.port)}/readyz"
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2), trust_env=False) as http:
                while not (await _says_ready(http, url) and await _a_worker(store, self._clock)):
                    self._raise_failure()
                    await self._clock.sleep(0.1)
        finally:
            await store.close()

    def _raise_failure(self) -> None:
        for task in self._keeping:
            if task.done() and not task.cancelled() and (error := task.exception()):
                raise error

    async def until_failure(self) -> None:
        """Return never; raises ChildFailed when a child gives up for good."""
        await asyncio.wait(self._keeping, return_when=asyncio.FIRST_EXCEPTION)
        self._raise_failure()

    async def stop(self) -> None:
        """Gateway first (no new mail), then the worker (hands its turns over), Redis last. May be called twice."""
        for child in self._children:
            await child.stop()
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        if self._redis is not None:
            await self._redis.stop()


async def _says_ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False


async def _a_worker(store: Store, clock: Clock) -> bool:
    try:
        return await store.shared.workers(now_s=clock.now().timestamp()) > 0
    except StoreDown:
        return False


def port_is_free(host: str, port: int) -> bool:
    """Whether a server could bind there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with closing(socket.socket(family)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


async def up(settings: Settings) -> int:
    """Run everything until Ctrl-C or SIGTERM; the exit code. stdout gets one line, when a message would be answered."""
    if not port_is_free(settings.host, settings.port):
        print(  # noqa: T201
            f"THREADWAY_PORT: port {settings.port} on {settings.host} is taken; set another one, e.g. "
            f"THREADWAY_PORT={settings.port + 1}",
            file=sys.stderr,
        )
        return 1
    extra: dict[str, str] = {}
    lab = settings.lab_on(in_up=True)
    if lab:
        from gateway.lab.identity import lab_environment

        extra |= lab_environment(settings.host, settings.port)
    load({**os.environ, **extra})  # what the children will read has to hold as well
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    fleet = Fleet(settings, SystemClock(), extra)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(fleet.stop)
        running = asyncio.create_task(_run(fleet, f"http://{settings.host}:{settings.port}/{'lab' if lab else ''}"))
        waiting = asyncio.create_task(stopped.wait())
        await asyncio.wait((running, waiting), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not running.done():
            running.cancel()
            log.info("up.stopping")
            return 0
        try:
            running.result()
        except (ChildFailed, ServerMissing, ServerFailed, SettingsInvalid) as failed:
            print(failed, file=sys.stderr)  # noqa: T201
            return failed.code if isinstance(failed, ChildFailed) else 1
    return 1


async def _run(fleet: Fleet, page: str) -> None:
    await fleet.start()
    await fleet.until_ready()
    print(f"threadway is ready: {page}", flush=True)  # noqa: T201  the contract's one line
    await fleet.until_failure()
