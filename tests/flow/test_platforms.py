"""Telegram and Slack through the lab: the real SDKs over HTTP, a real gateway, a real worker."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from gateway.lab.client import LabClient
from gateway.lab.identity import LAB_SLACK_SIGNING_SECRET, lab_environment
from gateway.lab.telegram.world import TOPICS
from gateway.redis_server import RedisServer
from tests.flow.processes import Backend, Fleet, Process, environment, free_port, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Platforms:
    """A gateway with the lab, a worker, the strict backend."""

    url: str
    lab: LabClient
    backend: Backend
    worker: Process

    async def telegram(self, text: str, **where: Any) -> str:
        """Say it on Telegram, hear the answer."""
        sent = await self.lab.telegram_send(text, **where)
        thread = str(where["thread"]) if where.get("thread") else None
        reply = await self.lab.wait_for_reply("telegram", sent["chat"], after=sent["cursor"], thread=thread)
        return str(reply["text"])

    async def slack(self, text: str, **where: Any) -> tuple[str, str]:
        """Say it on Slack, hear the answer; the answer and the root of its thread."""
        sent = await self.lab.slack_send(text, **where)
        reply = await self.lab.wait_for_reply("slack", sent["channel"], after=sent["cursor"])
        return str(reply["text"]), str(reply["thread"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def platforms(redis_socket: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Platforms]:
    """One stack for the whole module: each test talks in places of its own. Database 1, so that no test empties it."""
    folder = tmp_path_factory.mktemp("platforms")
    fleet = Fleet(folder, environment(folder, f"unix://{redis_socket}?db=1"))
    port = str(free_port())
    try:
        async with fleet.backend() as backend:
            fleet.env |= {"THREADWAY_LAB": "on", "THREADWAY_PORT": port}
            (_, url), worker = await asyncio.gather(fleet.gateway(THREADWAY_PORT=port), fleet.worker("-c", "50"))
            async with LabClient(f"{url}/lab") as lab:
                yield Platforms(url, lab, backend, worker)
    finally:
        await fleet.end()
        fleet.show()


async def test_each_place_on_telegram_has_its_own_thread(platforms: Platforms) -> None:
    first, second = sorted(TOPICS)[:2]
    places: list[dict[str, Any]] = [
        {"user": "ann"},
        {"user": "bob"},
        {"user": "ann", "chat": "forum", "thread": first},
        {"user": "ann", "chat": "forum", "thread": second},
    ]
    for place in places:
        text = "@threadway_lab_bot hello" if "chat" in place else "hello"
        assert await platforms.telegram(text, **place) == "echo 1: hello"
    for place in places:
        text = "@threadway_lab_bot again" if "chat" in place else "again"
        assert await platforms.telegram(text, **place) == "echo 2: again"
    assert await platforms.telegram("👩‍🔧 @threadway_lab_bot hello", chat="group") == "echo 1: 👩‍🔧 hello"
    assert "new conversation" in await platforms.telegram("/new")
    assert await platforms.telegram("hello") == "echo 1: hello"
    assert "/stop" in await platforms.telegram("/help@threadway_lab_bot", chat="group")


async def test_each_place_on_slack_has_its_own_thread(platforms: Platforms) -> None:
    before = len((await platforms.backend.log())["runs"])
    text, root = await platforms.slack("@Threadway hello", channel="#general")
    assert text == "echo 1: hello"
    assert await platforms.slack("again", channel="#general", thread_ts=root) == ("echo 2: again", root), (
        "a follow-up in a thread the bot is in needs no mention"
    )
    other, other_root = await platforms.slack("@Threadway hello", channel="#general")
    assert (other, other_root != root) == ("echo 1: hello", True)
    assert (await platforms.slack("hello"))[0] == "echo 1: hello"
    assert (await platforms.slack("again"))[0] == "echo 2: again"
    assert "new conversation" in (await platforms.slack("!new", channel="#general", thread_ts=root))[0]
    assert (await platforms.slack("hello", channel="#general", thread_ts=root))[0] == "echo 1: hello"
    runs = (await platforms.backend.log())["runs"]
    assert len(runs) - before == 6, "app_mention and message.channels of one mention are one message"


async def test_tool_calls_and_bad_endings_all_the_way(platforms: Platforms) -> None:
    assert await platforms.telegram("tool 6*7", user="doerte") == "42"
    assert (await platforms.slack("tools", user="doerte"))[0] == "144 and 5", "two calls at once"
    for said, told in (("fail", "could not finish"), ("expire", "has expired")):
        assert told in await platforms.telegram(said, user="doerte")
        assert told in (await platforms.slack(said, user="doerte"))[0]
        assert "echo" in await platforms.telegram("and now?", user="doerte")


async def test_what_comes_twice_is_answered_once(platforms: Platforms) -> None:
    before = len((await platforms.backend.log())["runs"])
    await platforms.lab.set_fault("telegram", duplicates=1.0)
    await platforms.lab.set_fault("slack", duplicates=1.0)
    for number in range(1, 4):
        assert await platforms.telegram(f"n{number}", user="eva") == f"echo {number}: n{number}"
        assert (await platforms.slack(f"n{number}", user="eva"))[0] == f"echo {number}: n{number}"
    await platforms.lab.reset_faults()
    assert len((await platforms.backend.log())["runs"]) == before + 6


async def test_a_long_reply_comes_in_parts_and_a_platform_that_slows_us_down_is_obeyed(platforms: Platforms) -> None:
    await platforms.lab.fail_next("telegram", "sendMessage", "rate_429", count=1, retry_after=1)
    sent = await platforms.lab.telegram_send("long 1200", user="chen")
    texts: list[str] = []
    cursor = sent["cursor"]
    while "word1199" not in "".join(texts):
        reply = await platforms.lab.wait_for_reply("telegram", sent["chat"], after=cursor)
        cursor = reply["cursor"]
        texts.append(reply["text"])
    assert len(texts) == 3
    assert all(len(text.encode("utf-16-le")) // 2 <= 4096 for text in texts)
    assert " ".join(texts).split() == [f"word{n}" for n in range(1200)]


async def test_a_user_who_blocked_the_bot_stops_nobody(platforms: Platforms) -> None:
    sent = await platforms.lab.telegram_send("slow 1", user=910_000_001)
    await platforms.lab.act("telegram/block", {"user": 910_000_001, "blocked": True})
    assert await platforms.telegram("hello", user=910_000_002) == "echo 1: hello"
    await platforms.worker.until_line("turn.given_up")
    await platforms.lab.act("telegram/block", {"user": 910_000_001, "blocked": False})
    await platforms.lab.telegram_send("again", user=910_000_001)
    reply = await platforms.lab.wait_for_reply("telegram", sent["chat"], after=sent["cursor"])
    assert reply["text"] == "echo 2: again", "what could not be delivered was put aside, the conversation goes on"


def signed(body: bytes, *, secret: str = LAB_SLACK_SIGNING_SECRET, age_s: int = 0) -> dict[str, str]:
    stamp = str(int(time.time()) - age_s)
    digest = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
    return {
        "Content-Type": "application/json",
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": f"v0={digest}",
    }


def event(name: str) -> bytes:
    body = json.loads((Path(__file__).parent.parent / "fixtures/slack/02_message_im.json").read_text())
    body["event_id"] = name
    body["event"]["ts"] = body["event"]["event_ts"] = f"{int(time.time())}.{abs(hash(name)) % 10**6:06d}"
    return json.dumps(body).encode()


async def test_bad_input_is_refused_at_the_door(redis_url: str, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, environment(tmp_path, redis_url))
    try:
        await _refuse_everything_bad(fleet)
    finally:
        await fleet.end()


async def _refuse_everything_bad(fleet: Fleet) -> None:
    port = str(free_port())
    hook = f"http://127.0.0.1:{port}/telegram/webhook"
    lab = {"THREADWAY_LAB": "on", "THREADWAY_PORT": port}
    lab |= lab_environment("127.0.0.1", int(port)) | {
        "TELEGRAM_WEBHOOK_URL": hook,
        "TELEGRAM_WEBHOOK_SECRET": "right-secret",
    }
    _, url = await fleet.gateway(**lab)
    slack = f"{url}/slack/events"
    good = event("EvGood")
    update = (Path(__file__).parent.parent / "fixtures/telegram/01_private_text.json").read_bytes()
    right = {"X-Telegram-Bot-Api-Secret-Token": "right-secret"}
    broken = b'{"type": "event_callback", '
    cases: list[tuple[str, bytes, dict[str, str], int]] = [
        (slack, good, {"Content-Type": "application/json"}, 401),
        (slack, good, signed(good, secret="wrong"), 401),
        (slack, good, signed(good, age_s=600), 401),
        (slack, good, {**signed(good), "X-Slack-Request-Timestamp": "yesterday"}, 401),
        (slack, broken, signed(broken), 400),
        (slack, b"x" * 2_000_000, signed(b"x" * 2_000_000), 413),
        (slack, good, signed(good), 200),
        (hook, update, {}, 401),
        (hook, update, {"X-Telegram-Bot-Api-Secret-Token": "wrong"}, 401),
        (hook, b"{", right, 400),
        (hook, b"x" * 2_000_000, right, 413),
        (hook, update, right, 200),
    ]
    async with aiohttp.ClientSession() as http:
        for target, body, headers, status in cases:
            async with http.post(target, data=body, headers=headers) as answer:
                assert answer.status == status, (target, headers, await answer.text())


async def test_with_redis_down_nothing_is_acknowledged_and_nothing_is_lost(tmp_path: Path) -> None:
    server = RedisServer(tmp_path / "data")
    await server.start()
    fleet = Fleet(tmp_path, environment(tmp_path, server.url))
    port = str(free_port())
    try:
        async with fleet.backend():
            fleet.env |= {"THREADWAY_LAB": "on", "THREADWAY_PORT": port}
            (_, url), _ = await asyncio.gather(fleet.gateway(THREADWAY_PORT=port), fleet.worker("-c", "20"))
            async with LabClient(f"{url}/lab") as lab, aiohttp.ClientSession() as http:
                await server.stop()
                body = event("EvDown")
                async with http.post(f"{url}/slack/events", data=body, headers=signed(body)) as answer:
                    assert (answer.status, "Retry-After" in answer.headers) == (503, True)
                async with http.get(f"{url}/readyz") as answer:
                    assert (answer.status, (await answer.json())["redis"]) == (503, "down")
                async with http.get(f"{url}/healthz") as answer:
                    assert answer.status == 200
                sent = await lab.telegram_send("hello")
                await server.start()
                reply = await lab.wait_for_reply("telegram", sent["chat"], after=sent["cursor"], timeout_s=30)
                assert reply["text"] == "echo 1: hello"
                body = event("EvDown")
                async with http.post(f"{url}/slack/events", data=body, headers=signed(body)) as answer:
                    assert answer.status == 200, "the platform's retry is stored"
    finally:
        await fleet.end()
        await server.stop()


async def test_five_turns_and_five_runs_answer_fifty_at_once(redis_url: str, tmp_path: Path) -> None:
    """Turns wait for runs in the same process: their budgets are apart, so neither starves the other."""
    fleet = Fleet(tmp_path, environment(tmp_path, redis_url))
    try:
        await _ask_fifty(fleet)
    finally:
        await fleet.end()
        fleet.show()


async def _ask_fifty(fleet: Fleet) -> None:
    port = str(free_port())
    fleet.env |= {"THREADWAY_LAB": "on", "THREADWAY_PORT": port}
    (_, url), _ = await asyncio.gather(fleet.gateway(THREADWAY_PORT=port), fleet.worker("-c", "5"))
    async with LabClient(f"{url}/lab") as lab:

        async def ask(user: int) -> str:
            sent = await lab.telegram_send("What is 12 times 12?", user=user)
            reply = await lab.wait_for_reply("telegram", sent["chat"], after=sent["cursor"], timeout_s=50)
            return str(reply["text"])

        replies = await asyncio.gather(*(ask(900_000_000 + n) for n in range(50)))
    assert all("144" in reply for reply in replies)


async def test_health_and_metrics(platforms: Platforms) -> None:
    async with aiohttp.ClientSession() as http:

        async def get(path: str) -> tuple[int, str]:
            async with http.get(platforms.url + path) as answer:
                return answer.status, await answer.text()

        assert (await get("/"))[0] == 200
        assert 'threadway_messages_total{adapter="telegram",outcome="stored"}' in (await get("/metrics"))[1]
        status, parts = await until(lambda: _ready(get))
        assert (status, set(json.loads(parts).values())) == (200, {"ok"})


async def _ready(get: Any) -> Any:
    answer = await get("/readyz")
    return answer if answer[0] == 200 else None
