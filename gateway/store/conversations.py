"""What lasts of a conversation: that we know it, its thread, its memory."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.domain.messages import ConversationKey, ThreadId
from gateway.store import keys

Call = Callable[..., Awaitable[Any]]
MEMORY_ENTRIES = 200


class Conversations:
    """Conversation → thread, and the memory that the built-in tools keep."""

    def __init__(self, call: Call) -> None:
        self._call = call

    async def known(self, key: ConversationKey) -> bool:
        """Whether the bot was ever addressed in this conversation. Raises StoreDown."""
        return bool(await self._call("EXISTS", keys.state(key)))

    async def thread(self, key: ConversationKey) -> ThreadId | None:
        """The thread that the conversation is on now. Raises StoreDown."""
        thread = await self._call("HGET", keys.state(key), "thread")
        return ThreadId(thread) if thread else None

    async def progress(self, key: ConversationKey) -> dict[str, str]:
        """The stored state as it is, for operators; {} where nothing is known. Raises StoreDown."""
        return _pairs(await self._call("HGETALL", keys.state(key)))

    async def last_reply(self, key: ConversationKey) -> tuple[str, list[str]] | None:
        """The id of the last turn whose reply `finish` was told to keep, and the reply's parts. Raises StoreDown."""
        raw = await self._call("GET", keys.last_reply(key))
        if raw is None:
            return None
        kept = json.loads(raw)
        return str(kept["turn"]), [str(part) for part in kept["parts"]]

    async def earlier_threads(self, key: ConversationKey) -> list[ThreadId]:
        """Threads that `/new` left behind, oldest first. Raises StoreDown."""
        return [ThreadId(thread) for thread in await self._call("LRANGE", keys.threads(key), 0, -1)]

    async def remember(self, key: ConversationKey, name: str, value: str) -> None:
        """Keep a fact for this conversation, over `/new` as well; an old value is replaced.

        Raises StoreDown, and ValueError when the memory is full.
        """
        room = keys.memory(key)
        known = await self._call("HEXISTS", room, name)
        if not known and int(await self._call("HLEN", room)) >= MEMORY_ENTRIES:
            raise ValueError(f"the memory of this conversation is full ({MEMORY_ENTRIES} entries)")
        await self._call("HSET", room, name, value)

    async def recall(self, key: ConversationKey, name: str | None) -> dict[str, str]:
        """One remembered fact, or all of them; {} when there is none. Raises StoreDown."""
        if name is not None:
            value = await self._call("HGET", keys.memory(key), name)
            return {} if value is None else {name: str(value)}
        return _pairs(await self._call("HGETALL", keys.memory(key)))


def _pairs(found: Any) -> dict[str, str]:
    """A hash as redis-py hands it out: a dict, or a flat list."""
    return dict(found) if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
