"""What answers a message, as processes of ours: Redis unless one is given, one gateway, one worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from gateway.children import Backoff, Child, environment
from gateway.domain.errors import StoreDown
from gateway.domain.pacing import Clock
from gateway.listening import url_of
from gateway.redis_server import RedisServer, ServerFailed, ServerMissing
from gateway.settings import Settings
from gateway.store import Store
from gateway.telemetry import log

T = TypeVar("T")
GRACE_S = 5.0
"""What a child may take to end: a gateway's open requests get 3 s, a worker hands over in 2."""
_STEP_S = 0.1
_TELL_S = 20.0
"""Nothing waits silently: so often is said what a start still waits for."""


class Fleet:
    """`start`, `until_ready`, `unless_failed(…)`, `stop`; on one event loop, whose thread is the main thread."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        gateway: Mapping[str, str],
        worker: Mapping[str, str],
        logfile: Path | None = None,
    ) -> None:
        """`settings` are what the gateway will read; `gateway` and `worker` change our environment for each of them.

        With `logfile` everything they say is appended to it.
        """
        self.settings = settings
        self._changes = {"gateway": dict(gateway), "worker": dict(worker)}
        self._clock = clock
        self._logfile = logfile
        self._redis = RedisServer(settings.data_dir) if settings.redis_url is None else None
        self._children: list[Child] = []
        self._keeping: list[asyncio.Task[None]] = []
        self._began_s = 0.0

    @property
    def redis_url(self) -> str:
        """The Redis behind it; RuntimeError before `start`. May hold a password."""
        return self._redis.url if self._redis is not None else self.settings.redis_url_value()

    async def start(self) -> None:
        """Start all; returns when Redis answers (one that was given is not asked) and the others are on their way.

        Call once. Raises ServerMissing, ServerFailed.
        """
        if self._redis is not None:
            await self._redis.start()
            self._keeping.append(asyncio.create_task(self._keep_redis(self._redis)))
        self._began_s = self._clock.monotonic()
        metrics = {} if self.settings.metrics_port is None else {"THREADWAY_METRICS_PORT": "0"}
        more = {"gateway": {}, "worker": metrics}
        for name, changes in self._changes.items():
            env = environment({**changes, **more[name], "REDIS_URL": self.redis_url})
            child = Child(name, [name], env, self._clock, logfile=self._logfile)
            self._children.append(child)
            self._keeping.append(asyncio.create_task(child.keep()))

    async def _keep_redis(self, server: RedisServer) -> None:
        """Our server is started again; somebody else's dies with its owner, and then the next one is ours."""
        backoff = Backoff(self._clock)
        while True:
            backoff.born()
            status = await server.wait()
            while True:
                wait_s = backoff.died()
                log.warning("child.died", child="redis", code=status, again_in_s=round(wait_s, 2))
                await self._clock.sleep(wait_s)
                try:
                    await server.start()
                    break
                except (ServerFailed, ServerMissing) as failed:
                    log.error("redis.start.failed", error=str(failed))
                    backoff.born()

    async def until_ready(self, seen: Callable[[str], None] = lambda _: None) -> None:
        """Return when a message would be answered: the gateway says ready and a worker has reported since we started.

        `seen` is told "gateway" and "worker" as each of them is there. Raises ChildFailed when one gives up meanwhile.
        """
        await self.unless_failed(self._until_ready(seen))

    async def _until_ready(self, seen: Callable[[str], None]) -> None:
        store = Store(self.redis_url, connections=2)
        there: set[str] = set()
        tell_at = self._clock.monotonic() + _TELL_S
        try:
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5), trust_env=False) as http:
                while True:
                    missing = {"gateway": await self._gateway_lacks(http), "worker": await self._worker_lacks(store)}
                    for name in missing.keys() - there:
                        if not missing[name]:
                            there.add(name)
                            seen(name)
                    if not any(missing.values()):
                        return
                    if self._clock.monotonic() > tell_at:
                        log.warning("start.waiting", what=", ".join(filter(None, missing.values())))
                        tell_at += _TELL_S
                    await self._clock.sleep(_STEP_S)
        finally:
            await store.close()

    async def _gateway_lacks(self, http: aiohttp.ClientSession) -> str:
        """What /readyz names as down; "" when nothing is."""
        try:
            async with http.get(f"{url_of(self.settings.host, self.settings.port)}/readyz") as answer:
                if answer.status == 200:
                    return ""
                parts: dict[str, str] = await answer.json()
                return ", ".join(name for name, state in parts.items() if state != "ok") or "gateway"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return "gateway"

    async def _worker_lacks(self, store: Store) -> str:
        """An earlier worker's last report, which a killed fleet leaves behind, does not count."""
        try:
            return "" if await store.rounds.workers(within_s=self._clock.monotonic() - self._began_s) else "worker"
        except StoreDown:
            return "worker"

    async def unless_failed(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`; its value. Cancels it and raises ChildFailed when a child gives up meanwhile."""
        task = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait({task, *self._keeping}, return_when=asyncio.FIRST_COMPLETED)
            for ended in done - {task}:
                ended.result()
            return await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def stop(self) -> None:
        """Gateway first (no new mail), then the worker (hands its turns over), Redis last. May be called twice."""
        for child in self._children:
            await child.stop(GRACE_S)
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        if self._redis is not None:
            await self._redis.stop()

    def hurry(self) -> None:
        """Kill what `stop`, which is under way, waits for. Nothing is lost: that is what the leases are for."""
        for child in self._children:
            child.kill()
