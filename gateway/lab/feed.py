"""The lab's one stream of changes: what the page and waiting tests follow."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator
from itertools import islice
from typing import Any

Json = dict[str, Any]

KEPT = 20_000
"""How many changes can be resumed; whoever is further behind gets `reset` and reads the whole state again."""


class Feed:
    """An append-only list of changes with resumable cursors. Bounded; one per lab; used on one event loop."""

    def __init__(self, kept: int = KEPT) -> None:
        # A cursor of an earlier process must not be taken for one of ours: numbers start again, this name does not.
        self._name = secrets.token_hex(4)
        self._changes: deque[tuple[int, Json]] = deque(maxlen=kept)
        self._last = 0
        self._news = asyncio.Event()
        self._closed = False

    @property
    def cursor(self) -> str:
        """Names the newest change; `follow(cursor)` yields what comes after it."""
        return f"{self._name}-{self._last}"

    def publish(self, change: Json) -> str:
        """Append a change (JSON-able, not modified afterwards) and return its cursor."""
        self._last += 1
        self._changes.append((self._last, change))
        self._wake()
        return self.cursor

    def close(self) -> None:
        """End every `follow`; may be called twice."""
        self._closed = True
        self._wake()

    async def follow(self, after: str | None = None) -> AsyncIterator[tuple[str, Json]]:
        """Yield (cursor, change) for everything after `after` (None: from now on) until the feed is closed.

        A cursor that is unknown or too old yields one {"type": "reset"} and goes on from now.
        """
        position = self._last if after is None else self._position(after)
        while not self._closed:
            news = self._news
            behind = self._last - position if position is not None else None
            if behind is None or behind > len(self._changes):
                position = self._last
                yield self.cursor, {"type": "reset"}
                continue
            for number, change in reversed(list(islice(reversed(self._changes), behind))):
                position = number
                yield f"{self._name}-{number}", change
            if position == self._last:
                await news.wait()

    def _position(self, cursor: str) -> int | None:
        name, _, number = cursor.rpartition("-")
        if name != self._name or not number.isdecimal():
            return None
        position = int(number)
        return position if position <= self._last else None

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()
