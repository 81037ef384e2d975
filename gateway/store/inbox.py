"""The mailbox of each conversation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.domain.adapter import Accepted
from gateway.domain.messages import Command, ConversationKey, InboundMessage
from gateway.store import keys

INBOX_CAP = 500
GRACE_MS = 500
"""How long a published wake-up has before the sweep thinks that it got lost."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """What `ingest` did."""

    outcome: Accepted
    seq: int
    """The message's number within its conversation; 0 unless stored."""
    wake: bool
    """Nobody is expected to look soon: publish a wake-up."""
    stop: bool
    """A stop for work in progress: nudge whoever holds the conversation."""


class Inbox:
    """Where messages wait, per conversation, in order."""

    def __init__(
        self,
        ingest: Callable[[Sequence[str], Sequence[str | int]], Awaitable[Any]],
        call: Callable[..., Awaitable[Any]],
    ) -> None:
        self._ingest = ingest
        self._call = call

    async def ingest(self, message: InboundMessage, *, debounce_s: float = 0.0, cap: int = INBOX_CAP) -> Ingested:
        """Store a message unless one of its names is known; one atomic step. May be called twice.

        Raises StoreDown, and then nothing was stored (or it was, and the repeated call answers DUPLICATE).
        """
        key = message.conversation
        kind = "m" if message.command is None else "s" if message.command is Command.STOP else "c"
        outcome, seq, wake = await self._ingest(
            [
                keys.inbox(key),
                keys.state(key),
                keys.due(keys.partition(key)),
                *(keys.dedupe(key, name) for name in message.dedupe_keys),
            ],
            [key, kind, message.to_json(), int(debounce_s * 1000), cap, keys.DEDUPE_S, GRACE_MS],
        )
        return Ingested(Accepted(outcome), int(seq), wake=int(wake) == 1, stop=int(wake) == 2)

    async def waiting(self, conversation: ConversationKey) -> int:
        """How many messages are not answered yet, those of a turn at work included. Raises StoreDown."""
        return int(await self._call("LLEN", keys.inbox(conversation)))
