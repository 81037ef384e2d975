"""Redis is full, and the platform is not one that calls us: what is not stored is not acknowledged, and comes again.

The webhooks are in tests/flow/test_backpressure.py.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import redis.asyncio

from gateway.domain.adapter import Accepted, Adapter, Mail
from gateway.domain.errors import StoreDown
from gateway.domain.messages import ConversationKey
from gateway.domain.pacing import SystemClock
from gateway.intake import Intake
from gateway.leading import Leading, PollOffsets, PollSpill
from gateway.slack import SlackAdapter
from gateway.store import Store
from gateway.telegram import TelegramAdapter
from tests.conformance.adapter import HastyClock
from tests.edge.slack_server import APP_TOKEN, BOT_TOKEN, slack_server
from tests.edge.telegram_server import ANN, TOKEN, telegram_server

ENVELOPE = json.loads((Path(__file__).parent.parent / "fixtures/slack/22_socket_mode_envelope.json").read_text())
TELEGRAM = ConversationKey(f"telegram:7000000001:{ANN['id']}:-")
SLACK = ConversationKey("slack:T012AB3CD:D012AB3CD:-")


class Door:
    """The real intake, which remembers that it refused."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self.refused = asyncio.Event()

    async def accept(self, mail: Mail) -> Accepted:
        try:
            return await self._intake.accept(mail)
        except StoreDown:
            self.refused.set()
            raise


@asynccontextmanager
async def receiving(adapter: Adapter, door: Door) -> AsyncIterator[None]:
    task = asyncio.ensure_future(adapter.receive(door.accept))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await adapter.close()


@asynccontextmanager
async def full(raw: redis.asyncio.Redis) -> AsyncIterator[None]:
    await raw.config_set("maxmemory", "1")
    try:
        yield
    finally:
        await raw.config_set("maxmemory", "0")


async def test_polling_does_not_advance(store: Store, intake: Intake, raw: redis.asyncio.Redis) -> None:
    door, offsets = Door(intake), PollOffsets(store, life_s=60)
    async with telegram_server() as server:
        adapter = TelegramAdapter(
            TOKEN,
            api_base_url=server.url,
            leader=Leading(store, SystemClock(), lease_s=10),
            offsets=offsets,
            spill=PollSpill(store),
            clock=HastyClock(),
        )
        first, second = server.private("one"), server.private("two")
        async with receiving(adapter, door):
            await server.queue(first)
            await server.emptied()
            async with full(raw):
                await server.queue(second)
                async with asyncio.timeout(10):
                    await door.refused.wait()
                assert server.updates == [second]
                assert await offsets.get(7000000001) == first["update_id"] + 1
            await server.emptied()
            assert await store.inbox.waiting(TELEGRAM) == 2


async def test_socket_mode_does_not_acknowledge(store: Store, intake: Intake, raw: redis.asyncio.Redis) -> None:
    door = Door(intake)
    async with slack_server() as server:
        adapter = SlackAdapter(
            BOT_TOKEN, app_token=APP_TOKEN, api_base_url=f"{server.url}/api/", dm="channel", clock=HastyClock()
        )
        server.frames = [json.dumps(ENVELOPE | {"envelope_id": "first"})]
        async with full(raw), asyncio.timeout(10), receiving(adapter, door):
            await door.refused.wait()
        server.frames = [json.dumps(ENVELOPE | {"envelope_id": "again"})]
        async with receiving(adapter, door):
            assert await server.got_acknowledgements(1) == [{"envelope_id": "again"}]
        assert await store.inbox.waiting(SLACK) == 1
