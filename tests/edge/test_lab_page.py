"""The lab's page and control API at the level of HTTP: who gets in, what the page may load, the stream of changes."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from gateway.lab.client import LabClient, LabRefused
from gateway.lab.feed import Feed
from gateway.lab.page import FOLDER
from gateway.lab.standalone import Served, serve_lab


class Steps:
    """A trace source that tells what the test puts in."""

    def __init__(self) -> None:
        self._steps: asyncio.Queue[Mapping[str, Any] | Exception] = asyncio.Queue()

    def tell(self, **step: Any) -> None:
        self._steps.put_nowait(step)

    def break_down(self) -> None:
        self._steps.put_nowait(ConnectionError("gone"))

    async def subscribe(self) -> AsyncIterator[Mapping[str, Any]]:
        while True:
            step = await self._steps.get()
            if isinstance(step, Exception):
                raise step
            yield step


@pytest.fixture
async def steps() -> Steps:
    return Steps()


@pytest.fixture
async def served(steps: Steps) -> AsyncIterator[Served]:
    async with serve_lab(trace=steps, slack_events_url="http://127.0.0.1:1/slack/events") as served:
        yield served


@pytest.fixture
async def lab(served: Served) -> AsyncIterator[LabClient]:
    async with LabClient(served.url) as client:
        yield client


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


async def test_the_page_and_all_it_loads_come_from_here(served: Served, http: aiohttp.ClientSession) -> None:
    async with http.get(served.url) as response:
        assert (response.status, str(response.url)) == (200, f"{served.url}/")  # /lab leads to /lab/
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
    wanted = {
        "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:",
        "form-action 'none'", "base-uri 'none'", "frame-ancestors 'none'",
    }  # fmt: skip
    assert set(policy.split("; ")) == wanted
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert {"static/style.css", "static/app.js"} <= set(loaded)
    for address in loaded:
        assert address.startswith(("static/", "data:image/")), address
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*src=)", page)  # the policy would refuse them
    seen, todo = set(), [a.removeprefix("static/") for a in loaded if a.startswith("static/")]
    while todo:
        name = todo.pop()
        async with http.get(f"{served.url}/static/{name}") as response:
            assert response.status == 200, name
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            text = await response.text()
        seen.add(name)
        todo += [n for n in re.findall(r'from "\./([^"]+)"', text) if n not in seen]
    assert seen == {path.name for path in FOLDER.iterdir()} - {"index.html"}  # nothing lies about unused


def test_nothing_reads_content_as_markup_or_calls_elsewhere() -> None:
    for path in FOLDER.iterdir():
        text = path.read_text()
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            path
        )
        hosts = set(re.findall(r"(?:https?:)?//([a-z0-9-]+(?:\.[a-z0-9-]+)+)", text))
        assert hosts <= {"www.w3.org"}, path  # an XML name, not an address


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1.evil.example"}, 421),
        ({"Host": ""}, 421),
        ({"Host": "localhost"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
    ],
)
async def test_foreign_hosts_and_origins_are_refused(
    served: Served, http: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    for path in ("/", "/api/state", "/static/app.js", f"/telegram/bot{served.telegram_token}/getMe"):
        async with http.get(served.url + path, headers=headers) as response:
            assert response.status == status
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]


async def test_its_own_origin_may_act_and_only_with_json(served: Served, http: aiohttp.ClientSession) -> None:
    url, wish = f"{served.url}/api/telegram/send", json.dumps({"text": "hi"})
    async with http.post(url, json={"text": "hi"}, headers={"Origin": served.public_url}) as response:
        assert response.status == 200
    # What a foreign page can send without asking first.
    async with http.post(url, data=wish, headers={"Content-Type": "text/plain"}) as response:
        assert response.status == 415


async def test_a_password_is_asked_for_where_one_is_set(http: aiohttp.ClientSession) -> None:
    async with serve_lab(password="pässwort") as served:
        for path in ("/", "/api/state", "/api/events", "/static/app.js"):
            async with http.get(served.url + path) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"].startswith("Basic ")
        async with LabClient(served.url, password="wrong") as stranger:
            with pytest.raises(LabRefused, match="401"):
                await stranger.state()
        async with LabClient(served.url, password="pässwort") as friend:
            assert (await friend.state())["telegram"]["bot"]["username"] == "threadway_lab_bot"
        # Bots have their tokens and cannot send a second credential.
        async with http.get(f"{served.telegram_url}/bot{served.telegram_token}/getMe") as response:
            assert response.status == 200
        async with http.get(f"{served.telegram_url}/bot1:wrong/getMe") as response:
            assert response.status == 401


@pytest.mark.parametrize(
    ("path", "wish", "words"),
    [
        ("telegram/send", {"text": ""}, "text is missing"),
        ("telegram/send", {"text": 5}, "text is missing"),
        ("telegram/send", {"text": "x", "user": "zoe"}, "no such user"),
        ("telegram/send", {"text": "x", "chat": "100200302"}, "no such chat"),
        ("telegram/send", {"text": "x", "chat": "group", "thread": 3001}, "no such topic"),
        ("telegram/send", {"text": "x", "reply_to": 99}, "does not exist"),
        ("telegram/send", {"text": "x", "colour": "red"}, "unknown field 'colour'"),
        ("telegram/send", {"text": "x", "file": {"name": "a"}}, "file is"),
        ("telegram/edit", {"chat": "ann", "message": 77, "text": "x"}, "no such message"),
        ("telegram/remove_bot", {"chat": "ann"}, "blocked, not removed"),
        ("slack/send", {"text": "x", "channel": "#nowhere"}, "no such channel"),
        ("slack/send", {"text": "x", "thread_ts": "1.000001"}, "no such thread"),
        ("faults", {"telegram": {"gremlins": 1}}, "unknown switch 'gremlins'"),
        ("faults", {"next": [{"platform": "telegram", "fault": "hiccup"}]}, "fault is one of"),
    ],
)
async def test_control_says_what_is_wrong(lab: LabClient, path: str, wish: dict[str, Any], words: str) -> None:
    with pytest.raises(LabRefused, match=f"400.*{words}"):
        await lab.act(path, wish)


async def test_a_body_that_is_no_object_or_too_large_is_refused(served: Served, http: aiohttp.ClientSession) -> None:
    url, headers = f"{served.url}/api/telegram/send", {"Content-Type": "application/json"}
    for body, status in (
        (b"{", 400),
        (b"[]", 400),
        (b"\xff", 400),
        (b"[" * 100_000, 400),
        (b" " * (2 << 20) + b"{}", 413),
    ):
        async with http.post(url, data=body, headers=headers) as response:
            assert response.status == status


async def test_the_stream_resumes_where_it_was_left(lab: LabClient, served: Served) -> None:
    first = await lab.telegram_send("one")
    changes = lab.follow(first["cursor"])
    texts, cursors = [], []
    await lab.telegram_send("two")
    async for change in changes:
        if change["type"] == "message":
            texts.append(change["message"]["text"])
            cursors.append(change["cursor"])
        if len(texts) == 2:
            break
    assert texts == ["one", "two"]
    again = await lab.wait_for(lambda c: c["type"] == "message", after=cursors[0])
    assert again["message"]["text"] == "two"
    for lost in ("another-lab-5", "nonsense", f"{cursors[0].partition('-')[0]}-999999"):
        assert (await lab.wait_for(lambda c: True, after=lost))["type"] == "reset"


async def test_a_feed_that_forgot_says_so_instead_of_leaving_a_hole() -> None:
    feed = Feed(kept=3)
    start = feed.cursor
    cursors = [feed.publish({"n": n}) for n in range(5)]
    follower = feed.follow(start)
    assert (await anext(follower))[1] == {"type": "reset"}
    complete = feed.follow(cursors[1])
    assert [(await anext(complete))[1]["n"] for _ in range(3)] == [2, 3, 4]
    feed.close()
    assert [change async for change in feed.follow()] == []


async def test_many_wait_at_once_and_each_gets_its_own(
    lab: LabClient, served: Served, http: aiohttp.ClientSession
) -> None:
    async def ask(user: int) -> str:
        sent = await lab.telegram_send(f"I am {user}", user=user)
        return str((await lab.wait_for_reply("telegram", user, after=sent["cursor"]))["text"])

    async def answer_all(count: int) -> None:
        url, offset = f"{served.telegram_url}/bot{served.telegram_token}", 0
        while count:
            async with http.get(f"{url}/getUpdates", params={"offset": offset, "timeout": 20}) as response:
                updates = (await response.json())["result"]
            for update in updates:
                chat = update["message"]["chat"]["id"]
                await (await http.post(f"{url}/sendMessage", json={"chat_id": chat, "text": f"hello {chat}"})).read()
                offset, count = update["update_id"] + 1, count - 1

    users = range(500_001, 500_041)
    answering = asyncio.ensure_future(answer_all(len(users)))
    assert await asyncio.gather(*map(ask, users)) == [f"hello {user}" for user in users]
    await answering


async def test_a_trace_finds_its_message_by_any_of_its_names(lab: LabClient, steps: Steps) -> None:
    private = await lab.telegram_send("hi")
    topic = await lab.telegram_send("/ask x", chat="forum", thread=3001)
    direct = await lab.slack_send("hello")
    bot, team = 7000000001, "T0LAB0001"
    channel, ts = direct["channel"], direct["ts"]
    places = [
        (f"telegram:{bot}:100200301:-", private["id"], "100200301", private["id"]),
        (f"telegram:{bot}:100200301:-", f"{bot}:{private['update_id']}", "100200301", private["id"]),
        (f"telegram:{bot}:100200301:-", "", "100200301", private["id"]),
        (f"telegram:{bot}:-1002000000101:3001", topic["id"], "-1002000000101", topic["id"]),
        (f"slack:{team}:{channel}:-", direct["event_ids"][0], channel, ts),
        (f"slack:{team}:{channel}:-", f"{team}:{channel}:{ts}", channel, ts),
        (f"slack:{team}:{channel}:{ts}", ts, channel, ts),
    ]  # fmt: skip
    cursor = direct["cursor"]
    steps.tell(conversation="telegram:1:2:-", message="3", event="received", at_ms=1)  # not of this lab: left out
    steps.tell(conversation=places[0][0], message="1", event="Not An Event", at_ms=1)
    for number, (key, message, chat, shown) in enumerate(places):
        if number == 3:
            steps.break_down()  # the source fails and is subscribed to again
        steps.tell(conversation=key, message=message, event=f"step{number}", at_ms=5, detail={"n": number})
        change = await lab.wait_for(lambda c: c.get("by") == "threadway", after=cursor)
        cursor = change["cursor"]
        assert (change["event"], change["chat"], change["message"]) == (f"step{number}", chat, shown)
    chats = {c["id"]: c for c in (await lab.state())["telegram"]["chats"]}
    assert [t["event"] for t in chats["100200301"]["traces"]] == ["sent", "step0", "step1", "step2"]


async def test_closing_the_lab_ends_what_waits(served: Served, lab: LabClient, http: aiohttp.ClientSession) -> None:
    sent = await lab.telegram_send("hi")
    url = f"{served.telegram_url}/bot{served.telegram_token}/getUpdates"
    polling = asyncio.ensure_future(http.get(url, params={"timeout": 50, "offset": sent["update_id"] + 1}))
    waiting = asyncio.ensure_future(lab.wait_for(lambda c: c["type"] == "never", after=sent["cursor"]))
    await lab.wait_for(lambda c: c["type"] == "message", after=sent["cursor"])
    await served.lab.close()
    with pytest.raises(ConnectionError):
        await waiting
    async with await polling as response:
        assert (await response.json())["result"] == []
