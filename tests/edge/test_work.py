"""A turn in one process: how every ending is told, what is retried, what is put aside."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import ClassVar

import pytest
import redis.asyncio

from gateway.console import ConsoleAdapter
from gateway.domain.adapter import Capabilities
from gateway.domain.errors import (
    Ambiguous,
    ConversationMoved,
    DeliveryRefused,
    FormatRefused,
    LeaseLost,
    RateLimited,
    ThreadwayError,
    Unreachable,
)
from gateway.domain.messages import ConversationKey, Destination, InboundMessage, OutboundPart
from gateway.domain.pacing import SystemClock
from gateway.domain.turns import Phase, Turn
from tests.edge.work import Bench, bench
from workers.backends.assistants import AssistantsBackend
from workers.turn import LONGEST_WAIT_S, MAX_TRIES, TELL_AFTER_S, work

KEY = ConversationKey("console:ann")


@pytest.fixture
async def at(redis_url: str) -> AsyncIterator[Bench]:
    async with bench(redis_url) as opened:
        yield opened


async def state_name(raw: redis.asyncio.Redis) -> str:
    return str((await raw.keys("tw:*:s:console:ann"))[0])


async def test_a_conversation_has_one_thread_and_new_opens_another(at: Bench) -> None:
    assert await at.ask("hello") == "echo 1: hello"
    assert await at.ask("again") == "echo 2: again"
    assert await at.ask("hello", "bob") == "echo 1: hello"
    assert "new conversation" in await at.ask("/new")
    assert await at.ask("hello") == "echo 1: hello"
    assert sorted(at.server.opened.values()) == ["console:ann", "console:ann", "console:bob"]


async def test_mail_that_waits_together_goes_into_one_run_in_order(at: Bench) -> None:
    for text in ("one", "two", "three"):
        await at.say(text)
    await work(KEY, at.deps)
    assert await at.heard() == "echo 3: three"
    (thread,) = at.server.threads.values()
    assert [m["text"] for m in thread if m["role"] == "user"] == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("fail", "could not finish"),
        ("limit", "over its limit"),
        ("expire", "has expired"),
        ("cut", "a partial answer\n\nThe answer ends here"),
    ],
)
async def test_every_ending_is_told_in_one_sentence_and_the_conversation_goes_on(
    at: Bench, said: str, told: str
) -> None:
    reply = await at.ask(said)
    assert told in reply
    assert re.search(r"\(turn [0-9a-f]{10}\)", reply)
    assert await at.ask("and now?") == "echo 2: and now?"


async def test_tools_run_one_or_two_at_once(at: Bench) -> None:
    assert await at.ask("tool 6*7") == "42"
    assert await at.ask("tools") == "144 and 5"
    assert "zero" in await at.ask("tool 1/0")


async def test_an_assistant_that_never_stops_asking_for_tools_is_stopped(at: Bench) -> None:
    assert "too many times" in await at.ask("toolloop 1+1")
    assert await at.ask("hello") == "echo 2: hello"


async def test_a_run_past_the_turns_limit_is_cancelled_and_the_user_told(redis_url: str) -> None:
    async with bench(redis_url, turn_timeout_s=0.5) as at:
        assert "took too long" in await at.ask("never")
        assert next(iter(at.server.runs.values())).status in ("cancelling", "cancelled")
        assert "echo" in await at.ask("hello")


async def test_a_stop_before_the_run_and_with_nothing_running(at: Bench) -> None:
    await at.say("never")
    await at.say("/stop")
    await work(KEY, at.deps)
    assert await at.heard() == "Stopped."
    assert at.server.runs == {}
    assert "nothing to stop" in await at.ask("/stop")


async def test_a_backend_that_is_down_parks_the_turn_and_loses_nothing(at: Bench) -> None:
    at.server.down = True
    assert await at.ask("hello") == ""
    state = await at.store.conversations.progress(KEY)
    assert ("lease" in state, state["failures"], await at.store.inbox.waiting(KEY)) == (False, "1", 1)
    at.server.down = False
    await take_up(at)
    assert await at.heard() == "echo 1: hello"
    assert len(at.server.runs) == 1


async def take_up(at: Bench) -> None:
    """Work on the parked turn as soon as its time has come."""
    async with asyncio.timeout(20):
        while await at.store.inbox.waiting(KEY):
            await work(KEY, at.deps)
            await asyncio.sleep(0)


async def test_a_user_who_waits_for_a_minute_is_told_once(at: Bench, raw: redis.asyncio.Redis) -> None:
    at.server.down = True
    assert await at.ask("hello") == ""
    for expected in ("cannot reach my assistant", ""):
        state = await state_name(raw)
        since = int(await raw.hget(state, "failing") or 0) - int(TELL_AFTER_S * 1000)
        await raw.hset(state, "failing", str(since))
        await raw.hdel(state, "until")
        await work(KEY, at.deps)
        told = await at.heard()
        assert expected in told if expected else told == ""
    at.server.down = False
    await raw.hdel(await state_name(raw), "until")
    await work(KEY, at.deps)
    assert await at.heard() == "echo 1: hello"


async def test_a_turn_whose_worker_died_after_creating_the_run_adopts_it(at: Bench, raw: redis.asyncio.Redis) -> None:
    """The run exists at the backend, its id never reached Redis: the metadata key finds it."""
    await at.say("hello")
    turn = await at.store.leases.acquire(KEY, lease_s=30)
    assert isinstance(turn, Turn)
    thread = await at.deps.backend.open_thread(KEY, turn.key)
    await at.store.turns.step(turn.lease, {"thread": thread, "ri": 1}, lease_s=30)
    assistant = await at.deps.definitions.id_of("a")
    await at.deps.backend.start(thread, assistant, turn.batch, turn.key, look_first=False)
    await raw.hset(await state_name(raw), "lease", "1")
    await work(KEY, at.deps)
    assert await at.heard() == "echo 1: hello"
    assert len(at.server.runs) == 1


async def test_a_foreign_run_on_the_thread_is_cancelled_not_waited_for(at: Bench) -> None:
    assert await at.ask("hello") == "echo 1: hello"
    thread = await at.store.conversations.thread(KEY)
    assert thread is not None
    foreign = InboundMessage(conversation=KEY, dedupe_keys=("x",), text="never", author_id="7")
    assistant = await at.deps.definitions.id_of("a")
    await at.deps.backend.start(thread, assistant, [foreign], "somebody else's", look_first=False)
    await at.say("again")
    await take_up(at)
    assert await at.heard() == "echo 3: again"


async def test_a_thread_that_is_gone_is_replaced_and_the_user_told(at: Bench) -> None:
    assert await at.ask("hello") == "echo 1: hello"
    at.server.threads.clear()
    await at.say("hello")
    await take_up(at)
    assert await at.heard() == "(My record of our earlier conversation is gone, so I begin anew.)\n\necho 1: hello"


async def test_a_stale_worker_stops_at_once(at: Bench, raw: redis.asyncio.Redis) -> None:
    """Somebody else took the lease: the next write is refused, and nothing is posted."""
    await at.say("slow 1")
    working = asyncio.create_task(work(KEY, at.deps))
    await at.server.began.wait()
    await raw.hset(await state_name(raw), "fence", "somebody else's")
    await working
    assert await at.heard() == ""
    assert await at.store.inbox.waiting(KEY) == 1


async def test_the_heartbeat_notices_a_lost_lease_and_drops_the_turn(at: Bench, raw: redis.asyncio.Redis) -> None:
    await at.say("never")
    working = asyncio.create_task(work(KEY, at.deps))
    await at.server.began.wait()
    await raw.hset(await state_name(raw), "fence", "somebody else's")
    await at.deps.keeper.beat()
    await asyncio.wait_for(working, 5)
    assert at.deps.keeper.leases == []


class Platform(ConsoleAdapter):
    """A platform whose next posts fail in the given ways, then work; it cannot be asked what it has."""

    name: ClassVar[str] = "console"
    capabilities = Capabilities(max_text_utf16=4096)

    def __init__(self, failures: Sequence[ThreadwayError | type[ThreadwayError]]) -> None:
        self.failures = list(failures)
        self.posted: list[OutboundPart] = []

    async def post(self, to: Destination, part: OutboundPart, key: str) -> str:
        if self.failures:
            raise self.failures.pop(0)
        self.posted.append(part)
        return str(len(self.posted))

    def render(self, reply: str) -> Sequence[OutboundPart]:
        return [OutboundPart(reply, {"bold": True})]


class Askable(Platform):
    """The same, but it can be asked."""

    def __init__(self, failures: Sequence[ThreadwayError | type[ThreadwayError]], found: str | None) -> None:
        super().__init__(failures)
        self.found = found

    async def find_posted(self, to: Destination, key: str, since_ms: int) -> str | None:
        return self.found


async def post_through(redis_url: str, platform: Platform) -> list[str]:
    async with bench(redis_url, platform) as at:
        await at.say("hello")
        await take_up(at)
        return [part.text for part in platform.posted]


@pytest.mark.parametrize("failure", [RateLimited(retry_after_s=0.3), Unreachable()])
async def test_a_post_that_surely_did_not_arrive_is_repeated(redis_url: str, failure: ThreadwayError) -> None:
    assert await post_through(redis_url, Platform([failure])) == ["echo 1: hello"]


async def test_a_post_that_perhaps_arrived_is_never_blindly_repeated(redis_url: str) -> None:
    (notice,) = await post_through(redis_url, Platform([Ambiguous()]))
    assert "cannot see whether" in notice


async def test_a_platform_that_can_be_asked_is_asked(redis_url: str) -> None:
    assert await post_through(redis_url, Askable([Ambiguous()], found="17")) == [], "it was there"


async def test_a_part_that_the_platform_does_not_have_is_posted_again(redis_url: str) -> None:
    assert await post_through(redis_url, Askable([Ambiguous()], found=None)) == ["echo 1: hello"]


async def test_markup_that_is_refused_goes_out_as_plain_text(redis_url: str) -> None:
    platform = Platform([FormatRefused()])
    assert await post_through(redis_url, platform) == ["echo 1: hello"]
    assert platform.posted[0].markup == {}


async def test_a_reply_that_nobody_can_get_becomes_a_dead_letter(redis_url: str) -> None:
    async with bench(redis_url, Platform([DeliveryRefused("blocked")])) as at:
        await at.say("hello")
        await take_up(at)
        (letter,) = await at.store.dead_letters.of(KEY)
        assert (letter["stage"], letter["reason"]) == ("delivery", "blocked")
        assert json.loads(letter["messages"][0])["text"] == "hello"


async def test_a_turn_that_fails_its_worker_five_times_is_put_aside_and_told_once(
    redis_url: str, raw: redis.asyncio.Redis
) -> None:
    async with bench(redis_url) as at:
        await at.say("hello")
        for _ in range(MAX_TRIES):
            turn = await at.store.leases.acquire(KEY, lease_s=30)
            assert isinstance(turn, Turn)
            assert turn.phase is Phase.COLLECTED
            await raw.hset(await state_name(raw), "lease", "1")  # the worker died
        await work(KEY, at.deps)
        assert "put aside for the operator" in await at.heard()
        assert [letter["stage"] for letter in await at.store.dead_letters.of(KEY)] == ["turn"]
        assert await at.ask("and now?") == "echo 1: and now?"


async def test_a_lost_lease_comes_out_of_the_block(at: Bench) -> None:
    await at.say("hello")
    turn = await at.store.leases.acquire(KEY, lease_s=30)
    assert isinstance(turn, Turn)

    async def held() -> None:
        async with at.deps.keeper.holding(turn.lease) as hold:
            hold.drop()
            await asyncio.Event().wait()

    with pytest.raises(LeaseLost):
        await held()


async def test_a_turn_whose_platform_this_worker_does_not_have_is_left_to_others(
    at: Bench, raw: redis.asyncio.Redis
) -> None:
    await at.say("hello")
    await work(KEY, replace(at.deps, adapters={}))
    state = await at.store.conversations.progress(KEY)
    assert ("lease" in state, state["tries"], await at.store.inbox.waiting(KEY)) == (False, "0", 1)
    assert await at.store.dead_letters.of(KEY) == []
    await raw.hdel(await state_name(raw), "until")
    await work(KEY, at.deps)
    assert await at.heard() == "echo 1: hello"


async def test_a_thread_that_goes_in_the_middle_of_a_run_is_told_honestly_and_replaced(at: Bench) -> None:
    """The backend's database was reset: the run went with it, and whatever its tools did stays done."""
    await at.say("slow 1")
    working = asyncio.create_task(work(KEY, at.deps))
    await at.server.began.wait()
    at.server.threads.clear()
    at.server.runs.clear()
    await working
    assert "could not finish" in await at.heard()
    assert await at.ask("hello") == "echo 1: hello"


async def test_an_assistant_of_the_operators_own_that_does_not_exist_is_told_not_retried_for_ever(
    redis_url: str,
) -> None:
    async with bench(redis_url) as at:
        at.server.unknown_assistants = True
        assert "not set up correctly" in await at.ask("hello")
        assert [letter["stage"] for letter in await at.store.dead_letters.of(KEY)] == ["run"]


async def test_a_user_is_told_at_once_of_a_wait_that_will_be_long(at: Bench) -> None:
    at.server.down = True
    at.server.retry_after_s = 3600
    assert "cannot reach my assistant" in await at.ask("hello")
    state = await at.store.conversations.progress(KEY)
    assert int(state["until"]) - int(state["failing"]) >= 3_500_000


async def test_nobody_waits_for_years_because_a_server_says_so(at: Bench) -> None:
    at.server.down = True
    at.server.retry_after_s = 999_999_999
    await at.ask("hello")
    state = await at.store.conversations.progress(KEY)
    assert int(state["until"]) - int(state["failing"]) <= (LONGEST_WAIT_S + 60) * 1000


async def test_even_the_words_of_giving_up_are_given_up(at: Bench, raw: redis.asyncio.Redis) -> None:
    """A post that kills its worker would kill one every lease, for ever."""
    await at.say("hello")
    turn = await at.store.leases.acquire(KEY, lease_s=30)
    assert isinstance(turn, Turn)
    parts = json.dumps([OutboundPart("put aside").to_json()])
    poisoned: dict[str, str | int] = {
        "phase": Phase.REPLYING,
        "outcome": "poison",
        "parts": parts,
        "tries": 2 * MAX_TRIES,
    }
    await at.store.turns.step(turn.lease, poisoned, lease_s=30)
    await raw.hset(await state_name(raw), "lease", "1")
    await work(KEY, at.deps)
    assert await at.heard() == ""
    assert await at.ask("hello") == "echo 1: hello"


async def test_mail_that_cannot_be_read_is_put_aside_after_some_tries(at: Bench, raw: redis.asyncio.Redis) -> None:
    await at.say("hello")
    (inbox,) = await raw.keys("tw:*:i:*")
    await raw.lset(inbox, 0, "1 m {}")
    await at.say("/help")
    for _ in range(MAX_TRIES):
        await work(KEY, at.deps)
        assert await at.heard() == ""
        await raw.hdel(await state_name(raw), "until")
    await work(KEY, at.deps)
    assert [letter["stage"] for letter in await at.store.dead_letters.of(KEY)] == ["inbox"]
    await work(KEY, at.deps)
    assert "I am an assistant" in await at.heard()


async def test_an_unexpected_error_is_logged_without_its_words(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Platform):
        def render(self, reply: str) -> Sequence[OutboundPart]:
            raise ValueError(f"cannot render {reply}")

    async with bench(redis_url, Broken([])) as at:
        await at.say("hello")
        await work(KEY, at.deps)
        (record,) = [r for r in caplog.records if isinstance(r.msg, dict) and r.msg["event"] == "turn.failed"]
        assert isinstance(record.msg, dict)
        assert "in render" in record.msg["stack"]
        assert "echo" not in caplog.text
        assert "stack" in record.msg


async def test_a_reply_with_nothing_to_be_seen_is_said_to_be_empty(redis_url: str) -> None:
    class Picky(Platform):
        def render(self, reply: str) -> Sequence[OutboundPart]:
            return [] if reply.startswith("echo") else super().render(reply)

    (said,) = await post_through(redis_url, Picky([]))
    assert "empty answer" in said


async def test_a_conversation_that_moves_and_refuses_markup_gets_its_reply(redis_url: str) -> None:
    platform = Platform([ConversationMoved("console:ann"), FormatRefused()])
    assert await post_through(redis_url, platform) == ["echo 1: hello"]


async def test_a_chat_that_moved_while_a_user_waits_does_not_break_the_turn(
    redis_url: str, raw: redis.asyncio.Redis
) -> None:
    async with bench(redis_url, Platform([ConversationMoved("console:eve")])) as at:
        at.server.down = True
        at.server.retry_after_s = 3600
        await at.say("hello")
        await work(KEY, at.deps)
        state = await at.store.conversations.progress(KEY)
        assert ("lease" in state, state["tries"]) == (False, "0"), "parked"


async def test_a_conversation_with_more_mail_gives_its_place_to_those_who_wait(at: Bench) -> None:
    later: list[tuple[ConversationKey, float]] = []
    crowded = replace(at.deps, crowded=lambda: True, later=lambda key, in_s: later.append((key, in_s)), max_batch=1)
    await at.say("one")
    await at.say("two")
    await work(KEY, crowded)
    assert (await at.heard(), later) == ("echo 1: one", [(KEY, 0.0)])
    await work(KEY, replace(crowded, crowded=lambda: False))
    assert await at.heard() == "echo 2: two"


async def test_whoever_takes_a_turn_over_looks_soon(at: Bench, raw: redis.asyncio.Redis) -> None:
    """By the run's age the first look would be up to 1.5 s away; the user has waited for the lease already."""
    waits: list[float] = []

    class Noting(SystemClock):
        async def sleep(self, seconds: float) -> None:
            waits.append(seconds)

    await at.say("hello")
    turn = await at.store.leases.acquire(KEY, lease_s=30)
    assert isinstance(turn, Turn)
    thread = await at.deps.backend.open_thread(KEY, turn.key)
    run = await at.deps.backend.start(thread, "asst_1", turn.fresh, turn.run_key, look_first=False)
    long_ago = turn.taken_ms - 60_000
    fields: dict[str, str | int] = {"phase": Phase.RUNNING, "thread": thread, "run": run.id, "started": long_ago}
    await at.store.turns.step(turn.lease, fields, lease_s=30)
    await raw.hset(await state_name(raw), "lease", "1")
    await work(KEY, replace(at.deps, pace=replace(at.deps.pace, clock=Noting())))
    assert await at.heard() == "echo 1: hello"
    assert waits
    assert max(waits) < 0.3


async def test_a_reply_whose_posting_kills_its_workers_is_given_up_and_told(
    at: Bench, raw: redis.asyncio.Redis
) -> None:
    await at.say("hello")
    turn = await at.store.leases.acquire(KEY, lease_s=30)
    assert isinstance(turn, Turn)
    deadly = json.dumps([OutboundPart("kills whoever posts it").to_json()])
    fields: dict[str, str | int] = {"phase": Phase.REPLYING, "outcome": "done", "parts": deadly, "tries": MAX_TRIES}
    await at.store.turns.step(turn.lease, fields, lease_s=30)
    await raw.hset(await state_name(raw), "lease", "1")
    await work(KEY, at.deps)
    assert "put aside for the operator" in await at.heard()
    (letter,) = await at.store.dead_letters.of(KEY)
    assert (letter["stage"], len(letter["parts"])) == ("delivery", 1)
    assert await at.ask("hello") == "echo 1: hello"


async def test_a_worker_that_froze_before_its_request_was_sent_creates_nothing(at: Bench) -> None:
    class Frozen(SystemClock):
        """Stops for ten seconds between any two looks."""

        seconds = 0.0

        def monotonic(self) -> float:
            self.seconds += 10
            return self.seconds

    await at.say("hello")
    turn = await at.store.leases.acquire(KEY, lease_s=30)
    assert isinstance(turn, Turn)
    thread = await at.deps.backend.open_thread(KEY, turn.key)
    url = str(at.deps.backend._client.base_url)  # type: ignore[attr-defined]
    frozen = AssistantsBackend(url, "key", clock=Frozen())
    with pytest.raises(Unreachable):
        await frozen.start(thread, "asst_1", turn.fresh, turn.run_key, look_first=False)
    assert await frozen.find(thread, turn.run_key) is None, "looking does no harm, however late"
    await frozen.close()
    assert at.server.runs == {}
