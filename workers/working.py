"""Show "typing…" for as long as a turn is at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from gateway.domain.adapter import Adapter
from gateway.domain.messages import Destination
from gateway.domain.pacing import Clock
from gateway.domain.turns import Turn


@asynccontextmanager
async def working(adapter: Adapter, turn: Turn, clock: Clock) -> AsyncIterator[None]:
    """Keep the platform's working sign alive inside the block; commands are answered without one."""
    if turn.first.command or adapter.capabilities.working_every_s <= 0:
        yield
        return
    to = Destination(turn.conversation, turn.last.reply_to)

    async def repeat() -> None:
        while True:
            await adapter.working(to)
            await clock.sleep(adapter.capabilities.working_every_s)

    sign = asyncio.ensure_future(repeat())
    try:
        yield
    finally:
        sign.cancel()
        with suppress(asyncio.CancelledError):
            await sign
