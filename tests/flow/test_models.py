"""A real model behind the embedded service: any Chat Completions endpoint, named by two variables."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from tests.flow.conftest import Terminal
from tests.flow.processes import Fleet, free_port


class Upstream:
    """A Chat Completions server: it calls the calculator when asked to, and repeats what it hears."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()

    async def complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.requests.append(body)
        self.keys.add(request.headers.get("Authorization"))
        last = body["messages"][-1]
        message: dict[str, Any] = {"role": "assistant", "content": f"You said: {last['content']}"}
        if last["role"] == "user" and last["content"].startswith("calculate"):
            arguments = json.dumps({"expression": last["content"].removeprefix("calculate ")})
            function = {"name": "calculator", "arguments": arguments}
            message = {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_0", "type": "function", "function": function}],
            }
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if "tool_calls" in message else "stop"}
        usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
        return web.json_response(
            {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        )


@pytest.fixture
async def upstream(fleet: Fleet) -> AsyncIterator[Upstream]:
    """The server, and a fleet that is told to use it."""
    server = Upstream()
    app = web.Application()
    app.add_routes([web.post("/v1/chat/completions", server.complete)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    fleet.env |= {"OPENAI_BASE_URL": url, "OPENAI_API_KEY": "sk-test-of-nobody", "THREADWAY_MODEL": "small-model"}
    yield server
    await runner.cleanup()


async def test_a_named_model_answers_and_calls_tools(fleet: Fleet, upstream: Upstream, terminal: Terminal) -> None:
    port = str(free_port())
    fleet.env["THREADWAY_PORT"] = port
    await asyncio.gather(fleet.gateway(THREADWAY_PORT=port), fleet.worker("-c", "10"))
    assert await terminal.ask("ann", "hello there") == "You said: hello there"
    assert await terminal.ask("ann", "calculate 6*7") == "You said: 42"
    assert {request["model"] for request in upstream.requests} == {"small-model"}
    assert upstream.keys == {"Bearer sk-test-of-nobody"}
    roles = [message["role"] for message in upstream.requests[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "tool"], "the thread, then this run's own call"
    assert not any("sk-test" in line for process in fleet.processes for line in process.lines)
