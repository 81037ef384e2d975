"""Both adapters against the lab's Telegram and Slack: what people write is heard, what we post is seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.domain.adapter import Adapter
from gateway.domain.errors import Ambiguous, RateLimited
from gateway.domain.messages import Command, ConversationKey, Destination, InboundMessage, OutboundPart
from gateway.lab.client import LabClient
from gateway.lab.standalone import Served, serve_lab
from gateway.slack import SlackAdapter
from gateway.telegram import TelegramAdapter
from tests.conformance.adapter import Inbox
from tests.edge.slack_server import request_url
from tests.edge.test_telegram_adapter import MemoryOffsets, OneReplica


@asynccontextmanager
async def receiving(adapter: Adapter, inbox: Inbox) -> AsyncIterator[None]:
    task = asyncio.ensure_future(adapter.receive(inbox.accept))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await adapter.close()


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serve_lab() as running:
        yield running


@pytest.fixture
async def lab(served: Served) -> AsyncIterator[LabClient]:
    async with LabClient(served.url) as client:
        yield client


def back_to(message: InboundMessage) -> Destination:
    return Destination(message.conversation, message.reply_to)


async def test_telegram_from_private_chat_to_topic(served: Served, lab: LabClient) -> None:
    inbox = Inbox()
    adapter = TelegramAdapter(
        served.telegram_token, api_base_url=served.telegram_url, leader=OneReplica(), offsets=MemoryOffsets()
    )
    async with receiving(adapter, inbox):
        sent = await lab.telegram_send("hello")
        (private,) = await inbox.holds(1)
        await adapter.working(back_to(private))
        (part,) = adapter.render("**hi** 👩‍🔧 `x`")
        await adapter.post(back_to(private), part, "k#0")
        reply = await lab.wait_for_reply("telegram", sent["chat"], after=sent["cursor"])
        assert reply["text"] == "hi 👩‍🔧 x"
        assert [entity["type"] for entity in reply["entities"]] == ["bold", "code"]

        await lab.telegram_send("/new@threadway_lab_bot", chat="group")
        group_sent = await lab.telegram_send("/help", chat="group")
        *_, group = await inbox.holds(2)
        assert group.command in (Command.NEW, Command.HELP)
        await adapter.post(back_to(group), OutboundPart("in the group"), "k#1")
        await lab.wait_for_reply("telegram", group_sent["chat"], after=group_sent["cursor"])

        await lab.fail_next("telegram", "sendMessage", "rate_429", retry_after=3)
        with pytest.raises(RateLimited) as limited:
            await adapter.post(back_to(private), OutboundPart("x"), "k#2")
        assert limited.value.retry_after_s == 3
        await lab.fail_next("telegram", "sendMessage", "drop_response")
        with pytest.raises(Ambiguous):
            await adapter.post(back_to(private), OutboundPart("x"), "k#3")


async def converse(adapter: SlackAdapter, inbox: Inbox, lab: LabClient) -> None:
    """A direct message, a mention, and what became of an answer that got lost."""
    async with asyncio.timeout(10):
        while not adapter.healthy():  # noqa: ASYNC110 - a look, not a signal; the lab sends to whoever is there by then
            await asyncio.sleep(0)
    sent = await lab.slack_send("hello")
    (direct,) = await inbox.holds(1)
    (part,) = adapter.render("**hi**")
    await adapter.post(back_to(direct), part, "k#0")
    await lab.wait_for_reply("slack", sent["channel"], after=sent["cursor"])

    sent = await lab.slack_send("@Threadway summarise", channel="#general")
    _, mention = await inbox.holds(2)
    assert mention.text == "summarise"
    assert mention.conversation.endswith(f":{sent['channel']}:{sent['ts']}")
    await adapter.working(back_to(mention))
    await adapter.post(back_to(mention), part, "k#1")
    await lab.wait_for_reply("slack", sent["channel"], after=sent["cursor"], thread=sent["ts"])

    await lab.fail_next("slack", "chat.postMessage", "drop_response")
    with pytest.raises(Ambiguous):
        await adapter.post(back_to(mention), part, "k#2")
    assert await adapter.find_posted(back_to(mention), "k#2", since_ms=0)
    assert await adapter.find_posted(back_to(mention), "k#3", since_ms=0) is None


async def in_thread(key: ConversationKey) -> bool:
    return False


async def test_slack_by_socket(served: Served, lab: LabClient) -> None:
    inbox = Inbox()
    adapter = SlackAdapter(
        served.slack_bot_token, app_token=served.slack_app_token, api_base_url=served.slack_url, in_thread=in_thread
    )
    async with receiving(adapter, inbox):
        await converse(adapter, inbox, lab)


async def test_slack_by_http() -> None:
    inbox = Inbox()
    held: list[SlackAdapter] = []
    async with (
        request_url(lambda request: held[0].handle(request, inbox.accept)) as url,
        serve_lab(slack_events_url=url) as served,
        LabClient(served.url) as lab,
    ):
        adapter = SlackAdapter(
            served.slack_bot_token, signing_secret=served.slack_signing_secret, api_base_url=served.slack_url
        )
        held.append(adapter)
        async with receiving(adapter, inbox):
            await converse(adapter, inbox, lab)
