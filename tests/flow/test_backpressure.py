"""Redis refuses, or is slow: no platform is told that an event was taken, and its next try is answered, once.

Redis away is in test_platforms.py, and what a full one still finishes in test_outages.py.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import redis.asyncio

from gateway.lab.client import LabClient, Platform
from gateway.lab.identity import lab_environment
from tests.flow.brokers import RedisBroker, redis_broker
from tests.flow.processes import Backend, Fleet, environment, free_port, until
from tests.flow.test_platforms import signed

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.slow,
    pytest.mark.timeout(120),
]
FIXTURES = Path(__file__).parent.parent / "fixtures"
SECRET = "right-secret"
WITHIN_S = 3.0
SLACK_MS = 0.5
"""Of a machine that is busy: what an answer may take on top."""


@dataclass
class Door:
    """A gateway with both webhooks, a worker, and the Redis behind them."""

    url: str
    redis: RedisBroker
    lab: LabClient
    backend: Backend
    http: aiohttp.ClientSession
    telegram_chat: int
    slack_channel: str
    slack_root: str
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def events(self, text: str) -> list[tuple[str, bytes, Callable[[bytes], dict[str, str]]]]:
        """One event of each platform: path, body, and what signs it."""
        number = next(self.numbers)
        update = json.loads((FIXTURES / "telegram/01_private_text.json").read_text())
        update["update_id"] = 900_000_000 + number
        update["message"] |= {"message_id": 50_000 + number, "text": f"{text} telegram", "date": int(time.time())}
        update["message"]["chat"]["id"] = update["message"]["from"]["id"] = self.telegram_chat
        event: dict[str, Any] = json.loads((FIXTURES / "slack/02_message_im.json").read_text())
        stamp = f"{int(time.time())}.{number:06d}"
        event["event_id"] = f"EvPressure{number}"
        event["event"] |= {"ts": stamp, "event_ts": stamp, "text": f"{text} slack", "channel": self.slack_channel}
        event["event"] |= {"thread_ts": self.slack_root, "client_msg_id": stamp}
        secret = {"X-Telegram-Bot-Api-Secret-Token": SECRET, "Content-Type": "application/json"}
        return [
            ("/telegram/webhook", json.dumps(update).encode(), lambda _: secret),
            ("/slack/events", json.dumps(event).encode(), signed),
        ]

    async def post(self, path: str, body: bytes, sign: Callable[[bytes], dict[str, str]]) -> tuple[int, bool, float]:
        """Status, whether it says when to come again, and how long it took."""
        began = time.monotonic()
        async with self.http.post(f"{self.url}{path}", data=body, headers=sign(body)) as answer:
            return answer.status, "Retry-After" in answer.headers, time.monotonic() - began

    async def answers(self, text: str) -> int:
        """How many runs were made for a text."""
        return sum(run["text"] == text for run in (await self.backend.log())["runs"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    """One stack for the whole module, on a Redis of its own."""
    folder = tmp_path_factory.mktemp("pressure")
    port = str(free_port())
    async with redis_broker(folder / "redis", "--enable-debug-command", "local") as server:
        fleet = Fleet(folder, environment(folder, server.url))
        try:
            async with fleet.backend() as backend, aiohttp.ClientSession() as http:
                fleet.env |= {"THREADWAY_PORT": port, **lab_environment("127.0.0.1", int(port))}
                hook = {
                    "TELEGRAM_WEBHOOK_URL": f"http://127.0.0.1:{port}/telegram/webhook",
                    "TELEGRAM_WEBHOOK_SECRET": SECRET,
                }
                (_, url), _ = await asyncio.gather(
                    fleet.gateway(THREADWAY_PORT=port, **hook), fleet.worker("-c", "20", **hook)
                )
                async with LabClient(f"{url}/lab") as lab:
                    telegram = await lab.telegram_send("hello", user="ann")
                    await lab.wait_for_reply("telegram", telegram["chat"], after=telegram["cursor"])
                    slack = await lab.slack_send("hello", user="ann")
                    await lab.wait_for_reply("slack", slack["channel"], after=slack["cursor"])
                    places = int(telegram["chat"]), str(slack["channel"]), str(slack["ts"])
                    yield Door(url, server, lab, backend, http, *places)
        finally:
            await fleet.end()
            fleet.show()


async def full(server: RedisBroker) -> None:
    await server.client.config_set("maxmemory", "1")


async def not_full(server: RedisBroker) -> None:
    await server.client.config_set("maxmemory", "0")


async def disk_error(server: RedisBroker) -> None:
    """MISCONF: a snapshot could not be written."""
    (server.folder / "dump.rdb").mkdir()
    await server.client.config_set("save", "3600 1")
    await server.client.bgsave()

    async def failed() -> bool:
        return bool((await server.client.info("persistence"))["rdb_last_bgsave_status"] == "err")

    await until(failed)


async def no_disk_error(server: RedisBroker) -> None:
    await server.client.config_set("save", "")


async def no_replicas(server: RedisBroker) -> None:
    """NOREPLICAS: it must not take what nobody copies."""
    await server.client.config_set("min-replicas-to-write", "1")


async def replicas_enough(server: RedisBroker) -> None:
    await server.client.config_set("min-replicas-to-write", "0")


async def read_only(server: RedisBroker) -> None:
    """READONLY: after a failover this one is the copy."""
    await server.client.execute_command("REPLICAOF", "127.0.0.1", "1")  # type: ignore[no-untyped-call]


async def writable(server: RedisBroker) -> None:
    await server.client.execute_command("REPLICAOF", "NO", "ONE")  # type: ignore[no-untyped-call]


async def stalled(server: RedisBroker) -> None:
    """It has our request and says nothing."""
    server.send(signal.SIGSTOP)


async def quick(server: RedisBroker) -> None:
    server.send(signal.SIGCONT)


async def loading(server: RedisBroker) -> None:
    """LOADING: it was restarted and reads what it has on disk, slowly. It hears nobody for 1,024 commands at a time."""
    async with server.client.pipeline(transaction=False) as pipe:
        for number in range(_LOADED):
            pipe.set("load", number)
        await pipe.execute()
    await server.client.config_set("key-load-delay", str(_LOAD_US))
    _READING.add(asyncio.create_task(_reload(server)))
    await until(lambda: _loads(server))


async def loaded(server: RedisBroker) -> None:
    await server.client.config_set("key-load-delay", "0")
    await asyncio.gather(*_READING)
    _READING.clear()


_LOADED, _LOAD_US = 10_240, 400
_READING: set[asyncio.Task[None]] = set()


async def _reload(server: RedisBroker) -> None:
    async with redis.asyncio.Redis.from_url(server.url) as own:  # this connection is busy until the end
        await own.execute_command("DEBUG", "LOADAOF")  # type: ignore[no-untyped-call]


async def _loads(server: RedisBroker) -> bool:
    return bool((await server.client.info("persistence"))["loading"])


Step = Callable[[RedisBroker], Awaitable[None]]
TROUBLES: dict[str, tuple[Step, Step]] = {
    "full": (full, not_full),
    "disk error": (disk_error, no_disk_error),
    "no replicas": (no_replicas, replicas_enough),
    "read only": (read_only, writable),
    "stalled": (stalled, quick),
    "loading": (loading, loaded),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_what_redis_does_not_take_is_sent_again_and_answered_once(door: Door, trouble: str) -> None:
    begins, ends = TROUBLES[trouble]
    events = door.events(trouble)
    await begins(door.redis)
    try:
        refused = await asyncio.gather(*(door.post(*event) for event in events))
    finally:
        await ends(door.redis)
    assert [(status, again) for status, again, _ in refused] == [(503, True)] * 2
    assert max(took_s for *_, took_s in refused) <= WITHIN_S + SLACK_MS
    await door.redis.client.ping()
    for _ in range(2):  # what was not acknowledged comes again, and from a busy platform twice
        taken = await asyncio.gather(*(door.post(*event) for event in events))
        assert [status for status, *_ in taken] == [200, 200]

    async def answered() -> bool:
        return [await door.answers(f"{trouble} {platform}") for platform in ("telegram", "slack")] == [1, 1]

    await until(answered)
    places: list[tuple[Platform, str]] = [("telegram", str(door.telegram_chat)), ("slack", door.slack_channel)]
    for platform, place in places:
        replies = await _replies(door, platform, place, f"{trouble} {platform}")
        assert len(replies) == 1, replies


async def _replies(door: Door, platform: Platform, place: str, about: str) -> list[str]:
    """Everything that was said about a text, once something was."""

    async def said() -> list[str]:
        messages = await door.lab.messages(place, platform)
        return [m["text"] for m in messages if m["text"].startswith("echo") and m["text"].endswith(about)]

    return list(await until(said))
