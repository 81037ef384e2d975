"""Assistants as code: made once for all who ask, and a backend that hangs keeps nobody for longer than one attempt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from gateway.domain.errors import BackendDown, Retryable
from gateway.domain.messages import RunId, ThreadId
from tests.edge.work import bench
from workers.backends.assistants import AssistantsBackend


async def test_a_crowd_that_asks_at_once_shares_one_attempt(redis_url: str) -> None:
    async with bench(redis_url) as at:
        ids = await asyncio.gather(*(at.deps.definitions.id_of("a") for _ in range(50)))
        assert set(ids) == set(at.server.assistants)


async def test_it_shares_its_failure_too(redis_url: str) -> None:
    async with bench(redis_url) as at:
        at.server.down = True
        asked = [asyncio.create_task(at.deps.definitions.id_of("a")) for _ in range(50)]
        await asyncio.sleep(0)
        asked[0].cancel()
        failures = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(failures[0], asyncio.CancelledError), "who gives up does not end the others' attempt"
        assert all(isinstance(failure, Retryable) for failure in failures[1:])
        assert at.server.refused_calls == 1
        at.server.down = False
        assert await at.deps.definitions.id_of("a") in at.server.assistants


@asynccontextmanager
async def trickling() -> AsyncIterator[str]:
    """A server that never stops answering, a byte at a time: no read of the client's waits for long."""

    async def trickle(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b" ")
            await asyncio.sleep(0.02)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", trickle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


async def test_a_call_ends_within_its_time_however_the_answer_comes() -> None:
    """Past it, the lease may end and another worker make the same call."""
    async with trickling() as url:
        backend = AssistantsBackend(url, "key", call_timeout_s=0.3)
        async with asyncio.timeout(5):
            with pytest.raises(BackendDown):
                await backend.look(ThreadId("thread_1"), RunId("run_1"))
        await backend.close()
