"""The only code that talks to Redis: one connection pool, the rooms as attributes.

Redis decides what is true; a Celery task only says which conversation to look at. Every step is one Lua script on one
hash slot, with the commands of Redis 7.0.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Any, cast

from redis import exceptions as failures
from redis.asyncio import BlockingConnectionPool, Redis

from gateway.domain.errors import SettingsInvalid, StoreDown
from gateway.store.conversations import Conversations
from gateway.store.dead_letters import DeadLetters
from gateway.store.envelopes import envelope_message as envelope_message
from gateway.store.inbox import Inbox
from gateway.store.keys import PARTITIONS as PARTITIONS
from gateway.store.leases import Batch, Leases, Script
from gateway.store.pairings import Pairings
from gateway.store.rounds import Rounds
from gateway.store.shared import Shared
from gateway.store.streams import Mailbox, Nudges, Timeline
from gateway.store.turns import MailUnreadable as MailUnreadable
from gateway.store.turns import Turns

SCRIPTS = Path(__file__).parent / "lua"
_OLDEST = (7, 0)


class Store:
    """State shared by all gateways and workers. Build it on the event loop that uses it; `close` when done."""

    def __init__(self, url: str, *, connections: int = 64, timeout_s: float = 5.0, scripts: Path = SCRIPTS) -> None:
        """`scripts`: the folder of the Lua files; other than our own only where a test breaks one on purpose."""
        self._scripts = scripts
        self._redis = _connect(url, connections, timeout_s)
        # Heartbeats and sweeps have connections of their own: behind a thousand turns' writes a lease would end in the
        # queue for a connection.
        self._vital = _connect(url, 2, timeout_s)
        script = self._script
        self.inbox = Inbox(script("ingest"), script("find"), script("amend"), script("withdraw"), self._call)
        self.leases = Leases(script("acquire"), self._batch("renew"), script("keep_leader"))
        self.rounds = Rounds(self._script("report", vital=True), self._script("sweep", vital=True), self._call)
        extend, behind, reject = script("extend"), script("behind"), script("reject")
        self.turns = Turns(script("step"), script("park"), extend, behind, reject, script("finish"))
        self.conversations = Conversations(self._call)
        self.dead_letters = DeadLetters(script("bury"), script("drop_dead"), script("replay_dead"), self._call)
        self.pairings = Pairings(script("knock"), self._call)
        self.shared = Shared(self._call)
        self.timeline = Timeline(self._call)
        self.nudges = Nudges(self._redis)
        self.mailbox = Mailbox(script("deliver"), self._redis)

    def _script(self, name: str, *, vital: bool = False) -> Script:
        client = self._vital if vital else self._redis
        registered = client.register_script((self._scripts / f"{name}.lua").read_text())

        async def run(keys: Sequence[str], args: Sequence[str | int]) -> Any:
            return await translated(cast(Awaitable[Any], registered(keys=list(keys), args=list(args))))

        return run

    async def _call(self, *command: str | int) -> Any:
        call = self._redis.execute_command(*command)  # type: ignore[no-untyped-call]
        return await translated(cast(Awaitable[Any], call))

    def _batch(self, name: str) -> Batch:
        """A script called many times, on different partitions, in one round trip."""
        registered = self._vital.register_script((self._scripts / f"{name}.lua").read_text())

        async def run(calls: Sequence[tuple[Sequence[str], Sequence[str | int]]]) -> list[Any]:
            async with self._vital.pipeline(transaction=False) as pipe:
                for keys, args in calls:
                    await cast(Awaitable[Any], registered(keys=list(keys), args=list(args), client=pipe))
                return cast(list[Any], await translated(pipe.execute()))

        return run

    async def ping(self) -> bool:
        """Whether Redis answers now. Never raises."""
        try:
            return bool(await self._call("PING"))
        except StoreDown:
            return False

    async def check_server(self) -> list[str]:
        """Refuse a Redis that would lose mail; return warnings about one that may.

        Raises SettingsInvalid for an evicting maxmemory-policy or a server older than 7.0, StoreDown when it is away.
        Reads INFO only: managed servers forbid CONFIG.
        """
        info = cast(dict[str, Any], await translated(cast(Awaitable[Any], self._redis.info())))
        version = str(info.get("redis_version", "0.0"))
        if tuple(int(n) for n in version.split(".")[:2]) < _OLDEST:
            raise SettingsInvalid(
                [f"REDIS_URL: the server is {version}; threadway needs Redis 7.0 or Valkey 7.2 or newer"]
            )
        policy = info.get("maxmemory_policy", "noeviction")
        if policy != "noeviction":
            raise SettingsInvalid(
                [f"REDIS_URL: maxmemory-policy is {policy}, which throws mail away; set it to noeviction"]
            )
        warnings = []
        if not info.get("aof_enabled"):
            warnings.append(
                "Redis keeps no append-only file: a restart of Redis loses accepted messages; set appendonly yes"
            )
        elif await self._fsync_policy() not in ("always", None):
            warnings.append(
                "Redis does not fsync every write: a power cut may lose about one second of accepted messages; "
                "set appendfsync always"
            )
        return warnings

    async def _fsync_policy(self) -> str | None:
        try:
            answer = await self._call("CONFIG", "GET", "appendfsync")
        except (StoreDown, SettingsInvalid):
            return None  # a managed server that forbids CONFIG: nothing to say
        if isinstance(answer, dict):
            return cast("str | None", answer.get("appendfsync"))
        return str(answer[1]) if answer else None

    async def close(self) -> None:
        """Give back all connections. The store is not usable afterwards."""
        for client in (self._redis, self._vital):
            await client.aclose()
            await client.connection_pool.disconnect()


def _connect(url: str, connections: int, timeout_s: float) -> Redis:
    """A client whose pool waits for a free connection; the default one raises, and a thousand turns share it."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=4 * timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=15,
        decode_responses=True,
        encoding_errors="replace",  # half a surrogate pair, which JSON can hold, would make mail unstorable for ever
    )
    return Redis(connection_pool=pool)


async def translated(call: Awaitable[Any]) -> Any:
    """Await a Redis call; its failures become ours.

    Everything that Redis refuses for now (full, loading, read-only, disk error) or cannot be reached for is StoreDown.
    A cancellation stays one: redis-py (8.1) may answer it with a connection's error, or with the result.
    """
    task = asyncio.current_task()
    cancels = task.cancelling() if task else 0
    try:
        result = await call
    except (*_AWAY, *_REFUSED_FOR_NOW, failures.ResponseError) as error:
        if task and task.cancelling() > cancels:
            raise asyncio.CancelledError from error
        meaning = _meaning(error)
        if meaning is error:
            raise
        raise meaning from error
    if task and task.cancelling() > cancels:
        raise asyncio.CancelledError
    return result


def _meaning(error: Exception) -> Exception:
    if isinstance(error, _AWAY):
        return StoreDown(f"Redis is away: {type(error).__name__}")
    if isinstance(error, _REFUSED_FOR_NOW):  # redis-py strips the code word from the text of those it has classes for
        return StoreDown(f"Redis refuses us now: {type(error).__name__}")
    if word := _REFUSAL.search(str(error)):
        return StoreDown(f"Redis refuses us now: {word[0]}")
    return error


_AWAY = (failures.ConnectionError, failures.TimeoutError, TimeoutError, OSError)
_REFUSED_FOR_NOW = (
    failures.OutOfMemoryError,
    failures.ReadOnlyError,
    failures.NoPermissionError,
    failures.MasterDownError,
    failures.ClusterDownError,
    failures.NoScriptError,  # the server was restarted between our loading of the scripts and their call
)
_REFUSAL = re.compile(r"\b(OOM|MISCONF|BUSY|READONLY|MASTERDOWN|CLUSTERDOWN|TRYAGAIN|NOREPLICAS)\b")
"""Somewhere in the text: in a pipeline redis-py puts its own words in front."""
