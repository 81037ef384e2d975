"""The broker refuses wake-ups, or nobody consumes them: accepted work goes on, and nothing piles up."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from gateway.domain.errors import StoreDown
from gateway.domain.messages import ConversationKey, InboundMessage
from gateway.queue import TURNS
from tests.flow.conftest import Terminal
from tests.flow.processes import Backend, Fleet, until

KEY = ConversationKey("console:ann")


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    yield client
    await client.config_set("maxmemory", "0")
    await client.aclose()


def unannounced(name: str, text: str) -> InboundMessage:
    """A message whose wake-up gets lost: it is stored, and nobody is told."""
    return InboundMessage(conversation=KEY, dedupe_keys=(name,), text=text, author_id="ann")


async def test_a_full_redis_refuses_mail_and_finishes_what_it_took(
    fleet: Fleet, backend: Backend, terminal: Terminal, raw: redis.asyncio.Redis
) -> None:
    """It is the broker as well: no wake-up gets through, so the sweep has to do with its own hands what it finds."""
    worker = await fleet.worker("-c", "20")
    assert await terminal.ask("ann", "hello") == "echo 1: hello"
    await terminal.settled("ann")
    await terminal.store.inbox.ingest(unannounced("x", "more"))
    await raw.config_set("maxmemory", "1")
    assert await terminal.hear("ann") == "echo 2: more"
    await terminal.settled("ann")
    with pytest.raises(StoreDown):
        await terminal.store.inbox.ingest(unannounced("y", "too much"))
    await raw.config_set("maxmemory", "0")
    assert await terminal.ask("ann", "again") == "echo 3: again"
    assert worker.process.returncode is None


async def test_a_worker_of_runs_alone_lets_no_turns_pile_up_in_the_broker(
    fleet: Fleet, backend: Backend, terminal: Terminal, raw: redis.asyncio.Redis
) -> None:
    await fleet.worker("-Q", "runs")
    await terminal.store.inbox.ingest(unannounced("x", "hello"))
    reports: set[float] = set()

    async def has_swept() -> bool:
        found: list[tuple[str, float]] = await raw.zrange("tw:workers", 0, -1, withscores=True)  # type: ignore[assignment]
        reports.update(score for _, score in found)
        return len(reports) >= 5

    await until(has_swept)
    assert await raw.llen(TURNS) == 0
    await fleet.worker("-Q", "turns")
    assert await terminal.hear("ann") == "echo 1: hello"
