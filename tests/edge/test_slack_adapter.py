"""The Slack adapter with the real slack-bolt and slack-sdk, over HTTP, against a small strict server."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web

from gateway.domain.adapter import Accept, Accepted, FindingPosted, HttpReceiving, HttpRequest, Probing
from gateway.domain.errors import (
    Ambiguous,
    DeliveryRefused,
    FormatRefused,
    RateLimited,
    SettingsInvalid,
    StoreDown,
    ThreadwayError,
    TokenRefused,
)
from gateway.domain.messages import (
    Command,
    ConversationKey,
    Destination,
    InboundMessage,
    Offer,
    OutboundPart,
)
from gateway.slack import SlackAdapter
from tests.conformance.adapter import AdapterConformance, HastyClock, Inbox, Subject
from tests.edge.slack_server import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET, SlackServer, refusal, signed, slack_server

FIXTURES = Path(__file__).parent.parent / "fixtures" / "slack"
THREAD = Destination(ConversationKey("slack:T012AB3CD:C012AB3CD:1795226404.000300"), "1795226404.000300")
DM = Destination(ConversationKey("slack:T012AB3CD:D012AB3CD:-"))


def load(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def event(name: str) -> HttpRequest:
    return signed(json.dumps(load(name)))


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with slack_server() as running:
        yield running


@pytest.fixture
async def make(server: SlackServer) -> AsyncIterator[Callable[..., SlackAdapter]]:
    made: list[SlackAdapter] = []

    def build(token: str = BOT_TOKEN, **options: Any) -> SlackAdapter:
        chosen: dict[str, Any] = {
            "signing_secret": SIGNING_SECRET,
            "api_base_url": f"{server.url}/api/",
            "clock": HastyClock(),
            "call_timeout_s": 1.0,
        } | options
        made.append(SlackAdapter(token, **chosen))
        return made[-1]

    yield build
    for adapter in made:
        await adapter.close()


@pytest.fixture
async def adapter(make: Callable[..., SlackAdapter]) -> SlackAdapter:
    """An adapter for events over HTTP that knows who it is."""
    ready = make()
    await ready.receive(Inbox().accept)
    return ready


class TestSlackConforms(AdapterConformance):
    @pytest.fixture
    async def subject(self, server: SlackServer, make: Callable[..., SlackAdapter]) -> Subject:
        adapter = make(call_timeout_s=0.3)
        await adapter.receive(Inbox().accept)
        numbers = itertools.count()

        async def say(text: str, accept: Accept) -> None:
            body = load("02_message_im")
            number = next(numbers)
            body["event_id"] = f"Ev{number}"
            body["event"] |= {"text": text, "ts": f"1795226402.00010{number}"}
            await again_and_again(signed(json.dumps(body)), accept)

        async def again_and_again(request: HttpRequest, accept: Accept) -> None:
            for _ in range(4):  # Slack tries once and repeats three times
                if (await adapter.handle(request, accept)).status == 200:
                    return

        async def amend(message: InboundMessage, text: str | None, accept: Accept) -> None:
            body = load("11_message_deleted" if text is None else "10_message_changed")
            body["event"]["event_ts"] = f"1795226500.00010{next(numbers)}"
            if text is None:
                body["event"]["deleted_ts"] = body["event"]["previous_message"]["ts"] = message.message_id
            else:
                body["event"]["message"] |= {"ts": message.message_id, "text": text}
            await again_and_again(signed(json.dumps(body)), accept)

        async def press(number: int, accept: Accept) -> None:
            payload, post = load("19_block_actions_approve")["payload"], server.posts[number]
            payload |= {"channel": {"id": post["channel"]}, "message": {"ts": post["ts"]}, "container": {}}
            payload["actions"] = [post["blocks"][-1]["elements"][0] | {"action_ts": "1795226600.000100"}]
            await again_and_again(form(payload), accept)

        def next_time(answer: web.Response | str) -> Callable[[], Awaitable[None]]:
            async def script() -> None:
                server.next["chat.postMessage"] = [answer]

            return script

        async def unplug() -> None:
            await server.stop()
            await adapter.close()  # a connection left from before would be cut in the middle: Ambiguous, rightly

        limited = web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": "7"})
        return Subject(
            adapter=adapter,
            say=say,
            posted=lambda: [post["text"] for post in server.posts],
            nowhere=Destination(ConversationKey("slack:T012AB3CD:C0NOWHERE:1795226404.000300")),
            amend=amend,
            press=press,
            faults={
                "slow down": next_time(limited),
                "silent": next_time("silent"),
                "server error": next_time(web.Response(status=503, text="<html>hi</html>", content_type="text/html")),
                "refused": next_time(refusal("is_archived")),
                "bad markup": next_time(refusal("invalid_blocks")),
                "away": unplug,
            },
        )


def test_it_has_every_optional_ability() -> None:
    adapter = SlackAdapter(BOT_TOKEN)
    assert isinstance(adapter, HttpReceiving)
    assert isinstance(adapter, FindingPosted)
    assert isinstance(adapter, Probing)


# --- events over HTTP ---


async def test_the_events_of_one_mention_and_its_redelivery_are_one_message(adapter: SlackAdapter) -> None:
    inbox = Inbox()
    retry = load("21_retry_of_04")
    again = signed(json.dumps(retry["body"]))
    again = HttpRequest(again.method, again.path, {**again.headers, **retry["headers"]}, again.body)
    for request in (event("04_app_mention"), event("05_message_channel_same_as_mention"), again):
        assert (await adapter.handle(request, inbox.accept)).status == 200
    assert [m.text for m in inbox.messages] == ["summarise this channel & the <ops> one"]
    assert inbox.offered == 3


@pytest.mark.parametrize("name", ["07_message_from_own_bot", "08_message_other_bot"])
async def test_what_is_not_for_us_is_acknowledged_and_dropped(name: str, adapter: SlackAdapter) -> None:
    inbox = Inbox()
    assert (await adapter.handle(event(name), inbox.accept)).status == 200
    assert inbox.offered == 0


async def test_edits_and_deletions_amend_and_are_acknowledged_whatever_they_find(adapter: SlackAdapter) -> None:
    inbox = Inbox()
    inbox.refusals = [StoreDown("away")]
    assert (await adapter.handle(event("10_message_changed"), inbox.accept)).status == 503
    for name in ("10_message_changed", "11_message_deleted"):
        assert (await adapter.handle(event(name), inbox.accept)).status == 200
    assert [(a.conversation, a.message_id, a.text) for a in inbox.amendments] == [
        ("slack:T012AB3CD:D012AB3CD:-", "1795226402.000100", "Hi, what can you do today?"),
        ("slack:T012AB3CD:D012AB3CD:-", "1795226402.000100", None),
    ]


async def test_an_edit_of_our_own_message_amends_nothing(adapter: SlackAdapter) -> None:
    inbox, body = Inbox(), load("10_message_changed")
    for inner in ("message", "previous_message"):
        body["event"][inner] |= {"user": "U0BOT12AB", "bot_id": "B012AB3CD"}
    assert (await adapter.handle(signed(json.dumps(body)), inbox.accept)).status == 200
    assert not inbox.amendments


async def test_in_agent_view_an_edit_amends_the_thread(make: Callable[..., SlackAdapter]) -> None:
    adapter, inbox = make(dm="thread"), Inbox()
    await adapter.receive(inbox.accept)
    await adapter.handle(event("10_message_changed"), inbox.accept)
    assert inbox.amendments[0].conversation == "slack:T012AB3CD:D012AB3CD:1795226402.000100"


async def test_a_follow_up_is_ours_only_in_a_known_thread(make: Callable[..., SlackAdapter]) -> None:
    known: set[str] = set()

    async def in_thread(key: ConversationKey) -> bool:
        return key in known

    adapter, inbox = make(in_thread=in_thread), Inbox()
    await adapter.receive(inbox.accept)
    await adapter.handle(event("06_message_channel_thread_reply"), inbox.accept)
    assert inbox.offered == 0
    known.add("slack:T012AB3CD:C012AB3CD:1795226404.000300")
    await adapter.handle(event("06_message_channel_thread_reply"), inbox.accept)
    assert [m.text for m in inbox.messages] == ["shorter please"]


async def test_url_verification_is_answered_even_before_we_know_ourselves(make: Callable[..., SlackAdapter]) -> None:
    response = await make().handle(event("01_url_verification"), Inbox().accept)
    assert response.status == 200
    assert json.loads(response.body) == {"challenge": load("01_url_verification")["challenge"]}


async def test_app_rate_limited_is_acknowledged(adapter: SlackAdapter) -> None:
    assert (await adapter.handle(event("25_app_rate_limited"), Inbox().accept)).status == 200


@pytest.mark.parametrize("name", ["19_block_actions_approve", "20_block_actions_feedback"])
async def test_strange_buttons_are_acknowledged_and_ignored(name: str, adapter: SlackAdapter) -> None:
    body, inbox = load(name), Inbox()
    request = signed(body["raw_body"], content_type=body["content_type"])
    assert (await adapter.handle(request, inbox.accept)).status == 200
    assert inbox.offered == 0


def pressed_last() -> dict[str, Any]:
    payload: dict[str, Any] = load("19_block_actions_approve")["payload"]
    payload["actions"][0] |= {"action_id": "tw:last", "value": "turn#0"}
    return payload


def form(payload: dict[str, Any]) -> HttpRequest:
    return signed(urlencode({"payload": json.dumps(payload)}), content_type="application/x-www-form-urlencoded")


async def test_a_pressed_button_of_ours_is_a_command_once(adapter: SlackAdapter) -> None:
    inbox = Inbox()
    inbox.refusals = [StoreDown("away"), Accepted.FULL]
    answers = [await adapter.handle(form(pressed_last()), inbox.accept) for _ in range(4)]
    assert [answer.status for answer in answers] == [503, 503, 200, 200]
    (message,) = inbox.messages
    assert (message.command, message.argument) == (Command.LAST, "turn#0")
    assert message.conversation == "slack:T012AB3CD:C012AB3CD:1795226404.000300"


async def test_a_malformed_press_is_acknowledged_and_skipped(adapter: SlackAdapter) -> None:
    payload, inbox = pressed_last(), Inbox()
    del payload["trigger_id"]
    assert (await adapter.handle(form(payload), inbox.accept)).status == 200
    assert inbox.offered == 0


def unsigned() -> HttpRequest:
    return HttpRequest("POST", "/slack/events", {"content-type": "application/json"}, b"{}")


def with_header(name: str, value: str) -> HttpRequest:
    request = event("02_message_im")
    return HttpRequest("POST", request.path, {**request.headers, name: value}, request.body)


@pytest.mark.parametrize(
    "request_of",
    [
        unsigned,
        lambda: signed("{}", secret="another"),
        lambda: signed("{}", age_s=301),
        lambda: signed("{}", age_s=-301),
        lambda: signed("{not json", secret="another"),
        lambda: with_header("x-slack-request-timestamp", "yesterday"),
        lambda: with_header("x-slack-request-timestamp", ""),
        lambda: with_header("x-slack-signature", "v0=ü"),
    ],
)
async def test_what_slack_did_not_sign_just_now_is_refused(
    request_of: Callable[[], HttpRequest], adapter: SlackAdapter
) -> None:
    inbox = Inbox()
    assert (await adapter.handle(request_of(), inbox.accept)).status == 401
    assert inbox.offered == 0


@pytest.mark.parametrize(
    "body",
    ["", "{not json", "[]", "[1]", "7", '"x"', "null", "{}", '{"type":"event_callback"}', '{"type":"x","event":7}',
     '{"type":7}', "[" * 100_000, "payload=%7Bnot+json", "nonsense"],
)  # fmt: skip
async def test_what_is_signed_and_malformed_is_refused(body: str, adapter: SlackAdapter) -> None:
    assert (await adapter.handle(signed(body), Inbox().accept)).status == 400


async def test_poison_is_acknowledged_and_skipped(adapter: SlackAdapter) -> None:
    inbox = Inbox()
    body = load("02_message_im")
    body["event"]["ts"] = 7
    assert (await adapter.handle(signed(json.dumps(body)), inbox.accept)).status == 200
    assert inbox.offered == 0


@pytest.mark.parametrize("value", [None, 7, "x", [], [7], {}, {"id": 7}], ids=repr)
async def test_no_field_of_a_wrong_type_is_a_failure_of_ours(value: Any, adapter: SlackAdapter) -> None:
    """5xx would have Slack repeat what no repetition makes better, and count against the app."""
    inbox = Inbox()
    whole = load("02_message_im")
    for field in whole:
        answer = await adapter.handle(signed(json.dumps(whole | {field: value})), inbox.accept)
        assert answer.status in (200, 400), field
    for field in whole["event"]:
        body = whole | {"event": whole["event"] | {field: value}}
        answer = await adapter.handle(signed(json.dumps(body)), inbox.accept)
        assert answer.status in (200, 400), field


async def test_nothing_is_acknowledged_that_is_not_stored(
    adapter: SlackAdapter, make: Callable[..., SlackAdapter]
) -> None:
    inbox = Inbox()
    inbox.refusals = [StoreDown("away"), Accepted.FULL]
    for _ in range(2):
        response = await adapter.handle(event("02_message_im"), inbox.accept)
        assert (response.status, response.headers["retry-after"]) == (503, "5")
    assert (await adapter.handle(event("02_message_im"), inbox.accept)).status == 200
    assert len(inbox.messages) == 1
    stranger = make()  # auth.test has not answered yet
    assert (await stranger.handle(event("04_app_mention"), inbox.accept)).status == 503


async def test_a_store_that_is_away_when_asked_about_a_thread_is_no_acknowledgement(
    make: Callable[..., SlackAdapter],
) -> None:
    async def in_thread(key: ConversationKey) -> bool:
        raise StoreDown("away")

    adapter = make(in_thread=in_thread)
    await adapter.receive(Inbox().accept)
    assert (await adapter.handle(event("06_message_channel_thread_reply"), Inbox().accept)).status == 503


class MemoryViews:
    """What the store keeps about workspaces."""

    def __init__(self) -> None:
        self.teams: set[str] = set()

    async def get(self, team: str) -> bool:
        return team in self.teams

    async def set(self, team: str) -> None:
        self.teams.add(team)


@pytest.mark.parametrize("name", ["24_app_context_changed", "14_agent_session_stopped"])
async def test_agent_view_is_seen_once_and_known_to_all_replicas(name: str, make: Callable[..., SlackAdapter]) -> None:
    views, inbox = MemoryViews(), Inbox()
    one, other = make(agent_views=views), make(agent_views=views)
    for adapter in (one, other):
        await adapter.receive(inbox.accept)
    await one.handle(event("02_message_im"), inbox.accept)
    await one.handle(event(name), inbox.accept)
    later = load("02_message_im")
    later["event_id"] = "Ev0LATER"
    later["event"]["ts"] = "1795226999.000100"
    await other.handle(signed(json.dumps(later)), inbox.accept)
    plain, *rest = (m.conversation for m in inbox.messages)
    assert plain == "slack:T012AB3CD:D012AB3CD:-"
    assert rest[-1] == "slack:T012AB3CD:D012AB3CD:1795226999.000100"


@pytest.mark.parametrize(("dm", "root"), [("channel", "-"), ("thread", "1795226402.000100")])
async def test_the_setting_beats_what_the_workspace_shows(
    dm: str, root: str, make: Callable[..., SlackAdapter]
) -> None:
    adapter, inbox = make(dm=dm), Inbox()
    await adapter.receive(inbox.accept)
    await adapter.handle(event("24_app_context_changed"), inbox.accept)
    await adapter.handle(event("02_message_im"), inbox.accept)
    assert inbox.messages[0].conversation == f"slack:T012AB3CD:D012AB3CD:{root}"


async def test_the_slash_command_orders_in_a_dm_and_explains_itself_in_a_channel(adapter: SlackAdapter) -> None:
    body, inbox = load("18_slash_command"), Inbox()
    response = await adapter.handle(signed(body["raw_body"], content_type=body["content_type"]), inbox.accept)
    assert json.loads(response.body)["response_type"] == "ephemeral"
    assert "!new" in json.loads(response.body)["text"]
    assert inbox.offered == 0
    direct = body["raw_body"].replace("C012AB3CD", "D012AB3CD")
    response = await adapter.handle(signed(direct, content_type=body["content_type"]), inbox.accept)
    assert (response.status, response.body) == (200, b"")
    assert inbox.messages[0].command is Command.NEW


# --- who we are ---


async def test_faults_of_the_server_are_waited_out(server: SlackServer, make: Callable[..., SlackAdapter]) -> None:
    clock = HastyClock()
    adapter = make(clock=clock)
    limited = web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers={"Retry-After": "33"})
    server.next = {"auth.test": [web.Response(status=500), "cut", limited]}
    assert not adapter.healthy()
    await adapter.receive(Inbox().accept)
    assert adapter.healthy()
    assert len(clock.slept) == 3
    assert max(clock.slept) == 33


async def test_a_refused_token_ends_receiving(make: Callable[..., SlackAdapter]) -> None:
    with pytest.raises(TokenRefused):
        await make("xoxb-wrong").receive(Inbox().accept)
    with pytest.raises(TokenRefused):
        await make(app_token="xapp-wrong").receive(Inbox().accept)


async def test_settings_that_cannot_work_stop_the_start(make: Callable[..., SlackAdapter]) -> None:
    with pytest.raises(SettingsInvalid):
        make(dm="sometimes")
    with pytest.raises(SettingsInvalid):
        await make(signing_secret="").receive(Inbox().accept)
    assert (await make(signing_secret="").handle(event("02_message_im"), Inbox().accept)).status == 404


# --- Socket Mode ---


@asynccontextmanager
async def receiving(adapter: SlackAdapter, inbox: Inbox) -> AsyncIterator[None]:
    task = asyncio.ensure_future(adapter.receive(inbox.accept))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError, ThreadwayError):
            await task


async def test_an_envelope_is_acknowledged_after_it_is_stored(
    server: SlackServer, make: Callable[..., SlackAdapter]
) -> None:
    envelope, inbox = load("22_socket_mode_envelope"), Inbox()
    server.frames = ["not json", json.dumps(envelope), json.dumps(envelope | {"envelope_id": "again"})]
    adapter = make(app_token=APP_TOKEN, signing_secret="")
    async with receiving(adapter, inbox):
        acknowledged = await server.got_acknowledgements(2)
        assert adapter.healthy()
    assert acknowledged == [{"envelope_id": envelope["envelope_id"]}, {"envelope_id": "again"}]
    assert [m.text for m in inbox.messages] == ["Hi, what can you do?"]
    assert not adapter.healthy()


async def test_an_envelope_that_could_not_be_stored_is_not_acknowledged(
    server: SlackServer, make: Callable[..., SlackAdapter]
) -> None:
    envelope, inbox = load("22_socket_mode_envelope"), Inbox()
    inbox.refusals = [StoreDown("away"), Accepted.FULL]
    server.frames = [json.dumps(envelope | {"envelope_id": number}) for number in ("first", "second", "third")]
    async with receiving(make(app_token=APP_TOKEN), inbox):
        assert await server.got_acknowledgements(1) == [{"envelope_id": "third"}]
    assert inbox.offered == 3


async def test_edits_and_presses_come_through_the_socket_as_well(
    server: SlackServer, make: Callable[..., SlackAdapter]
) -> None:
    inbox = Inbox()
    payloads = {"events_api": load("10_message_changed"), "interactive": pressed_last()}
    server.frames = [
        json.dumps({"envelope_id": kind, "type": kind, "accepts_response_payload": False, "payload": payload})
        for kind, payload in payloads.items()
    ]
    async with receiving(make(app_token=APP_TOKEN), inbox):
        assert await server.got_acknowledgements(2) == [{"envelope_id": kind} for kind in payloads]
    assert [amendment.text for amendment in inbox.amendments] == ["Hi, what can you do today?"]
    assert [message.command for message in inbox.messages] == [Command.LAST]


async def test_envelopes_are_taken_in_the_order_in_which_they_came(
    server: SlackServer, make: Callable[..., SlackAdapter]
) -> None:
    inbox = Inbox()
    held = asyncio.Event()
    for number in range(20):
        envelope = load("22_socket_mode_envelope") | {"envelope_id": f"e{number}"}
        envelope["payload"]["event_id"] = f"Ev{number}"
        envelope["payload"]["event"] |= {"text": str(number), "ts": f"1795226402.{number:06}"}
        server.frames.append(json.dumps(envelope))

    class SlowAtFirst:
        async def get(self, team: str) -> bool:
            if not held.is_set():
                held.set()
                await asyncio.sleep(0)  # the first one is slower than its followers
            return False

        async def set(self, team: str) -> None: ...

    async with receiving(make(app_token=APP_TOKEN, agent_views=SlowAtFirst()), inbox):
        await inbox.holds(20)
    assert [m.text for m in inbox.messages] == [str(number) for number in range(20)]


async def test_a_leaving_socket_is_replaced_before_it_goes(
    server: SlackServer, make: Callable[..., SlackAdapter]
) -> None:
    hello, disconnect = load("23_socket_mode_hello_and_disconnect")
    assert hello["type"] == "hello"
    inbox = Inbox()
    async with receiving(make(app_token=APP_TOKEN), inbox):
        await server.connected(1)
        await server.sockets[0].send_json(disconnect)
        await server.connected(2)
        await server.sockets[0].send_json(load("22_socket_mode_envelope"))  # the old one still delivers
        await server.got_acknowledgements(1)
        await server.sockets[0].close()
        await server.sockets[1].close()  # and a socket that goes without a word is replaced too
        await server.connected(3)
    assert len(inbox.messages) == 1


async def test_a_slash_command_is_answered_in_its_acknowledgement(
    server: SlackServer, make: Callable[..., SlackAdapter]
) -> None:
    form = load("18_slash_command")["fields"]
    envelope = {"envelope_id": "e", "type": "slash_commands", "accepts_response_payload": True, "payload": form}
    server.frames = [json.dumps(envelope)]
    async with receiving(make(app_token=APP_TOKEN), Inbox()):
        (acknowledgement,) = await server.got_acknowledgements(1)
    assert "!new" in acknowledgement["payload"]["text"]


async def test_a_socket_that_cannot_be_opened_is_tried_again_with_a_new_address(
    server: SlackServer, make: Callable[..., SlackAdapter], capsys: pytest.CaptureFixture[str]
) -> None:
    clock = HastyClock()
    gone = web.json_response({"ok": True, "url": server.url.replace("http:", "ws:") + "/gone?ticket=secret-ticket"})
    server.next = {"apps.connections.open": [gone, refusal("internal_error"), "cut"]}
    async with receiving(make(app_token=APP_TOKEN, clock=clock), Inbox()):
        await server.connected(1)
    assert len(clock.slept) == 3
    assert "secret-ticket" not in "".join(capsys.readouterr())


# --- posting ---


async def test_a_part_arrives_as_a_block_with_its_key(server: SlackServer, make: Callable[..., SlackAdapter]) -> None:
    adapter = make()
    (part,) = adapter.render("**hi** <!channel>")
    await adapter.post(THREAD, part, "turn#0")
    await adapter.post(DM, part.plain(), "turn#1")
    threaded, plain = server.posts
    assert threaded["thread_ts"] == "1795226404.000300"
    assert threaded["blocks"][0]["type"] == "markdown"
    assert "<!channel>" not in json.dumps(threaded)
    assert threaded["metadata"] == {"event_type": "threadway_part", "event_payload": {"key": "turn#0"}}
    assert (threaded["unfurl_links"], threaded["unfurl_media"]) == (False, False)
    assert "thread_ts" not in plain
    assert "blocks" not in plain
    assert plain["text"] == part.text


async def test_offers_are_buttons_under_the_part(server: SlackServer, make: Callable[..., SlackAdapter]) -> None:
    adapter = make()
    (part,) = adapter.render("**hi**")
    await adapter.post(THREAD, OutboundPart(part.text, part.markup, (Offer("Again", Command.LAST, "turn#0"),)), "k#0")
    markdown, actions = server.posts[0]["blocks"]
    assert markdown == {"type": "markdown", "text": "**hi**"}
    assert [(button["action_id"], button["value"]) for button in actions["elements"]] == [("tw:last", "turn#0")]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("channel_not_found", DeliveryRefused),
        ("not_in_channel", DeliveryRefused),
        ("missing_scope", DeliveryRefused),
        ("msg_blocks_too_long", FormatRefused),
        ("invalid_blocks_format", FormatRefused),
        ("account_inactive", TokenRefused),
        ("token_revoked", TokenRefused),
        ("ratelimited", RateLimited),
        ("fatal_error", Ambiguous),
    ],
)
async def test_refusals_in_our_words(
    code: str, expected: type[ThreadwayError], server: SlackServer, make: Callable[..., SlackAdapter]
) -> None:
    server.next = {"chat.postMessage": [refusal(code)]}
    with pytest.raises(ThreadwayError) as caught:
        await make().post(THREAD, OutboundPart("hi"), "k#0")
    assert caught.type is expected
    assert BOT_TOKEN not in repr(caught.value)


@pytest.mark.parametrize("answer", ["cut", web.Response(status=200, text="{", content_type="application/json")])
async def test_what_is_no_answer_leaves_it_open_and_is_not_repeated(
    answer: web.Response | str, server: SlackServer, make: Callable[..., SlackAdapter]
) -> None:
    server.next = {"chat.postMessage": [answer]}
    with pytest.raises(Ambiguous):
        await make().post(THREAD, OutboundPart("hi"), "k#0")
    assert [method for method, _ in server.calls] == ["chat.postMessage"]


async def test_the_status_is_shown_in_threads_until_slack_refuses_it(
    server: SlackServer, make: Callable[..., SlackAdapter]
) -> None:
    adapter = make()
    await adapter.working(DM)  # no thread, no status
    server.next = {"assistant.threads.setStatus": [refusal("channel_not_found"), "cut", refusal("missing_scope")]}
    for _ in range(5):
        await adapter.working(THREAD)
    assert [method for method, _ in server.calls] == ["assistant.threads.setStatus"] * 3


async def test_a_foreign_destination_is_refused(make: Callable[..., SlackAdapter]) -> None:
    with pytest.raises(DeliveryRefused):
        await make().post(Destination(ConversationKey("telegram:1:2:-")), OutboundPart("hi"), "k#0")
    with pytest.raises(DeliveryRefused):
        await make().find_posted(Destination(ConversationKey("slack:T1")), "k#0", 0)
