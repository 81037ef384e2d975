"""A store on a real, empty Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from gateway.store import Store


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    """A store of its own for each test."""
    opened = Store(redis_url)
    yield opened
    await opened.close()


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of its own, to look behind the store."""
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    yield client
    await client.aclose()
