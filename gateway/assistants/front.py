"""The door of the service: who may come in, how much they may bring, and how a refusal looks."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.assistants.errors import ApiError, RecordsDown
from gateway.assistants.ids import new_id
from gateway.bodies import read_within
from gateway.telemetry import log

REQUEST_ID = "x-request-id"


class Guard:
    """ASGI middleware: own hosts only, then the bearer key, before anything is routed or read.

    `allowed_hosts`: names this server answers to, without port; "*" is any. A browser page of another site (Origin)
    or a rebound DNS name (Host) is refused even if it knew the key.
    """

    def __init__(self, app: ASGIApp, *, key: str, allowed_hosts: Collection[str]) -> None:
        self._app = app
        self._key = key.encode()
        self._hosts = {host.lower().strip("[]") for host in allowed_hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through or answer the refusal."""
        if scope["type"] == "http" and (error := self._refusal(Headers(scope=scope))) is not None:
            await refused(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> ApiError | None:
        if not self._ours("//" + headers.get("host", "")):
            return ApiError("This server does not answer to this Host.", status=403, code="foreign_host")
        origin = headers.get("origin")
        if origin is not None and not self._ours(origin):
            return ApiError("Requests from this Origin are not allowed.", status=403, code="foreign_origin")
        return self._unknown_key(headers.get("authorization", ""))

    def _ours(self, address: str) -> bool:
        try:
            host = urlsplit(address).hostname
        except ValueError:
            return False
        return host is not None and ("*" in self._hosts or host in self._hosts)

    def _unknown_key(self, authorization: str) -> ApiError | None:
        scheme, _, given = authorization.partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given:
            return ApiError(
                "You didn't provide an API key. You need to provide your API key in an Authorization header using "
                "Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                status=401,
            )
        if hmac.compare_digest(given.encode("utf-8", "replace"), self._key):
            return None
        shown = f"{given[:3]}...{given[-4:]}" if len(given) >= 16 else "..."
        return ApiError(
            f"Incorrect API key provided: {shown}. It is THREADWAY_API_KEY, or the file api_key in the data directory.",
            status=401,
            code="invalid_api_key",
        )


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body. Raises ApiError 413 as soon as it is longer than `limit_bytes`."""
    body = await read_within(request, limit_bytes)
    if body is None:
        raise ApiError(f"Request body too large: at most {limit_bytes} bytes are accepted.", status=413)
    return body


def answered(body: Any, headers: dict[str, str] | None = None) -> Response:
    """A success."""
    return JSONResponse(body, headers={REQUEST_ID: new_id("req_"), **(headers or {})})


def refused(error: ApiError) -> Response:
    """A refusal in OpenAI's envelope."""
    headers = {REQUEST_ID: new_id("req_")}
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if error.status == 503:
        headers["retry-after"] = "1"
    return JSONResponse(error.body(), status_code=error.status, headers=headers)


def explained(request: Request, error: Exception) -> Response:
    """Whatever a request ended in, as an envelope; faults of ours are logged here, once."""
    if isinstance(error, ApiError):
        return refused(error)
    if isinstance(error, HTTPException):
        return refused(_no_such_route(request, error.status_code))
    path = request.url.path[:200]
    if isinstance(error, RecordsDown):
        log.warning("assistants.records_down", path=path, error=str(error))
        text = "The records cannot be reached now. Please retry your request."
        return refused(ApiError(text, status=503, type="server_error"))
    log.error("assistants.request_failed", method=request.method, path=path, exc_info=error)
    text = "The server had an error while processing your request. Sorry about that!"
    return refused(ApiError(text, status=500, type="server_error"))


def _no_such_route(request: Request, status: int) -> ApiError:
    where = f"{request.method} {request.url.path[:200]}"
    if status == 405:
        return ApiError(f"Not allowed: {where}.", status=405, code="method_not_supported")
    return ApiError(f"Invalid URL ({where})", status=404)
