"""Slack's events, by HTTP or socket, through bolt into the inbox; acknowledged only when they are stored.

bolt answers 200 before its listeners run, so we store in a global middleware: it comes after bolt's own checks
(signature, own events, url_verification) and before the acknowledgement.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import structlog
from slack_bolt.app.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_bolt.response import BoltResponse
from slack_sdk.signature import SignatureVerifier
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.web.async_client import AsyncWebClient

from gateway.domain.adapter import Accept, Accepted, HttpRequest, HttpResponse, Mail
from gateway.domain.errors import StoreDown
from gateway.domain.messages import ConversationKey, InboundMessage
from gateway.slack.amendments import is_amendment, normalise_amendment
from gateway.slack.buttons import normalise_press
from gateway.slack.fields import Malformed, is_direct, is_short, team_of
from gateway.slack.normalise import AGENT_VIEW_EVENTS, BotIdentity, normalise, normalise_slash

log: structlog.stdlib.BoundLogger = structlog.get_logger("threadway")

InThread = Callable[[ConversationKey], Awaitable[bool]]
"""Whether a conversation is known to the store. Raises StoreDown."""

_ACCEPT = "threadway_accept"
_AGAIN_S = "5"
_READ = ("url_verification", "event_callback", "block_actions", "app_rate_limited")
"""Types of payloads that are looked into, beside slash commands, which have none."""
_HINT = (
    "Every thread with me is a conversation of its own. Write `!new`, `!stop`, `!last` or `!help` in it: "
    "Slack does not pass slash commands on from threads."
)


class AgentViews(Protocol):
    """Remembers which workspaces show our direct messages in agent view, for all replicas and for ever."""

    async def get(self, team: str) -> bool:
        """Whether `set` was called for the workspace. Raises StoreDown."""

    async def set(self, team: str) -> None:
        """Remember the workspace. Safe to call twice. Raises StoreDown."""


class Events:
    """Takes in what Slack sends. `me` has to be set before anything but url_verification is answered."""

    def __init__(
        self,
        client: AsyncWebClient,
        *,
        signing_secret: str,
        dm: str,
        in_thread: InThread | None,
        views: AgentViews | None,
    ) -> None:
        self.me: BotIdentity | None = None
        self._dm, self._in_thread, self._views = dm, in_thread, views
        self._agent_teams: set[str] = set()
        self._verifier = SignatureVerifier(signing_secret) if signing_secret else None
        self._app = AsyncApp(
            logger=client.logger, client=client, signing_secret=signing_secret, authorize=self._authorizing()
        )
        self._app.middleware(self._ingesting())

    async def handle(self, request: HttpRequest, accept: Accept) -> HttpResponse:
        """One Events API, interactivity or slash command request: 401 unsigned or stale, 400 malformed, 503 not stored.

        The signature comes first, before a byte is parsed; bolt, which parses first, checks it again.
        """
        if self._verifier is None:
            return HttpResponse(404)
        if not self._is_signed(request):
            return HttpResponse(401, b"invalid signature")
        try:
            body = request.body.decode()
            parsed = AsyncBoltRequest(body=body, headers=dict(request.headers), context={_ACCEPT: accept})
        except (TypeError, ValueError, LookupError, AttributeError, RecursionError):
            return HttpResponse(400, b"malformed")
        response = await self._dispatch(parsed)
        return HttpResponse(response.status, response.body.encode(), response.first_headers())

    async def handle_envelope(self, request: SocketModeRequest, accept: Accept) -> BoltResponse:
        """One Socket Mode envelope; 200 means it may be acknowledged."""
        try:
            parsed = AsyncBoltRequest(body=request.payload, mode="socket_mode", context={_ACCEPT: accept})
        except (TypeError, ValueError, LookupError, AttributeError):
            return _skip("an envelope that bolt cannot read")
        response = await self._dispatch(parsed)
        return _skip("a malformed envelope") if response.status == 400 else response

    async def _dispatch(self, request: AsyncBoltRequest) -> BoltResponse:
        body = request.body
        if not _is_well_formed(body):
            return BoltResponse(status=400, body="malformed")
        if not (body.get("type") in _READ or ("type" not in body and "command" in body)):
            return BoltResponse(status=200)  # dialogs, shortcuts, views: we have none, and bolt trips over broken ones
        if self.me is None and body.get("type") != "url_verification":
            return _again()  # auth.test has not answered yet: we would not know our own messages
        return await self._app.async_dispatch(request)

    def _is_signed(self, request: HttpRequest) -> bool:
        assert self._verifier is not None
        try:
            return self._verifier.is_valid_request(request.body, dict(request.headers))
        except (TypeError, ValueError):  # a time stamp that is no number, a body or signature that is no text
            return False

    # The next two hand out functions, because bolt fills arguments by name and would fill "self" as well.

    def _authorizing(self) -> Callable[..., Awaitable[AuthorizeResult]]:
        """For bolt: who we are, from memory. Its own way asks Slack, and answers 200 to the event if Slack is away."""

        async def authorize(enterprise_id: str | None, team_id: str | None) -> AuthorizeResult:
            assert self.me is not None
            return AuthorizeResult(
                enterprise_id=enterprise_id, team_id=team_id, bot_user_id=self.me.user_id, bot_id=self.me.bot_id or None
            )

        return authorize

    def _ingesting(self) -> Callable[..., Awaitable[BoltResponse]]:
        """The global middleware."""

        async def ingest(body: dict[str, Any], context: dict[str, Any]) -> BoltResponse:
            try:
                return await self._ingest(body, context[_ACCEPT])
            except StoreDown:  # bolt would answer 500 and log a stack trace
                return _again()
            except Malformed as error:
                return _skip(str(error), body.get("event_id"))  # it will be no better next time

        return ingest

    async def _ingest(self, body: Mapping[str, Any], accept: Accept) -> BoltResponse:
        if body.get("type") == "app_rate_limited":
            minute = body.get("minute_rate_limited")
            log.warning("slack.events.rate_limited", team=team_of(body), minute=minute if type(minute) is int else None)
            return BoltResponse(status=200)
        if "command" in body:
            return await self._command(body, accept)
        if body.get("type") == "block_actions":
            pressed = normalise_press(body)
            return await _offer(pressed, accept) if pressed else BoltResponse(status=200)
        assert self.me is not None
        event, team = body["event"], team_of(body)
        if event.get("type") in AGENT_VIEW_EVENTS:
            await self._note_agent_view(team)
        agent_view = is_direct(event) and await self._in_agent_view(team)
        if is_amendment(event):
            amendment = normalise_amendment(body, self.me, agent_view=agent_view)
            return await _offer(amendment, accept) if amendment else BoltResponse(status=200)
        heard = normalise(body, self.me, agent_view=agent_view)
        if heard is None or not (heard.addressed or await self._is_known(heard.message)):
            return BoltResponse(status=200)
        return await _offer(heard.message, accept)

    async def _command(self, form: Mapping[str, Any], accept: Accept) -> BoltResponse:
        message = normalise_slash(form)
        if message is None or await self._in_agent_view(team_of(form)):
            return BoltResponse(status=200, body={"response_type": "ephemeral", "text": _HINT})
        return await _offer(message, accept)

    async def _is_known(self, message: InboundMessage) -> bool:
        return self._in_thread is not None and await self._in_thread(message.conversation)

    async def _note_agent_view(self, team: str) -> None:
        if team in self._agent_teams:
            return
        if self._views is not None:
            await self._views.set(team)
        self._agent_teams.add(team)
        log.info("slack.agent_view.seen", team=team)

    async def _in_agent_view(self, team: str) -> bool:
        """Whether DMs of the workspace are threads; another replica may have seen it first, so a no is asked again."""
        if self._dm != "auto":
            return self._dm == "thread"
        if team not in self._agent_teams and self._views is not None and await self._views.get(team):
            self._agent_teams.add(team)
        return team in self._agent_teams


def quiet_logger() -> logging.Logger:
    """A logger for the SDK and bolt: below ERROR they write request bodies, with the texts in them."""
    logger = logging.getLogger("threadway.slack.sdk")
    logger.setLevel(logging.ERROR)
    return logger


async def _offer(mail: Mail, accept: Accept) -> BoltResponse:
    if await accept(mail) is Accepted.FULL:
        return _again()
    return BoltResponse(status=200)


def _again() -> BoltResponse:
    return BoltResponse(status=503, body="try again", headers={"retry-after": _AGAIN_S})


def _skip(reason: str, event_id: object = None) -> BoltResponse:
    log.error("slack.event.skipped", reason=reason, event_id=event_id if is_short(event_id) else None)
    return BoltResponse(status=200)


def _is_well_formed(body: object) -> bool:
    """A JSON object or form with a type or a command, and a typed inner event or a first action where bolt and we look
    for one."""
    if not isinstance(body, dict) or not (isinstance(body.get("type"), str) or isinstance(body.get("command"), str)):
        return False
    if "actions" in body and not (isinstance(body["actions"], list) and body["actions"]):
        return False
    if body.get("type") != "event_callback" and "event" not in body:
        return True
    event = body.get("event")
    return isinstance(event, dict) and isinstance(event.get("type"), str)
