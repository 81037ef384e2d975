"""The Slack adapter against the lab: edits, buttons, and posts whose answers get lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.domain.adapter import Accepted, Mail
from gateway.domain.errors import Ambiguous
from gateway.domain.messages import Amendment, Command, Destination, InboundMessage, Offer, OutboundPart
from gateway.lab.client import LabClient
from gateway.lab.faults import FaultKind
from gateway.lab.standalone import serve_lab
from gateway.slack import SlackAdapter
from tests.edge.slack_server import request_url

GONE_S = 0.3


@dataclass
class Desk:
    """What came in, one after the other."""

    mail: asyncio.Queue[Mail] = field(default_factory=asyncio.Queue)

    async def accept(self, mail: Mail) -> Accepted:
        self.mail.put_nowait(mail)
        return Accepted.NOTHING if isinstance(mail, Amendment) else Accepted.STORED

    async def heard(self, sent: dict[str, Any]) -> InboundMessage:
        """What was sent, once all its events are in."""
        return [await self.message() for _ in sent["event_ids"]].pop()

    async def message(self) -> InboundMessage:
        mail = await self.mail.get()
        assert isinstance(mail, InboundMessage)
        return mail

    async def amendment(self) -> Amendment:
        mail = await self.mail.get()
        assert isinstance(mail, Amendment)
        return mail


@asynccontextmanager
async def in_the_lab(desk: Desk) -> AsyncIterator[tuple[SlackAdapter, LabClient]]:
    held: list[SlackAdapter] = []
    async with (
        request_url(lambda request: held[0].handle(request, desk.accept)) as url,
        serve_lab(slack_events_url=url) as served,
        LabClient(served.url) as lab,
    ):
        adapter = SlackAdapter(
            served.slack_bot_token,
            signing_secret=served.slack_signing_secret,
            api_base_url=served.slack_url,
            call_timeout_s=GONE_S,
            settle_s=60.0,
        )
        held.append(adapter)
        await adapter.receive(desk.accept)
        yield adapter, lab
        await adapter.close()


def back_to(message: InboundMessage) -> Destination:
    return Destination(message.conversation, message.reply_to)


@pytest.mark.parametrize("channel", ["ann", "#general"])
async def test_edits_and_deletions_find_the_message_that_they_are_about(channel: str) -> None:
    desk = Desk()
    async with in_the_lab(desk) as (_, lab):
        mention = "@Threadway " if channel == "#general" else ""
        sent = await lab.slack_send(f"{mention}one", channel=None if channel == "ann" else channel)
        originals = [await desk.message() for _ in sent["event_ids"]]
        await lab.slack_edit(sent["ts"], f"{mention}two", channel=channel)
        edited = await desk.amendment()
        await lab.slack_edit(sent["ts"], f"{mention}three", channel=channel)
        again = await desk.amendment()
        await lab.slack_delete(sent["ts"], channel=channel)
        deleted = await desk.amendment()
    for original in originals:
        for amendment in (edited, again, deleted):
            assert (amendment.conversation, amendment.message_id) == (original.conversation, original.message_id)
    assert [a.text for a in (edited, again, deleted)] == ["two", "three", None]
    assert originals[0].order < edited.revision < again.revision < deleted.revision


@pytest.mark.parametrize("channel", [None, "#general"])
async def test_a_button_leads_back_to_the_conversation(channel: str | None) -> None:
    desk = Desk()
    async with in_the_lab(desk) as (adapter, lab):
        sent = await lab.slack_send("@Threadway hello", channel=channel)
        heard = await desk.heard(sent)
        (part,) = adapter.render("**hi**")
        offer = Offer("Show again", Command.LAST, "turn#0")
        ts = await adapter.post(back_to(heard), OutboundPart(part.text, part.markup, (offer,)), "turn#0")
        assert (await lab.slack_press(ts, "tw:last", channel=channel))["status"] == 200
        pressed = await desk.message()
    assert (pressed.command, pressed.argument) == (Command.LAST, "turn#0")
    assert (pressed.conversation, pressed.reply_to) == (heard.conversation, heard.reply_to)
    assert heard.order < pressed.order


@pytest.mark.parametrize("fault", ["drop_response", "cut_after", "latency"])
@pytest.mark.parametrize("channel", [None, "#general"])
async def test_a_post_whose_answer_is_lost_is_found(channel: str | None, fault: FaultKind) -> None:
    """ "latency": the call gives up before Slack has even begun with it."""
    desk = Desk()
    async with in_the_lab(desk) as (adapter, lab):
        sent = await lab.slack_send("@Threadway hello", channel=channel)
        to = back_to(await desk.heard(sent))
        await lab.fail_next("slack", "chat.postMessage", fault, latency_ms=int(GONE_S * 3000))
        with pytest.raises(Ambiguous):
            await adapter.post(to, OutboundPart("hi"), "turn#0")
        if fault == "latency":
            with pytest.raises(Ambiguous):
                await adapter.find_posted(to, "turn#0", to_ms(sent))
        reply = await lab.wait_for_reply("slack", sent["channel"], after=sent["cursor"])
        assert await adapter.find_posted(to, "turn#0", to_ms(sent)) == reply["id"]
        assert await adapter.find_posted(to, "turn#1", to_ms(sent)) is None


@pytest.mark.parametrize("fault", ["errors_5xx", "cut_before"])
async def test_a_post_that_slack_did_not_take_is_not_called_gone_too_soon(fault: FaultKind) -> None:
    desk = Desk()
    async with in_the_lab(desk) as (adapter, lab):
        sent = await lab.slack_send("hello")
        to = back_to(await desk.message())
        await lab.fail_next("slack", "chat.postMessage", fault)
        with pytest.raises(Ambiguous):
            await adapter.post(to, OutboundPart("hi"), "turn#0")
        with pytest.raises(Ambiguous) as wish:
            await adapter.find_posted(to, "turn#0", to_ms(sent))
        assert 0 < (wish.value.retry_after_s or 0) <= 60.0


def to_ms(sent: dict[str, Any]) -> int:
    """The lab's time of a message, in ms."""
    return int(float(sent["ts"]) * 1000)
