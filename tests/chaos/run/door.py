"""The door between the platforms and the gateways: one address for two replicas, and the witness of what was acked."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from tests.chaos.run.backend import names_in
from tests.chaos.run.history import History

_PATIENCE_S = 10.0


class Door:
    """Takes the platforms' events in turn to one gateway and the other; brings some twice, loses some answers."""

    def __init__(self, gateways: Sequence[int], history: History, chance: random.Random) -> None:
        self._turns = itertools.cycle(gateways)
        self._gateways = len(gateways)
        self._history, self._chance = history, chance
        self._http: aiohttp.ClientSession | None = None
        self._twins: set[asyncio.Task[int]] = set()
        self.duplicate_rate = 0.0
        self.lost_ack_rate = 0.0
        self.here = 0
        """The port it listens on."""
        self.counts: Counter[str] = Counter()
        """For the table: deliveries, those doubled, those whose ack was lost."""

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Forward until the block ends."""
        app = web.Application(client_max_size=2 << 20)
        app.router.add_post("/{path:.*}", self._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.here = runner.addresses[0][1]
        timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as self._http:
            try:
                yield
            finally:
                for twin in self._twins:
                    twin.cancel()
                await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {n: v for n, v in request.headers.items() if n.lower().startswith(("x-", "content-type"))}
        names = names_in(body.decode(errors="replace"))
        name = names[0] if names else ""
        message = self._history.messages.get(name)
        self.counts["events brought to a gateway"] += 1
        if message:
            message.tries += 1
        if self._chance.random() < self.duplicate_rate:
            self.counts["events brought to both at once"] += 1
            twin = asyncio.create_task(self._forward(request.path, body, headers))
            self._twins.add(twin)
            twin.add_done_callback(self._twins.discard)
        status, answer, more = await self._deliver(request.path, body, headers)
        lost = status == 200 and self._chance.random() < self.lost_ack_rate
        self._history.attempts.append((time.time(), name, f"{status}{', answer lost' if lost else ''}"))
        if lost:
            self.counts["events whose ack got lost"] += 1
            return web.Response(status=502)
        if message and 200 <= status < 300 and message.acked_at is None:
            message.acked_at = time.time()
        return web.Response(status=status, body=answer, headers=more)

    async def _forward(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        return (await self._deliver(path, body, headers))[0]

    async def _deliver(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes, dict[str, str]]:
        """To the next gateway; to another one where nobody listens. An event that was perhaps taken is not repeated
        here: that is the platform's business."""
        assert self._http is not None
        for _ in range(self._gateways):
            url = f"http://127.0.0.1:{next(self._turns)}{path}"
            try:
                async with self._http.post(url, data=body, headers=headers) as answer:
                    kept = {n: v for n, v in answer.headers.items() if n.lower() in ("content-type", "retry-after")}
                    return answer.status, await answer.read(), kept
            except aiohttp.ClientConnectorError:
                continue
            except (aiohttp.ClientError, TimeoutError):
                return 502, b"", {}
        return 503, b"", {}
