"""Storing messages through the gateway's intake, against a bare SET of the same bytes on the same Redis."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial

from redis.asyncio import BlockingConnectionPool, Redis

from bench.front import CONNECTIONS, front
from bench.results import Result, Row
from bench.rounds import ROUND_S, in_turns
from bench.scratch import scratch
from gateway.domain.adapter import Accepted
from gateway.domain.messages import ConversationKey, InboundMessage
from gateway.intake import Intake
from gateway.queue import TURNS
from gateway.telemetry import configure_logging

AT_ONCE = (1, 50)
_TEXT = "Where is my order 4711? It should have been here on Tuesday, and nobody answers the phone."
_numbers = itertools.count(1)


async def run(size: int) -> Result:
    """Store up to three times `size` messages a round, each the first of its conversation and so with a wake-up.

    Raises StoreDown, ServerMissing, ServerFailed.
    """
    rows = []
    async with scratch() as (folder, url), front(folder, url) as gateway, _client(url) as redis:
        sides = (partial(_stored, gateway.intake, redis, 3 * size), partial(_set, redis, 3 * size))
        for at_once in AT_ONCE:
            with _logs_thrown_away():
                rates = await in_turns([partial(side, at_once) for side in sides])
            what = f"messages a second, {at_once} at a time"
            rows.append(Row(f"{what}: stored", rates["stored"], rates["set"], "higher"))
            rows.append(Row(f"{what}: stored and the wake-up published", rates["woken"], rates["set"], "higher"))
    return Result("intake", size, "SET of the same bytes on the same Redis", tuple(rows))


async def _stored(intake: Intake, redis: Redis, count: int, at_once: int) -> Mapping[str, float]:
    """Two rates: of messages stored, when a platform gets its acknowledgement, and of wake-ups at the broker.

    They are published one by one, on a thread of their own that a burst leaves behind.
    """

    async def store(message: InboundMessage) -> None:
        assert await intake.accept(message) is Accepted.STORED

    published = await redis.llen(TURNS)
    done, took_s = await _driven(store, count, at_once)
    began = time.perf_counter()
    while await redis.llen(TURNS) < published + done:  # noqa: ASYNC110  a list in Redis sets no event
        await asyncio.sleep(0.005)
    return {"stored": done / took_s, "woken": done / (took_s + time.perf_counter() - began)}


async def _set(redis: Redis, count: int, at_once: int) -> Mapping[str, float]:
    async def store(message: InboundMessage) -> None:
        await redis.set(f"bench:{message.event_id}", message.to_json())

    done, took_s = await _driven(store, count, at_once)
    return {"set": done / took_s}


async def _driven(call: Callable[[InboundMessage], Awaitable[None]], count: int, at_once: int) -> tuple[int, float]:
    """How many calls were made and how many a second, `at_once` in flight, until `count` or ROUND_S."""
    done = 0
    began = time.perf_counter()

    async def caller(messages: Iterator[InboundMessage]) -> None:
        nonlocal done
        for message in messages:
            await call(message)
            done += 1
            if time.perf_counter() - began > ROUND_S:
                return

    messages = (_message(next(_numbers)) for _ in range(count))
    await asyncio.gather(*(caller(messages) for _ in range(at_once)))
    return done, time.perf_counter() - began


def _message(number: int) -> InboundMessage:
    return InboundMessage(
        conversation=ConversationKey(f"console:p{number}"),
        dedupe_keys=(f"console:{number}",),
        text=_TEXT,
        author_id=f"p{number}",
        author_name="Ann Example",
        message_id=str(number),
        sent_ms=1_700_000_000_000 + number,
    )


@contextmanager
def _logs_thrown_away() -> Iterator[None]:
    """Log all that a gateway logs, but to nowhere: what a terminal does with the lines is not the intake's cost."""
    with open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stderr(nowhere):
            configure_logging("INFO", json=True)
        try:
            yield
        finally:
            configure_logging("WARNING")


@asynccontextmanager
async def _client(url: str) -> AsyncIterator[Redis]:
    pool = BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS, decode_responses=True)
    client = Redis(connection_pool=pool)
    try:
        yield client
    finally:
        await client.aclose()
        await pool.disconnect()
