"""Socket Mode: the WebSocket end that slack_sdk's client connects to.

Source: docs.slack.dev, "Using Socket Mode"; frames as in tests/fixtures/slack/22 and 23. It listens on a loopback port
of its own, opened by the first apps.connections.open: the HTTP server of the gateway has no WebSocket library on board.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Any

from aiohttp import WSMsgType, web

from gateway.lab.feed import Json
from gateway.lab.slack.world import APP_ID

MAX_SOCKETS = 10
PING_S = 10.0
PATH = "/lab/slack/socket"


class Sockets:
    """The app's open connections. Each frame goes to one of them, in turn."""

    def __init__(self) -> None:
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._tickets: set[str] = set()
        self._open: list[web.WebSocketResponse] = []
        self._acks: dict[str, asyncio.Future[Json]] = {}
        self._starting = asyncio.Lock()
        self.wanted = False
        """Whether the app ever asked for a connection: then it uses Socket Mode, and events wait for a socket."""

    @property
    def connected(self) -> int:
        """How many connections are open."""
        return len(self._open)

    async def url(self) -> str:
        """A ws:// address that lets one client in once (apps.connections.open)."""
        async with self._starting:
            if self._runner is None:
                await self._listen()
        self.wanted = True
        ticket = secrets.token_urlsafe(16)
        self._tickets.add(ticket)
        return f"ws://127.0.0.1:{self._port}{PATH}?ticket={ticket}&app_id={APP_ID}"

    async def send(self, envelope: Json) -> Json:
        """Send one envelope and wait for its ack, which is returned. Raises ConnectionError when no socket is open or
        it closes before the ack; how long to wait is the caller's affair."""
        if not self._open:
            raise ConnectionError("no socket is open")
        socket = self._open.pop(0)
        self._open.append(socket)
        name = envelope["envelope_id"]
        ack = self._acks[name] = asyncio.get_running_loop().create_future()
        try:
            await socket.send_str(json.dumps(envelope, ensure_ascii=False))
            answer: Json = await ack
            return answer
        finally:
            self._acks.pop(name, None)

    async def disconnect(self, reason: str = "refresh_requested") -> None:
        """Ask every client to reconnect, as Slack does now and then."""
        for socket in list(self._open):
            await socket.send_str(json.dumps({"type": "disconnect", "reason": reason, "debug_info": {"host": "lab"}}))
            await socket.close()

    async def close(self) -> None:
        """Close the connections and the port; may be called twice."""
        for socket in list(self._open):
            await socket.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _listen(self) -> None:
        app = web.Application()
        app.router.add_get(PATH, self._serve)
        # No grace: a client that does not answer the close frame must not hold up the gateway's end.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._runner = runner
        self._port = runner.addresses[0][1]

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        # A page in a browser may open sockets to any host: the ticket, single-use, keeps it out.
        if ticket not in self._tickets or len(self._open) >= MAX_SOCKETS:
            return web.Response(status=403)
        self._tickets.discard(ticket)
        socket = web.WebSocketResponse(heartbeat=PING_S)
        await socket.prepare(request)
        await socket.send_str(json.dumps(_hello(len(self._open) + 1)))
        self._open.append(socket)
        try:
            async for frame in socket:
                if frame.type == WSMsgType.TEXT:
                    self._acknowledge(frame.data)
        finally:
            self._open.remove(socket)
            if not self._open:
                for ack in self._acks.values():
                    if not ack.done():
                        ack.set_exception(ConnectionError("the socket closed before the ack"))
        return socket

    def _acknowledge(self, raw: str) -> None:
        try:
            frame: Any = json.loads(raw)
        except ValueError:
            return
        ack = self._acks.get(str(frame.get("envelope_id"))) if isinstance(frame, dict) else None
        if ack is not None and not ack.done():
            ack.set_result(frame)


def _hello(connections: int) -> Json:
    debug = {"host": "lab", "build_number": 1, "approximate_connection_time": 18060}
    return {
        "type": "hello",
        "num_connections": connections,
        "debug_info": debug,
        "connection_info": {"app_id": APP_ID},
    }
