"""Work that we stopped retrying, kept with its reason until an operator replays or drops it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NotRequired, TypedDict, cast

from gateway.domain.messages import ConversationKey
from gateway.domain.turns import Phase, Turn
from gateway.store import keys
from gateway.store.inbox import GRACE_MS
from gateway.store.turns import MailUnreadable, Script

KEPT = 50
_ENVELOPE = re.compile(r"\d+ ([a-z]) (.*)", re.DOTALL)


class Letter(TypedDict):
    """One dead letter as it is kept. It holds what people wrote."""

    id: str
    """"<turn>-<stage>"."""
    conversation: str
    turn: str
    stage: str
    """How far it came: "inbox" could not be read · "run" refused by the backend · "turn" failed its workers ·
    "delivery" refused by the platform."""
    reason: str
    at_ms: int
    tries: int
    messages: list[str]
    """InboundMessage as JSON; of stage "inbox" whatever was found instead."""
    kinds: NotRequired[list[str]]
    """Stage "inbox" alone: each message's kind in the inbox, "" where there was none."""
    key: NotRequired[str]
    """Turn.key; this and all below: not of stage "inbox"."""
    run: NotRequired[str | None]
    thread: NotRequired[str | None]
    outcome: NotRequired[str]
    parts: NotRequired[list[str]]
    posted: NotRequired[dict[str, str]]
    """Number of a part → the platform's id of what was posted."""
    sent: NotRequired[int]
    """Turn.sent."""
    intended: NotRequired[int]
    """Turn.part_intended."""


class DeadLetters:
    """Dead letters per conversation, newest first, capped at KEPT, gone after DEAD_S."""

    def __init__(self, bury: Script, drop: Script, replay: Script, call: Callable[..., Awaitable[Any]]) -> None:
        self._bury = bury
        self._drop = drop
        self._replay = replay
        self._call = call

    async def bury(self, turn: Turn, stage: str, reason: str, at_ms: int) -> None:
        """Keep a turn that is given up: its messages, how far it came and why.

        May be repeated: a turn is kept once for each stage. Raises StoreDown; a full Redis is none.
        """
        letter: Letter = {
            "id": f"{turn.id}-{stage}",
            "conversation": turn.conversation,
            "turn": turn.id,
            "key": turn.key,
            "stage": stage,
            "reason": reason,
            "at_ms": at_ms,
            "run": turn.run,
            "thread": turn.thread,
            "tries": turn.tries,
            "outcome": turn.outcome,
            "parts": turn.parts,
            "posted": {str(number): platform_id for number, platform_id in turn.posted.items()},
            "messages": [message.to_json() for message in turn.batch],
            "sent": turn.sent,
            "intended": turn.part_intended,
        }
        await self._keep(letter)

    async def bury_unreadable(self, mail: MailUnreadable) -> None:
        """Keep mail that could not be read as it is. May be repeated, raises as `bury`."""
        conversation = mail.lease.conversation
        number = mail.envelopes[0].partition(" ")[0] if mail.envelopes else ""
        turn = hashlib.sha256(f"{conversation}#{number}".encode()).hexdigest()[:10]
        found = [_ENVELOPE.fullmatch(envelope) for envelope in mail.envelopes]
        letter: Letter = {
            "id": f"{turn}-inbox",
            "conversation": conversation,
            "turn": turn,
            "stage": "inbox",
            "reason": str(mail),
            "at_ms": mail.at_ms,
            "tries": mail.tries,
            "messages": [
                match[2] if match else envelope for match, envelope in zip(found, mail.envelopes, strict=True)
            ],
            "kinds": [match[1] if match else "" for match in found],
        }
        await self._keep(letter)

    async def _keep(self, letter: Letter) -> None:
        conversation = ConversationKey(letter["conversation"])
        written = json.dumps(letter, ensure_ascii=False)  # begins with the id, by which the script knows it again
        beginning = json.dumps({"id": letter["id"]})[:-1]
        await self._bury(_places(conversation), [conversation, written, beginning, letter["at_ms"], KEPT, keys.DEAD_S])

    async def of(self, conversation: ConversationKey) -> list[Letter]:
        """The dead letters of one conversation, newest first. Raises StoreDown."""
        return [json.loads(raw) for raw in await self._raw(conversation)]

    async def all(self, limit: int | None = None) -> list[Letter]:
        """The dead letters of all conversations, newest first; `limit` of them at most. Raises StoreDown.

        Goes through all that are kept: for operators, who have few.
        """
        found = [letter for conversation in await self._conversations() for letter in await self.of(conversation)]
        return sorted(found, key=lambda letter: letter["at_ms"], reverse=True)[:limit]

    async def find(self, name: str) -> Letter | None:
        """The dead letter with that id, if it is there. Raises StoreDown."""
        found = await self._find(name)
        return found[0] if found else None

    async def drop(self, name: str) -> bool:
        """Forget a dead letter for good; False when it is not there. Raises StoreDown; a full Redis is none."""
        found = await self._find(name)
        if found is None:
            return False
        conversation = ConversationKey(found[0]["conversation"])
        return bool(await self._drop(_places(conversation), [conversation, found[1]]))

    async def replay(self, name: str) -> ConversationKey | None:
        """Put a dead letter back to the end of its conversation's inbox; None when it is not there (any more).

        It keeps its key: what was done under it, a run or a posted part, is found again and not done twice. Each letter
        is replayed once; one that fails again becomes a new one. Nobody is woken: publish a wake-up, or leave it to the
        sweep. Raises StoreDown, also for a full Redis, and then the letter is still there, or else its mail is.
        """
        found = await self._find(name)
        if found is None:
            return None
        letter, raw = found
        conversation = ConversationKey(letter["conversation"])
        number = keys.partition(conversation)
        places = [*_places(conversation), keys.inbox(conversation), keys.state(conversation), keys.due(number)]
        there, _ = await self._replay(places, [conversation, raw, GRACE_MS, *_envelopes(letter)])
        return conversation if int(there) else None

    async def _conversations(self) -> list[ConversationKey]:
        indexes = await asyncio.gather(
            *(self._call("ZRANGE", keys.dead_index(number), 0, -1) for number in range(keys.PARTITIONS))
        )
        return [ConversationKey(name) for index in indexes for name in index]

    async def _raw(self, conversation: ConversationKey) -> list[str]:
        return cast(list[str], await self._call("LRANGE", keys.dead(conversation), 0, -1))

    async def _find(self, name: str) -> tuple[Letter, str] | None:
        for conversation in await self._conversations():
            for raw in await self._raw(conversation):
                letter: Letter = json.loads(raw)
                if letter["id"] == name:
                    return letter, raw
        return None


def _places(conversation: ConversationKey) -> list[str]:
    return [keys.dead(conversation), keys.dead_index(keys.partition(conversation))]


def _envelopes(letter: Letter) -> list[str]:
    """What goes back into the inbox: kind and text of each envelope, one after the other."""
    if letter["stage"] == "inbox":
        kinds = letter.get("kinds") or [""] * len(letter["messages"])
        return [word for kind, text in zip(kinds, letter["messages"], strict=True) for word in (kind or "m", text)]
    # Decided parts are posted on from where they stopped; without any the turn begins anew, and asks for its run first.
    parts = letter.get("parts", [])
    again: Mapping[str, Any] = {
        "messages": letter["messages"],
        "run": letter.get("run"),
        "thread": letter.get("thread"),
        "parts": parts,
        "posted": letter.get("posted", {}) if parts else {},
        "outcome": letter.get("outcome", ""),
        "phase": Phase.REPLYING if parts else Phase.COLLECTED,
        "key": letter.get("key", ""),
        "sent": letter.get("sent", 0),
        "intended": letter.get("intended", -1),
    }
    return ["r", json.dumps(again, ensure_ascii=False)]
