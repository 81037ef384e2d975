"""A wire to the test's Redis that can be cut, at a moment of one's choice or for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path


class Gate:
    """Forwards a unix socket to another one, unless it is told not to."""

    def __init__(self, behind: str) -> None:
        self.cut = asyncio.Event()
        """Set when the armed cut has happened."""
        self._behind = behind
        self._pattern = b""
        self._answer_only = False
        self._closed = False
        self._wires: set[asyncio.StreamWriter] = set()

    def cut_at(self, *words: str | int, answer_only: bool = False) -> None:
        """Cut the connection once, at the request that has `words` in a row: before it reaches Redis, or, with
        `answer_only`, when Redis has done it."""
        self.cut.clear()
        self._answer_only = answer_only
        self._pattern = b"".join(b"$%d\r\n%s\r\n" % (len(str(word).encode()), str(word).encode()) for word in words)

    def close(self) -> None:
        """Redis is away: connections break, new ones are refused."""
        self._closed = True
        for wire in self._wires:
            wire.close()

    def open(self) -> None:
        """Redis is back."""
        self._closed = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client."""
        if self._closed:
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_unix_connection(self._behind)
        self._wires |= {writer, far_writer}
        back = asyncio.create_task(self._back(far_reader, writer))
        try:
            while data := await reader.read(1 << 20):
                hit = bool(self._pattern) and self._pattern in data
                if hit:
                    self._pattern = b""
                    back.cancel()
                    await asyncio.wait({back})
                if not hit or self._answer_only:
                    far_writer.write(data)
                if hit:
                    if self._answer_only:
                        await far_reader.read(1 << 20)
                    self.cut.set()
                    break
        except OSError:
            pass
        finally:
            back.cancel()
            self._wires -= {writer, far_writer}
            writer.close()
            far_writer.close()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 20):
                writer.write(data)
            writer.close()


@asynccontextmanager
async def gate(redis_url: str, folder: Path) -> AsyncIterator[tuple[Gate, str]]:
    """A gate in front of `redis_url` (unix socket), and the URL that leads through it."""
    path, _, query = redis_url.removeprefix("unix://").partition("?")
    opened = Gate(path)
    front = folder / "gate.sock"
    server = await asyncio.start_unix_server(opened.serve, str(front), limit=1 << 20)
    try:
        yield opened, f"unix://{front}?{query}"
    finally:
        opened.close()
        server.close()
