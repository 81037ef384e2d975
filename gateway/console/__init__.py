"""The terminal as a chat platform: the smallest complete adapter. Copy this file to start a new platform.

A platform is three things: texts come in (`receive`), replies are put into its form (`render`), and are sent (`post`).
Everything else — order, retries, duplicates, waiting for the assistant — is done outside, the same for all platforms.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from typing import ClassVar, Protocol
from uuid import uuid4

from gateway.domain.adapter import Accept, Accepted, Capabilities
from gateway.domain.commands import parse_order
from gateway.domain.errors import Ambiguous, DeliveryRefused, StoreDown
from gateway.domain.messages import ConversationKey, Destination, InboundMessage, OutboundPart
from gateway.domain.pacing import Clock, RetryPolicy, SystemClock


class Mailbox(Protocol):
    """Where replies wait for the terminal: the worker that posts and the terminal are different processes."""

    async def put(self, user: str, text: str) -> None:
        """Leave a reply for `user`. Raises StoreDown."""

    async def take(self, user: str, timeout_s: float) -> str | None:
        """The oldest reply for `user`, waiting for one up to `timeout_s`; None if none came. Raises StoreDown."""


class ConsoleAdapter:
    """One person at one terminal. Workers build it without `lines`: they only post."""

    name: ClassVar[str] = "console"
    capabilities = Capabilities(max_text_utf16=1_000_000)

    def __init__(
        self, mailbox: Mailbox, user: str = "", lines: AsyncIterator[str] | None = None, *, clock: Clock | None = None
    ) -> None:
        """`user` names the conversation, "console:<user>"; what is typed comes from `lines`."""
        self._mailbox, self._user, self._lines = mailbox, user, lines
        self._clock, self._retry = clock or SystemClock(), RetryPolicy(ceiling_s=2.0)

    async def receive(self, accept: Accept) -> None:
        """Bring in line by line until there are no more. A platform that is fed over HTTP has `handle` instead."""
        if self._lines is None:
            return
        async for line in self._lines:
            text = line.encode("utf-8", "replace").decode().replace("\0", "").strip()
            if text:
                await self._hand_in(self._normalise(text), accept)

    async def _hand_in(self, message: InboundMessage, accept: Accept) -> None:
        """Offer the message until it is stored: nobody types it again for us. Real platforms repeat by themselves."""
        attempt = 0
        while True:
            try:
                if await accept(message) is not Accepted.FULL:
                    return
            except StoreDown:
                pass  # the store's own log says why
            await self._clock.sleep(self._retry.delay(attempt, random.random()))  # noqa: S311 - spreads load only
            attempt += 1

    def _normalise(self, text: str) -> InboundMessage:
        """A typed line as a message. Platforms with more to it keep this in a pure module, normalise.py."""
        order = parse_order(text, "/")
        command = order.command if order else None
        number = uuid4().hex  # a terminal numbers nothing; where the platform has an id, that is the dedupe key
        return InboundMessage(
            conversation=ConversationKey(f"{self.name}:{self._user}"),
            dedupe_keys=(f"{self.name}:{number}",),
            text=text,
            author_id=self._user,
            command=command,
            argument=order.argument if order and command else "",
            message_id=number,
            sent_ms=int(self._clock.now().timestamp() * 1000),
        )

    def render(self, reply: str) -> Sequence[OutboundPart]:
        """Markdown reads well in a terminal as it is: one part, no markup, cut only where it is absurdly long."""
        limit = self.capabilities.max_text_utf16 // 2  # no character needs more than two UTF-16 units
        pieces = [reply[start : start + limit] for start in range(0, len(reply), limit)]
        return [OutboundPart(piece) for piece in pieces if piece.strip()]

    async def post(self, to: Destination, part: OutboundPart, key: str) -> str:
        """Put one part into the user's mailbox; `key` serves as its id, as a terminal gives none."""
        name, _, user = to.conversation.partition(":")
        if name != self.name or not user:
            raise DeliveryRefused(f"not a terminal's conversation: {to.conversation}")
        try:
            await self._mailbox.put(user, part.text)
        except StoreDown as error:
            raise Ambiguous("the mailbox did not answer") from error
        return key

    async def working(self, to: Destination) -> None:
        """Nothing to show: `threadway chat` draws its own progress."""

    async def close(self) -> None:
        """Nothing to give back: the mailbox belongs to who made it."""
