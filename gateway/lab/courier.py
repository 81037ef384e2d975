"""Outgoing HTTP of the lab: webhooks and events, with a time limit that follows the injected clock."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from gateway.domain.pacing import Clock

MAX_ANSWER_BYTES = 1_000_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a delivery. `status` 0 means that no answer came; `reason` then says why."""

    status: int
    reason: str = ""
    """"" | http_error | http_timeout | connection_failed: Slack's words for x-slack-retry-reason."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""

    @property
    def accepted(self) -> bool:
        """Any 2xx."""
        return 200 <= self.status < 300


async def within(clock: Clock, limit_s: float, work: Coroutine[Any, Any, T]) -> T:
    """Await `work` for at most `limit_s` of the clock's seconds; raises TimeoutError, `work` is then cancelled."""
    doing = asyncio.ensure_future(work)
    timer = asyncio.ensure_future(clock.sleep(limit_s))
    try:
        await asyncio.wait({doing, timer}, return_when=asyncio.FIRST_COMPLETED)
        if doing.done():
            return doing.result()
        raise TimeoutError
    finally:
        for task in (doing, timer):
            task.cancel()
        await asyncio.gather(doing, timer, return_exceptions=True)


class Courier:
    """One HTTP client for everything that the lab sends. Belongs to the loop of its first use."""

    def __init__(self, clock: Clock, at_once: int = 100) -> None:
        self._clock = clock
        # A place in the queue is taken before the time limit begins: a crowd must not look like a slow receiver.
        self._places = asyncio.Semaphore(at_once)
        self._client: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], limit_s: float) -> Answer:
        """POST once; never raises for what the other side does (time-out, refused, reset, any status)."""
        async with self._places:
            try:
                return await within(self._clock, limit_s, self._post(url, body, headers))
            except TimeoutError:
                return Answer(0, "http_timeout")
            except (aiohttp.ClientError, OSError, ValueError):
                return Answer(0, "connection_failed")

    async def close(self) -> None:
        """Give back connections; may be called twice."""
        if self._client is not None:
            await self._client.close()

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        if self._client is None:
            connector = aiohttp.TCPConnector(limit=0)
            no_limit = aiohttp.ClientTimeout(total=None)  # `within` limits, on the injected clock
            # No proxies from the environment: what the lab calls is on this machine.
            self._client = aiohttp.ClientSession(connector=connector, timeout=no_limit, trust_env=False)
        async with self._client.post(url, data=body, headers=headers, allow_redirects=False) as response:
            received = await response.content.read(MAX_ANSWER_BYTES)
            told = {name.lower(): value for name, value in response.headers.items()}
            reason = "" if 200 <= response.status < 300 else "http_error"
            return Answer(response.status, reason, told, received)
