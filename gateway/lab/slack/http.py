"""The Web API over HTTP: /slack/api/<method>; and the response_url of commands and button presses."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from gateway.domain.pacing import Clock
from gateway.lab.arguments import Arguments, BadArguments, TooLarge, read_arguments
from gateway.lab.cut import CutOff
from gateway.lab.faults import Faults
from gateway.lab.feed import Json
from gateway.lab.slack.chat import ChatMethods
from gateway.lab.slack.errors import Refusal
from gateway.lab.slack.people import SlackPeople
from gateway.lab.slack.reading import ReadMethods

MAX_BODY_BYTES = 1 << 20
APP_TOKEN_METHODS = {"apps.connections.open"}

Method = Callable[[Arguments], Awaitable[Json]]


class SlackHttp:
    """Routes of the lab's Web API."""

    def __init__(
        self,
        bot_token: str,
        app_token: str,
        chat: ChatMethods,
        reading: ReadMethods,
        people: SlackPeople,
        faults: Faults,
        clock: Clock,
    ) -> None:
        self._bot_token, self._app_token, self._people = bot_token, app_token, people
        self._faults, self._clock = faults, clock
        self._methods: dict[str, Method] = {
            "auth.test": reading.auth_test,
            "apps.connections.open": reading.open_connection,
            "bots.info": reading.bot_info,
            "conversations.history": reading.history,
            "conversations.info": reading.channel_info,
            "conversations.open": reading.open_direct,
            "conversations.replies": reading.replies,
            "team.info": reading.team_info,
            "users.info": reading.user_info,
            "views.publish": reading.publish_view,
            "agents.sessions.setStatus": chat.set_agent_status,
            "assistant.threads.setStatus": chat.set_thread_status,
            "chat.delete": chat.delete,
            "chat.postEphemeral": chat.post_ephemeral,
            "chat.postMessage": chat.post_message,
            "chat.update": chat.update,
            "reactions.add": chat.add_reaction,
        }

    def routes(self) -> list[Route]:
        """To be mounted where the lab is."""
        return [
            Route("/slack/api/{method}", self.call, methods=["GET", "POST"]),
            Route("/slack/response/{ticket}", self.respond, methods=["POST"]),
        ]

    async def call(self, request: Request) -> Response:
        """One method call, with the fault switches around it. Errors are HTTP 200 but for 429 and 5xx."""
        name = request.path_params["method"]
        try:
            method = self._methods.get(name)
            if method is None:
                raise Refusal("unknown_method")
            args = await read_arguments(request, MAX_BODY_BYTES)
            self._authorise(name, request, args)
            return await self._with_faults(name, method, args)
        except Refusal as refusal:
            return JSONResponse(refusal.wire())
        except BadArguments as error:
            return JSONResponse(Refusal("invalid_arguments", f"[ERROR] {error}").wire())
        except TooLarge:
            return PlainTextResponse("Request Entity Too Large", status_code=413)

    async def respond(self, request: Request) -> Response:
        """A response_url: shows a message to who gave the command; 5 uses within 30 min."""
        try:
            args = await read_arguments(request, MAX_BODY_BYTES)
            self._people.respond(request.path_params["ticket"], args)
        except BadArguments as error:
            return PlainTextResponse(str(error), status_code=404)
        except TooLarge:
            return PlainTextResponse("too large", status_code=413)
        return PlainTextResponse("ok")

    async def _with_faults(self, name: str, method: Method, args: Arguments) -> Response:
        verdict = self._faults.judge("slack", name)
        if verdict.delay_s:
            await self._clock.sleep(verdict.delay_s)
        if verdict.fault == "rate_429":
            headers = {"Retry-After": str(verdict.retry_after)}
            return JSONResponse({"ok": False, "error": "ratelimited"}, status_code=429, headers=headers)
        if verdict.fault == "errors_5xx":
            return JSONResponse({"ok": False, "error": "internal_error"}, status_code=500)
        if verdict.fault == "cut_before":
            return CutOff()
        result = await method(args)
        if verdict.fault == "cut_after":
            return CutOff()
        if verdict.fault == "drop_response":
            # The effect stays, the answer is lost on the way.
            return PlainTextResponse("Bad Gateway", status_code=502)
        return JSONResponse({"ok": True, **result})

    def _authorise(self, name: str, request: Request, args: Arguments) -> None:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = bearer if scheme.lower() == "bearer" else args.text("token")
        if not given:
            raise Refusal("not_authed")
        is_bot = hmac.compare_digest(given.encode(), self._bot_token.encode())
        is_app = hmac.compare_digest(given.encode(), self._app_token.encode())
        if not is_bot and not is_app:
            raise Refusal("invalid_auth")
        if is_app != (name in APP_TOKEN_METHODS) and not (is_bot and is_app):
            raise Refusal("not_allowed_token_type")
