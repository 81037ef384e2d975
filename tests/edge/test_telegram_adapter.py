"""The Telegram adapter with the real python-telegram-bot, over HTTP, against a small strict server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from gateway.domain.adapter import Accept, Accepted, HttpReceiving, HttpRequest, Probing
from gateway.domain.errors import (
    Ambiguous,
    ConversationMoved,
    DeliveryRefused,
    FormatRefused,
    RateLimited,
    SettingsInvalid,
    StoreDown,
    ThreadwayError,
    TokenRefused,
)
from gateway.domain.messages import ConversationKey, Destination, OutboundPart
from gateway.telegram import TelegramAdapter
from tests.conformance.adapter import AdapterConformance, HastyClock, Inbox, Subject
from tests.edge.telegram_server import ANN, TOKEN, TelegramServer, failure, telegram_server

SECRET = "s3cret_of-nobody"
PRIVATE = Destination(ConversationKey(f"telegram:7000000001:{ANN['id']}:-"))
GROUP = Destination(ConversationKey("telegram:7000000001:-4000000101:-"), "201")
TOPIC = Destination(ConversationKey("telegram:7000000001:-1002000000101:3001"), "3105")


class OneReplica:
    """A leader for tests: gives out one term after the other, which `end` cuts short."""

    def __init__(self) -> None:
        self.terms: list[str] = []
        self._begun = asyncio.Condition()
        self._over = asyncio.Event()

    @asynccontextmanager
    async def term(self, name: str) -> AsyncIterator[OneReplica]:
        self._over = asyncio.Event()
        async with self._begun:
            self.terms.append(name)
            self._begun.notify_all()
        yield self

    def valid(self) -> bool:
        return not self._over.is_set()

    async def lost(self) -> None:
        await self._over.wait()

    def end(self) -> None:
        self._over.set()

    async def begun(self, times: int) -> None:
        async with asyncio.timeout(10), self._begun:
            await self._begun.wait_for(lambda: len(self.terms) >= times)


class MemoryOffsets:
    """What the store keeps for the poller."""

    def __init__(self, offset: int | None = None) -> None:
        self.offset = offset

    async def get(self, bot_id: int) -> int | None:
        return self.offset

    async def set(self, bot_id: int, offset: int) -> None:
        self.offset = offset


@pytest.fixture
async def server() -> AsyncIterator[TelegramServer]:
    async with telegram_server() as running:
        yield running


@pytest.fixture
async def make(server: TelegramServer) -> AsyncIterator[Callable[..., TelegramAdapter]]:
    made: list[TelegramAdapter] = []

    def build(token: str = TOKEN, **options: object) -> TelegramAdapter:
        chosen = {
            "api_base_url": server.url,
            "leader": OneReplica(),
            "offsets": MemoryOffsets(),
            "clock": HastyClock(),
            "call_timeout_s": 1.0,
        } | options
        made.append(TelegramAdapter(token, **chosen))  # type: ignore[arg-type]
        return made[-1]

    yield build
    for adapter in made:
        await adapter.close()


@asynccontextmanager
async def receiving(adapter: TelegramAdapter, inbox: Inbox) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.ensure_future(adapter.receive(inbox.accept))
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, ThreadwayError):
            await task


class TestTelegramConforms(AdapterConformance):
    @pytest.fixture
    async def subject(self, server: TelegramServer, make: Callable[..., TelegramAdapter]) -> Subject:
        async def say(text: str, accept: Accept) -> None:
            await server.queue(server.private(text))

        def next_time(answer: web.Response | str) -> Callable[[], Awaitable[None]]:
            async def script() -> None:
                server.next["sendMessage"] = [answer]

            return script

        return Subject(
            adapter=make(call_timeout_s=0.3),
            say=say,
            posted=lambda: [message["text"] for message in server.sent],
            nowhere=Destination(ConversationKey("telegram:7000000001:404:-")),
            faults={
                "slow down": next_time(failure(429, "Too Many Requests: retry after 7", retry_after=7)),
                "silent": next_time("silent"),
                "server error": next_time(failure(502, "Bad Gateway")),
                "refused": next_time(failure(403, "Forbidden: bot was blocked by the user")),
                "bad markup": next_time(failure(400, "Bad Request: can't parse entities: unexpected end")),
                "away": server.stop,
            },
        )


async def test_it_is_also_fed_over_http_and_can_be_probed(make: Callable[..., TelegramAdapter]) -> None:
    assert isinstance(make(), HttpReceiving)
    assert isinstance(make(), Probing)


async def test_updates_are_confirmed_only_after_they_are_stored(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    inbox, offsets = Inbox(), MemoryOffsets()
    inbox.refusals = [Accepted.STORED, StoreDown("away")]
    first, second = server.private("one"), server.private("two")
    await server.queue(first, second)
    async with receiving(make(offsets=offsets), inbox):
        await inbox.holds(1)
        await server.emptied()
    assert [m.text for m in inbox.messages] == ["two"]
    polls = [form.get("offset") for name, form in server.calls if name == "getUpdates"]
    assert polls[:3] == [None, str(first["update_id"] + 1), str(second["update_id"] + 1)]
    assert offsets.offset == second["update_id"] + 1
    assert json.loads(server.calls[-1][1]["allowed_updates"]) == ["message"]


async def test_a_full_conversation_holds_back_itself_and_nobody_else(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    inbox = Inbox()
    inbox.refusals = [Accepted.FULL]
    bob = {"id": 42, "type": "private", "first_name": "Bob"}
    await server.queue(server.private("a1"), server.private("a2"), server.private("b1", chat=bob))
    async with receiving(make(), inbox):
        await inbox.holds(3)
        await server.emptied()
    assert [m.text for m in inbox.messages] == ["b1", "a1", "a2"]


async def test_poison_is_skipped_and_what_follows_arrives(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    inbox = Inbox()
    poison = server.private("x")
    poison["message"]["entities"] = 7
    await server.queue(poison, server.private("fine"))
    async with receiving(make(), inbox):
        await inbox.holds(1)
        await server.emptied()
    assert inbox.messages[0].text == "fine"


async def test_the_stored_offset_is_where_polling_goes_on(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    inbox = Inbox()
    old, new = server.private("old"), server.private("new")
    await server.queue(old, new)
    async with receiving(make(offsets=MemoryOffsets(new["update_id"])), inbox):
        await inbox.holds(1)
    assert [m.text for m in inbox.messages] == ["new"]


async def test_faults_of_the_server_are_waited_out(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    clock = HastyClock()
    adapter = make(clock=clock)
    server.next = {
        "getMe": [failure(500, "Internal Server Error"), "cut"],
        "deleteWebhook": [failure(502, "Bad Gateway")],
        "getUpdates": [
            failure(409, "Conflict: terminated by other getUpdates request"),
            failure(429, "Too Many Requests: retry after 33", retry_after=33),
            "cut",
        ],
    }
    inbox = Inbox()
    await server.queue(server.private("hello"))
    async with receiving(adapter, inbox):
        await inbox.holds(1)
        await server.emptied()
        assert adapter.healthy()
    assert len(clock.slept) == 6
    assert max(clock.slept) == 33


async def test_a_lost_term_stops_polling_until_the_next_one(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    leader, inbox = OneReplica(), Inbox()
    async with receiving(make(leader=leader), inbox):
        await server.called("getUpdates")
        leader.end()  # while a poll is held open by the server
        await leader.begun(2)
        await server.queue(server.private("hello"))
        await inbox.holds(1)
    assert set(leader.terms) == {"telegram:7000000001"}


async def test_a_refused_token_ends_receiving(make: Callable[..., TelegramAdapter]) -> None:
    with pytest.raises(TokenRefused):
        await make("7000000001:wrong").receive(Inbox().accept)


async def test_a_token_refused_later_ends_receiving_too(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    server.next = {"getUpdates": [failure(401, "Unauthorized")]}
    with pytest.raises(TokenRefused):
        await make().receive(Inbox().accept)


# --- webhook ---


async def hooked(server: TelegramServer, make: Callable[..., TelegramAdapter], inbox: Inbox) -> TelegramAdapter:
    """An adapter in webhook mode that has registered itself."""
    adapter = make(webhook_url="http://127.0.0.1:1/telegram/webhook", webhook_secret=SECRET)
    await adapter.receive(inbox.accept)
    return adapter


def call(body: bytes, secret: str | None = SECRET) -> HttpRequest:
    headers = {"content-type": "application/json"}
    if secret is not None:
        headers["x-telegram-bot-api-secret-token"] = secret
    return HttpRequest("POST", "/telegram/webhook", headers, body)


async def test_the_webhook_is_registered_and_fed(server: TelegramServer, make: Callable[..., TelegramAdapter]) -> None:
    inbox = Inbox()
    adapter = await hooked(server, make, inbox)
    form = next(form for name, form in server.calls if name == "setWebhook")
    assert form["secret_token"] == SECRET
    assert json.loads(form["allowed_updates"]) == ["message"]
    body = json.dumps(server.private("hello")).encode()
    assert (await adapter.handle(call(body), inbox.accept)).status == 200
    assert (await adapter.handle(call(body), inbox.accept)).status == 200
    assert [m.text for m in inbox.messages] == ["hello"]
    assert adapter.healthy()


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", "schlüssel"])
async def test_a_call_without_our_secret_is_refused_before_it_is_read(
    secret: str | None, server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    inbox = Inbox()
    adapter = await hooked(server, make, inbox)
    assert (await adapter.handle(call(b"{not json", secret), inbox.accept)).status == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"7", b"{}", b'{"update_id":"1"}', b"\xff", b"[" * 100_000])
async def test_what_is_no_update_is_malformed(
    body: bytes, server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    inbox = Inbox()
    adapter = await hooked(server, make, inbox)
    assert (await adapter.handle(call(body), inbox.accept)).status == 400


async def test_the_webhook_acknowledges_nothing_that_is_not_stored(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    inbox = Inbox()
    inbox.refusals = [Accepted.FULL, StoreDown("away")]
    adapter = await hooked(server, make, inbox)
    request = call(json.dumps(server.private("hello")).encode())
    refused = await adapter.handle(request, inbox.accept)
    assert (refused.status, refused.headers["Retry-After"]) == (503, "5")
    with pytest.raises(StoreDown):
        await adapter.handle(request, inbox.accept)
    unknown = make(webhook_url="http://127.0.0.1:1/telegram/webhook", webhook_secret=SECRET)
    assert (await unknown.handle(request, inbox.accept)).status == 503  # getMe has not answered yet


async def test_poison_is_acknowledged_so_that_its_chat_goes_on(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    inbox = Inbox()
    adapter = await hooked(server, make, inbox)
    assert (await adapter.handle(call(b'{"update_id":1,"message":7}'), inbox.accept)).status == 200
    assert inbox.offered == 0


async def test_a_polling_bot_has_no_webhook(make: Callable[..., TelegramAdapter]) -> None:
    assert (await make().handle(call(b"{}", ""), Inbox().accept)).status == 404


@pytest.mark.parametrize(
    ("token", "options"),
    [
        ("", {}),
        ("no-colon", {}),
        (TOKEN, {"webhook_url": "http://example.com/telegram/webhook", "webhook_secret": SECRET}),
        (TOKEN, {"webhook_url": "https://example.com/telegram/webhook", "webhook_secret": ""}),
        (TOKEN, {"webhook_url": "https://example.com/telegram/webhook", "webhook_secret": "a b"}),
    ],
)
def test_settings_that_cannot_work_stop_the_start(token: str, options: dict[str, str]) -> None:
    with pytest.raises(SettingsInvalid):
        TelegramAdapter(token, **options)  # type: ignore[arg-type]


# --- posting ---


async def test_text_and_entities_arrive_in_place(server: TelegramServer, make: Callable[..., TelegramAdapter]) -> None:
    server.topics = {3001}
    adapter = make()
    (part,) = adapter.render("**hi** 👩‍🔧 `x`")
    await adapter.post(PRIVATE, part, "k#0")
    await adapter.post(GROUP, part, "k#1")
    await adapter.post(TOPIC, part, "k#2")
    private, group, topic = server.sent
    assert [entity["type"] for entity in private["entities"]] == ["bold", "code"]
    assert "reply_parameters" not in private["form"]
    assert json.loads(group["form"]["reply_parameters"]) == {"message_id": 201, "allow_sending_without_reply": True}
    assert (private["topic"], group["topic"], topic["topic"]) == (None, None, 3001)


async def test_a_topic_that_is_gone_is_answered_in_the_chat(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    assert await make().post(TOPIC, OutboundPart("hi"), "k#0") == "5001"
    assert [message["topic"] for message in server.sent] == [None]


@pytest.mark.parametrize(
    ("status", "description", "parameters", "expected"),
    [
        (400, "Bad Request: chat not found", {}, DeliveryRefused),
        (400, "Bad Request: not enough rights to send text messages to the chat", {}, DeliveryRefused),
        (400, "Bad Request: can't parse entities: Unsupported start tag", {}, FormatRefused),
        (401, "Unauthorized", {}, TokenRefused),
        (403, "Forbidden: bot was kicked from the group chat", {}, DeliveryRefused),
        (429, "Too Many Requests", {}, RateLimited),
        (500, "Internal Server Error", {}, Ambiguous),
    ],
)
async def test_refusals_in_our_words(
    status: int,
    description: str,
    parameters: dict[str, int],
    expected: type[ThreadwayError],
    server: TelegramServer,
    make: Callable[..., TelegramAdapter],
) -> None:
    server.next = {"sendMessage": [failure(status, description, **parameters)]}
    with pytest.raises(ThreadwayError) as caught:
        await make().post(PRIVATE, OutboundPart("hi"), "k#0")
    assert caught.type is expected
    assert TOKEN not in repr(caught.value)


async def test_a_group_that_became_a_supergroup_has_a_new_key(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    upgraded = failure(400, "Bad Request: group chat was upgraded", migrate_to_chat_id=-1002000000202)
    server.next = {"sendMessage": [upgraded]}
    with pytest.raises(ConversationMoved) as caught:
        await make().post(GROUP, OutboundPart("hi"), "k#0")
    assert caught.value.moved_to == "telegram:7000000001:-1002000000202:-"


async def test_a_cut_line_leaves_it_open_whether_it_was_sent(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    server.next = {"sendMessage": ["cut"]}
    with pytest.raises(Ambiguous):
        await make().post(PRIVATE, OutboundPart("hi"), "k#0")


async def test_typing_goes_to_the_topic_and_to_general_under_its_id(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    adapter = make()
    await adapter.working(TOPIC)
    await adapter.working(Destination(GROUP.conversation, "201;general"))
    await adapter.working(PRIVATE)
    actions = [form.get("message_thread_id") for name, form in server.calls if name == "sendChatAction"]
    assert actions == ["3001", "1", None]


async def test_a_foreign_destination_is_refused(make: Callable[..., TelegramAdapter]) -> None:
    for key in ("slack:T1:C1:-", "telegram:1:2", "telegram:1:x:-"):
        with pytest.raises(DeliveryRefused):
            await make().post(Destination(ConversationKey(key)), OutboundPart("hi"), "k#0")
