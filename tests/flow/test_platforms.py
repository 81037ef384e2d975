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

from gateway.lab.client import LabClient
from gateway.lab.identity import LAB_SLACK_SIGNING_SECRET
from gateway.lab.telegram.world import TOPICS
from gateway.redis_server import RedisServer
from tests.flow.processes import Backend, Fleet, environment, free_port, until


@dataclass
class Platforms:
    """A gateway with the lab, a worker, the strict backend."""

    url: str
    lab: LabClient
    backend: Backend

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


@pytest.fixture
async def platforms(fleet: Fleet, backend: Backend) -> AsyncIterator[Platforms]:
    port = str(free_port())
    fleet.env |= {"THREADWAY_LAB": "on", "THREADWAY_PORT": port}
    (_, url), _ = await asyncio.gather(fleet.gateway(THREADWAY_PORT=port), fleet.worker("-c", "50"))
    async with LabClient(f"{url}/lab") as lab:
        yield Platforms(url, lab, backend)


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
    assert len(runs) == 6, "app_mention and message.channels of one mention are one message"


async def test_what_comes_twice_is_answered_once(platforms: Platforms) -> None:
    await platforms.lab.set_fault("telegram", duplicates=1.0)
    await platforms.lab.set_fault("slack", duplicates=1.0)
    for number in range(1, 4):
        assert await platforms.telegram(f"n{number}") == f"echo {number}: n{number}"
        assert (await platforms.slack(f"n{number}"))[0] == f"echo {number}: n{number}"
    assert len((await platforms.backend.log())["runs"]) == 6


async def test_a_long_reply_comes_in_parts_and_a_platform_that_slows_us_down_is_obeyed(platforms: Platforms) -> None:
    words = " ".join(f"word{n}" for n in range(1200))
    await platforms.lab.fail_next("telegram", "sendMessage", "rate_429", count=1, retry_after=1)
    sent = await platforms.lab.telegram_send(words[:4000])
    await platforms.lab.telegram_send(words[4000:])
    texts: list[str] = []
    cursor = sent["cursor"]
    while "word1199" not in "".join(texts):
        reply = await platforms.lab.wait_for_reply("telegram", sent["chat"], after=cursor)
        cursor = reply["cursor"]
        texts.append(reply["text"])
    assert all(len(text.encode("utf-16-le")) // 2 <= 4096 for text in texts)


async def test_a_user_who_blocked_the_bot_stops_nobody(platforms: Platforms) -> None:
    await platforms.lab.fail_next("telegram", "sendMessage", "latency", latency_ms=1)
    await platforms.lab.act("telegram/block", {"user": "bob", "blocked": True})
    assert await platforms.telegram("hello") == "echo 1: hello"


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


async def test_bad_input_is_refused_at_the_door(fleet: Fleet, backend: Backend) -> None:
    port = str(free_port())
    hook = f"http://127.0.0.1:{port}/telegram/webhook"
    lab = {"THREADWAY_LAB": "on", "THREADWAY_PORT": port}
    from gateway.lab.identity import lab_environment

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


async def test_five_turns_and_five_runs_answer_fifty_at_once(fleet: Fleet) -> None:
    """Turns wait for runs in the same process: their budgets are apart, so neither starves the other."""
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
        await platforms.telegram("hello")
        assert 'threadway_messages_total{adapter="telegram",outcome="stored"} 1.0' in (await get("/metrics"))[1]
        status, parts = await until(lambda: _ready(get))
        assert (status, set(json.loads(parts).values())) == (200, {"ok"})


async def _ready(get: Any) -> Any:
    answer = await get("/readyz")
    return answer if answer[0] == 200 else None
