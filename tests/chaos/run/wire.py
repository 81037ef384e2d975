"""The wire between our processes and what they call: it refuses, fails and breaks, before the effect and after it.

An HTTP/1.1 relay. Each request may meet one mishap; what the other side has done by then is the point of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

AFTER = ("error after", "cut after")
"""Mishaps that come when the effect is done."""
MISHAPS = ("429", "error before", "cut before", *AFTER)
_HEAD_BYTES = 1 << 16


@dataclass
class Wire:
    """One relay to `port`; `rate` is the chance of a mishap for each request and may be changed at any time."""

    name: str
    chance: random.Random
    port: int = 0
    rate: float = 0.0
    here: int = 0
    """The port it listens on."""
    mishaps: Counter[str] = field(default_factory=Counter)
    """By kind."""
    unsure_sends: int = 0
    """Telegram messages of which the sender cannot know whether they were posted: each may be followed by a notice."""
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Relay until the block ends."""
        server = await asyncio.start_server(self._relay, "127.0.0.1", 0, limit=_HEAD_BYTES)
        self.here = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            for writer in self._open:
                writer.transport.abort()

    def cut_all(self) -> None:
        """Every connection breaks, whatever it is in the middle of."""
        for writer in self._open:
            writer.transport.abort()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far: asyncio.StreamWriter | None = None
        try:
            self._open.add(writer)
            answers, far = await asyncio.open_connection("127.0.0.1", self.port, limit=_HEAD_BYTES)
            self._open.add(far)
            while await self._one(reader, writer, answers, far):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # either side went away, which is what this is about
        finally:
            for end in (writer, far):
                if end is not None:
                    self._open.discard(end)
                    end.close()

    async def _one(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        far: asyncio.StreamWriter,
    ) -> bool:
        request = await read_message(reader)
        mishap = self._mishap(request)
        if mishap == "cut before":
            writer.transport.abort()
            return False
        if mishap in ("429", "error before"):
            writer.write(refusal(429 if mishap == "429" else 503))
            await writer.drain()
            return False
        far.write(request)
        await far.drain()
        answer = await read_message(answers)
        if mishap == "cut after":
            writer.transport.abort()
            return False
        if mishap == "error after":
            writer.write(refusal(502))
            await writer.drain()
            return False
        writer.write(answer)
        await writer.drain()
        return True

    def _mishap(self, request: bytes) -> str:
        if not self.rate or self.chance.random() >= self.rate:
            return ""
        kind = self.chance.choice(MISHAPS)
        self.mishaps[kind] += 1
        if b"/sendMessage" in request.partition(b"\r\n")[0] and kind != "429":
            self.unsure_sends += 1  # an error or a broken connection says nothing about the effect
        return kind


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """One HTTP/1.1 request or answer, head and body, as it came.

    Raises IncompleteReadError when the other side goes away.
    """
    head = await reader.readuntil(b"\r\n\r\n")
    fields = {
        name.strip().lower(): value.strip()
        for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:] if line)
    }
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        return head + await _chunks(reader)
    return head + await reader.readexactly(int(fields.get(b"content-length", b"0")))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        body += line + await reader.readexactly(size + 2)
        if size == 0:
            return body


def refusal(status: int) -> bytes:
    """What a server in front of the API answers, or, for 429, the API, in a form that both platforms and the backend's
    protocol understand; then the connection closes."""
    kind, wish, body = "text/html", "", b"<h1>A mishap</h1>"
    if status == 429:
        kind, wish = "application/json", "Retry-After: 1\r\n"
        description = {"error_code": 429, "description": "Too Many Requests: retry after 1"}
        told = {"ok": False, "error": "ratelimited", "parameters": {"retry_after": 1}, **description}
        body = json.dumps(told).encode()
    head = f"HTTP/1.1 {status} Mishap\r\nContent-Type: {kind}\r\n{wish}Content-Length: {len(body)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode() + body


@asynccontextmanager
async def wires(*all_of_them: Wire) -> AsyncIterator[None]:
    """Serve several."""
    async with contextlib.AsyncExitStack() as stack:
        for wire in all_of_them:
            await stack.enter_async_context(wire.serve())
        yield
