"""Redis blinks or goes away, or the worker is asked to stop, at the worst moment: one answer, one run, one thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from gateway.console import ConsoleAdapter
from gateway.domain.adapter import Capabilities
from gateway.domain.errors import LeaseLost, StoreDown
from gateway.domain.messages import ConversationKey, Destination, OutboundPart
from gateway.domain.turns import Turn, WhileRunning
from gateway.store import keys
from gateway.store.leases import NotYet
from gateway.store.streams import Nudge
from tests.edge.redis_gate import Gate, gate
from tests.edge.work import bench
from workers.turn import work
from workers.working import working

KEY = ConversationKey("console:ann")


class Platform(ConsoleAdapter):
    """A platform that cannot be asked what it has: a part that was perhaps sent is lost to it."""

    name: ClassVar[str] = "console"
    capabilities = Capabilities(max_text_utf16=4096)

    def __init__(self) -> None:
        self.posted: list[str] = []
        self.posting = asyncio.Event()
        self.may_post = asyncio.Event()
        self.may_post.set()

    def render(self, reply: str) -> Sequence[OutboundPart]:
        return [OutboundPart(reply)]

    async def post(self, to: Destination, part: OutboundPart, key: str) -> str:
        self.posting.set()
        await self.may_post.wait()
        self.posted.append(part.text)
        return str(len(self.posted))


@pytest.fixture
async def gated(redis_url: str, tmp_path: Path) -> AsyncIterator[tuple[Gate, str]]:
    async with gate(redis_url, tmp_path) as opened:
        yield opened


WRITES = {
    "acquire": (10_000, 20),
    "the thread": ("thread",),
    "the intent of the run": ("ri", 1),
    "the run": ("phase", "running"),
    "the rounds": ("rounds", 1),
    "the parts": ("phase", "replying"),
    "the intent of the part": ("psend", 0),
    "the part": ("mid:0", 1),
    "finish": (0, 0, 500),
}


@pytest.mark.parametrize("answer_only", [False, True], ids=["request lost", "answer lost"])
@pytest.mark.parametrize("write", WRITES)
async def test_a_redis_that_blinks_at_a_write_costs_nothing(
    gated: tuple[Gate, str], write: str, answer_only: bool
) -> None:
    wire, url = gated
    platform = Platform()
    async with bench(url, platform) as at:
        await at.say("tool 6*7")
        wire.cut_at(*WRITES[write], answer_only=answer_only)
        await work(KEY, at.deps)
        assert wire.cut.is_set()
        assert platform.posted == ["42"]
        assert len(at.server.runs) == 1
        assert await at.store.inbox.waiting(KEY) == 0
        await at.say("hello")
        await work(KEY, at.deps)
        assert platform.posted[1:] == ["echo 2: hello"], "in the same thread"
        assert list(at.server.opened.values()).count(KEY) == 1


@pytest.mark.parametrize("policy", [WhileRunning.STEER, WhileRunning.REJECT])
async def test_a_redis_that_blinks_while_newer_mail_is_looked_at_costs_nothing(
    gated: tuple[Gate, str], policy: WhileRunning
) -> None:
    wire, url = gated
    platform = Platform()
    async with bench(url, platform) as at:
        at.deps = replace(at.deps, while_running=policy)
        await at.say("slow 1")
        working = asyncio.create_task(work(KEY, at.deps))
        await at.server.began.wait()
        wire.cut_at(2, keys.inbox(KEY))  # the number of the script's keys, and the first of them
        await at.say("and this")
        at.deps.keeper.nudged(Nudge.MAIL, KEY)
        await working
        assert wire.cut.is_set()
        assert platform.posted[-1] == ("echo 2: and this" if policy is WhileRunning.STEER else "echo 1: slow 1")
        assert not await at.store.inbox.waiting(KEY)


async def test_a_redis_that_is_away_for_less_than_the_lease_costs_a_pause(gated: tuple[Gate, str]) -> None:
    wire, url = gated
    platform = Platform()
    async with bench(url, platform) as at:
        await at.say("slow 1")
        working = asyncio.create_task(work(KEY, at.deps))
        await at.server.began.wait()
        wire.close()
        await asyncio.wait({working}, timeout=2)
        assert not working.done(), "the turn is kept"
        wire.open()
        await asyncio.wait_for(working, 5)
        assert platform.posted == ["echo 1: slow 1"]
        state = await at.store.conversations.progress(KEY)
        assert "tries" not in state, "finished"


async def test_a_redis_that_stays_away_ends_the_turn_with_its_lease_and_nothing_is_posted(
    gated: tuple[Gate, str], redis_url: str
) -> None:
    wire, url = gated
    platform = Platform()
    async with bench(url, platform, lease_s=1.0) as at:
        await at.say("slow 0.5")
        working = asyncio.create_task(work(KEY, at.deps))
        await at.server.began.wait()
        wire.close()
        await asyncio.wait_for(working, 5)
        assert platform.posted == []
        wire.open()
        async with asyncio.timeout(10):
            while await at.store.inbox.waiting(KEY):
                await work(KEY, at.deps)
        assert platform.posted == ["echo 1: slow 0.5"]
        assert len(at.server.runs) == 1


async def test_redis_away_when_a_turn_is_to_be_taken_is_said(gated: tuple[Gate, str]) -> None:
    wire, url = gated
    async with bench(url) as at:
        await at.say("hello")
        wire.close()
        with pytest.raises(StoreDown):
            await work(KEY, at.deps)


async def test_a_post_on_its_way_at_the_hand_over_is_waited_for(redis_url: str) -> None:
    """Put down at once, the next worker would ask whether it has arrived while it has not yet."""
    platform = Platform()
    platform.may_post.clear()
    async with bench(redis_url, platform) as at:
        await at.say("hello")
        working = asyncio.create_task(work(KEY, at.deps))
        await platform.posting.wait()
        handing = asyncio.create_task(at.deps.keeper.hand_over())
        await asyncio.wait({handing}, timeout=0.1)
        assert "lease" in await at.store.conversations.progress(KEY), "not yet given away"
        platform.may_post.set()
        _, failed = await handing
        await working
        assert failed == 0
        state = await at.store.conversations.progress(KEY)
        assert not {"lease", "psend", "until"} & state.keys(), "finished, or due at once with the part in the ledger"
    async with bench(redis_url, platform) as other:
        await work(KEY, other.deps)
        assert platform.posted == ["echo 1: hello"]
        assert await other.store.inbox.waiting(KEY) == 0


async def test_a_post_that_takes_too_long_at_the_hand_over_is_given_the_time_to_land(redis_url: str) -> None:
    platform = Platform()
    platform.may_post.clear()
    async with bench(redis_url, platform) as at:
        await at.say("hello")
        working = asyncio.create_task(work(KEY, at.deps))
        await platform.posting.wait()
        given, failed = await at.deps.keeper.hand_over()
        working.cancel()  # as the pool does next
        await asyncio.gather(working, return_exceptions=True)
        assert (len(given), failed) == (1, 0)
        waiting = await at.store.leases.acquire(KEY, lease_s=10)
        assert isinstance(waiting, NotYet), "nobody asks before it has landed or timed out"


async def test_a_process_that_hands_over_begins_nothing_any_more(redis_url: str) -> None:
    platform = Platform()
    async with bench(redis_url, platform) as at:
        await at.say("slow 0.3")
        working = asyncio.create_task(work(KEY, at.deps))
        await at.server.began.wait()
        given, failed = await at.deps.keeper.hand_over()
        assert (len(given), failed) == (1, 0)
        await asyncio.wait_for(working, 5)  # nobody cancels it: its next look is refused
        await work(KEY, at.deps)
        assert platform.posted == []
        turn = await at.store.leases.acquire(KEY, lease_s=10)
        assert isinstance(turn, Turn)
        assert turn.tries == 1, "put down on purpose"
        with pytest.raises(LeaseLost):
            async with at.deps.keeper.holding(turn.lease):
                raise AssertionError("not reached")
        again = await at.store.leases.acquire(KEY, lease_s=10)
        assert again is not None, "what was on its way is put down, too"


async def test_a_cancel_while_the_typing_sign_ends_is_not_swallowed(redis_url: str) -> None:
    """The pool's cancel, or a lost lease's, may come at any await."""
    asked, released = asyncio.Event(), asyncio.Event()

    class Slow(Platform):
        capabilities = Capabilities(max_text_utf16=4096, working_every_s=1.0)

        async def working(self, to: Destination) -> None:
            try:
                asked.set()
                await asyncio.Event().wait()
            finally:
                await released.wait()

    async with bench(redis_url, Slow()) as at:
        await at.say("hello")
        turn = await at.store.leases.acquire(KEY, lease_s=10)
        assert isinstance(turn, Turn)
        passed = False

        async def body() -> None:
            nonlocal passed
            async with working(Slow(), turn, at.deps.pace.clock):
                await asked.wait()
            passed = True

        going = asyncio.create_task(body())
        await asked.wait()
        await asyncio.sleep(0)
        going.cancel()
        released.set()
        await asyncio.wait({going})
        assert going.cancelled()
        assert not passed
