"""Serve a gateway over HTTP until it is told to end, or cannot go on."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys

import uvicorn
from prometheus_client import start_http_server

from gateway.app import Gateway, running
from gateway.settings import Settings
from gateway.telemetry import log
from gateway.up import port_is_free


class _Server(uvicorn.Server):
    """Closes the lab's open streams before uvicorn waits for them."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for close in self._gateway.before_stop:
            await close()
        await super().shutdown(sockets)


async def serve(settings: Settings) -> int:
    """Run the gateway; 0 after SIGTERM or Ctrl-C, 1 when its port is taken or a platform refused its token."""
    if not port_is_free(settings.host, settings.port):
        print(f"THREADWAY_PORT: port {settings.port} on {settings.host} is taken; set another one", file=sys.stderr)  # noqa: T201
        return 1
    async with running(settings) as (app, gateway):
        if settings.metrics_port is not None:
            metrics, _ = start_http_server(settings.metrics_port, addr=settings.host)
            log.info("metrics.served", port=metrics.server_port)
        server = _Server(
            uvicorn.Config(
                app,
                host=settings.host,
                port=settings.port,
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_graceful_shutdown=3,
            ),
            gateway,
        )
        serving = asyncio.create_task(server.serve())
        failing = asyncio.create_task(gateway.failed())
        await asyncio.wait({serving, failing}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        with contextlib.suppress(SystemExit):  # uvicorn's way of saying that it could not bind
            await serving
        if failing.done():
            print(failing.result(), file=sys.stderr)  # noqa: T201
            return 1
        failing.cancel()
        return 0 if server.started else 1
