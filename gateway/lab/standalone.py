"""The lab on a port of its own: for tests, and for bots that are not threadway."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import FrameType

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from gateway.domain.pacing import Clock, SystemClock
from gateway.lab import Lab, TraceSource
from gateway.lab.slack.sender import RETRY_AFTER_S


@dataclass(frozen=True, slots=True)
class Served:
    """A running lab: where it is and what its clients need. The tokens are new each time."""

    lab: Lab
    public_url: str
    """http://127.0.0.1:<port>"""
    telegram_token: str
    slack_bot_token: str
    slack_signing_secret: str
    slack_app_token: str

    @property
    def url(self) -> str:
        """What LabClient takes."""
        return f"{self.public_url}/lab"

    @property
    def telegram_url(self) -> str:
        """TELEGRAM_API_BASE_URL."""
        return f"{self.url}/telegram"

    @property
    def slack_url(self) -> str:
        """SLACK_API_BASE_URL."""
        return f"{self.url}/slack/api/"


class _Server(uvicorn.Server):
    """Says when it accepts connections and ends at once when told to: tests start a lab each."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready, self.ending = asyncio.Event(), asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        # uvicorn's own looks ten times a second whether to end, and refreshes the Date header, which is off here.
        await self.ending.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self.ending.set()


@asynccontextmanager
async def serve_lab(
    *,
    clock: Clock | None = None,
    slack_events_url: str | Sequence[str] | None = None,
    slack_retry_after_s: Sequence[float] = RETRY_AFTER_S,
    trace: TraceSource | None = None,
    password: str | None = None,
    seed: int = 0,
) -> AsyncIterator[Served]:
    """Serve a lab on a free loopback port, on the running loop, until the block ends."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    secret = secrets.token_urlsafe(24)
    tokens = (f"7000000001:{secret}", f"xoxb-{secret}", secret, f"xapp-{secret}")
    lab = Lab(
        url,
        clock or SystemClock(),
        *tokens,
        trace,
        slack_events_url=slack_events_url,
        slack_retry_after_s=slack_retry_after_s,
        password=password,
        seed=seed,
    )
    app = Starlette(routes=[Mount("/lab", lab.app())])
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False, date_header=False, lifespan="off"))
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    await lab.start()
    try:
        await server.ready.wait()
        yield Served(lab, url, *tokens)
    finally:
        await lab.close()
        server.ending.set()
        await serving
