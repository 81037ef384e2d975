"""Whether a part has arrived at Slack: never guessed, never repeated, never looked for in vain for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from gateway.domain.errors import Ambiguous, DeliveryRefused, RateLimited, Retryable, ThreadwayError, Unreachable
from gateway.domain.messages import ConversationKey, Destination, OutboundPart
from gateway.slack import SlackAdapter
from tests.conformance.adapter import HastyClock
from tests.edge.slack_server import BOT_TOKEN, SlackServer, refusal, slack_server

THREAD = Destination(ConversationKey("slack:T012AB3CD:C012AB3CD:1795226404.000300"), "1795226404.000300")
DM = Destination(ConversationKey("slack:T012AB3CD:D012AB3CD:-"))
HI = OutboundPart("hi")
Make = Callable[..., SlackAdapter]


class SteppedClock(HastyClock):
    """Its seconds pass when they are told to."""

    def __init__(self) -> None:
        super().__init__()
        self.at_s = 0.0
        self.per_look_s = 0.0

    def monotonic(self) -> float:
        self.at_s += self.per_look_s
        return self.at_s


def limited(wish_s: int) -> web.Response:
    headers = {"Retry-After": str(wish_s)}
    return web.json_response({"ok": False, "error": "ratelimited"}, status=429, headers=headers)


@pytest.fixture
async def server() -> AsyncIterator[SlackServer]:
    async with slack_server() as running:
        yield running


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def make(server: SlackServer, clock: SteppedClock) -> AsyncIterator[Make]:
    made: list[SlackAdapter] = []

    def build(**options: Any) -> SlackAdapter:
        chosen: dict[str, Any] = {"api_base_url": f"{server.url}/api/", "clock": clock, "call_timeout_s": 1.0} | options
        made.append(SlackAdapter(BOT_TOKEN, **chosen))
        return made[-1]

    yield build
    for adapter in made:
        await adapter.close()


@pytest.mark.parametrize("to", [THREAD, DM], ids=["thread", "dm"])
async def test_a_part_is_found_again_by_its_key(to: Destination, server: SlackServer, make: Make) -> None:
    adapter = make()
    ids = [await adapter.post(to, OutboundPart("same text"), f"turn#{number}") for number in range(3)]
    assert await adapter.find_posted(to, "turn#2", since_ms=1795230000_000) == ids[2]
    assert await adapter.find_posted(to, "turn#3", since_ms=1795230000_000) is None
    method, asked = server.calls[-1]
    assert method == ("conversations.replies" if to is THREAD else "conversations.history")
    assert float(asked["oldest"]) == 1795229700
    assert asked["include_all_metadata"] in ("1", "true", True)


async def test_whether_a_part_is_there_is_not_guessed(server: SlackServer, make: Make) -> None:
    adapter = make()
    no_answer = web.json_response({"ok": True})
    for answer in (web.Response(status=500), refusal("internal_error"), refusal("ratelimited"), no_answer):
        server.next = {"conversations.replies": [answer]}
        with pytest.raises(Retryable):
            await adapter.find_posted(THREAD, "turn#0", 0)


# --- posts without an answer ---


@pytest.mark.parametrize("fault", ["late", "unlisted"])
@pytest.mark.parametrize("to", [THREAD, DM], ids=["thread", "dm"])
async def test_what_lands_after_the_call_gave_up_is_found_and_not_repeated(
    to: Destination, fault: str, server: SlackServer, clock: SteppedClock, make: Make
) -> None:
    adapter = make(settle_s=4.0)
    server.next = {"chat.postMessage": [fault]}
    with pytest.raises(Ambiguous):
        await adapter.post(to, HI, "turn#0")
    for passed_s in (0.0, 3.9):
        clock.at_s = passed_s
        with pytest.raises(Ambiguous) as still:  # not "it is not there": it may yet come
            await adapter.find_posted(to, "turn#0", 0)
        assert still.value.retry_after_s == pytest.approx(4.0 - passed_s)
    server.land()
    assert await adapter.find_posted(to, "turn#0", 0) == server.posts[0]["ts"]
    assert len(server.posts) == 1


@pytest.mark.parametrize("fault", ["cut", "silent", "server error", "fatal_error"])
async def test_what_never_lands_is_surely_not_there_once_it_has_had_its_time(
    fault: str, server: SlackServer, clock: SteppedClock, make: Make
) -> None:
    adapter = make(settle_s=4.0, call_timeout_s=0.2)
    answers = {"server error": web.Response(status=500), "fatal_error": refusal("fatal_error")}
    server.next = {"chat.postMessage": [answers.get(fault, fault)]}
    with pytest.raises(Ambiguous):
        await adapter.post(THREAD, HI, "turn#0")
    assert await adapter.find_posted(THREAD, "turn#1", 0) is None  # of this part nothing is on its way
    with pytest.raises(Ambiguous):
        await adapter.find_posted(THREAD, "turn#0", 0)
    clock.at_s = 4.0
    assert await adapter.find_posted(THREAD, "turn#0", 0) is None


async def test_a_call_that_was_cancelled_may_still_land(server: SlackServer, make: Make) -> None:
    adapter = make()
    server.next = {"chat.postMessage": ["silent"]}
    posting = asyncio.ensure_future(adapter.post(THREAD, HI, "turn#0"))
    await server.was_called(1)
    posting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await posting
    with pytest.raises(Ambiguous):
        await adapter.find_posted(THREAD, "turn#0", 0)


@pytest.mark.parametrize("code", ["ratelimited", "invalid_blocks", "channel_not_found"])
async def test_what_was_surely_not_sent_needs_no_time(code: str, server: SlackServer, make: Make) -> None:
    adapter = make()
    server.next = {"chat.postMessage": [refusal(code)]}
    with pytest.raises(ThreadwayError):
        await adapter.post(THREAD, HI, "turn#0")
    assert await adapter.find_posted(THREAD, "turn#0", 0) is None


async def test_a_process_that_was_paused_before_the_write_sends_nothing(
    server: SlackServer, clock: SteppedClock, make: Make
) -> None:
    """By then another one has the lease, has looked, and posts."""
    adapter = make(call_timeout_s=1.0)
    await adapter.post(THREAD, OutboundPart("opens the connection"), "turn#0")
    clock.per_look_s = 1.0
    with pytest.raises(Unreachable):
        await adapter.post(THREAD, OutboundPart("too late"), "turn#1")
    clock.per_look_s = 0.9
    await adapter.post(THREAD, OutboundPart("just in time"), "turn#2")
    assert [post["text"] for post in server.posts] == ["opens the connection", "just in time"]


# --- looks that Slack interrupts or refuses ---


async def test_an_interrupted_look_goes_on_where_it_stopped(server: SlackServer, make: Make) -> None:
    """A page a minute is all that some apps get: beginning anew each time would never reach the second one."""
    adapter = make()
    ids = [await adapter.post(THREAD, HI, f"turn#{number}") for number in range(3)]
    server.calls.clear()
    server.next = {"conversations.replies": ["pass", limited(60), "pass", refusal("fatal_error")]}
    with pytest.raises(RateLimited) as wish:
        await adapter.find_posted(THREAD, "turn#2", 0)
    assert wish.value.retry_after_s == 60
    with pytest.raises(Retryable):
        await adapter.find_posted(THREAD, "turn#2", 0)
    assert await adapter.find_posted(THREAD, "turn#2", 0) == ids[2]
    assert [arguments.get("cursor") for _, arguments in server.calls] == [None, "1", "1", "2", "2"]


async def test_a_look_that_began_too_early_does_not_count_however_late_it_ends(
    server: SlackServer, clock: SteppedClock, make: Make
) -> None:
    """Newest first, a late message lands on the page that is turned already."""
    adapter = make(settle_s=4.0)
    for number in (8, 9):
        await adapter.post(THREAD, HI, f"turn#{number}")
    server.next = {"chat.postMessage": ["unlisted"], "conversations.replies": ["pass", limited(5)]}
    with pytest.raises(Ambiguous):
        await adapter.post(THREAD, HI, "turn#0")
    with pytest.raises(RateLimited):
        await adapter.find_posted(THREAD, "turn#0", 0)
    clock.at_s = 5.0
    with pytest.raises(Ambiguous):
        await adapter.find_posted(THREAD, "turn#0", 0)
    server.land()
    assert await adapter.find_posted(THREAD, "turn#0", 0) == server.posts[-1]["ts"]


async def test_a_cursor_that_is_gone_begins_the_look_anew(server: SlackServer, make: Make) -> None:
    adapter = make()
    ids = [await adapter.post(THREAD, HI, f"turn#{number}") for number in range(2)]
    server.calls.clear()
    server.next = {"conversations.replies": ["pass", refusal("invalid_cursor")]}
    with pytest.raises(Retryable):
        await adapter.find_posted(THREAD, "turn#1", 0)
    assert await adapter.find_posted(THREAD, "turn#1", 0) == ids[1]
    assert [arguments.get("cursor") for _, arguments in server.calls] == [None, "1", None, "1"]


async def test_a_window_without_end_is_given_up(server: SlackServer, make: Make) -> None:
    """Not for a while but for good: the next look would be as long, and the conversation would wait for ever."""

    def page(number: int) -> web.Response:
        return web.json_response({"ok": True, "messages": [], "response_metadata": {"next_cursor": str(number)}})

    server.next = {"conversations.replies": [page(number) for number in range(1, 100)]}
    with pytest.raises(DeliveryRefused):
        await make().find_posted(THREAD, "turn#0", 0)


@pytest.mark.parametrize("code", ["not_allowed_token_type", "missing_scope", "thread_not_found"])
async def test_a_look_that_slack_does_not_allow_says_nothing_about_the_token(
    code: str, server: SlackServer, make: Make
) -> None:
    server.next = {"conversations.replies": [refusal(code)]}
    with pytest.raises(DeliveryRefused):
        await make().find_posted(THREAD, "turn#0", 0)
