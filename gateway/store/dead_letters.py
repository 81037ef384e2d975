"""Work that we stopped retrying, kept with its reason."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from gateway.domain.messages import ConversationKey
from gateway.domain.turns import Turn
from gateway.store import keys

KEPT = 50


class DeadLetters:
    """Dead letters per conversation, newest first, capped, gone after DEAD_S. They hold user text."""

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self._call = call

    async def bury(self, turn: Turn, stage: str, reason: str, at_ms: int) -> None:
        """Keep a turn that is given up: its messages, how far it came and why. Raises StoreDown."""
        key = keys.dead(turn.conversation)
        letter = {
            "turn": turn.id,
            "key": turn.key,
            "stage": stage,
            "reason": reason,
            "at_ms": at_ms,
            "run": turn.run,
            "thread": turn.thread,
            "tries": turn.tries,
            "parts": turn.parts,
            "posted": turn.posted,
            "messages": [message.to_json() for message in turn.batch],
        }
        await self._call("LPUSH", key, json.dumps(letter, ensure_ascii=False))
        await self._call("LTRIM", key, 0, KEPT - 1)
        await self._call("EXPIRE", key, keys.DEAD_S)

    async def of(self, conversation: ConversationKey) -> list[dict[str, Any]]:
        """The dead letters of one conversation, newest first. Raises StoreDown."""
        return [json.loads(raw) for raw in await self._call("LRANGE", keys.dead(conversation), 0, -1)]
