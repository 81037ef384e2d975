"""Slack's Socket Mode: events over a WebSocket that we open, for hosts without a public address.

Wire facts: https://docs.slack.dev/apis/events-api/using-socket-mode (hello, disconnect, envelopes; {"envelope_id"} is
the acknowledgement, and an envelope without one comes again).

Why not the SDK's client: it starts a task per envelope, so that two messages of a conversation may overtake each other;
after a failed connect it tries the same one-time address for ever; a refused token is retried for ever too; and its
logs show that address, whose ticket lets anybody listen in. Parsing, dispatch and the Web API stay the SDK's.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import structlog
from slack_bolt.response import BoltResponse
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from gateway.domain.errors import Retryable, TokenRefused
from gateway.domain.pacing import Clock, RetryPolicy
from gateway.slack.failures import FOREIGN, translate

log: structlog.stdlib.BoundLogger = structlog.get_logger("threadway")

Dispatch = Callable[[SocketModeRequest], Awaitable[BoltResponse]]
"""Handle one envelope; status 200 acknowledges it, anything else leaves it to come again."""

_HEARTBEAT_S = 10.0
_WAITING = 1000
"""Envelopes read and not handled yet, per connection; beyond that they are left to come again."""


class SocketMode:
    """Keeps one connection open, and the next one before Slack closes it."""

    def __init__(
        self, client: AsyncWebClient, http: aiohttp.ClientSession, app_token: str, *, clock: Clock, retry: RetryPolicy
    ) -> None:
        self._client, self._http, self._app_token = client, http, app_token
        self._clock, self._retry = clock, retry
        self._attempt = 0
        self._wish_s: float | None = None
        self._greeted = 0

    @property
    def connected(self) -> bool:
        """Whether a connection is open that Slack has greeted."""
        return self._greeted > 0

    async def run(self, dispatch: Dispatch) -> None:
        """Receive until cancelled. Raises TokenRefused; every other failure is retried with backoff."""
        connections: set[asyncio.Task[None]] = set()
        try:
            while True:
                socket = await self._connect()
                leaving = asyncio.Event()
                connection = asyncio.create_task(self._serve(socket, dispatch, leaving))
                connections.add(connection)
                connection.add_done_callback(connections.discard)
                await leaving.wait()  # the old one is served on until Slack closes it
        finally:
            for connection in connections:
                connection.cancel()
            await asyncio.gather(*connections, return_exceptions=True)

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        while True:
            if self._attempt:
                wait_s = self._retry.delay(self._attempt - 1, random.random(), self._wish_s)  # noqa: S311 - spreads load
                await self._clock.sleep(wait_s)
            self._wish_s = None
            self._attempt += 1  # taken back by Slack's hello
            try:
                answer = await self._client.apps_connections_open(app_token=self._app_token)
                return await self._http.ws_connect(
                    str(answer["url"]), heartbeat=_HEARTBEAT_S, proxy=self._client.proxy, max_msg_size=1 << 20
                )
            except FOREIGN as error:
                cause = translate(error)
                if isinstance(cause, TokenRefused):
                    raise cause from error
                self._wish_s = cause.retry_after_s if isinstance(cause, Retryable) else None
                log.warning("slack.socket.failed", reason=str(cause), kind=type(cause).__name__, tries=self._attempt)

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse, dispatch: Dispatch, leaving: asyncio.Event) -> None:
        """Read frames until the connection ends; set `leaving` when it is time for the next one."""
        waiting: asyncio.Queue[dict[str, Any]] = asyncio.Queue(_WAITING)
        handling = asyncio.create_task(self._handle_in_order(socket, waiting, dispatch))
        greeted = False
        try:
            async for frame in socket:
                message = _decode(frame)
                match message.get("type"):
                    case "hello":
                        self._attempt, greeted = 0, True
                        self._greeted += 1
                        log.info("slack.socket.connected")
                    case "disconnect":
                        log.info("slack.socket.leaving", reason=str(message.get("reason")))
                        leaving.set()
                    case _ if "envelope_id" in message:
                        if waiting.full():
                            log.warning("slack.socket.overrun", waiting=waiting.qsize())
                        else:
                            waiting.put_nowait(message)
        finally:
            self._greeted -= greeted
            leaving.set()
            handling.cancel()
            await asyncio.gather(handling, return_exceptions=True)
            await socket.close()

    async def _handle_in_order(
        self, socket: aiohttp.ClientWebSocketResponse, waiting: asyncio.Queue[dict[str, Any]], dispatch: Dispatch
    ) -> None:
        """One envelope after the other: the order in which they came is the order of the conversation."""
        while True:
            message = await waiting.get()
            try:
                request = SocketModeRequest.from_dict(message)
            except ValueError:
                request = None
            if request is None:
                log.error("slack.event.skipped", reason="an envelope without type or payload")
                continue
            response = await dispatch(request)
            if response.status != 200:
                log.warning("slack.socket.unacknowledged", envelope=request.envelope_id, status=response.status)
                continue
            try:
                await socket.send_str(json.dumps(_acknowledgement(request, response)))
            except (aiohttp.ClientError, ConnectionError) as error:
                log.info("slack.socket.unacknowledged", envelope=request.envelope_id, kind=type(error).__name__)


def _acknowledgement(request: SocketModeRequest, response: BoltResponse) -> dict[str, Any]:
    acknowledgement: dict[str, Any] = {"envelope_id": request.envelope_id}
    if request.accepts_response_payload and response.body.startswith("{"):
        acknowledgement["payload"] = json.loads(response.body)
    return acknowledgement


def _decode(frame: aiohttp.WSMessage) -> dict[str, Any]:
    """The frame's JSON object; {} for anything else."""
    if frame.type is not aiohttp.WSMsgType.TEXT:
        return {}
    try:
        message = json.loads(frame.data)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}
