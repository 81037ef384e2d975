"""The Telegram adapter with the real python-telegram-bot, over HTTP, against a small strict server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import web

from gateway.domain.adapter import Accept, Accepted, Editing, HttpReceiving, HttpRequest, Mail, Probing
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
from gateway.domain.messages import (
    Amendment,
    Command,
    ConversationKey,
    Destination,
    InboundMessage,
    Offer,
    OutboundPart,
)
from gateway.telegram import BotIdentity, TelegramAdapter
from gateway.telegram.backlog import MAX_KEPT, Backlog
from tests.conformance.adapter import AdapterConformance, HastyClock, Inbox, Subject
from tests.edge.telegram_server import ANN, TOKEN, TelegramServer, failure, telegram_server

SECRET = "s3cret_of-nobody"
ALLOWED = ["message", "edited_message", "callback_query"]
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


class MemorySpill:
    """What the store keeps of full conversations."""

    def __init__(self) -> None:
        self.updates: dict[int, str] = {}

    async def keep(self, bot_id: int, update_id: int, update: str) -> None:
        self.updates[update_id] = update

    async def kept(self, bot_id: int) -> dict[int, str]:
        return dict(reversed(self.updates.items()))  # "in any order"

    async def drop(self, bot_id: int, update_id: int) -> None:
        self.updates.pop(update_id, None)


class Mailboxes:
    """Inboxes that are full or not, by conversation; amendments are kept beside messages, in one order."""

    def __init__(self) -> None:
        self.full: set[str] = set()
        self.mail: list[Mail] = []
        self.down = False
        self._seen: set[str] = set()
        self._changed = asyncio.Condition()

    async def accept(self, mail: Mail) -> Accepted:
        if self.down:
            raise StoreDown("away")
        if mail.conversation in self.full:
            return Accepted.FULL
        if isinstance(mail, InboundMessage):
            if self._seen.intersection(mail.dedupe_keys):
                return Accepted.DUPLICATE
            self._seen.update(mail.dedupe_keys)
        async with self._changed:
            self.mail.append(mail)
            self._changed.notify_all()
        return Accepted.STORED if isinstance(mail, InboundMessage) else Accepted.NOTHING

    def texts(self, conversation: str) -> list[str | None]:
        return [mail.text for mail in self.mail if mail.conversation == conversation]

    async def holds(self, count: int) -> None:
        async with asyncio.timeout(20), self._changed:
            await self._changed.wait_for(lambda: len(self.mail) >= count)


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
async def receiving(adapter: TelegramAdapter, inbox: Inbox | Mailboxes) -> AsyncIterator[asyncio.Task[None]]:
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

        async def amend(message: InboundMessage, text: str | None, accept: Accept) -> None:
            assert text is not None
            original = server.private(message.text, message_id=int(message.message_id))
            await server.queue(server.edited(original, text))

        async def press(number: int, accept: Accept) -> None:
            (button,) = json.loads(server.sent[number]["form"]["reply_markup"])["inline_keyboard"][0]
            await server.queue(server.pressed(button["callback_data"]))

        return Subject(
            adapter=make(call_timeout_s=0.3),
            amend=amend,
            deletions=False,
            press=press,
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
    assert isinstance(make(), Editing)


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
    assert json.loads(server.calls[-1][1]["allowed_updates"]) == ALLOWED


async def test_without_a_spill_a_full_conversation_comes_again_and_others_behind_it_do_not_wait(
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


BOB = {"id": 42, "type": "private", "first_name": "Bob"}
FLOODED, CALM = str(PRIVATE.conversation), "telegram:7000000001:42:-"


async def test_a_flooded_conversation_stops_nobody_and_loses_nothing(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    boxes, offsets, spill = Mailboxes(), MemoryOffsets(), MemorySpill()
    boxes.full = {FLOODED}
    flood = [server.private(f"m{n}") for n in range(250)]  # more than getUpdates hands out at once
    edit = server.edited(flood[0], "m0, edited")
    calm = server.private("am I heard?", chat=BOB)
    await server.queue(*flood, edit, calm)
    async with receiving(make(offsets=offsets, spill=spill), boxes):
        await boxes.holds(1)
        await server.emptied()
    assert boxes.texts(CALM) == ["am I heard?"]
    assert offsets.offset == calm["update_id"] + 1
    assert sorted(spill.updates) == [*(update["update_id"] for update in flood), edit["update_id"]]

    # another replica takes over; room appears, and no news
    boxes.full = set()
    async with receiving(make(offsets=offsets, spill=spill), boxes):
        await boxes.holds(252)
        await server.called("getUpdates", len([name for name, _ in server.calls if name == "getUpdates"]) + 1)
    assert boxes.texts(FLOODED) == [*(f"m{n}" for n in range(250)), "m0, edited"]
    assert spill.updates == {}


async def test_room_is_noticed_without_any_news(server: TelegramServer, make: Callable[..., TelegramAdapter]) -> None:
    boxes = Mailboxes()
    boxes.full = {FLOODED}
    await server.queue(server.private("first"), server.private("second"))
    async with receiving(make(spill=MemorySpill(), poll_wait_s=50), boxes):
        await server.emptied()
        boxes.full = set()
        await boxes.holds(2)
    assert boxes.texts(FLOODED) == ["first", "second"]
    waits = [form["timeout"] for name, form in server.calls if name == "getUpdates"]
    assert waits[:2] == ["50", "1"]


async def test_what_comes_behind_kept_updates_waits_for_its_turn(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    boxes, spill = Mailboxes(), MemorySpill()
    boxes.full = {FLOODED}
    await server.queue(server.private("first"), server.private("second"))
    async with receiving(make(spill=spill), boxes):
        await server.emptied()
        boxes.full = set()
        await server.queue(server.private("third"))  # there is room for it, but not yet its turn
        await boxes.holds(3)
    assert boxes.texts(FLOODED) == ["first", "second", "third"]


async def test_a_crash_between_storing_and_dropping_repeats_nothing(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    boxes, spill = Mailboxes(), MemorySpill()
    kept = server.private("kept")
    await spill.keep(7000000001, kept["update_id"], json.dumps(kept))
    await server.queue(kept, server.private("next"))  # the offset was not moved either
    async with receiving(make(spill=spill), boxes):
        await boxes.holds(2)
        await server.emptied()
    assert boxes.texts(FLOODED) == ["kept", "next"]
    assert spill.updates == {}


async def test_beyond_the_spill_the_offset_waits_and_nothing_is_lost(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    boxes, offsets, spill, clock = Mailboxes(), MemoryOffsets(), MemorySpill(), HastyClock()
    boxes.full = {FLOODED}
    flood = [server.private(str(n)) for n in range(MAX_KEPT + 50)]
    await server.queue(*flood, server.private("hello", chat=BOB))
    async with receiving(make(offsets=offsets, spill=spill, clock=clock), boxes):
        await boxes.holds(1)  # of the last batch: others are heard past what is stuck
        assert len(spill.updates) == MAX_KEPT
        assert offsets.offset == flood[MAX_KEPT]["update_id"]
        boxes.full = set()
        await server.emptied()
    assert boxes.texts(FLOODED) == [str(n) for n in range(MAX_KEPT + 50)]
    assert boxes.texts(CALM) == ["hello"]
    assert spill.updates == {}


async def test_a_poller_whose_term_is_over_keeps_nothing(server: TelegramServer) -> None:
    boxes, spill, me = Mailboxes(), MemorySpill(), BotIdentity(7000000001, "threadway_demo_bot")
    boxes.full = {FLOODED}
    backlog = Backlog(me, boxes.accept, spill, settled=lambda raw: None)
    lasting = True
    await backlog.open(lambda: lasting)
    first, second = server.private("first"), server.private("second")
    assert (await backlog.take([first]))[0] == first["update_id"] + 1
    lasting = False  # we were stopped for longer than the lease
    assert (await backlog.take([second]))[0] is None
    assert list(spill.updates) == [first["update_id"]]


async def test_an_edit_is_offered_as_an_amendment(server: TelegramServer, make: Callable[..., TelegramAdapter]) -> None:
    boxes, offsets = Mailboxes(), MemoryOffsets()
    said = server.private("helo")
    edit = server.edited(said, "hello")
    await server.queue(said, edit)
    async with receiving(make(offsets=offsets), boxes):
        await server.emptied()
    message, amendment = boxes.mail
    assert isinstance(message, InboundMessage)
    assert amendment == Amendment(message.conversation, message.message_id, "hello", edit["update_id"], message.origin)
    assert offsets.offset == edit["update_id"] + 1  # NOTHING to change is no reason to come again


async def test_a_pressed_button_is_a_command_and_stops_spinning_after_it_is_stored(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    boxes = Mailboxes()
    boxes.down = True
    foreign, press = server.pressed("ap1:9f:y"), server.pressed("tw:last:17")
    await server.queue(foreign, press)
    async with receiving(make(), boxes):
        await server.called("getUpdates", 3)
        assert "answerCallbackQuery" not in dict(server.calls)
        boxes.down = False
        await server.called("answerCallbackQuery")
        await server.emptied()
    (message,) = boxes.mail
    assert isinstance(message, InboundMessage)
    assert (message.command, message.argument, message.conversation) == (Command.LAST, "17", PRIVATE.conversation)
    answered = [form["callback_query_id"] for name, form in server.calls if name == "answerCallbackQuery"]
    assert answered == [press["callback_query"]["id"]]


async def test_a_press_that_cannot_be_answered_holds_up_nothing(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    boxes = Mailboxes()
    server.next = {"answerCallbackQuery": ["silent", failure(400, "Bad Request: query is too old"), "cut"]}
    presses = [server.pressed(f"tw:last:{n}") for n in range(4)]
    adapter = make(call_timeout_s=20.0)
    await server.queue(*presses, server.private("hello"))
    async with receiving(adapter, boxes):
        await server.emptied()
        await server.called("answerCallbackQuery", 4)
    async with asyncio.timeout(5):
        await adapter.close()  # while the server is silent
    assert len(boxes.mail) == 5


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
    assert json.loads(form["allowed_updates"]) == ALLOWED
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


async def test_the_webhook_answers_before_the_button_is_told(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    inbox, boxes = Inbox(), Mailboxes()
    adapter = await hooked(server, make, inbox)
    server.next = {"answerCallbackQuery": ["silent"]}
    body = json.dumps(server.pressed("tw:last:17")).encode()
    boxes.full = {FLOODED}
    assert (await adapter.handle(call(body), boxes.accept)).status == 503
    assert "answerCallbackQuery" not in dict(server.calls)
    boxes.full = set()
    assert (await adapter.handle(call(body), boxes.accept)).status == 200
    await server.called("answerCallbackQuery")


async def test_the_webhook_takes_edits(server: TelegramServer, make: Callable[..., TelegramAdapter]) -> None:
    boxes = Mailboxes()
    adapter = await hooked(server, make, Inbox())
    body = json.dumps(server.edited(server.private("helo"), "hello")).encode()
    assert (await adapter.handle(call(body), boxes.accept)).status == 200
    assert boxes.texts(FLOODED) == ["hello"]


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


OFFERED = OutboundPart("perhaps lost", offers=(Offer("Show again", Command.LAST, "17"),))
KEYBOARD = {"inline_keyboard": [[{"text": "Show again", "callback_data": "tw:last:17"}]]}


async def test_offers_are_buttons_also_without_markup_and_after_an_edit(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    adapter = make()
    await adapter.post(PRIVATE, OFFERED, "k#0")
    number = await adapter.post(PRIVATE, OFFERED.plain(), "k#1")
    assert [json.loads(server.reply_markup[5001 + n]) for n in (0, 1)] == [KEYBOARD, KEYBOARD]
    await adapter.edit(PRIVATE, number, OutboundPart("found"))
    assert server.reply_markup[int(number)] is None
    await adapter.edit(PRIVATE, number, OFFERED)
    assert json.loads(server.reply_markup[int(number)]) == KEYBOARD


async def test_an_edit_makes_a_placeholder_the_reply_and_may_be_repeated(
    server: TelegramServer, make: Callable[..., TelegramAdapter]
) -> None:
    adapter = make()
    number = await adapter.post(GROUP, OutboundPart("…"), "k#0")
    (part,) = adapter.render("**hi** `x`")
    for _ in range(2):
        await adapter.edit(GROUP, number, part)
    assert (server.sent[0]["text"], [e["type"] for e in server.sent[0]["entities"]]) == ("hi x", ["bold", "code"])
    edits = [form for name, form in server.calls if name == "editMessageText"]
    assert [(form["chat_id"], form["message_id"]) for form in edits] == [("-4000000101", "5001")] * 2
    assert len(server.sent) == 1


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (failure(400, "Bad Request: message can't be edited"), DeliveryRefused),
        (failure(400, "Bad Request: message to edit not found"), DeliveryRefused),
        (failure(400, "Bad Request: can't parse entities: unexpected end"), FormatRefused),
        (failure(403, "Forbidden: bot was blocked by the user"), DeliveryRefused),
        (failure(429, "Too Many Requests: retry after 7", retry_after=7), RateLimited),
        (failure(502, "Bad Gateway"), Ambiguous),
        ("silent", Ambiguous),
        ("cut", Ambiguous),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_refused_edits_in_our_words(
    answer: web.Response | str,
    expected: type[ThreadwayError],
    server: TelegramServer,
    make: Callable[..., TelegramAdapter],
) -> None:
    adapter = make(call_timeout_s=0.3)
    number = await adapter.post(PRIVATE, OutboundPart("…"), "k#0")
    server.next = {"editMessageText": [answer]}
    with pytest.raises(ThreadwayError) as caught:
        await adapter.edit(PRIVATE, number, OutboundPart("hi"))
    assert caught.type is expected


async def test_only_telegrams_messages_can_be_edited(make: Callable[..., TelegramAdapter]) -> None:
    for number in ("", "1234.5678", "?", "404"):
        with pytest.raises(DeliveryRefused):
            await make().edit(PRIVATE, number, OutboundPart("hi"))


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
