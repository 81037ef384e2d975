"""Slack: mentions, threads and direct messages, over the Events API or Socket Mode, on slack-bolt and slack-sdk."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, ClassVar

import aiohttp
import structlog
from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from gateway.domain.adapter import Accept, Capabilities, HttpRequest, HttpResponse
from gateway.domain.errors import Ambiguous, DeliveryRefused, Refused, Retryable, SettingsInvalid, TokenRefused
from gateway.domain.messages import Destination, OutboundPart
from gateway.domain.pacing import Clock, RetryPolicy, SystemClock
from gateway.slack.address import Address
from gateway.slack.buttons import blocks_of
from gateway.slack.events import AgentViews, Events, InThread, quiet_logger
from gateway.slack.failures import FOREIGN, error_code, translate
from gateway.slack.normalise import BotIdentity
from gateway.slack.posted import METADATA, Posted
from gateway.slack.punctual import punctual
from gateway.slack.render import render
from gateway.slack.socket_mode import SocketMode

__all__ = ["AgentViews", "BotIdentity", "InThread", "SlackAdapter"]

log: structlog.stdlib.BoundLogger = structlog.get_logger("threadway")

_ONLY_THIS_PLACE = frozenset(
    ["channel_not_found", "thread_not_found", "invalid_thread_ts", "not_in_channel", "is_archived"]
)
"""Refusals of a status that say nothing about the next one."""


class SlackAdapter:
    """One app in one workspace or organisation, by its bot token.

    `app_token` chooses Socket Mode, `signing_secret` the Events API; a worker, which only posts, needs neither.
    `in_thread` tells whether a conversation is known to the store: only then a thread's follow-up without a mention is
    ours. `dm`: "thread" and "channel" say what a direct message is, "auto" follows what the workspace shows and keeps
    it in `agent_views`. Proxies come in by `proxy` alone: the environment is not read here. `settle_s` is how long
    after a post without an answer Slack may still carry it out, or not list it yet: no sooner is it surely not there.
    """

    name: ClassVar[str] = "slack"
    capabilities = Capabilities(max_text_utf16=40_000, working_every_s=30.0)
    paths: Sequence[str] = ("/slack/events",)

    def __init__(
        self,
        bot_token: str,
        *,
        signing_secret: str = "",
        app_token: str = "",
        api_base_url: str = "https://slack.com/api/",
        dm: str = "auto",
        in_thread: InThread | None = None,
        agent_views: AgentViews | None = None,
        bot_info: BotIdentity | None = None,
        call_timeout_s: float = 4.0,
        settle_s: float = 4.0,
        proxy: str | None = None,
        clock: Clock | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        """Raises SettingsInvalid for an unknown `dm`. Connects to nothing."""
        if dm not in ("auto", "channel", "thread"):
            raise SettingsInvalid([f"[slack] dm: {dm!r} is none of auto, channel, thread"])
        self._app_token, self._signing_secret = app_token, signing_secret
        self._call_timeout_s = call_timeout_s
        self._clock, self._retry = clock or SystemClock(), retry or RetryPolicy()
        self._http: aiohttp.ClientSession | None = None
        self._client = self._new_client(bot_token, api_base_url, proxy)
        self._posted = Posted(self._client, self._clock, settle_s=settle_s)
        # bolt's client has no token: it calls nothing, and what has no token cannot show it
        self._events = Events(
            self._new_client(None, api_base_url, proxy),
            signing_secret=signing_secret,
            dm=dm,
            in_thread=in_thread,
            views=agent_views,
        )
        self._events.me = bot_info
        self._socket: SocketMode | None = None
        self._status_works = True

    def _new_client(self, token: str | None, base_url: str, proxy: str | None) -> AsyncWebClient:
        # no retry handlers: the SDK would repeat a post whose connection broke, perhaps after Slack took it
        client = AsyncWebClient(token=token, base_url=base_url, retry_handlers=[], logger=quiet_logger())
        client.proxy = proxy  # the constructor reads HTTPS_PROXY where it is given none, for loopback too
        return client

    def _connections(self) -> aiohttp.ClientSession:
        """Our connections, made on first use: they belong to the running loop. Waiting for one ends before the call."""
        if self._http is None or self._http.closed:
            limits = aiohttp.ClientTimeout(total=self._call_timeout_s, connect=self._call_timeout_s * 0.7)
            self._http = aiohttp.ClientSession(
                timeout=limits,
                connector=aiohttp.TCPConnector(limit=256),
                trace_configs=[punctual(self._clock, self._call_timeout_s)],
            )
            self._client.session = self._http
        return self._http

    async def receive(self, accept: Accept) -> None:
        """Learn who we are; then receive by Socket Mode until cancelled, or return when events come over HTTP.

        Raises TokenRefused, and SettingsInvalid where there is no way in; every other failure is retried with backoff.
        """
        if not (self._app_token or self._signing_secret):
            raise SettingsInvalid(
                ["SLACK_SIGNING_SECRET (events over HTTP) or SLACK_APP_TOKEN (Socket Mode): needs one"]
            )
        http = self._connections()
        if self._events.me is None:
            self._events.me = await self._identify()
        if not self._app_token:
            return

        async def dispatch(request: SocketModeRequest) -> Any:
            return await self._events.handle_envelope(request, accept)

        self._socket = SocketMode(self._client, http, self._app_token, clock=self._clock, retry=self._retry)
        await self._socket.run(dispatch)

    async def _identify(self) -> BotIdentity:
        attempt = 0
        while True:
            try:
                answer = await self._client.auth_test()
                if not answer.get("user_id"):
                    raise ValueError("auth.test names no user")
                return BotIdentity(user_id=str(answer["user_id"]), bot_id=str(answer.get("bot_id") or ""))
            except FOREIGN as error:
                cause = translate(error)
                if isinstance(cause, TokenRefused):
                    raise cause from error
            wish = cause.retry_after_s if isinstance(cause, Retryable) else None
            wait_s = self._retry.delay(attempt, random.random(), wish)  # noqa: S311 - spreads load, guards nothing
            log.warning("slack.auth.failed", reason=str(cause), kind=type(cause).__name__, wait_s=round(wait_s, 2))
            attempt += 1
            await self._clock.sleep(wait_s)

    async def handle(self, request: HttpRequest, accept: Accept) -> HttpResponse:
        """One request of Slack's to `paths`; see `Events.handle`."""
        return await self._events.handle(request, accept)

    def render(self, reply: str) -> Sequence[OutboundPart]:
        """Markdown → parts of one markdown block each; see the contract."""
        return render(reply)

    async def post(self, to: Destination, part: OutboundPart, key: str) -> str:
        """Send one part and return its ts; see the contract. `key` goes along as metadata for `find_posted`.

        Sent once: the call ends within `call_timeout_s`, waiting for a connection (Unreachable) sooner than that, and
        nothing is sent later, however long the process was paused in between.
        """
        address = _address(to)
        self._connections()
        try:
            answer = await self._client.chat_postMessage(
                channel=address.channel,
                text=part.markup.get("fallback") or part.text,
                blocks=blocks_of(part),
                thread_ts=address.root,
                metadata={"event_type": METADATA, "event_payload": {"key": key}},
                unfurl_links=False,
                unfurl_media=False,
            )
            if not isinstance(answer.get("ts"), str):
                raise ValueError("an answer without a ts")
        except FOREIGN as error:
            cause = translate(error)
            if isinstance(cause, Ambiguous):
                self._posted.unanswered(key)
            raise cause from error
        except asyncio.CancelledError:
            self._posted.unanswered(key)
            raise
        return str(answer["ts"])

    async def find_posted(self, to: Destination, key: str, since_ms: int) -> str | None:
        """The ts of the part posted under `key` since `since_ms`, None if it surely is not there.

        Raises Retryable when Slack cannot say now, or it may still be on its way (Ambiguous, with the time to wait);
        DeliveryRefused when it will not say (no access, channel gone).
        """
        address = _address(to)
        self._connections()
        return await self._posted.find(address, key, since_ms)

    async def working(self, to: Destination) -> None:
        """Show "is thinking…" in the thread until our next message. Never raises; off for good once Slack refuses it.

        It needs the assistant features, which not every plan has (https://docs.slack.dev/ai).
        """
        try:
            address = _address(to)
            if not self._status_works or address.root is None:
                return
            self._connections()
            await self._client.assistant_threads_setStatus(
                channel_id=address.channel, thread_ts=address.root, status="is thinking…"
            )
        except SlackApiError as error:
            if isinstance(translate(error), Refused | TokenRefused) and error_code(error) not in _ONLY_THIS_PLACE:
                self._status_works = False
                log.info("slack.status.off", reason=error_code(error))
        except (*FOREIGN, DeliveryRefused) as error:
            log.debug("slack.status.failed", conversation=to.conversation, kind=type(error).__name__)

    def healthy(self) -> bool:
        """Whether mail can come in: Slack told us who we are, and in Socket Mode a connection is open."""
        return self._events.me is not None and (
            not self._app_token or (self._socket is not None and self._socket.connected)
        )

    async def close(self) -> None:
        """Give back the connections. Safe to call twice, and without any use before."""
        if self._http is not None:
            await self._http.close()
            await asyncio.sleep(0)  # aiohttp closes its transports in the next turn of the loop


def _address(to: Destination) -> Address:
    try:
        return Address.of(to)
    except ValueError as error:
        raise DeliveryRefused(f"not a Slack conversation: {to.conversation}") from error
