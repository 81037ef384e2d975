"""Composition root of a gateway: settings → store → adapters → HTTP; the order of starting and stopping."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.domain.adapter import Adapter, HttpReceiving, Probing
from gateway.domain.errors import SettingsInvalid, StoreDown, TokenRefused
from gateway.domain.pacing import RetryPolicy, SystemClock
from gateway.door import Door
from gateway.http import Check, make_app
from gateway.intake import Intake
from gateway.leading import Leading, PollOffsets, PollSpill
from gateway.queue import Waker, make_celery
from gateway.registry import Ports, build_adapters
from gateway.settings import Backend, Settings
from gateway.store import Store
from gateway.telemetry import log


class Gateway:
    """One gateway process: adapters in front, Redis behind, HTTP on the side."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self._fatal: asyncio.Queue[Exception] = asyncio.Queue()
        self.before_stop: list[Callable[[], Awaitable[None]]] = []
        """To be awaited before the HTTP server waits for its open connections: these close their own streams."""
        self._checked = False

    async def open(self, stack: AsyncExitStack) -> Starlette:
        """Build everything and start receiving; `stack` ends it in the reverse order.

        A platform, broker or Redis that is away does not fail the start: /readyz says so until it is back.
        """
        settings = self.settings
        store = Store(settings.redis_url_value())
        stack.push_async_callback(store.close)
        waker = Waker(make_celery(settings.broker_url(settings.redis_url_value())))
        stack.callback(waker.close)
        mounts: dict[str, ASGIApp] = {}
        checks: dict[str, Check] = {
            "redis": lambda: self._redis_ready(store),
            "broker": _constant(lambda: waker.healthy),
        }
        if settings.lab == "on":
            mounts["/lab"] = await self._lab(store, stack)
        if settings.backend is Backend.EMBEDDED:
            mounts["/v1"] = self._assistants(waker, checks, stack)
        adapters = build_adapters(
            settings,
            Ports(
                leader=Leading(store, self.clock, lease_s=settings.lease_s),
                offsets=PollOffsets(store, life_s=6 * 24 * 3600.0),
                spill=PollSpill(store),
                mailbox=store.mailbox,
                known=store.conversations.known,
                agent_views=AgentViews(store),
            ),
        )
        intake = Intake(
            store,
            waker,
            debounce_s=settings.conversations.debounce_s,
            while_running=settings.conversations.while_running,
            door=Door(settings, store.pairings, self.clock),
        )
        receiving = {name: adapter for name, adapter in adapters.items() if name != "console"}
        for name, adapter in receiving.items():
            stack.push_async_callback(adapter.close)
            if isinstance(adapter, Probing):
                checks[name] = _constant(adapter.healthy)
        self._receive(receiving, intake, stack)
        return make_app(
            receiving=[adapter for adapter in receiving.values() if isinstance(adapter, HttpReceiving)],
            accept=intake.accept,
            checks=checks,
            mounts=mounts,
            serve_metrics=settings.metrics_port is None,
        )

    def _receive(self, adapters: dict[str, Adapter], intake: Intake, stack: AsyncExitStack) -> None:
        loops = [asyncio.create_task(self._receive_one(name, adapter, intake)) for name, adapter in adapters.items()]

        async def end() -> None:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

        self.before_stop.insert(0, end)  # before the lab closes, or the poller would miss it
        stack.push_async_callback(end)

    async def _receive_one(self, name: str, adapter: Adapter, intake: Intake) -> None:
        """Keep one adapter receiving; only a refused token ends the process."""
        attempt = 0
        while True:
            try:
                return await adapter.receive(intake.accept)
            except TokenRefused as refused:
                self._fatal.put_nowait(refused)
                return None
            except Exception as error:  # an adapter's defect must not silence the platform for ever
                log.exception("adapter.failed", adapter=name, error=type(error).__name__)
            await self.clock.sleep(RetryPolicy().delay(attempt, random.random()))  # noqa: S311  spreads load only
            attempt += 1

    async def _redis_ready(self, store: Store) -> bool:
        """Redis answers, and is one that keeps what it accepted."""
        if self._checked:
            return await store.ping()
        try:
            for warning in await store.check_server():
                log.warning("redis.risk", why=warning)
        except SettingsInvalid as evicting:
            self._fatal.put_nowait(evicting)
            return False
        except StoreDown:
            return False
        self._checked = True
        return True

    async def failed(self) -> Exception:
        """Wait for what retrying cannot help: a refused token, a Redis that evicts."""
        return await self._fatal.get()

    def _assistants(self, waker: Waker, checks: dict[str, Check], stack: AsyncExitStack) -> ASGIApp:
        """/v1, which says 503 until its database could be opened."""
        from gateway.assistants import routes
        from gateway.assistants.errors import RecordsDown
        from gateway.assistants.records import Database, open_database
        from gateway.assistants.service import Service

        settings = self.settings
        key = settings.api_key_value()
        opened: list[Database] = []
        front = Opening()

        async def wake(run_id: str) -> None:
            waker.wake_run(run_id)

        async def open_records() -> None:
            attempt = 0
            while not opened:
                try:
                    opened.append(await open_database(settings.database_url_value(), migrate=settings.auto_migrate))
                except SettingsInvalid as unusable:
                    self._fatal.put_nowait(unusable)
                    return
                except RecordsDown as away:
                    log.warning("database.away", error=str(away))
                    await self.clock.sleep(RetryPolicy().delay(attempt, random.random()))  # noqa: S311
                    attempt += 1
            service = Service(opened[0], run_expiry_s=settings.run_expiry_s, wake=wake, models=settings.models)
            front.app = routes.app(service, key=key, allowed_hosts=our_hosts(settings))

        async def ready() -> bool:
            try:
                for database in opened:
                    await database.ping()
            except RecordsDown:
                return False
            return bool(opened)

        opening = asyncio.create_task(open_records())

        async def end() -> None:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
            for database in opened:
                await database.close()

        stack.push_async_callback(end)
        checks["database"] = ready
        return front

    async def _lab(self, store: Store, stack: AsyncExitStack) -> ASGIApp:
        from gateway.lab import Lab
        from gateway.lab.identity import lab_url

        settings = self.settings
        store.timeline.switch_on()
        lab = Lab(
            lab_url(settings.host, settings.port),
            self.clock,
            _secret(settings.telegram_bot_token),
            _secret(settings.slack_bot_token),
            _secret(settings.slack_signing_secret),
            _secret(settings.slack_app_token),
            trace=store.timeline,
            password=_secret(settings.lab_password) or None,
        )
        await lab.start()
        stack.push_async_callback(lab.close)
        self.before_stop.append(lab.close)
        return lab.app()


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value else ""


def our_hosts(settings: Settings) -> list[str]:
    """The names under which our own processes and people on this machine may ask for /v1; others are refused."""
    named = [urlsplit(settings.effective_api_url).hostname or "", settings.host]
    return sorted({"127.0.0.1", "localhost", "::1", *filter(None, named)} - {"0.0.0.0", "::"})  # noqa: S104


class Opening:
    """An app that is not open yet: 503, in the shape of the API that it stands for."""

    def __init__(self) -> None:
        self.app: ASGIApp = JSONResponse(
            {"error": {"message": "The database is away.", "type": "server_error", "param": None, "code": None}},
            503,
            {"Retry-After": "2"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class AgentViews:
    """Which Slack workspaces showed that they use the agent view; latched for good."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, team: str) -> bool:
        """Whether the workspace was seen to use it. Raises StoreDown."""
        return await self._store.shared.get(f"slack:{team}:agent_view") is not None

    async def set(self, team: str) -> None:
        """It was seen. May be called twice. Raises StoreDown."""
        await self._store.shared.set(f"slack:{team}:agent_view", "1")


def _constant(fine: Callable[[], bool]) -> Check:
    """A check out of a plain function."""

    async def check() -> bool:
        return fine()

    return check


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[tuple[Starlette, Gateway]]:
    """A gateway that receives, for the length of the block."""
    gateway = Gateway(settings)
    async with AsyncExitStack() as stack:
        yield await gateway.open(stack), gateway
