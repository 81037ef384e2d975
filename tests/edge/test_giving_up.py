"""A turn that is given up, for now or for good: who may still do something about it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.console import ConsoleAdapter
from gateway.domain.errors import LeaseLost
from gateway.domain.messages import ConversationKey, Destination, OutboundPart
from gateway.domain.turns import Turn
from gateway.store.streams import Nudge
from tests.edge.work import Bench, bench
from workers.holding import Hold
from workers.progress import Progress
from workers.turn import work

KEY = ConversationKey("console:ann")


async def test_a_stop_that_comes_while_a_turn_gives_up_for_now_does_not_wait_for_the_backend(redis_url: str) -> None:
    class Stopping(ConsoleAdapter):
        """Its reader says stop as soon as he reads anything."""

        at: Bench

        async def post(self, to: Destination, part: OutboundPart, key: str) -> str:
            if "cannot reach" in part.text:
                await self.at.say("/stop")
                self.at.deps.keeper.nudged(Nudge.STOP, KEY)
            return await super().post(to, part, key)

    async with bench(redis_url) as at:
        platform = Stopping(at.store.mailbox)
        platform.at = at
        at.deps = replace(at.deps, adapters={"console": platform})
        at.server.down, at.server.retry_after_s = True, 600
        assert "cannot reach" in await at.ask("hello")
        await work(KEY, at.deps)
        assert await at.heard() == "Stopped."


async def test_a_replay_that_does_not_know_its_run_makes_a_new_one_unless_the_old_one_has_an_answer(
    redis_url: str,
) -> None:
    async with bench(redis_url) as at:
        await at.ask("before")
        await at.say("hello")
        turn = await at.store.leases.acquire(KEY, lease_s=30)
        assert isinstance(turn, Turn)
        assert turn.thread is not None
        view = await at.deps.backend.start(turn.thread, "asst_1", turn.fresh, turn.run_key, look_first=False)
        at.server.runs[view.id].status = "expired"
        await at.store.dead_letters.bury(turn, "turn", "given up", 1)
        await at.store.turns.finish(turn.lease)
        await at.store.dead_letters.replay(f"{turn.id}-turn")
        await work(KEY, at.deps)
        assert await at.heard() == "echo 3: hello"


async def test_a_stale_holder_buries_nothing(redis_url: str) -> None:
    async with bench(redis_url) as at:
        await at.say("hello")
        turn = await at.store.leases.acquire(KEY, lease_s=30)
        assert isinstance(turn, Turn)
        hold = Hold(turn.lease, at.deps.pace.clock, 30)
        progress = Progress(turn, hold, at.store, at.deps.pace.clock, lease_s=30)
        hold.drop()
        with pytest.raises(LeaseLost):
            await progress.bury("run", "refused")
        assert await at.store.dead_letters.of(KEY) == []
