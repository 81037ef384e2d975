"""The ASGI app: health, metrics, the platforms' webhooks, and the mounts of /v1 and /lab."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from gateway.bodies import read_within
from gateway.domain.adapter import Accept, HttpReceiving, HttpRequest
from gateway.domain.errors import StoreDown
from gateway.telemetry import log

EVENT_S = 2.5
"""How long storing an event may take, everything that the adapter asks Redis included: Slack waits for 3 s."""
EVENT_BYTES = 1_000_000
"""Largest event body; both platforms stay far below."""
Check = Callable[[], Awaitable[bool]]


def make_app(
    *,
    receiving: Sequence[HttpReceiving],
    accept: Accept,
    checks: Mapping[str, Check],
    mounts: Mapping[str, ASGIApp],
    serve_metrics: bool = True,
    lifespan: Callable[[], contextlib.AbstractAsyncContextManager[None]] | None = None,
) -> Starlette:
    """Build the app. `checks` are the parts of /readyz; `mounts` maps a path to a whole app."""

    async def home(_: Request) -> Response:
        return PlainTextResponse("threadway is running; see /healthz, /readyz and /metrics\n")

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        parts = {name: await check() for name, check in checks.items()}
        return JSONResponse(
            {name: "ok" if fine else "down" for name, fine in parts.items()}, 200 if all(parts.values()) else 503
        )

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    routes: list[BaseRoute] = [Route("/", home), Route("/healthz", healthz), Route("/readyz", readyz)]
    if serve_metrics:
        routes.append(Route("/metrics", metrics))
    for adapter in receiving:
        routes += [Route(path, _endpoint(adapter, accept), methods=["POST"]) for path in adapter.paths]
    for path, app in mounts.items():
        routes += [Mount(path, app=app)]

    @contextlib.asynccontextmanager
    async def span(_: Starlette) -> AsyncIterator[None]:
        async with lifespan() if lifespan else contextlib.nullcontext():
            yield

    return Starlette(routes=routes, lifespan=span)


def _endpoint(adapter: HttpReceiving, accept: Accept) -> Callable[[Request], Awaitable[Response]]:
    """One adapter's webhook: the body limited while it is read, a full store answered so that the platform retries."""

    async def endpoint(request: Request) -> Response:
        try:
            body = await read_within(request, EVENT_BYTES)
        except ClientDisconnect:
            return Response(status_code=400)
        if body is None:
            return JSONResponse({"error": f"an event may have at most {EVENT_BYTES} bytes"}, 413)
        headers = {name.lower(): value for name, value in request.headers.items()}
        try:
            async with asyncio.timeout(EVENT_S):
                answer = await adapter.handle(HttpRequest(request.method, request.url.path, headers, body), accept)
        except (StoreDown, TimeoutError) as away:
            log.warning("event.refused", path=request.url.path, why=str(away) or f"not stored within {EVENT_S:g} s")
            return JSONResponse({"error": "not stored, send it again"}, 503, {"Retry-After": "5"})
        return Response(answer.body, answer.status, dict(answer.headers))

    return endpoint
