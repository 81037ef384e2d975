"""Mail that waits for its turn to begin (`debounce_s`): bursts, edits, deletions, stops, and two gateways that take
the messages of one conversation the wrong way round."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from slack_sdk.signature import SignatureVerifier

from gateway.lab.identity import LAB_SLACK_SIGNING_SECRET
from gateway.lab.slack.events import wrap
from tests.flow.talks import SECRET, Stack, Talk, stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(90)]

SHUFFLED = (3, 0, 5, 1, 4, 2)
"""Nobody's place is right, and the two gateways take every second one."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def waiting(redis_socket: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Two gateways and a worker that waits a second for more; database 1, which no test empties."""
    config = "[conversations]\ndebounce_s = 1\n"
    folder = tmp_path_factory.mktemp("waiting")
    async with stack(folder, f"unix://{redis_socket}?db=1", config, replicas=2) as at:
        yield at


async def test_a_burst_is_one_run_and_its_answer_does_not_wait_for_long(waiting: Stack) -> None:
    async def scene(talk: Talk) -> None:
        await talk.say("hello")
        await talk.hears("echo 1: hello")
        await talk.stored(0)
        for text in ("one", "two", "three"):
            await talk.say(text)
        said = time.monotonic()
        await talk.hears("echo 4: three")
        assert time.monotonic() - said < 3, "the debounce of a second, and what a busy machine takes for a turn"
        assert await talk.read() == ["hello", "one", "two", "three"]
        assert len(await talk.runs()) == 2

    await waiting.both(scene)


async def test_an_edit_before_the_run_replaces_the_text(waiting: Stack) -> None:
    async def scene(talk: Talk) -> None:
        await talk.say("one")
        second = await talk.say("two")
        await talk.stored(2)
        await talk.edit(second, "second")
        await talk.edit(second, "2nd")
        await talk.hears("echo 2: 2nd")
        assert await talk.read() == ["one", "2nd"]

    await waiting.both(scene)


async def test_a_deletion_before_the_run_removes_the_message(waiting: Stack) -> None:
    """On Slack; Telegram tells bots of no deletion (Bot API, Update)."""
    talk = waiting.slack()
    await talk.say("one")
    second = await talk.say("two")
    await talk.say("three")
    await talk.stored(3)
    await talk.delete(second)
    await talk.hears("echo 2: three")
    assert await talk.read() == ["one", "three"]


async def test_a_message_that_is_deleted_alone_is_never_answered(waiting: Stack) -> None:
    talk = waiting.slack()
    only = await talk.say("one")
    await talk.stored(1)
    await talk.delete(only)
    await talk.stored(0)
    await talk.say("two")
    await talk.hears("echo 1: two")
    assert await talk.read() == ["two"]


async def test_after_the_run_has_begun_nothing_is_changed(waiting: Stack) -> None:
    async def scene(talk: Talk) -> None:
        first = await talk.say("slow 1 please")
        await talk.running()
        await talk.edit(first, "something else")
        if talk.platform == "slack":
            await talk.delete(first)
        await talk.hears("echo 1: slow 1 please")
        await talk.say("next")
        await talk.hears("echo 2: next")
        assert await talk.read() == ["slow 1 please", "next"]
        assert len(await talk.shown()) == 2, "an edit is no message of its own"

    await waiting.both(scene)


async def test_a_stop_before_the_run_leaves_nothing_to_run(waiting: Stack) -> None:
    async def scene(talk: Talk) -> None:
        await talk.say("never")
        await talk.say("/stop")
        await talk.hears("Stopped.")
        await talk.say("next")
        await talk.hears("echo 1: next")
        assert await talk.shown() == ["Stopped.", "echo 1: next"]
        assert len(await talk.runs()) == 1

    await waiting.both(scene)


async def test_slack_events_that_two_gateways_take_out_of_order_are_read_in_order(waiting: Stack) -> None:
    talk = await _in_a_thread(waiting)
    now = int(time.time())

    def event(number: int) -> dict[str, Any]:
        ts = f"{now}.{number:06d}"
        said = {"type": "message", "channel_type": "channel", "channel": talk.chat, "thread_ts": talk.root}
        who = {"user": talk.user, "ts": ts, "event_ts": ts, "client_msg_id": f"c-{ts}", "text": f"number {number}"}
        return wrap(said | who, f"Ev0ORDER{number}")

    await _deliver(waiting, "/slack/events", [event(number) for number in SHUFFLED])
    await _is_read_in_order(talk)


async def test_telegram_updates_that_two_gateways_take_out_of_order_are_read_in_order(waiting: Stack) -> None:
    talk = waiting.telegram()
    first = int(await talk.say("hello"))
    await talk.hears("echo 1: hello")
    await talk.stored(0)
    chat = {"id": int(talk.chat), "type": "private", "first_name": "Guest"}
    who = {"id": int(talk.chat), "is_bot": False, "first_name": "Guest"}

    def update(number: int) -> dict[str, Any]:
        message = {"message_id": first + 1000 + number, "date": int(time.time()), "text": f"number {number}"}
        return {"update_id": 10_000 + number, "message": message | {"chat": chat, "from": who}}

    await _deliver(waiting, "/telegram/webhook", [update(number) for number in SHUFFLED])
    await _is_read_in_order(talk)


@pytest.mark.parametrize("subtype", ["message_changed", "message_deleted"])
async def test_an_amendment_that_overtakes_its_message_is_heeded(waiting: Stack, subtype: str) -> None:
    """Slack promises no order, and sends a message that we refused once more after its edit, as it was."""
    talk = waiting.slack()
    await talk.say("hello")
    await talk.hears("echo 1: hello")
    await talk.stored(0)
    now = int(time.time())
    where = {"type": "message", "channel_type": "im", "channel": talk.chat}
    said = {"type": "message", "user": talk.user, "ts": f"{now}.000001", "text": "wrong"}
    changed = said | {"text": "right", "edited": {"user": talk.user, "ts": f"{now}.000000"}}
    what = {"message": changed} if subtype == "message_changed" else {"deleted_ts": said["ts"]}
    hidden = {"subtype": subtype, "hidden": True, "previous_message": said, "ts": f"{now}.000002"}
    first = wrap(where | hidden | what | {"event_ts": f"{now}.000002"}, f"Ev0FIRST{subtype}")
    late = wrap(where | said | {"event_ts": said["ts"]}, f"Ev0LATE{subtype}")
    await _deliver(waiting, "/slack/events", [first])
    await _deliver(waiting, "/slack/events", [late])
    await talk.say("next")
    await talk.hears("next")
    assert "wrong" not in await talk.read()


async def test_a_burst_that_began_during_a_turn_is_one_run_as_well(waiting: Stack) -> None:
    talk = waiting.telegram()
    for latency_ms in (0, 400):  # between the two parts of the reply there is time to write
        await waiting.lab.fail_next("telegram", "sendMessage", "latency", latency_ms=latency_ms)
    await talk.say("long 700")
    await talk.hear()
    await talk.say("two")
    await talk.hear()
    await talk.stored(1)
    await talk.say("three")
    await talk.hears("echo 3: three")


async def _in_a_thread(at: Stack) -> Talk:
    """A thread in a channel in which the bot has answered already."""
    talk = at.slack()
    talk.chat = "C0LABGEN1"
    sent = await at.lab.slack_send("@Threadway hello", user=str(talk.user), channel=talk.chat)
    talk.root = sent["ts"]
    reply = await at.lab.wait_for_reply("slack", talk.chat, after=sent["cursor"], thread=talk.root)
    assert reply["text"] == "echo 1: hello"
    talk.continues_after(reply["cursor"])
    await talk.stored(0)
    return talk


async def _deliver(at: Stack, path: str, bodies: Sequence[dict[str, Any]]) -> None:
    """As the platform does, each to the next gateway; and every one once more, as a platform in doubt does."""
    verifier = SignatureVerifier(LAB_SLACK_SIGNING_SECRET)
    gateways = itertools.cycle(at.urls)
    async with aiohttp.ClientSession() as http:
        for body in (*bodies, *bodies[::-1]):
            raw, stamp = json.dumps(body), str(int(time.time()))
            signature = verifier.generate_signature(timestamp=stamp, body=raw)
            headers = {
                "Content-Type": "application/json",
                "X-Slack-Request-Timestamp": stamp,
                "X-Slack-Signature": str(signature),
                "X-Telegram-Bot-Api-Secret-Token": SECRET,
            }
            async with http.post(next(gateways) + path, data=raw, headers=headers) as answer:
                assert answer.status == 200, await answer.text()


async def _is_read_in_order(talk: Talk) -> None:
    await talk.hears("echo 7: number 5")
    assert await talk.read() == ["hello", *(f"number {number}" for number in range(6))]
    assert len(await talk.runs()) == 2
