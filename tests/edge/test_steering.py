"""What becomes of messages, stops, edits and deletions that come in while a turn is at work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import redis.asyncio

from gateway.console import ConsoleAdapter
from gateway.domain.messages import Amendment, ConversationKey, Destination, OutboundPart
from gateway.domain.turns import Turn, WhileRunning
from gateway.intake import Intake
from gateway.store.streams import Nudge
from tests.edge.work import Bench, bench
from workers.tools.function import FunctionTool
from workers.turn import work

KEY = ConversationKey("console:ann")


class NobodyToWake:
    """The tests begin the work themselves."""

    def wake_turn(self, conversation: ConversationKey) -> None:
        """Nothing."""


@asynccontextmanager
async def steered(
    redis_url: str, policy: WhileRunning, adapter: ConsoleAdapter | None = None
) -> AsyncIterator[tuple[Bench, asyncio.Task[None]]]:
    """A bench with `policy` whose first run, "never", is at work and ends by a cancel alone."""
    async with bench(redis_url, adapter) as at:
        at.deps = replace(at.deps, while_running=policy)
        listening = asyncio.create_task(at.store.nudges.listen(at.deps.keeper.nudged))
        await at.say("never")
        working = asyncio.create_task(work(KEY, at.deps))
        await at.server.began.wait()
        try:
            yield at, working
        finally:
            for task in (working, listening):
                task.cancel()
            await asyncio.gather(working, listening, return_exceptions=True)


async def say(at: Bench, text: str) -> None:
    """As `Bench.say`, and tell whoever holds the conversation, as intake does."""
    await at.say(text)
    at.deps.keeper.nudged(Nudge.MAIL, KEY)


async def steer_and_die(at: Bench, raw: redis.asyncio.Redis, *meanwhile: str) -> None:
    """A worker begins to steer a run, whose turn `meanwhile` is written to, and dies before it is cancelled."""
    at.deps = replace(at.deps, while_running=WhileRunning.STEER)
    await at.say("never")
    working = asyncio.create_task(work(KEY, at.deps))
    await at.server.began.wait()
    (run,) = at.server.runs.values()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    for text in meanwhile:
        await at.say(text)
    (state,) = await raw.keys("tw:*:s:*")
    await raw.hset(state, mapping={"steer": "1", "lease": "1", "run": run.id, "phase": "running", "started": "1"})


def texts(at: Bench) -> list[str]:
    """What users said, as the backend has it."""
    return [m["text"] for thread in at.server.threads.values() for m in thread if m["role"] == "user"]


async def test_queued_messages_wait_for_the_run(redis_url: str) -> None:
    async with bench(redis_url) as at:
        await at.say("slow 0.3")
        working = asyncio.create_task(work(KEY, at.deps))
        await at.server.began.wait()
        await say(at, "two")
        await say(at, "three")
        await working
        assert await at.heard() == "echo 1: slow 0.3\necho 3: three"
        assert len(at.server.runs) == 2


@pytest.mark.parametrize("policy", [WhileRunning.STEER, WhileRunning.INTERRUPT])
async def test_a_steered_run_is_cancelled_and_a_new_one_answers_all(redis_url: str, policy: WhileRunning) -> None:
    async with steered(redis_url, policy) as (at, working):
        await say(at, "and this")
        await working
        assert await at.heard() == "echo 2: and this"
        assert [run.status for run in at.server.runs.values()] == ["cancelled", "completed"]
        assert texts(at) == ["never", "and this"], "each message once, in order"
        assert await at.ask("next") == "echo 3: next"


async def test_a_run_that_ended_before_it_could_be_cancelled_keeps_its_answer(redis_url: str) -> None:
    async with bench(redis_url) as at:
        at.deps = replace(at.deps, while_running=WhileRunning.STEER)
        await at.say("hello")
        at.server.delay_s = 0.2
        working = asyncio.create_task(work(KEY, at.deps))
        await at.server.began.wait()
        at.server.uncancellable = True
        await say(at, "more")
        await working
        assert await at.heard() == "echo 1: hello\necho 2: more"


async def test_a_worker_that_dies_between_cancel_and_new_run_leaves_a_turn_that_goes_on(
    redis_url: str, raw: redis.asyncio.Redis
) -> None:
    async with bench(redis_url) as at:
        await steer_and_die(at, raw, "and this")
        (run,) = at.server.runs.values()
        run.status = "cancelled"
        await work(KEY, at.deps)
        assert await at.heard() == "echo 2: and this"


async def test_a_rejected_message_is_told_and_gone(redis_url: str) -> None:
    async with steered(redis_url, WhileRunning.REJECT) as (at, working):
        await say(at, "and this")
        assert "did not take this one" in str(await at.store.mailbox.take("ann", 2))
        await at.say("/stop")
        at.deps.keeper.nudged(Nudge.STOP, KEY)
        await working
        assert await at.heard() == "Stopped."
        assert texts(at) == ["never"]
        assert await at.ask("next") == "echo 2: next"


async def test_an_interrupted_reply_is_posted_no_further(redis_url: str) -> None:
    class Slow(ConsoleAdapter):
        """Cuts every reply in three; a message comes in while the first part is posted."""

        def render(self, reply: str) -> Sequence[OutboundPart]:
            return [OutboundPart(f"{reply} {n}") for n in (1, 2, 3)] if "hello" in reply else super().render(reply)

        async def post(self, to: Destination, part: OutboundPart, key: str) -> str:
            if part.text.endswith("hello 1"):
                await say(at, "wait")
            return await super().post(to, part, key)

    async with bench(redis_url) as at:
        platform = Slow(at.store.mailbox)
        at.deps = replace(at.deps, adapters={"console": platform}, while_running=WhileRunning.INTERRUPT)
        assert await at.ask("hello") == "echo 1: hello 1\necho 2: wait"


async def test_a_stop_does_not_wait_for_a_slow_tool(redis_url: str) -> None:
    began = asyncio.Event()

    async def calculator(expression: str) -> str:
        """Never ends."""
        began.set()
        await asyncio.Event().wait()
        return expression

    async with bench(redis_url) as at:
        plan = replace(at.deps.plan_for(KEY), tools={"calculator": FunctionTool(calculator)})
        at.deps = replace(at.deps, plan_for=lambda _: plan)
        await at.say("tool 6*7")
        working = asyncio.create_task(work(KEY, at.deps))
        await began.wait()
        await at.say("/stop")
        at.deps.keeper.nudged(Nudge.STOP, KEY)
        await asyncio.wait_for(working, 5)
        assert await at.heard() == "Stopped."
        assert [run.status for run in at.server.runs.values()] == ["cancelling"]
        assert await at.ask("next") == "echo 2: next"


async def test_a_stop_finds_the_run_that_its_dead_worker_did_not_write_down(
    redis_url: str, raw: redis.asyncio.Redis
) -> None:
    async with bench(redis_url) as at:
        await at.ask("hello")
        await at.say("never")
        turn = await at.store.leases.acquire(KEY, lease_s=30)
        assert isinstance(turn, Turn)
        assert turn.thread is not None
        await at.store.turns.step(turn.lease, {"ri": 1}, lease_s=30)
        await at.deps.backend.start(turn.thread, "asst_1", turn.fresh, turn.run_key, look_first=False)
        (state,) = await raw.keys("tw:*:s:*")
        await raw.hset(state, "lease", "1")
        await at.say("/stop")
        await work(KEY, at.deps)
        assert await at.heard() == "Stopped."
        assert [run.status for run in at.server.runs.values()][-1] == "cancelling"


async def test_an_edit_before_the_run_replaces_the_text_and_a_deletion_removes_it(redis_url: str) -> None:
    async with bench(redis_url) as at:
        intake = Intake(at.store, NobodyToWake())
        for text in ("one", "two", "three"):
            await at.say(text)
        assert await intake.accept(Amendment(KEY, "2", "2nd", revision=5)) == "stored"
        assert await intake.accept(Amendment(KEY, "2", "too old", revision=4)) == "nothing"
        assert await intake.accept(Amendment(KEY, "3", None, revision=6)) == "stored"
        assert await intake.accept(Amendment(KEY, "9", "unknown", revision=6)) == "nothing"
        await work(KEY, at.deps)
        assert texts(at) == ["one", "2nd"]


async def test_the_last_reply_is_shown_again(redis_url: str) -> None:
    async with bench(redis_url) as at:
        assert "no such answer" in await at.ask("/last")
        await at.ask("hello")
        await at.ask("/help")
        assert await at.ask("/last") == "echo 1: hello"
        assert await at.ask("/last") == "echo 1: hello", "showing it is no answer of its own"
        assert "no such answer" in await at.ask("/last anotherturn")


async def test_a_run_found_after_a_restore_answers_only_what_it_brought(
    redis_url: str, raw: redis.asyncio.Redis
) -> None:
    """Redis forgot that the turn had one message, and collects it with the next one, which is not answered yet."""
    async with bench(redis_url) as at:
        await at.ask("hello")
        await at.say("one")
        turn = await at.store.leases.acquire(KEY, lease_s=30)
        assert isinstance(turn, Turn)
        assert turn.thread is not None
        await at.deps.backend.start(turn.thread, "asst_1", turn.fresh, turn.run_key, look_first=False)
        (state,) = await raw.keys("tw:*:s:*")
        await raw.hdel(state, "lease", "owner", "phase", "n", "tries")
        await at.say("two")
        for server in await raw.keys("tw:*:server"):
            await raw.hset(server, "run_id", "another")
        await work(KEY, at.deps)
        assert await at.heard() == "echo 2: one\necho 3: two"
        assert texts(at) == ["hello", "one", "two"]
