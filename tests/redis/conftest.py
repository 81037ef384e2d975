"""A store on a real, empty Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.store import Store


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    """A store of its own for each test."""
    opened = Store(redis_url)
    yield opened
    await opened.close()
