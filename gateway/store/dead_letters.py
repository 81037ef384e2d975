"""Work that we stopped retrying, kept with its reason."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from gateway.domain.messages import ConversationKey
from gateway.domain.turns import Turn
from gateway.store import keys
from gateway.store.turns import MailUnreadable, Script

KEPT = 50


class DeadLetters:
    """Dead letters per conversation, newest first, capped, gone after DEAD_S. They hold user text."""

    def __init__(self, bury: Script, call: Callable[..., Awaitable[Any]]) -> None:
        self._bury = bury
        self._call = call

    async def bury(self, turn: Turn, stage: str, reason: str, at_ms: int) -> None:
        """Keep a turn that is given up: its messages, how far it came and why.

        May be repeated: a turn is kept once for each stage. Raises StoreDown; a full Redis is none.
        """
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
        await self._keep(turn.conversation, letter)

    async def bury_unreadable(self, mail: MailUnreadable) -> None:
        """Keep mail that could not be read as it is. May be repeated, raises as `bury`."""
        first, messages = mail.envelopes[0] if mail.envelopes else "", _without_number(mail.envelopes)
        letter: dict[str, Any] = {"turn": f"{mail.lease.conversation}#{first.partition(' ')[0]}", "stage": "inbox"}
        letter |= {"reason": str(mail), "at_ms": mail.at_ms, "tries": mail.tries, "messages": messages}
        await self._keep(mail.lease.conversation, letter)

    async def _keep(self, conversation: ConversationKey, letter: dict[str, Any]) -> None:
        written = json.dumps(letter, ensure_ascii=False)
        await self._bury([keys.dead(conversation)], [written, letter["turn"], letter["stage"], KEPT, keys.DEAD_S])

    async def of(self, conversation: ConversationKey) -> list[dict[str, Any]]:
        """The dead letters of one conversation, newest first. Raises StoreDown."""
        return [json.loads(raw) for raw in await self._call("LRANGE", keys.dead(conversation), 0, -1)]


def _without_number(envelopes: Sequence[str]) -> list[str]:
    return [envelope.split(" ", 2)[-1] for envelope in envelopes]
