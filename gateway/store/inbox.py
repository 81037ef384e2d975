"""The mailbox of each conversation."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.domain.adapter import Accepted
from gateway.domain.errors import StoreDown
from gateway.domain.messages import Amendment, Command, ConversationKey, InboundMessage
from gateway.store import keys
from gateway.store.envelopes import revision_of, with_text

INBOX_CAP = 500
Script = Callable[[Sequence[str], Sequence[str | int]], Awaitable[Any]]
GRACE_MS = 500
"""How long a published wake-up has before the sweep thinks that it got lost."""
_RACES = 5
"""How often an edit looks again because the message changed while it was rewritten."""


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
    mail: bool = False
    """A plain message for a conversation that somebody holds: a nudge lets it join a turn that takes such mail."""


class Inbox:
    """Where messages wait, per conversation, in order."""

    def __init__(
        self, ingest: Script, find: Script, amend: Script, withdraw: Script, call: Callable[..., Awaitable[Any]]
    ) -> None:
        self._ingest = ingest
        self._find = find
        self._amend = amend
        self._withdraw = withdraw
        self._call = call

    async def ingest(self, message: InboundMessage, *, debounce_s: float = 0.0, cap: int = INBOX_CAP) -> Ingested:
        """Store a message unless one of its names is known; one atomic step. May be called twice.

        A message with an `order` is put before those with a greater one that wait behind the turn at work.
        Raises StoreDown, and then nothing was stored (or it was, and the repeated call answers DUPLICATE).
        """
        key = message.conversation
        kind = "m" if message.command is None else "s" if message.command is Command.STOP else "c"
        outcome, seq, wake, amended = await self._ingest(
            [
                keys.inbox(key),
                keys.state(key),
                keys.due(keys.partition(key)),
                keys.amended(key, message.message_id),
                *(keys.dedupe(key, name) for name in message.dedupe_keys),
            ],
            [key, kind, message.to_json(), int(debounce_s * 1000), cap, keys.DEDUPE_S, GRACE_MS, message.order],
        )
        if amended:  # also for a duplicate: whoever stored the message may have died here
            await self.amend(_amendment(key, message.message_id, amended))
        code = int(wake)
        return Ingested(Accepted(outcome), int(seq), wake=code == 1, stop=code == 2, mail=code == 3)

    async def amend(self, amendment: Amendment) -> bool:
        """Give a waiting message its new text, or take it out; False when it does not wait (any more).

        A message that comes within AMENDED_S after its own amendment gets it then: Slack promises no order, and two
        gateways make none. One that the turn at work has taken stays as it is. Only a plain message is edited, and an
        edited one stays plain whatever its text says; a stop command is not taken out, it was heard already. An edit
        that is older than what is stored changes nothing. May be called twice. Raises StoreDown; a full Redis refuses
        an edit, never a deletion.
        """
        key = amendment.conversation
        if not amendment.message_id:  # a platform without ids: every message would be meant
            return False
        await self._remember(amendment)
        needle = json.dumps(amendment.message_id, ensure_ascii=False)
        if amendment.text is None:
            names = [keys.inbox(key), keys.state(key), keys.due(keys.partition(key))]
            return bool(await self._withdraw(names, [key, amendment.message_id, needle]))
        names = [keys.inbox(key), keys.state(key)]
        for _ in range(_RACES):
            envelope = str(await self._find(names, [amendment.message_id, needle]))
            if not envelope:
                return False
            if (known := revision_of(envelope)) >= amendment.revision:
                return known == amendment.revision  # the same edit, sent again
            if await self._amend(names, [envelope, with_text(envelope, amendment)]):
                return True
        raise StoreDown("a message changes faster than it can be edited")

    async def _remember(self, amendment: Amendment) -> None:
        """Keep it for a message that is still to come; before we look for the message, or it could slip through."""
        name = keys.amended(amendment.conversation, amendment.message_id)
        kept = await self._call("GET", name)
        if kept and json.loads(kept)["revision"] >= amendment.revision:
            return
        word = json.dumps({"text": amendment.text, "revision": amendment.revision}, ensure_ascii=False)
        try:
            await self._call("SET", name, word, "EX", keys.AMENDED_S)
        except StoreDown:
            if amendment.text is not None:
                raise  # a deletion is worth more done than remembered

    async def waiting(self, conversation: ConversationKey) -> int:
        """How many messages are not answered yet, those of a turn at work included. Raises StoreDown."""
        return int(await self._call("LLEN", keys.inbox(conversation)))


def _amendment(conversation: ConversationKey, message_id: str, word: str) -> Amendment:
    kept = json.loads(word)
    return Amendment(conversation, message_id, kept["text"], kept["revision"])
