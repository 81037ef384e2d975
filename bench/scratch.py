"""A place of its own for each benchmark: a folder, an embedded Redis, and an environment that says nothing."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.redis_server import RedisServer
from gateway.settings.layers import KNOWN


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
