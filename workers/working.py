"""Show "typing…" for as long as a turn is at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.domain.adapter import Adapter
from gateway.domain.messages import Destination
from gateway.domain.pacing import Clock
from gateway.domain.turns import Turn
from gateway.telemetry import log


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
        # Not `await sign`: suppressing its cancel would swallow our own, and the turn would go on without its lease.
        await asyncio.wait({sign})
        if not sign.cancelled() and (broken := sign.exception()):
            log.warning("working.failed", adapter=adapter.name, error=type(broken).__name__)
