"""A real server of the embedded service for a test module, the official SDK as its client, and a desk beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import uvicorn
from openai import AsyncOpenAI
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Message, Receive, Scope, Send

from gateway.assistants import routes
from gateway.assistants.desk import Desk
from gateway.assistants.records import Database, open_database
from gateway.assistants.service import Service
from tests.conformance.openapi import contract

KEY = "tw-test-key-0123456789"
EXPIRY_S = 600


class HandClock:
    """A clock that moves when a test says so."""

    def __init__(self) -> None:
        self._now = datetime(2026, 11, 1, 12, tzinfo=UTC)

    def now(self) -> datetime:
        """See Clock.now."""
        return self._now

    def monotonic(self) -> float:
        """See Clock.monotonic."""
        return self._now.timestamp()

    async def sleep(self, seconds: float) -> None:
        """See Clock.sleep: the time passes at once."""
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)


@dataclass
class Served:
    """The running server, and what was seen of it."""

    port: int
    database_url: str
    clock: HandClock
    woken: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    answers: int = 0
    broker_down: bool = False

    @property
    def url(self) -> str:
        """Root of the API."""
        return f"http://127.0.0.1:{self.port}/v1"

    async def wake(self, run_id: str) -> None:
        """The executors' bell."""
        if self.broker_down:
            raise ConnectionError("no broker")
        self.woken.append(run_id)


class Watched:
    """ASGI: lets everything through and judges every answer by the document, whoever asked."""

    def __init__(self, app: Starlette, served: Served) -> None:
        self._app = app
        self._served = served

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        status, body = 0, bytearray()

        async def seen(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            body.extend(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body"):
                path = scope["path"].removeprefix("/v1")
                self._served.problems += contract().violations(scope["method"], path, status, json.loads(body))
                self._served.answers += 1
            await send(message)

        await self._app(scope, receive, seen)


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave Ctrl-C to pytest."""
        yield


async def _serve(
    served: Served, listening: socket.socket, servers: list[uvicorn.Server], opened: threading.Event
) -> None:
    database = await open_database(served.database_url, migrate=True)
    service = Service(
        database,
        run_expiry_s=EXPIRY_S,
        wake=served.wake,
        clock=served.clock,
        models={"gpt-4*": "scripted", "small": "scripted-small"},
    )
    app = Starlette(routes=[Mount("/v1", routes.app(service, key=KEY, max_body_bytes=2_000_000))])
    config = uvicorn.Config(Watched(app, served), lifespan="off", log_config=None, timeout_graceful_shutdown=2)
    servers.append(_Server(config))
    opened.set()
    await servers[0].serve(sockets=[listening])
    await database.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The service over HTTP, on a database of its own; at the end no answer may have broken the contract.

    TEST_DATABASE_URL=postgresql://… runs the same tests on that (empty or left over) Postgres database.
    """
    folder: Path = tmp_path_factory.mktemp("assistants")
    listening = socket.create_server(("127.0.0.1", 0))  # requests wait in its backlog until the server is up
    url = os.environ.get("TEST_DATABASE_URL") or f"sqlite:///{folder}/records.sqlite3"
    served = Served(listening.getsockname()[1], url, HandClock())
    servers: list[uvicorn.Server] = []
    opened = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(served, listening, servers, opened)))
    thread.start()
    assert opened.wait(30)
    yield served
    servers[0].should_exit = True
    thread.join(10)
    assert not thread.is_alive()
    assert served.answers
    assert served.problems == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(served: Served) -> AsyncIterator[AsyncOpenAI]:
    """The official SDK."""
    async with AsyncOpenAI(base_url=served.url, api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def http(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    """A plain client that knows the key, for what the SDK would never send."""
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers, trust_env=False) as http:
        yield http


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def database(served: Served) -> AsyncIterator[Database]:
    """The same database, opened once more as a worker process would."""
    database = await open_database(served.database_url, migrate=False)
    yield database
    await database.close()


@pytest.fixture(scope="module")
def desk(database: Database, served: Served) -> Desk:
    """Where the tests play the executor."""
    return Desk(database, clock=served.clock, wake=served.wake)
