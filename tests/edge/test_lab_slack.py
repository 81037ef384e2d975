"""The lab's Slack, used by the real slack-sdk and slack-bolt: Web API, signed events with retries, Socket Mode."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest
from aiohttp import web
from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler
from slack_bolt.async_app import AsyncApp
from slack_bolt.request.async_request import AsyncBoltRequest
from slack_sdk.errors import SlackApiError
from slack_sdk.signature import SignatureVerifier
from slack_sdk.web.async_client import AsyncWebClient

from gateway.lab.client import LabClient, LabRefused
from gateway.lab.standalone import Served, serve_lab
from tests.edge.test_lab_telegram import ManualClock

BOT, GENERAL, RANDOM, ANN_DM = "U0LABBOT1", "C0LABGEN1", "C0LABRND1", "D0LABANN1"
FIXTURES = Path(__file__).parent.parent / "fixtures" / "slack"


@dataclass
class App:
    """An HTTP end for events: records every request and answers what it is told to (200 when nothing is left)."""

    answers: list[int] = field(default_factory=list)
    replicas: list[str] = field(default_factory=list)
    requests: asyncio.Queue[tuple[dict[str, str], bytes]] = field(default_factory=asyncio.Queue)
    url: str = ""
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    async def handle(self, request: web.Request) -> web.Response:
        self.requests.put_nowait(({k.lower(): v for k, v in request.headers.items()}, await request.read()))
        self.replicas.append(request.query.get("replica", ""))
        status = self.answers.pop(0) if self.answers else 200
        return web.Response(status=status, body=self.body, headers=self.headers)

    async def event(self) -> Any:
        """The next event's outer body."""
        return json.loads((await self.requests.get())[1])


@pytest.fixture
async def app() -> AsyncIterator[App]:
    app, site = App(), web.Application()
    site.router.add_post("/slack/events", app.handle)
    runner = web.AppRunner(site)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    app.url = f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
    yield app
    await runner.cleanup()


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serve_lab(slack_events_url=app.url) as served:
        yield served


@pytest.fixture
async def lab(served: Served) -> AsyncIterator[LabClient]:
    async with LabClient(served.url) as client:
        yield client


@pytest.fixture
def web_client(served: Served) -> AsyncWebClient:
    return AsyncWebClient(served.slack_bot_token, base_url=served.slack_url, retry_handlers=[])


async def refused(call: Any) -> str:
    with pytest.raises(SlackApiError) as caught:
        await call
    return str(caught.value.response["error"])


async def test_a_direct_message_and_its_answer_meet(app: App, lab: LabClient, web_client: AsyncWebClient) -> None:
    sent = await lab.slack_send("What is 1 < 2 & 3?")
    outer = await app.event()
    event = outer["event"]
    assert (event["text"], event["channel"], event["channel_type"]) == ("What is 1 &lt; 2 &amp; 3?", ANN_DM, "im")
    assert (event["ts"], outer["event_id"]) == (sent["ts"], sent["event_ids"][0])
    blocks = [{"type": "markdown", "text": "**true**"}]
    posted = await web_client.chat_postMessage(channel=ANN_DM, text="true", blocks=blocks, thread_ts=sent["ts"])
    reply = await lab.wait_for_reply("slack", ANN_DM, after=sent["cursor"], thread=sent["ts"])
    assert (reply["id"], reply["text"], reply["blocks"][0]["text"]) == (posted["ts"], "true", "**true**")
    echo = (await app.event())["event"]  # the app is told of its own message too
    assert (echo["bot_id"], echo["user"], echo["thread_ts"]) == ("B0LABBOT1", BOT, sent["ts"])


async def test_one_mention_makes_two_events(app: App, lab: LabClient) -> None:
    sent = await lab.slack_send("@threadway summarise <this>", channel="#general")
    one, two = await app.event(), await app.event()
    assert {one["event"]["type"], two["event"]["type"]} == {"app_mention", "message"}
    assert one["event_id"] != two["event_id"]
    assert {one["event_id"], two["event_id"]} == set(sent["event_ids"])
    for name in ("ts", "client_msg_id", "text", "channel"):
        assert one["event"][name] == two["event"][name]
    assert one["event"]["text"] == f"<@{BOT}> summarise &lt;this&gt;"
    elsewhere = await lab.slack_send("@Threadway hello", channel="#random")  # the bot is no member there
    assert len(elsewhere["event_ids"]) == 1
    assert (await app.event())["event"]["type"] == "app_mention"


@pytest.mark.parametrize(
    ("fixture", "wanted"),
    [
        ("02_message_im", "im"),
        ("04_app_mention", "app_mention"),
        ("05_message_channel_same_as_mention", "channel"),
        ("06_message_channel_thread_reply", "thread"),
        ("07_message_from_own_bot", "own"),
        ("10_message_changed", "changed"),
        ("11_message_deleted", "deleted"),
    ],
)
async def test_events_have_the_fields_of_the_fixtures(
    app: App, lab: LabClient, web_client: AsyncWebClient, fixture: str, wanted: str
) -> None:
    if wanted in {"im", "changed", "deleted"}:
        ts = (await lab.slack_send("hello"))["ts"]
        if wanted == "changed":
            await lab.slack_edit(ts, "other")
        elif wanted == "deleted":
            await lab.slack_delete(ts, channel=ANN_DM)
    else:
        ts = (await lab.slack_send("@Threadway hello", channel=GENERAL))["ts"]
        if wanted == "thread":
            await lab.slack_send("and", channel=GENERAL, thread_ts=ts)
        elif wanted == "own":
            blocks = [{"type": "divider"}]
            await web_client.chat_postMessage(channel=GENERAL, text="x", thread_ts=ts, blocks=blocks)
    expected = json.loads((FIXTURES / f"{fixture}.json").read_text())
    while True:
        outer = await app.event()
        event = outer["event"]
        ours = (event["type"], event.get("subtype"), "thread_ts" in event, "bot_id" in event)
        model = expected["event"]
        if ours == (model["type"], model.get("subtype"), "thread_ts" in model, "bot_id" in model):
            break
    assert set(outer) == set(expected)
    assert set(event) == set(model)


async def test_requests_are_signed_as_slack_signs_them(app: App, served: Served, lab: LabClient) -> None:
    await lab.slack_send("hello ü")
    headers, body = await app.requests.get()
    verifier = SignatureVerifier(served.slack_signing_secret)
    assert verifier.is_valid_request(body, headers)
    assert not verifier.is_valid_request(body + b" ", headers)
    assert abs(int(headers["x-slack-request-timestamp"]) - time.time()) < 60


async def test_an_event_is_repeated_at_once_after_a_minute_and_after_five() -> None:
    clock, app = ManualClock(), App(answers=[500, 503, 404, 500])
    site = web.Application()
    site.router.add_post("/slack/events", app.handle)
    runner = web.AppRunner(site)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
    async with serve_lab(clock=clock, slack_events_url=url) as served, LabClient(served.url) as lab:
        await lab.slack_send("hello")
        tries = [await app.requests.get(), await app.requests.get()]
        for pause in (60, 300):
            await clock.pass_when_slept(pause)
            tries.append(await app.requests.get())
    await runner.cleanup()
    assert [t[0].get("x-slack-retry-num") for t in tries] == [None, "1", "2", "3"]
    assert [t[0].get("x-slack-retry-reason") for t in tries] == [None, "http_error", "http_error", "http_error"]
    assert len({t[1] for t in tries}) == 1
    assert app.requests.empty()


async def test_a_longer_patience_and_several_replicas_can_be_had(app: App) -> None:
    app.answers = [503] * 6
    urls = [f"{app.url}?replica={number}" for number in (1, 2)]
    async with serve_lab(slack_events_url=urls, slack_retry_after_s=[0.0] * 10) as served, LabClient(served.url) as lab:
        await lab.slack_send("hello")
        tries = [await app.requests.get() for _ in range(7)]
    assert [t[0].get("x-slack-retry-num") for t in tries] == [None, "1", "2", "3", "4", "5", "6"]
    assert app.replicas == ["1", "2", "1", "2", "1", "2", "1"]
    assert app.requests.empty()  # the seventh was taken


async def test_an_edit_is_timed_in_whole_seconds_and_its_event_to_the_microsecond(app: App, lab: LabClient) -> None:
    sent = await lab.slack_send("one")
    for text in ("two", "three"):
        await lab.slack_edit(sent["ts"], text)
    events = [(await app.event())["event"] for _ in range(3)]
    edits = sorted((e for e in events if e.get("subtype") == "message_changed"), key=lambda e: e["event_ts"])
    assert [(e["previous_message"]["text"], e["message"]["text"]) for e in edits] == [("one", "two"), ("two", "three")]
    assert all(e["message"]["edited"]["ts"].endswith(".000000") for e in edits)
    assert edits[0]["event_ts"] < edits[1]["event_ts"]
    with pytest.raises(LabRefused):
        await lab.slack_edit("1.000001", "nothing there")


async def test_an_app_that_is_silent_for_three_seconds_is_asked_again() -> None:
    clock, hang, arrived = ManualClock(), asyncio.Event(), asyncio.Queue[str | None]()

    async def handle(request: web.Request) -> web.Response:
        arrived.put_nowait(request.headers.get("x-slack-retry-reason"))
        if "x-slack-retry-num" not in request.headers:
            await hang.wait()
        return web.Response()

    site = web.Application()
    site.router.add_post("/slack/events", handle)
    runner = web.AppRunner(site, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/slack/events"
    async with serve_lab(clock=clock, slack_events_url=url) as served, LabClient(served.url) as lab:
        await lab.slack_send("hello")
        assert await arrived.get() is None
        await clock.pass_when_slept(3)
        assert await arrived.get() == "http_timeout"
    hang.set()
    await runner.cleanup()


async def test_no_retry_is_obeyed_and_a_duplicate_looks_like_a_redelivery(app: App, lab: LabClient) -> None:
    app.answers, app.headers = [500], {"X-Slack-No-Retry": "1"}
    await lab.slack_send("once")
    await app.event()
    app.headers = {}
    await lab.fail_next("slack", "*", "duplicates")
    await lab.slack_send("twice")
    (first, one), (second, two) = await app.requests.get(), await app.requests.get()
    assert one == two
    assert "x-slack-retry-num" not in first
    assert (second["x-slack-retry-num"], second["x-slack-retry-reason"]) == ("1", "http_timeout")


async def test_a_bolt_app_gets_mentions_messages_and_commands(served: Served, lab: LabClient, app: App) -> None:
    bolt = AsyncApp(
        client=AsyncWebClient(served.slack_bot_token, base_url=served.slack_url),
        signing_secret=served.slack_signing_secret,
    )
    heard: asyncio.Queue[str] = asyncio.Queue()

    @bolt.event("app_mention")
    async def on_mention(event: dict[str, Any], say: Any) -> None:
        heard.put_nowait(event["type"])
        await say(text="hello back", thread_ts=event["ts"])

    @bolt.event("message")
    async def on_message(event: dict[str, Any]) -> None:
        heard.put_nowait(event["type"])

    @bolt.command("/threadway")
    async def on_command(ack: Any, command: dict[str, Any], respond: Any) -> None:
        await ack(f"got {command['text']}")
        await respond("and later")

    async def pump() -> None:
        while True:
            headers, body = await app.requests.get()
            request = AsyncBoltRequest(body=body.decode(), headers={k: [v] for k, v in headers.items()})
            response = await bolt.async_dispatch(request)
            assert response.status == 200

    pumping = asyncio.ensure_future(pump())
    sent = await lab.slack_send("@Threadway hi", channel="#general")
    reply = await lab.wait_for_reply("slack", GENERAL, after=sent["cursor"], thread=sent["ts"])
    assert reply["text"] == "hello back"
    assert {await heard.get(), await heard.get()} == {"app_mention", "message"}
    pumping.cancel()


async def test_a_command_shows_its_answer_to_who_gave_it(lab: LabClient, app: App) -> None:
    app.body = b'{"response_type": "ephemeral", "text": "Started anew."}'
    sent = await lab.slack_send("/threadway new <x>", channel="#general")
    fields = parse_qs((await app.requests.get())[1].decode())
    expected = json.loads((FIXTURES / "18_slash_command.json").read_text())["fields"]
    assert set(fields) == set(expected)
    assert (fields["command"], fields["text"]) == (["/threadway"], ["new &lt;x&gt;"])
    change = await lab.wait_for(lambda c: c["type"] == "ephemeral", after=sent["cursor"])
    assert (change["text"], change["user"]) == ("Started anew.", "U0LABANN1")
    async with aiohttp.ClientSession() as http:
        statuses = []
        for _ in range(6):
            async with http.post(fields["response_url"][0], json={"text": "later"}) as response:
                statuses.append(response.status)
    assert statuses == [200] * 5 + [404]
    root = await lab.slack_send("root", channel="#general")
    with pytest.raises(LabRefused, match="inside threads"):
        await lab.slack_send("/threadway new", channel="#general", thread_ts=root["ts"])


async def test_a_button_press_has_the_fields_of_its_fixture(
    lab: LabClient, app: App, web_client: AsyncWebClient
) -> None:
    button = {"type": "button", "action_id": "approve", "text": {"type": "plain_text", "text": "Yes"}, "value": "v"}
    root = await web_client.chat_postMessage(channel=GENERAL, text="root")
    blocks = [{"type": "actions", "block_id": "ap", "elements": [button]}]
    posted = await web_client.chat_postMessage(channel=GENERAL, text="?", blocks=blocks, thread_ts=root["ts"])
    for _ in range(2):
        await app.requests.get()
    app.answers = [503]
    assert (await lab.slack_press(posted["ts"], "approve", channel=GENERAL))["status"] == 503
    payload = json.loads(parse_qs((await app.requests.get())[1].decode())["payload"][0])
    expected = json.loads((FIXTURES / "19_block_actions_approve.json").read_text())["payload"]
    assert set(payload) == set(expected)
    assert (payload["actions"][0]["value"], payload["container"]["thread_ts"]) == ("v", root["ts"])


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"channel": "C0NOWHERE", "text": "x"}, "channel_not_found"),
        ({"channel": RANDOM, "text": "x"}, "not_in_channel"),
        ({"channel": GENERAL}, "no_text"),
        ({"channel": GENERAL, "text": "   "}, "no_text"),
        ({"channel": GENERAL, "text": "x" * 40_001}, "msg_too_long"),
        ({"channel": GENERAL, "text": "x", "thread_ts": "1795226404.000300"}, "thread_not_found"),
        ({"channel": GENERAL, "text": "x", "thread_ts": "soon"}, "invalid_thread_ts"),
        ({"channel": GENERAL, "text": "x", "markdown_text": "y"}, "markdown_text_conflict"),
        ({"channel": GENERAL, "text": "x", "metadata": {"event_type": "a b"}}, "invalid_metadata_format"),
        ({"channel": GENERAL, "text": "x", "blocks": "nonsense"}, "invalid_arguments"),
        ({"channel": GENERAL, "text": "x", "blocks": {"type": "divider"}}, "invalid_blocks_format"),
        ({"channel": GENERAL, "text": "x", "blocks": [{"type": "divider"}] * 51}, "invalid_blocks"),
        ({"channel": GENERAL, "text": "x", "blocks": [{"type": "hologram"}]}, "invalid_blocks"),
        ({"channel": GENERAL, "text": "x", "blocks": [{"type": "markdown"}]}, "invalid_blocks"),
        (
            {"channel": GENERAL, "text": "x", "blocks": [{"type": "markdown", "text": "x" * 6001}] * 2},
            "msg_blocks_too_long",
        ),
        (
            {
                "channel": GENERAL,
                "text": "x",
                "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}],
            },
            "invalid_blocks",
        ),
    ],
)
async def test_what_a_post_may_not_be(web_client: AsyncWebClient, arguments: dict[str, Any], error: str) -> None:
    assert await refused(web_client.api_call("chat.postMessage", json=arguments)) == error


async def test_a_thread_keeps_its_metadata_and_its_order(web_client: AsyncWebClient, lab: LabClient) -> None:
    root = await lab.slack_send("root", channel="#general")
    metadata = {"event_type": "threadway_part", "event_payload": {"key": "k#1"}}
    stamps = [root["ts"]]
    for text in ("one", "two"):
        answer = await web_client.chat_postMessage(channel=GENERAL, text=text, thread_ts=root["ts"], metadata=metadata)
        stamps.append(answer["ts"])
    assert stamps == sorted(set(stamps))
    thread = await web_client.conversations_replies(channel=GENERAL, ts=root["ts"], include_all_metadata=True)
    assert [m["ts"] for m in thread["messages"]] == stamps
    assert [m.get("metadata") for m in thread["messages"]] == [None, metadata, metadata]
    assert thread["messages"][0]["reply_count"] == 2
    bare = await web_client.conversations_replies(channel=GENERAL, ts=stamps[1], limit=2)
    assert [m.get("metadata") for m in bare["messages"]] == [None, None]
    cursor = bare["response_metadata"]["next_cursor"]
    rest = await web_client.conversations_replies(channel=GENERAL, ts=root["ts"], cursor=cursor)
    assert [m["ts"] for m in rest["messages"]] == stamps[2:]
    history = await web_client.conversations_history(channel=GENERAL, oldest=root["ts"], inclusive=True)
    assert [m["ts"] for m in history["messages"]] == [root["ts"]]
    newer = await web_client.conversations_history(channel=GENERAL, oldest=root["ts"])
    assert newer["messages"] == []
    replies = web_client.conversations_replies(channel=GENERAL, ts="1.000001")
    assert await refused(replies) == "thread_not_found"
    nested = web_client.chat_postMessage(channel=GENERAL, text="x", thread_ts=stamps[1])
    assert await refused(nested) == "cannot_reply_to_message"


async def test_two_buttons_of_a_block_may_not_have_one_name(web_client: AsyncWebClient) -> None:
    button = {"type": "button", "action_id": "a", "text": {"type": "plain_text", "text": "Yes"}}
    for buttons in ([button, button], [button | {"value": ""}]):
        post = web_client.chat_postMessage(channel=GENERAL, text="x", blocks=[{"type": "actions", "elements": buttons}])
        assert await refused(post) == "invalid_blocks"


async def test_own_messages_are_updated_deleted_and_reacted_to(
    web_client: AsyncWebClient, lab: LabClient, app: App
) -> None:
    ts = (await web_client.chat_postMessage(channel=GENERAL, text="one"))["ts"]
    await web_client.chat_update(channel=GENERAL, ts=ts, text="two")
    await web_client.reactions_add(channel=GENERAL, timestamp=ts, name="eyes")
    again = web_client.reactions_add(channel=GENERAL, timestamp=ts, name="eyes")
    assert await refused(again) == "already_reacted"
    (shown,) = await lab.messages("#general", "slack")
    assert (shown["text"], shown["edited"], shown["reactions"]) == ("two", True, [":eyes:"])
    long = web_client.chat_update(channel=GENERAL, ts=ts, text="x" * 4001)
    assert await refused(long) == "msg_too_long"
    foreign = await lab.slack_send("mine", channel="#general")
    update = web_client.chat_update(channel=GENERAL, ts=foreign["ts"], text="x")
    assert await refused(update) == "cant_update_message"
    await web_client.chat_delete(channel=GENERAL, ts=ts)
    assert await refused(web_client.chat_delete(channel=GENERAL, ts=ts)) == "message_not_found"
    kinds = [(await app.event())["event"].get("subtype") for _ in range(4)]
    assert sorted(str(k) for k in kinds) == ["None", "None", "message_changed", "message_deleted"]


async def test_who_asks_and_what_is_asked(served: Served, web_client: AsyncWebClient) -> None:
    me = await web_client.auth_test()
    assert (me["user_id"], me["bot_id"], me["team_id"]) == (BOT, "B0LABBOT1", "T0LAB0001")
    assert (await web_client.users_info(user="U0LABEVA1"))["user"]["real_name"] == "Eva Ruiz"
    assert (await web_client.conversations_info(channel=ANN_DM))["channel"]["is_im"]
    assert (await web_client.team_info())["team"]["domain"] == "lab"
    assert (await web_client.bots_info(bot="B0LABBOT1"))["bot"]["user_id"] == BOT
    assert await refused(web_client.api_call("chat.levitate")) == "unknown_method"
    assert await refused(web_client.apps_connections_open(app_token=served.slack_bot_token)) == "not_allowed_token_type"
    stranger = AsyncWebClient("xoxb-wrong", base_url=served.slack_url)
    assert await refused(stranger.auth_test()) == "invalid_auth"
    assert await refused(AsyncWebClient(base_url=served.slack_url).auth_test()) == "not_authed"


async def test_status_shows_until_it_is_cleared(web_client: AsyncWebClient, lab: LabClient) -> None:
    sent = await lab.slack_send("hello")
    await web_client.assistant_threads_setStatus(channel_id=ANN_DM, thread_ts=sent["ts"], status="is thinking…")
    change = await lab.wait_for(lambda c: c["type"] == "typing", after=sent["cursor"])
    assert (change["thread"], change["status"]) == (sent["ts"], "is thinking…")
    lost = web_client.assistant_threads_setStatus(channel_id=ANN_DM, thread_ts="1.000001", status="x")
    assert await refused(lost) == "thread_not_found"


async def test_faults_answer_as_slack_does(web_client: AsyncWebClient, lab: LabClient) -> None:
    await lab.fail_next("slack", "chat.postMessage", "rate_429", retry_after=7)
    with pytest.raises(SlackApiError) as caught:
        await web_client.chat_postMessage(channel=GENERAL, text="x")
    response = caught.value.response
    assert (response.status_code, response["error"], response.headers["Retry-After"]) == (429, "ratelimited", "7")
    await lab.fail_next("slack", "chat.postMessage", "drop_response")
    with pytest.raises(SlackApiError):
        await web_client.chat_postMessage(channel=GENERAL, text="arrived all the same")
    await lab.fail_next("slack", "chat.postMessage", "errors_5xx")
    with pytest.raises(SlackApiError):
        await web_client.chat_postMessage(channel=GENERAL, text="never arrived")
    for fault in ("cut_before", "cut_after"):
        await lab.fail_next("slack", "chat.postMessage", fault)
        with pytest.raises(aiohttp.ClientPayloadError):
            await web_client.chat_postMessage(channel=GENERAL, text=fault)
    shown = [m["text"] for m in await lab.messages("#general", "slack")]
    assert shown == ["arrived all the same", "cut_after"]


async def test_the_challenge_is_sent_and_checked(lab: LabClient, app: App) -> None:
    assert (await lab.act("slack/verify", {}))["verified"] is False  # this app does not echo it
    assert (await app.event())["type"] == "url_verification"


async def test_socket_mode_end_to_end(served: Served, lab: LabClient, app: App) -> None:
    client = AsyncWebClient(served.slack_bot_token, base_url=served.slack_url)
    bolt = AsyncApp(client=client, signing_secret=served.slack_signing_secret)

    @bolt.event("message")
    async def on_message(event: dict[str, Any], say: Any) -> None:
        await say(f"echo {event['text']}")

    @bolt.command("/threadway")
    async def on_command(ack: Any) -> None:
        await ack("acknowledged")

    handler = AsyncSocketModeHandler(bolt, served.slack_app_token)
    await handler.connect_async()  # type: ignore[no-untyped-call]
    first = await lab.slack_send("over the socket")
    assert (await lab.wait_for_reply("slack", ANN_DM, after=first["cursor"]))["text"] == "echo over the socket"
    command = await lab.slack_send("/threadway status")
    shown = await lab.wait_for(lambda c: c["type"] == "ephemeral", after=command["cursor"])
    assert shown["text"] == "acknowledged"
    assert app.requests.empty()  # nothing went the other way
    await handler.close_async()  # type: ignore[no-untyped-call]
