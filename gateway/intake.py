"""Accept a message: dedupe, inbox, wake-up, all before the platform gets its 200."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Protocol

from gateway.domain import crash
from gateway.domain.adapter import Accepted, Mail
from gateway.domain.errors import StoreDown
from gateway.domain.messages import Amendment, Command, ConversationKey, InboundMessage, adapter_of
from gateway.domain.turns import WhileRunning
from gateway.store import Store
from gateway.store.streams import Nudge
from gateway.telemetry import MESSAGES, log

LIMIT_S = 2.0
"""A Redis that takes longer to store a message counts as away: Slack gives us 3 s in all (Events API)."""
PIECES_S = 0.5
"""How long to wait for the rest of an album, or of a text that the platform cut in pieces."""


class WakesTurns(Protocol):
    """Whoever can tell the workers that a conversation has mail."""

    def wake_turn(self, conversation: ConversationKey) -> None:
        """Returns at once, never raises; may get lost."""


class Judges(Protocol):
    """Whoever decides what may come in."""

    async def judge(self, mail: Mail) -> Mail | None:
        """`mail`, a word about its author that keeps nothing of what they wrote, or None for nothing at all.

        May be called twice with the same mail, and answers the same. Raises StoreDown.
        """


class Intake:
    """The one way in for mail."""

    def __init__(
        self,
        store: Store,
        waker: WakesTurns,
        *,
        debounce_s: float = 0.0,
        while_running: WhileRunning = WhileRunning.QUEUE,
        door: Judges | None = None,
    ) -> None:
        """`door` None takes everybody's mail: for the terminal, where whoever could write may also read Redis."""
        self._store = store
        self._waker = waker
        self._door = door
        self._debounce_s = debounce_s
        self._nudging = while_running is not WhileRunning.QUEUE

    async def accept(self, mail: Mail) -> Accepted:
        """Store a message durably and once, then say that there is mail; or amend one that waits.

        Returns FULL when the conversation's inbox is at its cap, REFUSED when the author is not let in. Raises
        StoreDown when nothing could be stored, or not within LIMIT_S; the platform must then not get its
        acknowledgement. May be called twice with the same mail.
        """
        crash.at("intake.store")
        async with _limited():
            return await self._take(mail)

    async def _take(self, mail: Mail) -> Accepted:
        admitted: Mail | None = mail
        if self._door is not None:
            crash.at("intake.judge")
            admitted = await self._door.judge(mail)
        if admitted is None:
            MESSAGES.labels(adapter_of(mail.conversation), Accepted.REFUSED).inc()
            return Accepted.REFUSED
        if isinstance(admitted, Amendment):
            return await self._amend(admitted)
        stored = await self._store_message(admitted)
        # Also where the inbox is full: nobody else's mail is held back for a refusal.
        return Accepted.REFUSED if admitted.command is Command.REFUSED else stored

    async def _store_message(self, message: InboundMessage) -> Accepted:
        wait_s = 0.0 if message.command else max(self._debounce_s, PIECES_S if message.more_follows else 0.0)
        crash.at("intake.ingest")
        stored = await self._store.inbox.ingest(message, debounce_s=wait_s)
        outcome = Accepted.REFUSED if message.command is Command.REFUSED else stored.outcome
        MESSAGES.labels(adapter_of(message.conversation), outcome).inc()
        if stored.outcome is not Accepted.STORED:
            log.info("message.not_stored", conversation=message.conversation, why=stored.outcome)
            return stored.outcome
        crash.at("intake.wake")
        log.info("message.stored", conversation=message.conversation, event_id=message.event_id, seq=stored.seq)
        self._store.timeline.record(message.conversation, message.message_id, "received", event_id=message.event_id)
        if stored.wake:
            self._waker.wake_turn(message.conversation)
            self._store.timeline.record(message.conversation, message.message_id, "queued", seq=stored.seq)
        if stored.stop or (stored.mail and self._nudging):
            crash.at("intake.nudge")
            await self._store.nudges.send(Nudge.STOP if stored.stop else Nudge.MAIL, message.conversation)
        crash.at("intake.acknowledge")
        return stored.outcome

    async def _amend(self, amendment: Amendment) -> Accepted:
        crash.at("intake.amend")
        changed = await self._store.inbox.amend(amendment)
        crash.at("intake.amended")
        log.info(
            "message.amended",
            conversation=amendment.conversation,
            message=amendment.message_id,
            what="deleted" if amendment.text is None else "edited",
            changed=changed,
        )
        return Accepted.STORED if changed else Accepted.NOTHING


@asynccontextmanager
async def _limited() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(LIMIT_S):
            yield
    except TimeoutError as slow:
        raise StoreDown(f"Redis did not answer within {LIMIT_S:g} s") from slow
