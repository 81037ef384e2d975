"""The terminal adapter through the suite that every adapter passes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.console import ConsoleAdapter
from gateway.domain.adapter import Accept
from gateway.domain.errors import Ambiguous, DeliveryRefused, StoreDown
from gateway.domain.messages import Command, ConversationKey, Destination, OutboundPart
from tests.conformance.adapter import AdapterConformance, HastyClock, Inbox, Subject


class MemoryMailbox:
    """A mailbox in this process; `down` makes it refuse."""

    def __init__(self) -> None:
        self.texts: list[tuple[str, str]] = []
        self.down = False

    async def put(self, user: str, text: str) -> None:
        if self.down:
            raise StoreDown("away")
        self.texts.append((user, text))

    async def take(self, user: str, timeout_s: float) -> str | None:
        return next((text for name, text in self.texts if name == user), None)


async def typed(*lines: str) -> AsyncIterator[str]:
    for line in lines:
        yield line


class TestConsoleConforms(AdapterConformance):
    @pytest.fixture
    def subject(self) -> Subject:
        mailbox = MemoryMailbox()
        keyboard: asyncio.Queue[str] = asyncio.Queue()

        async def lines() -> AsyncIterator[str]:
            while True:
                yield await keyboard.get()

        async def say(text: str, accept: Accept) -> None:
            await keyboard.put(text)

        async def away() -> None:
            mailbox.down = True

        return Subject(
            adapter=ConsoleAdapter(mailbox, "ann", lines(), clock=HastyClock()),
            say=say,
            posted=lambda: [text for _, text in mailbox.texts],
            nowhere=Destination(ConversationKey("console:nobody")),
            faults={"silent": away},
        )


async def test_lines_become_messages_and_commands() -> None:
    inbox = Inbox()
    await ConsoleAdapter(MemoryMailbox(), "ann", typed("hi\n", "  \n", "/new\n", "/start x\n", "/etc")).receive(
        inbox.accept
    )
    assert [(m.conversation, m.text, m.command, m.argument) for m in inbox.messages] == [
        ("console:ann", "hi", None, ""),
        ("console:ann", "/new", Command.NEW, ""),
        ("console:ann", "/start x", Command.START, "x"),
        ("console:ann", "/etc", None, ""),
    ]
    assert len({m.event_id for m in inbox.messages}) == 4


async def test_replies_go_to_the_user_of_the_key() -> None:
    mailbox = MemoryMailbox()
    adapter = ConsoleAdapter(mailbox)
    await adapter.receive(Inbox().accept)  # a worker's: no lines, returns at once
    await adapter.post(Destination(ConversationKey("console:bob")), OutboundPart("hello"), "t#0")
    assert mailbox.texts == [("bob", "hello")]
    with pytest.raises(DeliveryRefused):
        await adapter.post(Destination(ConversationKey("telegram:1:2:-")), OutboundPart("hello"), "t#0")
    mailbox.down = True
    with pytest.raises(Ambiguous):
        await adapter.post(Destination(ConversationKey("console:bob")), OutboundPart("hello"), "t#1")
