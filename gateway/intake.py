"""Accept a message: dedupe, inbox, wake-up, all before the platform gets its 200."""

from __future__ import annotations

from typing import Protocol

from gateway.domain.adapter import Accepted
from gateway.domain.messages import ConversationKey, InboundMessage, adapter_of
from gateway.store import Store
from gateway.telemetry import MESSAGES, log


class WakesTurns(Protocol):
    """Whoever can tell the workers that a conversation has mail."""

    def wake_turn(self, conversation: ConversationKey) -> None:
        """Returns at once, never raises; may get lost."""


class Intake:
    """The one door through which mail comes in."""

    def __init__(self, store: Store, waker: WakesTurns, *, debounce_s: float = 0.0) -> None:
        self._store = store
        self._waker = waker
        self._debounce_s = debounce_s

    async def accept(self, message: InboundMessage) -> Accepted:
        """Store `message` durably and once, then say that there is mail.

        Returns FULL when the conversation's inbox is at its cap. Raises StoreDown when nothing could be stored; the
        platform must then not get its acknowledgement. May be called twice with the same message.
        """
        adapter = adapter_of(message.conversation)
        wait_s = 0.0 if message.command else self._debounce_s
        stored = await self._store.inbox.ingest(message, debounce_s=wait_s)
        MESSAGES.labels(adapter, stored.outcome).inc()
        if stored.outcome is not Accepted.STORED:
            log.info("message.not_stored", conversation=message.conversation, why=stored.outcome)
            return stored.outcome
        log.info("message.stored", conversation=message.conversation, event_id=message.event_id, seq=stored.seq)
        self._store.timeline.record(message.conversation, message.message_id, "received", event_id=message.event_id)
        if stored.wake:
            self._waker.wake_turn(message.conversation)
            self._store.timeline.record(message.conversation, message.message_id, "queued", seq=stored.seq)
        if stored.stop:
            await self._store.nudges.send(message.conversation)
        return stored.outcome
