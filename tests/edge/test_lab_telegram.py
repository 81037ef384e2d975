"""The lab's Bot API, used by the real python-telegram-bot; where its client is too polite, by bare HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from telegram import Bot, InlineKeyboardButton, InlineKeyboardMarkup, Message, MessageEntity, ReplyParameters, Update
from telegram.error import BadRequest, Conflict, Forbidden, InvalidToken, NetworkError, RetryAfter

from gateway.domain.messages import Amendment, Command, Destination, InboundMessage, Offer, OutboundPart
from gateway.lab.client import LabClient, LabRefused
from gateway.lab.faults import FaultKind
from gateway.lab.standalone import Served, serve_lab
from gateway.telegram import TelegramAdapter
from tests.edge.test_telegram_adapter import Mailboxes, MemoryOffsets, MemorySpill, OneReplica, receiving

ANN, GROUP, FORUM = 100200301, -4000000101, -1002000000101
EVERYTHING = ["message", "edited_message", "callback_query", "my_chat_member"]


class ManualClock:
    """Time that passes only when the test says so; real enough for the SDKs, which compare with the real date."""

    def __init__(self) -> None:
        self._at_s = datetime.now(UTC).timestamp()
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []
        self._slept = asyncio.Event()

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._at_s, UTC)

    def monotonic(self) -> float:
        return self._at_s

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._at_s + seconds, done))
        self._slept.set()
        try:
            await done
        finally:
            self._sleepers = [s for s in self._sleepers if s[1] is not done]

    async def pass_when_slept(self, seconds: float) -> None:
        """Wait until somebody sleeps for exactly `seconds` (one decimal), then let that time pass."""
        while not any(round(until - self._at_s - seconds, 1) == 0 for until, _ in self._sleepers):
            self._slept.clear()
            await self._slept.wait()
        self._at_s += seconds
        for until, done in self._sleepers:
            if until <= self._at_s and not done.done():
                done.set_result(None)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with serve_lab() as served:
        yield served


@pytest.fixture
async def lab(served: Served) -> AsyncIterator[LabClient]:
    async with LabClient(served.url) as client:
        yield client


@pytest.fixture
async def bot(served: Served) -> AsyncIterator[Bot]:
    async with make_bot(served) as bot:
        yield bot


def make_bot(served: Served, token: str | None = None) -> Bot:
    base = served.telegram_url
    return Bot(token or served.telegram_token, base_url=f"{base}/bot", base_file_url=f"{base}/file/bot")


async def test_a_message_and_its_answer_meet(bot: Bot, lab: LabClient) -> None:
    sent = await lab.telegram_send("Hi there")
    (update,) = await bot.get_updates(timeout=5)
    assert update.message is not None
    assert (update.message.text, update.message.chat.id, update.message.chat.type) == ("Hi there", ANN, "private")
    assert update.update_id == sent["update_id"]
    bold = [MessageEntity("bold", 0, 5)]
    posted = await bot.send_message(ANN, "Hello 👋", entities=bold)
    reply = await lab.wait_for_reply("telegram", ANN, after=sent["cursor"])
    assert (reply["id"], reply["text"]) == (str(posted.message_id), "Hello 👋")
    assert reply["entities"] == [{"type": "bold", "offset": 0, "length": 5}]
    assert [m["author"]["bot"] for m in await lab.messages("ann")] == [False, True]


async def test_updates_have_the_shape_that_the_library_knows(bot: Bot, lab: LabClient) -> None:
    await lab.telegram_send("/start abc")
    await lab.telegram_send("in a topic /ask", chat="forum", thread=3001)
    await lab.act("telegram/block", {"user": "bob"})
    updates = await bot.get_updates(timeout=5)
    assert [type(u) for u in updates] == [Update] * 3
    for update in updates:
        part = update.effective_message or update.my_chat_member
        assert part is not None
        assert not part.api_kwargs  # no field that the library does not know
    command, topic = updates[0].message, updates[1].message
    assert command is not None
    assert command.entities[0].type == "bot_command"
    assert topic is not None
    assert topic.reply_to_message is not None
    assert (topic.message_thread_id, topic.is_topic_message, topic.reply_to_message.message_id) == (3001, True, 3001)


async def test_unconfirmed_updates_stay_and_the_offset_confirms(bot: Bot, lab: LabClient) -> None:
    for text in ("one", "two", "three"):
        await lab.telegram_send(text)
    first = await bot.get_updates(limit=2)
    assert texts(first) == ["one", "two"]
    assert texts(await bot.get_updates()) == ["one", "two", "three"]
    assert [u.update_id for u in first] == sorted({u.update_id for u in first})
    assert texts(await bot.get_updates(offset=first[1].update_id)) == ["two", "three"]
    assert texts(await bot.get_updates(offset=-1)) == ["three"]
    assert texts(await bot.get_updates()) == ["three"]


async def test_a_long_poll_wakes_up_for_a_message_and_ends_with_its_timeout() -> None:
    clock = ManualClock()
    async with serve_lab(clock=clock) as served, LabClient(served.url) as lab, make_bot(served) as bot:
        polling = asyncio.ensure_future(bot.get_updates(timeout=7))
        await clock.pass_when_slept(7)
        assert await polling == ()
        polling = asyncio.ensure_future(bot.get_updates(timeout=8))
        await lab.telegram_send("news")
        assert texts(await polling) == ["news"]


async def test_allowed_updates_hold_until_they_are_changed(bot: Bot, lab: LabClient) -> None:
    await bot.get_updates(allowed_updates=["message"])
    sent = await lab.telegram_send("first")
    await lab.act("telegram/edit", {"chat": "ann", "message": sent["id"], "text": "changed"})
    assert [u.edited_message is None for u in await bot.get_updates(allowed_updates=EVERYTHING)] == [True]
    await lab.act("telegram/edit", {"chat": "ann", "message": sent["id"], "text": "changed again"})
    edited = (await bot.get_updates())[-1].edited_message
    assert edited is not None
    assert edited.text == "changed again"
    assert edited.edit_date is not None


async def test_of_two_pollers_the_older_gets_a_conflict(served: Served, lab: LabClient) -> None:
    url = f"{served.telegram_url}/bot{served.telegram_token}/getUpdates?timeout=50"
    async with aiohttp.ClientSession() as http:

        async def poll() -> tuple[int, Any]:
            async with http.get(url) as response:
                return response.status, await response.json()

        # Whichever arrives second ends the first; the survivor gets the message.
        polls = {asyncio.ensure_future(poll()), asyncio.ensure_future(poll())}
        (ended,), (alive,) = await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED)
        status, body = ended.result()
        assert (status, body["error_code"]) == (409, 409)
        assert body["description"].startswith("Conflict: terminated by other getUpdates request")
        await lab.telegram_send("for the survivor")
        status, body = await alive
        assert (status, body["result"][0]["message"]["text"]) == (200, "for the survivor")


@pytest.mark.parametrize(
    ("text", "entities", "words"),
    [
        ("   ", None, "Message text is empty"),
        ("x" * 4097, None, "Message is too long"),
        ("😀" * 2049, None, "Message is too long"),
        ("abc", [("bold", 0, 4)], "outside of the text"),
        ("abc", [("bold", -1, 1)], "outside of the text"),
        ("abc", [("bold", 0, 0)], "outside of the text"),
        ("a😀c", [("bold", 0, 2)], "surrogate pair"),
        ("abcdef", [("bold", 0, 3), ("italic", 2, 3)], "overlaps"),
        ("abcdef", [("bold", 0, 4), ("code", 1, 2)], "can't be inside"),
        ("abcdef", [("pre", 0, 4), ("bold", 1, 2)], "can't be inside"),
        ("abcdef", [("blockquote", 0, 6), ("blockquote", 1, 2)], "can't be inside"),
        ("abcdef", [("sparkling", 0, 6)], "unsupported type"),
        ("abcdef", [("text_link", 0, 6)], "needs url"),
    ],
)
async def test_broken_text_is_refused(
    bot: Bot, text: str, entities: list[tuple[str, int, int]] | None, words: str
) -> None:
    marks = [MessageEntity(*e) for e in entities] if entities else None
    with pytest.raises(BadRequest, match=words):
        await bot.send_message(ANN, text, entities=marks)


async def test_text_at_its_limits_is_taken_and_trimmed(bot: Bot) -> None:
    assert (await bot.send_message(ANN, "😀" * 2048)).text == "😀" * 2048
    trimmed = await bot.send_message(ANN, "  bold and quoted code  \n", entities=[MessageEntity("bold", 0, 6)])
    assert (trimmed.text, trimmed.entities[0].offset, trimmed.entities[0].length) == ("bold and quoted code", 0, 4)
    nested = [MessageEntity("blockquote", 0, 9), MessageEntity("pre", 2, 3, language="py")]
    assert len((await bot.send_message(ANN, "quote pre", entities=nested)).entities) == 2


async def test_what_cannot_be_reached_is_said_in_telegrams_words(bot: Bot, lab: LabClient) -> None:
    with pytest.raises(BadRequest, match="Chat not found"):
        await bot.send_message(424242, "x")
    for topic in (1, 3009):  # General is no thread for sendMessage, though sendChatAction takes it
        with pytest.raises(BadRequest, match="Message thread not found"):
            await bot.send_message(FORUM, "x", message_thread_id=topic)
    assert await bot.send_chat_action(FORUM, "typing", message_thread_id=1)
    assert (await bot.send_message(FORUM, "x", message_thread_id=3002)).is_topic_message
    with pytest.raises(BadRequest, match="Message to be replied not found"):
        await bot.send_message(ANN, "x", reply_parameters=ReplyParameters(99999))
    assert await bot.send_message(ANN, "x", reply_parameters=ReplyParameters(9999, allow_sending_without_reply=True))
    await lab.act("telegram/block", {"user": "ann"})
    with pytest.raises(Forbidden, match="bot was blocked by the user"):
        await bot.send_message(ANN, "x")
    await lab.telegram_send("back again")
    assert await bot.send_message(ANN, "x")


async def test_edits_and_deletions(bot: Bot, lab: LabClient) -> None:
    keyboard = InlineKeyboardMarkup([[InlineKeyboardButton("Yes", callback_data="y")]])
    posted = await bot.send_message(ANN, "one", reply_markup=keyboard)
    with pytest.raises(BadRequest, match="Message is not modified"):
        await bot.edit_message_text("one", ANN, posted.message_id, reply_markup=keyboard)
    edited = await bot.edit_message_text("two", ANN, posted.message_id, reply_markup=keyboard)
    assert not isinstance(edited, bool)
    assert edited.text == "two"
    pressed = await lab.act("telegram/press", {"chat": "ann", "message": posted.message_id, "data": "y"})
    (update,) = await bot.get_updates()
    assert update.update_id == pressed["update_id"]
    assert update.callback_query is not None
    assert await update.callback_query.answer("ok")
    with pytest.raises(BadRequest, match="Query is too old"):
        await update.callback_query.answer("twice")
    assert (await lab.messages("ann"))[-1]["edited"]
    assert await bot.delete_message(ANN, posted.message_id)
    with pytest.raises(BadRequest, match="Message to edit not found"):
        await bot.edit_message_text("three", ANN, posted.message_id)
    with pytest.raises(BadRequest, match="Message to delete not found"):
        await bot.delete_message(ANN, posted.message_id)


async def test_a_person_edits_and_presses_and_sees_the_button_stop(bot: Bot, lab: LabClient) -> None:
    said = await lab.telegram_send("helo")
    edited = await lab.telegram_edit(said["id"], "hello")
    keyboard = InlineKeyboardMarkup([[InlineKeyboardButton("Again", callback_data="tw:last:1")]])
    posted = await bot.send_message(FORUM, "lost?", message_thread_id=3001, reply_markup=keyboard)
    pressed = await lab.telegram_press(posted.message_id, "tw:last:1", user="bob", chat="forum")
    *_, edit, press = await bot.get_updates(timeout=5, allowed_updates=EVERYTHING)
    assert edit.update_id == edited["update_id"]
    assert edit.edited_message is not None
    assert (edit.edited_message.text, edit.edited_message.message_id) == ("hello", int(said["id"]))
    query = press.callback_query
    assert query is not None
    assert isinstance(query.message, Message)
    assert (query.id, query.from_user.first_name, query.data) == (pressed["query"], "Bob", "tw:last:1")
    assert (query.message.message_thread_id, query.message.is_topic_message) == (3001, True)
    assert query.message.reply_markup == keyboard
    await bot.answer_callback_query(query.id)
    answered = await lab.wait_for(lambda change: change.get("type") == "answered", after=pressed["cursor"])
    assert (answered["query"], answered["chat"]) == (query.id, str(FORUM))
    with pytest.raises(LabRefused, match="no such button"):
        await lab.telegram_press(posted.message_id, "tw:last:2", chat="forum")
    with pytest.raises(LabRefused, match="no such message of a person"):
        await lab.telegram_edit(posted.message_id, "not mine", chat="forum")


async def test_our_adapter_hears_edits_and_buttons_and_edits_what_it_posted(served: Served, lab: LabClient) -> None:
    boxes = Mailboxes()
    adapter = TelegramAdapter(
        served.telegram_token,
        api_base_url=served.telegram_url,
        leader=OneReplica(),
        offsets=MemoryOffsets(),
        spill=MemorySpill(),
    )
    await lab.fail_next("telegram", "*", "duplicates", count=3)  # each update comes twice
    async with receiving(adapter, boxes):
        said = await lab.telegram_send("/new@threadway_lab_bot helo", chat="forum", thread=3001)
        await boxes.holds(1)
        await lab.telegram_edit(said["id"], "@threadway_lab_bot hello", chat="forum")
        await boxes.holds(2)
        place = Destination(boxes.mail[0].conversation)
        number = await adapter.post(place, OutboundPart("…"), "k#0")
        part = OutboundPart("lost?", offers=(Offer("Show again", Command.LAST, "7"),))
        await adapter.edit(place, number, part)
        await adapter.edit(place, number, part)  # "message is not modified"
        shown = (await lab.messages("forum"))[-1]
        assert (shown["text"], shown["buttons"]) == ("lost?", [[{"text": "Show again", "data": "tw:last:7"}]])
        pressed = await lab.telegram_press(number, "tw:last:7", user="bob", chat="forum")
        await lab.wait_for(lambda change: change.get("query") == pressed["query"], after=pressed["cursor"])
    await adapter.close()
    first, amendment, command = [mail for n, mail in enumerate(boxes.mail) if mail not in boxes.mail[:n]]
    assert isinstance(first, InboundMessage)
    assert isinstance(amendment, Amendment)
    assert isinstance(command, InboundMessage)
    assert (amendment.conversation, amendment.message_id, amendment.text) == (first.conversation, said["id"], "hello")
    assert (command.conversation, command.command, command.argument) == (first.conversation, Command.LAST, "7")


async def test_privacy_mode_hides_what_is_not_for_the_bot(bot: Bot, lab: LabClient) -> None:
    async def seen(text: str, **rest: Any) -> bool:
        return (await lab.telegram_send(text, chat="group", **rest))["update_id"] is not None

    posted = await bot.send_message(GROUP, "I am here")
    assert not await seen("good morning everybody")
    assert not await seen("/ask@another_bot something")
    assert not await seen("mail me at x@threadway_lab_bot.example")
    assert await seen("/ask something")
    assert await seen("👩‍🔧 @Threadway_Lab_Bot please look")
    assert await seen("and then?", reply_to=posted.message_id)
    updates = await bot.get_updates()
    assert len(updates) == 3
    assert updates[2].message is not None
    replied = updates[2].message.reply_to_message
    assert replied is not None
    assert replied.from_user is not None
    assert replied.from_user.id == bot.id


async def test_a_reply_in_a_supergroup_carries_a_thread_id_that_is_no_topic(bot: Bot, lab: LabClient) -> None:
    posted = await bot.send_message(FORUM, "in General")
    await lab.telegram_send("and?", chat="forum", reply_to=posted.message_id)
    (update,) = await bot.get_updates()
    assert update.message is not None
    assert (update.message.message_thread_id, update.message.is_topic_message) == (posted.message_id, None)


async def test_faults_by_number_are_exact(bot: Bot, lab: LabClient) -> None:
    await lab.fail_next("telegram", "sendMessage", "rate_429", count=2, retry_after=3)
    assert await bot.send_chat_action(ANN, "typing")  # another method is untouched
    for _ in range(2):
        with pytest.raises(RetryAfter) as caught:
            await bot.send_message(ANN, "x")
        assert caught.value.retry_after == 3
    assert await bot.send_message(ANN, "through")
    await lab.fail_next("telegram", "sendMessage", "drop_response")
    with pytest.raises(NetworkError):
        await bot.send_message(ANN, "arrived all the same")
    await lab.fail_next("telegram", "sendMessage", "errors_5xx")
    with pytest.raises(NetworkError):
        await bot.send_message(ANN, "never arrived")
    assert [m["text"] for m in await lab.messages("ann")] == ["through", "arrived all the same"]


@pytest.mark.parametrize(("fault", "arrives"), [("cut_before", False), ("cut_after", True)])
async def test_a_cut_line_leaves_the_bot_in_doubt(bot: Bot, lab: LabClient, fault: FaultKind, arrives: bool) -> None:
    await lab.fail_next("telegram", "sendMessage", fault)
    with pytest.raises(NetworkError) as caught:
        await bot.send_message(ANN, "perhaps")
    assert isinstance(caught.value.__cause__, httpx.RemoteProtocolError)
    assert [m["text"] for m in await lab.messages("ann")] == ["perhaps"] * arrives
    assert await bot.send_message(ANN, "and on")  # over a new connection


@pytest.mark.parametrize("fault", ["rate_429", "errors_5xx", "drop_response", "cut_before", "cut_after"])
async def test_every_fault_can_come_by_chance_in_every_method(bot: Bot, lab: LabClient, fault: str) -> None:
    posted = await bot.send_message(ANN, "…")
    await lab.set_fault("telegram", **{fault: 1.0})
    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: bot.send_message(ANN, "x"),
        lambda: bot.edit_message_text("x", ANN, posted.message_id),
        lambda: bot.get_updates(),
        lambda: bot.get_me(),
        lambda: bot.send_chat_action(ANN, "typing"),
    ]
    for call in calls:
        with pytest.raises((RetryAfter, NetworkError)):
            await call()
    shown = [m["text"] for m in await lab.messages("ann")]
    assert shown == (["x", "x"] if fault in ("drop_response", "cut_after") else ["…"])


async def test_faults_by_chance_can_be_repeated(bot: Bot, lab: LabClient) -> None:
    async def run() -> list[bool]:
        await lab.act("faults", {"reset": True, "seed": 7, "telegram": {"rate_429": 0.5}})
        outcomes = []
        for _ in range(12):
            try:
                outcomes.append(await bot.send_chat_action(ANN, "typing"))
            except RetryAfter:
                outcomes.append(False)
        return outcomes

    first = await run()
    assert {True, False} == set(first)
    assert first == await run()
    with pytest.raises(LabRefused, match="rate_429 is a number from 0 to 1"):
        await lab.set_fault("telegram", rate_429=2)
    await lab.reset_faults()
    assert await bot.send_chat_action(ANN, "typing")


async def test_a_duplicated_update_comes_again_after_it_was_confirmed(bot: Bot, lab: LabClient) -> None:
    await lab.fail_next("telegram", "*", "duplicates")
    await lab.telegram_send("twice")
    (first,) = await bot.get_updates()
    (again,) = await bot.get_updates(offset=first.update_id + 1)
    assert again.update_id == first.update_id
    assert await bot.get_updates(offset=first.update_id + 1) == ()


async def test_files_go_both_ways(bot: Bot, lab: LabClient) -> None:
    file = {"name": "note.txt", "mime": "text/plain", "content_base64": "aGVsbG8="}
    await lab.telegram_send("see attached", file=file)
    (update,) = await bot.get_updates()
    assert update.message is not None
    assert update.message.document is not None
    assert (update.message.caption, update.message.document.file_name) == ("see attached", "note.txt")
    stored = await update.message.document.get_file()
    assert bytes(await stored.download_as_bytearray()) == b"hello"
    sent = await bot.send_document(ANN, b"%PDF", filename="a.pdf", caption="here")
    assert sent.document is not None
    assert sent.document.file_size == 4
    assert (await bot.send_photo(ANN, b"\x89PNG")).photo


async def test_the_rest_of_the_account(bot: Bot, served: Served) -> None:
    me = await bot.get_me()
    assert (me.username, me.can_read_all_group_messages) == ("threadway_lab_bot", False)
    assert await bot.set_my_commands([("new", "Start over")])
    assert [c.command for c in await bot.get_my_commands()] == ["new"]
    assert (await bot.get_chat(FORUM)).is_forum
    assert await bot.send_message_draft(ANN, 7, "thinking")
    with pytest.raises(BadRequest):
        await bot.set_my_commands([("Not Allowed", "x")])
    with pytest.raises(InvalidToken):
        await make_bot(served, "7000000001:wrong").initialize()


async def test_every_body_form_is_read_and_errors_have_their_status(served: Served) -> None:
    url = f"{served.telegram_url}/bot{served.telegram_token}"
    async with aiohttp.ClientSession() as http:
        for body in ({"data": {"chat_id": str(ANN), "text": "ü"}}, {"json": {"chat_id": ANN, "text": "ü"}}):
            async with http.post(f"{url}/SENDMESSAGE", **body) as response:
                assert (await response.json())["result"]["text"] == "ü"
        form = aiohttp.FormData({"chat_id": str(ANN), "text": "multi"}, default_to_multipart=True)
        async with http.post(f"{url}/sendMessage", data=form) as response:
            assert (await response.json())["result"]["text"] == "multi"
        expected: list[tuple[str, Any, int, str]] = [
            (f"{url}/flyToTheMoon", {}, 404, "Not Found"),
            (f"{served.telegram_url}/bot1:x/getMe", {}, 401, "Unauthorized"),
            (f"{url}/sendMessage", {"chat_id": str(ANN), "text": "a", "entities": "[{"}, 400, "not valid JSON"),
            (f"{url}/sendMessage", {"chat_id": str(ANN), "text": "a", "parse_mode": "HTML"}, 400, "can't parse"),
            (f"{url}/sendMessage", {"text": "a"}, 400, "chat_id is empty"),
        ]
        for address, data, status, words in expected:
            async with http.post(address, data=data) as response:
                answer = await response.json()
                assert (response.status, answer["ok"], answer["error_code"]) == (status, False, status)
                assert words in answer["description"]


Handler = Callable[[web.Request], Awaitable[web.Response]]


async def listen(handler: Handler) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.router.add_post("/hook", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}/hook"


async def test_a_webhook_gets_each_chat_in_order_and_again_until_it_says_yes() -> None:
    clock, received, answers = ManualClock(), asyncio.Queue[tuple[str, str]](), [503, 500, 200, 200, 200]

    async def hook(request: web.Request) -> web.Response:
        secret = request.headers["X-Telegram-Bot-Api-Secret-Token"]
        text = json.loads(await request.read())["message"]["text"]
        received.put_nowait((secret, text))
        return web.Response(status=200 if text == "from Bob" else answers.pop(0))

    runner, url = await listen(hook)
    async with serve_lab(clock=clock) as served, LabClient(served.url) as lab, make_bot(served) as bot:
        await bot.set_webhook(url, secret_token="s3cret_-", allowed_updates=["message"])
        with pytest.raises(Conflict, match="webhook is active"):
            await bot.get_updates()
        await lab.telegram_send("one")
        await lab.telegram_send("two")
        assert await received.get() == ("s3cret_-", "one")
        await lab.telegram_send("from Bob", user="bob")
        assert (await received.get())[1] == "from Bob"  # another chat does not wait
        await clock.pass_when_slept(1)
        assert (await received.get())[1] == "one"
        info = await bot.get_webhook_info()
        assert info.url == url
        assert info.last_error_message
        await clock.pass_when_slept(2)
        assert [(await received.get())[1] for _ in range(2)] == ["one", "two"]
        await bot.delete_webhook()
        await lab.telegram_send("by poll again")
        assert texts(await bot.get_updates())[-1] == "by poll again"
    await runner.cleanup()


async def test_webhooks_are_checked_before_they_are_set(bot: Bot) -> None:
    for url, words in (("http://example.com/x", "https url"), ("nonsense", "invalid webhook url")):
        with pytest.raises(BadRequest, match=words):
            await bot.set_webhook(url)
    with pytest.raises(BadRequest, match="unallowed characters"):
        await bot.set_webhook("https://example.com/x", secret_token="ü")


def texts(updates: tuple[Update, ...]) -> list[str | None]:
    return [u.effective_message.text for u in updates if u.effective_message]
