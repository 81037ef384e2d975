"""What the edge tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from gateway.domain.messages import ConversationKey
from gateway.intake import Intake
from gateway.store import Store


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    yield client
    await client.aclose()


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    """The real one."""
    opened = Store(redis_url)
    yield opened
    await opened.close()


class _NobodyWakes:
    def wake_turn(self, conversation: ConversationKey) -> None:
        """See WakesTurns."""


@pytest.fixture
def intake(store: Store) -> Intake:
    """The real one, on `store`; nobody works on what it takes."""
    return Intake(store, _NobodyWakes())
