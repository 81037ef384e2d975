"""A small strict Slack: the Web API methods the adapter uses, Socket Mode, and the signing of requests to us.

Answers are 200 with {"ok": false, "error": …} for refusals, as Slack has it; bodies arrive as forms or JSON.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import WSMsgType, web
from slack_sdk.signature import SignatureVerifier

from gateway.domain.adapter import HttpRequest, HttpResponse

BOT_TOKEN = "xoxb-test-token-of-nobody"
APP_TOKEN = "xapp-test-token-of-nobody"
SIGNING_SECRET = "signing-secret-of-nobody"


def refusal(error: str) -> web.Response:
    """Slack's no."""
    return web.json_response({"ok": False, "error": error})


def signed(
    body: str, *, content_type: str = "application/json", secret: str = SIGNING_SECRET, age_s: int = 0
) -> HttpRequest:
    """A request as Slack sends it, `age_s` seconds ago."""
    at = str(int(time.time()) - age_s)
    signature = SignatureVerifier(secret).generate_signature(timestamp=at, body=body)
    assert signature is not None
    headers = {"content-type": content_type, "x-slack-request-timestamp": at, "x-slack-signature": signature}
    return HttpRequest("POST", "/slack/events", headers, body.encode())


@asynccontextmanager
async def request_url(take: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> AsyncIterator[str]:
    """An address for the length of the block at which `take` answers whatever Slack, or the lab, sends."""

    async def handle(request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        answer = await take(HttpRequest(request.method, request.path, headers, await request.read()))
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    site = web.Application()
    site.router.add_post("/slack/events", handle)
    runner = web.AppRunner(site)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
    finally:
        await runner.cleanup()


class SlackServer:
    """One workspace."""

    def __init__(self) -> None:
        self.posts: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.next: dict[str, list[web.Response | str]] = {}
        """Method → answers to give first; "silent" takes the request and never answers, "cut" drops the line, "late"
        drops it too and carries the request out at `land`, "unlisted" carries it out, drops it and lists the message
        from `land` on, "pass" handles it as usual."""
        self.under_way: list[dict[str, Any]] = []
        self.unlisted: set[str] = set()
        self.frames: list[str] = []
        """What each new socket is sent after its hello."""
        self.acknowledged: list[dict[str, Any]] = []
        self.sockets: list[web.WebSocketResponse] = []
        self.url = ""
        self._released = asyncio.Event()
        self._changed = asyncio.Condition()
        self._runner: web.AppRunner | None = None

    async def connected(self, times: int) -> None:
        """Wait until the adapter has opened `times` sockets in all."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(self.sockets) >= times)

    async def got_acknowledgements(self, count: int) -> list[dict[str, Any]]:
        """Wait for `count` acknowledgements."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(self.acknowledged) >= count)
        return self.acknowledged

    async def was_called(self, times: int) -> None:
        """Wait until `times` calls have come in in all."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(self.calls) >= times)

    def land(self) -> None:
        """What was on its way arrives, and what was not listed yet is."""
        for arguments in self.under_way:
            self._chat_postMessage(arguments)
        self.under_way.clear()
        self.unlisted.clear()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        if request.content_type == "application/json":
            arguments = await request.json()
        else:
            arguments = dict(request.query) | dict(await request.post())
        async with self._changed:
            self.calls.append((method, arguments))
            self._changed.notify_all()
        wanted = APP_TOKEN if method == "apps.connections.open" else BOT_TOKEN
        if request.headers.get("Authorization") != f"Bearer {wanted}":
            return refusal("invalid_auth")
        if scripted := self.next.get(method):
            answer = scripted.pop(0)
            if answer == "silent":
                await self._released.wait()
            if answer == "late":
                self.under_way.append(arguments)
            if answer == "unlisted":
                self._chat_postMessage(arguments)
                self.unlisted.add(self.posts[-1]["ts"])
            if answer in ("silent", "cut", "late", "unlisted"):
                if request.transport is not None:  # None: the other side hung up while we were silent
                    request.transport.abort()
                return web.Response()
            if isinstance(answer, web.Response):
                return answer
        handler = getattr(self, "_" + method.replace(".", "_"), None)
        if handler is None:
            return refusal("unknown_method")
        result = handler(arguments)
        return result if isinstance(result, web.Response) else web.json_response({"ok": True, **result})

    def _auth_test(self, arguments: dict[str, Any]) -> Any:
        return {"team_id": "T012AB3CD", "user_id": "U0BOT12AB", "bot_id": "B012AB3CD", "url": "https://x/"}

    def _chat_postMessage(self, arguments: dict[str, Any]) -> Any:
        if arguments["channel"] == "C0NOWHERE":
            return refusal("channel_not_found")
        if sum(len(block["text"]) for block in arguments.get("blocks", ()) if block["type"] == "markdown") > 12_000:
            return refusal("msg_blocks_too_long")
        if not arguments.get("text"):
            return refusal("no_text")
        ts = f"{1795230000 + len(self.posts)}.000100"
        self.posts.append(arguments | {"ts": ts})
        return {"ts": ts, "channel": arguments["channel"]}

    def _page(self, messages: list[dict[str, Any]], arguments: dict[str, Any]) -> Any:
        """One message a page, so that looking for a part has to turn pages."""
        messages = [post for post in messages if post["ts"] not in self.unlisted]
        start = int(arguments.get("cursor") or 0)
        after = str(start + 1) if start + 1 < len(messages) else ""
        return {"messages": messages[start : start + 1], "response_metadata": {"next_cursor": after}}

    def _conversations_replies(self, arguments: dict[str, Any]) -> Any:
        return self._page([post for post in self.posts if post.get("thread_ts") == arguments["ts"]], arguments)

    def _conversations_history(self, arguments: dict[str, Any]) -> Any:
        return self._page([post for post in self.posts if "thread_ts" not in post], arguments)

    def _assistant_threads_setStatus(self, arguments: dict[str, Any]) -> Any:
        return {}

    def _apps_connections_open(self, arguments: dict[str, Any]) -> Any:
        return {"url": self.url.replace("http:", "ws:") + "/link?ticket=secret-ticket"}

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "hello", "num_connections": len(self.sockets) + 1})
        for frame in self.frames:
            await socket.send_str(frame)
        async with self._changed:
            self.sockets.append(socket)
            self._changed.notify_all()
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                async with self._changed:
                    self.acknowledged.append(json.loads(message.data))
                    self._changed.notify_all()
        return socket

    async def start(self) -> None:
        """Listen on a free port of this machine."""
        app = web.Application()
        app.router.add_post("/api/{method}", self._answer)
        app.router.add_get("/api/{method}", self._answer)
        app.router.add_get("/link", self._socket)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Let go of everybody who waits, and of the port. Safe to call twice."""
        self._released.set()
        for socket in self.sockets:
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


@asynccontextmanager
async def slack_server() -> AsyncIterator[SlackServer]:
    """A server for the length of the block."""
    server = SlackServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
