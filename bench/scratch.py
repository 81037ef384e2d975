"""A place of its own for each benchmark: a folder, an embedded Redis, processes, an environment that says nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.domain.errors import ThreadwayError
from gateway.redis_server import RedisServer
from gateway.settings.layers import KNOWN
from tests.flow.processes import Fleet, environment


def forget_settings() -> None:
    """Drop every variable that threadway reads from this process's environment, before anything reads one.

    Else a developer's own tokens or Redis would take part. May be called twice.
    """
    for name in list(os.environ):
        if name.startswith("THREADWAY_") or name.removesuffix("_FILE").upper() in KNOWN:
            del os.environ[name]


@asynccontextmanager
async def scratch() -> AsyncIterator[tuple[Path, str]]:
    """A folder, and the URL of the embedded Redis in it as `threadway up` starts it: one fsync per write.

    Both are gone afterwards. Call it from the main thread. Raises ServerMissing, ServerFailed.
    """
    with tempfile.TemporaryDirectory(prefix="threadway-bench-") as name:
        folder = Path(name)
        server = RedisServer(folder / "data")
        await server.start()
        try:
            yield folder, server.url
        finally:
            await server.stop()


@asynccontextmanager
async def fleet(folder: Path, url: str) -> AsyncIterator[Fleet]:
    """Processes that work in `folder` and use the Redis at `url`; they are ended afterwards.

    A TimeoutError inside becomes a ThreadwayError that tells what the processes said last.
    """
    processes = Fleet(folder, environment(folder, url))
    try:
        yield processes
    except TimeoutError:
        said = "\n".join(line for process in processes.processes for line in process.lines[-10:])
        raise ThreadwayError(f"something did not come in time; the processes said last:\n{said}") from None
    finally:
        await processes.end()
