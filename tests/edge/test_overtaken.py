"""A run that is steered or interrupted while something else goes wrong, or comes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import redis.asyncio

from gateway.console import ConsoleAdapter
from gateway.domain.messages import Amendment, Destination, OutboundPart
from gateway.domain.pacing import SystemClock
from gateway.domain.turns import Turn, WhileRunning
from gateway.store.streams import Nudge
from tests.edge.test_steering import KEY, say, steer_and_die, steered, texts
from tests.edge.work import Bench, bench
from workers.backends.assistants import EVENTS
from workers.turn import work


async def test_a_stop_that_comes_while_a_run_is_cancelled_begins_no_other(
    redis_url: str, raw: redis.asyncio.Redis
) -> None:
    async with bench(redis_url) as at:
        await steer_and_die(at, raw, "and this", "/stop")
        await work(KEY, at.deps)
        assert await at.heard() == "Stopped."
        assert [run.status for run in at.server.runs.values()] == ["cancelled"]


class InThree(ConsoleAdapter):
    """Cuts the reply to "hello" in three; while the first is posted, the holder hears that mail has come in."""

    at: Bench

    def render(self, reply: str) -> Sequence[OutboundPart]:
        return [OutboundPart(f"{reply} {n}") for n in (1, 2, 3)] if "hello" in reply else super().render(reply)

    async def post(self, to: Destination, part: OutboundPart, key: str) -> str:
        self.at.deps.keeper.nudged(Nudge.MAIL, KEY)
        return await super().post(to, part, key)


async def test_a_reply_is_not_interrupted_by_mail_that_waits_no_more(redis_url: str) -> None:
    """A nudge may be late, or its message deleted: nobody would ever get the parts that are dropped."""
    async with bench(redis_url) as at:
        platform = InThree(at.store.mailbox)
        platform.at = at
        at.deps = replace(at.deps, adapters={"console": platform}, while_running=WhileRunning.INTERRUPT)
        assert await at.ask("hello") == "echo 1: hello 1\necho 1: hello 2\necho 1: hello 3"


async def steering(at: Bench) -> None:
    """Until the intent to steer is on record."""
    while "steer" not in await at.store.conversations.progress(KEY):
        pass


async def test_an_answer_that_came_too_late_to_be_interrupted_is_given_when_the_newer_message_is_gone(
    redis_url: str,
) -> None:
    async with bench(redis_url) as at:
        at.deps = replace(at.deps, while_running=WhileRunning.INTERRUPT)
        at.server.uncancellable = True
        await at.say("slow 1")
        working = asyncio.create_task(work(KEY, at.deps))
        await at.server.began.wait()
        await say(at, "and this")
        await steering(at)
        await at.store.inbox.amend(Amendment(KEY, "2", None, revision=1))
        await working
        assert await at.heard() == "echo 1: slow 1"


class Leaping(SystemClock):
    """Forty times as fast as the machine's."""

    def monotonic(self) -> float:
        return 40 * super().monotonic()

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 40)


async def test_a_run_that_does_not_end_when_it_is_cancelled_holds_its_turn_no_longer_than_any_other(
    redis_url: str,
) -> None:
    async with bench(redis_url, turn_timeout_s=30) as at:
        at.deps = replace(at.deps, while_running=WhileRunning.STEER, pace=replace(at.deps.pace, clock=Leaping()))
        at.server.uncancellable = True
        await at.say("never")
        working = asyncio.create_task(work(KEY, at.deps))
        await at.server.began.wait()
        await say(at, "and this")
        await steering(at)
        await at.store.inbox.amend(Amendment(KEY, "2", None, revision=1))
        await asyncio.wait_for(working, 5)
        assert "took too long" in await at.heard()


async def test_a_steered_turn_brings_everything_to_a_new_thread_when_its_own_is_gone(
    redis_url: str, raw: redis.asyncio.Redis
) -> None:
    async with bench(redis_url) as at:
        await at.say("one")
        await at.say("two")
        turn = await at.store.leases.acquire(KEY, lease_s=30)
        assert isinstance(turn, Turn)
        await at.store.turns.step(turn.lease, {"thread": "thread_gone", "sent": 1}, lease_s=30)
        (state,) = await raw.keys("tw:*:s:*")
        await raw.hset(state, "lease", "1")
        await work(KEY, at.deps)
        await raw.hdel(state, "until")
        await work(KEY, at.deps)
        assert texts(at) == ["one", "two"]
        assert "echo 2: two" in await at.heard()


async def test_a_run_that_could_not_name_all_its_messages_is_taken_to_have_brought_them(redis_url: str) -> None:
    async with bench(redis_url) as at:
        for number in range(60):
            await at.say(f"{number}")
        turn = await at.store.leases.acquire(KEY, lease_s=30, max_batch=60)
        assert isinstance(turn, Turn)
        thread = await at.deps.backend.open_thread(KEY, turn.key)
        await at.store.turns.step(turn.lease, {"thread": thread, "ri": 1}, lease_s=0)
        await at.deps.backend.start(thread, "asst_1", turn.fresh, turn.run_key, look_first=False)
        await work(KEY, at.deps)
        assert texts(at) == [f"{number}" for number in range(60)]


async def test_a_run_names_all_that_it_brings_however_many_join(redis_url: str) -> None:
    """What a run does not name would be taken for unsent by whoever finds it, and sent again."""
    async with steered(redis_url, WhileRunning.STEER) as (at, working):
        for number in range(70):
            await at.say(f"more {number}")
        at.deps.keeper.nudged(Nudge.MAIL, KEY)
        await working
        assert texts(at) == ["never", *(f"more {number}" for number in range(70))]
        assert sum(len(run.metadata[EVENTS].split()) for run in at.server.runs.values()) == 71
