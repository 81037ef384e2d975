"""Serve a gateway over HTTP until it is told to end, or cannot go on."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn
from prometheus_client import start_http_server

from gateway.app import Gateway, running
from gateway.domain.errors import SettingsInvalid, StoreDown
from gateway.listening import listen, trouble, url_of
from gateway.settings import Settings
from gateway.store import Store
from gateway.telemetry import log

_ASK_S = 2.0
"""How long the start waits for Redis to say what it is; one that is away is asked again by /readyz."""


class _Server(uvicorn.Server):
    """Closes the lab's open streams before uvicorn waits for them, and leaves signals to us."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn's own raises the signal again once it has shut down, which would end us before the rest is closed."""
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn.Server.shutdown."""
        for close in self._gateway.before_stop:
            await close()
        await super().shutdown(sockets)


async def serve(settings: Settings) -> int:
    """Run the gateway; 0 after SIGTERM or Ctrl-C, 1 when a port is taken or a platform refused its token.

    Raises SettingsInvalid for a Redis that would lose mail.
    """
    try:
        listening = listen(settings.host, settings.port)
    except OSError as error:
        return _fail(trouble(error, settings.host, settings.port))
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    with contextlib.closing(listening), contextlib.ExitStack() as served:
        try:
            _serve_metrics(settings, served)
        except OSError as error:
            return _fail(trouble(error, settings.host, settings.metrics_port or 0, variable="THREADWAY_METRICS_PORT"))
        await _refuse_forgetful(settings)
        return await _serve(settings, listening, asked)


async def _serve(settings: Settings, listening: socket.socket, asked: asyncio.Event) -> int:
    async with running(settings) as (app, gateway):
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        server = _Server(config, gateway)
        serving = asyncio.create_task(server.serve([listening]))
        failing = asyncio.create_task(gateway.failed())
        asking = asyncio.create_task(asked.wait())
        log.info("gateway.listening", url=url_of(settings.host, settings.port))
        await asyncio.wait({serving, failing, asking}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        asking.cancel()
        if not failing.done():
            failing.cancel()
            return 0 if asked.is_set() else 1
        if isinstance(failing.result(), SettingsInvalid):
            raise failing.result()
        return _fail(str(failing.result()))


async def _refuse_forgetful(settings: Settings) -> None:
    """Not one message is taken for a Redis that throws mail away. Raises SettingsInvalid; says nothing of one away."""
    store = Store(settings.redis_url_value(), connections=1, timeout_s=_ASK_S)
    try:
        with contextlib.suppress(StoreDown, TimeoutError):
            async with asyncio.timeout(_ASK_S):
                await store.check_server()
    finally:
        await store.close()


def _serve_metrics(settings: Settings, stack: contextlib.ExitStack) -> None:
    if settings.metrics_port is None:
        return
    metrics, _ = start_http_server(settings.metrics_port, addr=settings.host)
    stack.callback(metrics.shutdown)
    log.info("metrics.served", port=metrics.server_port)


def _fail(why: str) -> int:
    print(why, file=sys.stderr)  # noqa: T201
    return 1
