"""The suite every adapter passes: ours, and a stranger's.

Use it by subclassing `AdapterConformance` in a test module and giving it a `subject` fixture: the adapter, built
against a small server (or whatever stands for the platform), and the few things a user or the platform does. Never edit
the suite for one adapter: what it asks is the contract of gateway/domain/adapter.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from gateway.domain.adapter import Accept, Accepted, Adapter, Editing, Mail
from gateway.domain.errors import (
    Ambiguous,
    DeliveryRefused,
    FormatRefused,
    RateLimited,
    StoreDown,
    ThreadwayError,
    Unreachable,
)
from gateway.domain.messages import Amendment, Command, Destination, InboundMessage, Offer, OutboundPart
from gateway.domain.pacing import SystemClock

NASTY = (
    "plain",
    "**bold** _it_ `code` [a](https://example.com)\n\n```py\nprint('<&>')\n```\n",
    "# H\n\n- one\n  - two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n",
    "<b>html</b> & <!channel> <@U123> &lt;",
    "**never closed `nor this",
    "مرحبا **世界** 👩‍🔧 \U0001f1ef\U0001f1f5",
    "\n\n---\n\n> quote\n>> deeper\n",
    "x" * 30_000,
    "👩‍🔧 " * 5_000,
    "```\n" + "line\n" * 5_000 + "```",
)
FAULTS: Mapping[str, type[ThreadwayError]] = {
    "slow down": RateLimited,
    "silent": Ambiguous,
    "server error": Ambiguous,
    "refused": DeliveryRefused,
    "bad markup": FormatRefused,
    "away": Unreachable,
}
"""What a platform may do to a post, by name, and what the adapter has to say about it; "away" lasts, so it is last."""


class HastyClock(SystemClock):
    """A clock for backoffs: nobody waits, what was asked for is kept."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Give way to others once instead of waiting."""
        self.slept.append(seconds)
        await asyncio.sleep(0)


class Inbox:
    """Stands for the store: keeps what it accepts, knows duplicates, and can be told to refuse first."""

    def __init__(self) -> None:
        self.messages: list[InboundMessage] = []
        self.amendments: list[Amendment] = []
        """Every amendment that was not refused: the adapter's part is to offer it, whatever waits."""
        self.refusals: list[Accepted | StoreDown] = []
        """Consumed first, one per call; then everything is stored."""
        self.offered = 0
        self._seen: set[str] = set()
        self._changed = asyncio.Condition()

    async def accept(self, mail: Mail) -> Accepted:
        """The `Accept` of the contract."""
        self.offered += 1
        outcome = self._decide(mail)
        async with self._changed:
            self._changed.notify_all()
        if isinstance(outcome, StoreDown):
            raise outcome
        return outcome

    def _decide(self, mail: Mail) -> Accepted | StoreDown:
        if self.refusals:
            return self.refusals.pop(0)
        if isinstance(mail, Amendment):
            self.amendments.append(mail)
            waiting = any((m.conversation, m.message_id) == (mail.conversation, mail.message_id) for m in self.messages)
            return Accepted.STORED if waiting else Accepted.NOTHING
        if self._seen.intersection(mail.dedupe_keys):
            return Accepted.DUPLICATE
        self._seen.update(mail.dedupe_keys)
        self.messages.append(mail)
        return Accepted.STORED

    async def holds(self, count: int) -> list[InboundMessage]:
        """Wait until `count` messages are stored."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(self.messages) >= count)
        return self.messages

    async def was_offered(self, times: int) -> None:
        """Wait until `accept` was called `times` times in all."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: self.offered >= times)


@dataclass
class Subject:
    """An adapter under test and the hands of its user and its platform."""

    adapter: Adapter
    say: Callable[[str, Accept], Awaitable[None]]
    """A user writes a text; the platform delivers it, again and again while it is not acknowledged."""
    posted: Callable[[], Sequence[str]]
    """The texts that arrived at the platform, in order."""
    nowhere: Destination
    """A place that has the adapter's form and does not exist."""
    faults: Mapping[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    """How to make the platform do one of FAULTS to the next post; those that cannot happen there are left out."""
    amend: Callable[[InboundMessage, str | None, Accept], Awaitable[None]] | None = None
    """The author of a message gives it a new text, or (None) deletes it; the platform delivers that as in `say`. Left
    out where the platform tells of neither."""
    deletions: bool = True
    """Whether the platform tells of deletions, too."""
    press: Callable[[int, Accept], Awaitable[None]] | None = None
    """A user presses the first button under the post of that number; delivered as in `say`. Left out where there are no
    buttons."""


async def heard(subject: Subject, text: str, inbox: Inbox) -> InboundMessage:
    """Let the user say `text` and wait for it to be stored."""
    count = len(inbox.messages)
    await delivered(subject, inbox, subject.say(text, inbox.accept), inbox.holds(count + 1))
    return inbox.messages[count]


async def delivered(subject: Subject, inbox: Inbox, act: Awaitable[None], seen: Awaitable[object]) -> None:
    """Receive into `inbox` while a user acts, until it was `seen` there."""
    receiving = asyncio.ensure_future(subject.adapter.receive(inbox.accept))
    acting, seeing = asyncio.ensure_future(act), asyncio.ensure_future(seen)
    try:
        await seeing
    finally:
        await asyncio.wait_for(acting, 10)
        receiving.cancel()
        with suppress(asyncio.CancelledError):
            await receiving


class AdapterConformance:
    """Subclass it as `class TestMine(AdapterConformance)` with a fixture `subject`."""

    def test_it_has_the_form_of_an_adapter(self, subject: Subject) -> None:
        """All methods there, a name that keys can begin with, sane capabilities."""
        assert isinstance(subject.adapter, Adapter)
        assert subject.adapter.name
        assert ":" not in subject.adapter.name
        assert subject.adapter.capabilities.max_text_utf16 > 0
        assert subject.adapter.capabilities.working_every_s >= 0

    @pytest.mark.parametrize("reply", NASTY)
    def test_every_reply_renders_within_the_limit(self, subject: Subject, reply: str) -> None:
        """Never an exception, never an empty or too long part, and parts survive the delivery ledger."""
        parts = subject.adapter.render(reply)
        assert parts
        for part in parts:
            assert part.text.strip()
            assert len(part.text.encode("utf-16-le")) // 2 <= subject.adapter.capabilities.max_text_utf16
            assert OutboundPart.from_json(part.to_json()) == part

    def test_an_empty_reply_has_no_part(self, subject: Subject) -> None:
        """Nothing to say is nothing to send."""
        assert list(subject.adapter.render("")) == []

    async def test_a_message_is_heard_and_answered_in_its_place(self, subject: Subject) -> None:
        """The way in and back: the key is the adapter's own, and a reply to it arrives."""
        message = await heard(subject, "what is 12 times 12?", Inbox())
        assert message.conversation.startswith(f"{subject.adapter.name}:")
        assert message.dedupe_keys
        assert all(message.dedupe_keys)
        assert message.text == "what is 12 times 12?"
        assert message.author_id
        assert InboundMessage.from_json(message.to_json()) == message
        to = Destination(message.conversation, message.reply_to)
        ids = [await subject.adapter.post(to, part, f"k#{part.text}") for part in (_part("144"), _part("bye"))]
        assert list(subject.posted()) == ["144", "bye"]
        assert all(ids)
        assert len(set(ids)) == 2

    @pytest.mark.parametrize("refusal", [StoreDown("away"), Accepted.FULL], ids=["store down", "inbox full"])
    async def test_what_was_not_stored_is_offered_again(self, subject: Subject, refusal: Accepted | StoreDown) -> None:
        """No acknowledgement before the message is durable; the same message keeps its dedupe keys."""
        inbox = Inbox()
        inbox.refusals = [refusal]
        await heard(subject, "do not lose me", inbox)
        assert [message.text for message in inbox.messages] == ["do not lose me"]
        assert inbox.offered >= 2

    @pytest.mark.parametrize("refusal", [None, StoreDown("away")], ids=["taken", "store down"])
    async def test_an_edit_and_a_deletion_amend_the_message_they_are_about(
        self, subject: Subject, refusal: StoreDown | None
    ) -> None:
        """Under the key and the id that the message got; a later one has the higher revision; none is lost."""
        if subject.amend is None:
            return  # the platform tells of neither
        inbox = Inbox()
        message = await heard(subject, "helo", inbox)
        changes: list[str | None] = ["hello", "hello there", *([None] if subject.deletions else [])]
        for count, text in enumerate(changes, 1):
            inbox.refusals = [refusal] if refusal else []
            offered = inbox.offered + 1 + len(inbox.refusals)
            await delivered(subject, inbox, subject.amend(message, text, inbox.accept), inbox.was_offered(offered))
            assert len(inbox.amendments) == count
        assert [amendment.text for amendment in inbox.amendments] == changes
        names = {(amendment.conversation, amendment.message_id) for amendment in inbox.amendments}
        assert names == {(message.conversation, message.message_id)}
        revisions = [amendment.revision for amendment in inbox.amendments]
        assert revisions == sorted(set(revisions))
        assert [message.text for message in inbox.messages] == ["helo"]

    async def test_an_amendment_that_finds_nothing_is_over(self, subject: Subject) -> None:
        """NOTHING is no failure: the platform must not send it again."""
        if subject.amend is None:
            return
        message, inbox = await heard(subject, "helo", Inbox()), Inbox()
        await delivered(subject, inbox, subject.amend(message, "hello", inbox.accept), inbox.was_offered(1))
        await heard(subject, "and another thing", inbox)
        assert len(inbox.amendments) == 1

    async def test_an_offer_comes_back_as_the_command_it_stands_for(self, subject: Subject) -> None:
        """A platform without buttons shows the text all the same; with them a press is a message like any other."""
        inbox = Inbox()
        message = await heard(subject, "hello", inbox)
        offered = OutboundPart("perhaps lost", offers=(Offer("Show again", Command.LAST, "17"),))
        await subject.adapter.post(Destination(message.conversation, message.reply_to), offered, "k#0")
        assert list(subject.posted()) == ["perhaps lost"]
        if subject.press is None:
            return
        await delivered(subject, inbox, subject.press(0, inbox.accept), inbox.holds(2))
        pressed = inbox.messages[1]
        assert (pressed.command, pressed.argument) == (Command.LAST, "17")
        assert pressed.conversation == message.conversation
        assert pressed.author_id
        assert InboundMessage.from_json(pressed.to_json()) == pressed

    async def test_an_edit_of_ours_may_be_repeated(self, subject: Subject) -> None:
        """What is posted reads as the last edit said, as often as it was said; what is not there is refused."""
        if not isinstance(subject.adapter, Editing):
            return
        message = await heard(subject, "hello", Inbox())
        to = Destination(message.conversation, message.reply_to)
        number = await subject.adapter.post(to, _part("…"), "k#0")
        for _ in range(2):
            await subject.adapter.edit(to, number, _part("144"))
        assert list(subject.posted()) == ["144"]
        with pytest.raises(DeliveryRefused):
            await subject.adapter.edit(to, "nothing of the kind", _part("145"))

    async def test_a_failed_post_says_what_to_do_next(self, subject: Subject) -> None:
        """Each fault as the leaf of the error tree that the delivery ledger acts upon; no text of the user in it."""
        assert subject.faults.keys() <= FAULTS.keys()
        message = await heard(subject, "hello", Inbox())
        for fault, expected in FAULTS.items():
            if fault not in subject.faults:
                continue
            await subject.faults[fault]()
            with pytest.raises(ThreadwayError) as caught:
                await subject.adapter.post(Destination(message.conversation, message.reply_to), _part("hi"), "k#0")
            assert caught.type is expected, fault
            assert "hi" not in str(caught.value).split()
            if isinstance(caught.value, RateLimited):
                assert caught.value.retry_after_s

    async def test_showing_work_never_raises(self, subject: Subject) -> None:
        """Typing is decoration: no place, no platform, no matter."""
        await subject.adapter.working(subject.nowhere)
        if "away" in subject.faults:
            await subject.faults["away"]()
            await subject.adapter.working(subject.nowhere)

    async def test_closing_needs_no_use_before(self, subject: Subject) -> None:
        """Called once at shutdown, whatever happened before it."""
        await subject.adapter.close()


def _part(text: str) -> OutboundPart:
    return OutboundPart(text)
