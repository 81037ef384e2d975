"""The backend's memory and the wire's mishaps: what the proof rests on."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from tests.chaos.run.backend import Journalled, served
from tests.chaos.run.history import read_journal
from tests.chaos.run.wire import AFTER, Wire


async def test_a_backend_that_is_started_again_knows_all_it_answered(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    first = Journalled(journal)
    async with TestClient(TestServer(served(first, random.Random(1)))) as client:
        thread = await _post(client, "/v1/threads", {"metadata": {"threadway_conversation": "telegram:7:42:-"}})
        runs = f"/v1/threads/{thread['id']}/runs"
        await _ask(client, runs, "k1", "m 1 q0x1 tool 6*7", "m 2 q0x2")
        again = await client.post(runs, json={"assistant_id": "a", "additional_messages": []})
        assert again.status == 400, "one active run in a thread"
    second = Journalled(journal)
    assert (second.threads, second.opened, second.brought) == (first.threads, first.opened, first.brought)
    async with TestClient(TestServer(served(second, random.Random(1)))) as client:
        (run,) = (await (await client.get(runs)).json())["data"]
        (call,) = run["required_action"]["submit_tool_outputs"]["tool_calls"]
        outputs = {"tool_outputs": [{"tool_call_id": call["id"], "output": "42"}]}
        await _post(client, f"{runs}/{run['id']}/submit_tool_outputs", outputs)
        assert (await (await client.get(f"{runs}/{run['id']}")).json())["status"] == "completed"
        await _ask(client, runs, "k2", "m 3 q0x3")
    third = Journalled(journal)
    assert (third.runs, third.threads) == (second.runs, second.threads)
    told = read_journal(journal.read_text().splitlines(), {"42": "telegram:42"})
    assert [(r.key, r.conversation, r.messages) for r in told] == [
        ("k1", "telegram:42", ("q0x1", "q0x2")),
        ("k2", "telegram:42", ("q0x3",)),
    ]
    assert len(set(third.runs)) == 2, "no number was given out twice"


async def _ask(client: TestClient[Any, Any], runs: str, key: str, *texts: str) -> None:
    messages = [{"role": "user", "content": text} for text in texts]
    body = {"assistant_id": "a", "additional_messages": messages, "metadata": {"threadway_key": key}}
    await _post(client, runs, body)


async def _post(client: TestClient[Any, Any], path: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status == 200
    return dict(await answer.json())


async def test_mishaps_come_before_the_effect_or_after_it_as_they_say() -> None:
    effects = 0

    async def act(request: web.Request) -> web.Response:
        nonlocal effects
        effects += 1
        return web.json_response(await request.json())

    app = web.Application()
    app.router.add_post("/bot1/sendMessage", act)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        assert server.port
        wire = Wire("lab", random.Random(1), port=server.port)
        async with wire.serve():
            url = f"http://127.0.0.1:{wire.here}/bot1/sendMessage"
            assert await _call(http, url) == 200
            assert effects == 1
            wire.rate = 1.0
            seen = Counter([await _call(http, url) for _ in range(100)])
            assert len(wire.mishaps) == 5, "each kind came"
            assert effects == 1 + sum(wire.mishaps[kind] for kind in AFTER)
            cut = wire.mishaps["cut before"] + wire.mishaps["cut after"]
            assert seen == {0: cut, 429: wire.mishaps["429"], 503: wire.mishaps["error before"], 502: seen[502]}
            assert wire.unsure_sends == 100 - wire.mishaps["429"]


async def _call(http: aiohttp.ClientSession, url: str) -> int:
    """The status, 0 where the connection broke."""
    try:
        async with asyncio.timeout(5), http.post(url, json={"text": "x" * 10_000}) as answer:
            await answer.read()
            return answer.status
    except aiohttp.ClientError:
        return 0
