"""The Bot API over HTTP: /telegram/bot<token>/<method>, files under /telegram/file/bot<token>/<path>."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.domain.pacing import Clock
from gateway.lab.arguments import Arguments, BadArguments, TooLarge, read_arguments
from gateway.lab.cut import CutOff
from gateway.lab.faults import Faults
from gateway.lab.telegram.account import AccountMethods
from gateway.lab.telegram.errors import Refusal, bad_request, too_many
from gateway.lab.telegram.messages import MessageMethods
from gateway.lab.telegram.world import TelegramWorld

MAX_BODY_BYTES = 50 << 20
"""Bot API: uploads up to 50 MB."""
MAX_DOWNLOAD_BYTES = 20 << 20

Method = Callable[[Arguments], Awaitable[Any]]


class TelegramHttp:
    """Routes of the lab's Bot API."""

    def __init__(
        self,
        token: str,
        world: TelegramWorld,
        account: AccountMethods,
        messages: MessageMethods,
        faults: Faults,
        clock: Clock,
    ) -> None:
        self._token, self._world, self._faults, self._clock = token, world, faults, clock
        # The real server does not mind the case of a method's name.
        self._methods: dict[str, Method] = {
            "getme": account.get_me,
            "getupdates": account.get_updates,
            "setwebhook": account.set_webhook,
            "deletewebhook": account.delete_webhook,
            "getwebhookinfo": account.get_webhook_info,
            "setmycommands": account.set_my_commands,
            "getmycommands": account.get_my_commands,
            "answercallbackquery": account.answer_callback_query,
            "getfile": account.get_file,
            "logout": account.log_out,
            "close": account.close,
            "sendmessage": messages.send_message,
            "sendphoto": messages.send_photo,
            "senddocument": messages.send_document,
            "editmessagetext": messages.edit_message_text,
            "deletemessage": messages.delete_message,
            "sendchataction": messages.send_chat_action,
            "sendmessagedraft": messages.send_message_draft,
            "setmessagereaction": messages.set_message_reaction,
            "getchat": messages.get_chat,
        }

    def routes(self) -> list[Route]:
        """To be mounted where the lab is."""
        return [
            Route("/telegram/file/bot{token}/{path:path}", self.download, methods=["GET"]),
            Route("/telegram/bot{token}/{method}", self.call, methods=["GET", "POST"]),
            Route("/telegram/{rest:path}", self.missing, methods=["GET", "POST"]),
        ]

    async def call(self, request: Request) -> Response:
        """One method call, with the fault switches around it."""
        try:
            self._authorise(request)
            name = request.path_params["method"]
            method = self._methods.get(name.lower())
            if method is None:
                raise Refusal(404, "Not Found")
            args = await read_arguments(request, MAX_BODY_BYTES)
            return await self._with_faults(name, method, args)
        except Refusal as refusal:
            return _refused(refusal)
        except BadArguments as error:
            return _refused(bad_request(str(error)))
        except TooLarge:
            return _refused(Refusal(413, "Request Entity Too Large"))

    async def download(self, request: Request) -> Response:
        """A stored file's bytes."""
        try:
            self._authorise(request)
        except Refusal as refusal:
            return _refused(refusal)
        for path, content in self._world.files.values():
            if path == request.path_params["path"] and len(content) <= MAX_DOWNLOAD_BYTES:
                return Response(content, media_type="application/octet-stream")
        return _refused(Refusal(404, "Not Found"))

    async def missing(self, request: Request) -> Response:
        """Whatever is no method."""
        return _refused(Refusal(404, "Not Found"))

    async def _with_faults(self, name: str, method: Method, args: Arguments) -> Response:
        verdict = self._faults.judge("telegram", name)
        if verdict.delay_s:
            await self._clock.sleep(verdict.delay_s)
        if verdict.fault == "rate_429":
            raise too_many(verdict.retry_after)
        if verdict.fault == "errors_5xx":
            raise Refusal(500, "Internal Server Error")
        if verdict.fault == "cut_before":
            return CutOff()
        result = await method(args)
        if verdict.fault == "cut_after":
            return CutOff()
        if verdict.fault == "drop_response":
            # The effect stays, the answer is lost on the way: what a bot sees of a gateway that gave up.
            return Response("Bad Gateway", status_code=502, media_type="text/html")
        return JSONResponse({"ok": True, "result": result})

    def _authorise(self, request: Request) -> None:
        given = request.path_params["token"]
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise Refusal(401, "Unauthorized")


def _refused(refusal: Refusal) -> Response:
    return JSONResponse(refusal.wire(), status_code=refusal.code)
