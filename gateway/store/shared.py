"""Small facts that all processes share: assistant ids, poll offsets, latches."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from gateway.store import keys


@dataclass(frozen=True, slots=True)
class Definition:
    """Where an assistant of ours lives at a backend."""

    assistant_id: str
    fingerprint: str
    """Of the definition it was created or updated from."""


class Shared:
    """Facts of the installation, not of a conversation."""

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self._call = call

    async def definition(self, backend: str, name: str) -> Definition | None:
        """What is known of an assistant at a backend. Raises StoreDown."""
        raw = await self._call("HGET", keys.definitions(backend), name)
        return Definition(**json.loads(raw)) if raw else None

    async def set_definition(self, backend: str, name: str, definition: Definition | None) -> None:
        """Remember it, or forget it with None. Raises StoreDown."""
        if definition is None:
            await self._call("HDEL", keys.definitions(backend), name)
            return
        fact = {"assistant_id": definition.assistant_id, "fingerprint": definition.fingerprint}
        await self._call("HSET", keys.definitions(backend), name, json.dumps(fact))

    async def get(self, name: str) -> str | None:
        """A value by name. Raises StoreDown."""
        found = await self._call("GET", keys.value(name))
        return None if found is None else str(found)

    async def set(self, name: str, value: str, *, life_s: float | None = None) -> None:
        """Keep a value by name, for ever or for `life_s`. Raises StoreDown."""
        life = ("PX", int(life_s * 1000)) if life_s is not None else ()
        await self._call("SET", keys.value(name), value, *life)

    async def entries(self, name: str) -> dict[str, str]:
        """All entries of a table by name; {} where there is none. Raises StoreDown."""
        found = await self._call("HGETALL", keys.table(name))
        return dict(found) if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))

    async def put_entry(self, name: str, entry: str, value: str) -> None:
        """Keep an entry of a table for ever. May be called twice. Raises StoreDown, also when Redis is full."""
        await self._call("HSET", keys.table(name), entry, value)

    async def drop_entry(self, name: str, entry: str) -> None:
        """Forget an entry; nothing happens where there is none. Raises StoreDown."""
        await self._call("HDEL", keys.table(name), entry)
