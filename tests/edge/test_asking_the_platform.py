"""What follows a post whose outcome nobody knows, where the platform can be asked."""

from __future__ import annotations

import redis.asyncio

from gateway.console import ConsoleAdapter
from gateway.domain.errors import Ambiguous, RateLimited
from gateway.domain.messages import ConversationKey, Destination, OutboundPart
from gateway.store.leases import NotYet
from tests.edge.work import bench
from workers.post import ARRIVES_S
from workers.turn import work

KEY = ConversationKey("console:ann")


class Slow(ConsoleAdapter):
    """The first post has no answer and arrives only while the second one is refused for now."""

    def __init__(self) -> None:
        self.calls = 0
        self.under_way: dict[str, str] = {}
        self.there: list[tuple[str, str]] = []

    async def post(self, to: Destination, part: OutboundPart, key: str) -> str:
        self.calls += 1
        if self.calls == 1:
            self.under_way[key] = part.text
            raise Ambiguous
        if self.calls == 2:
            self.there += self.under_way.items()
            raise RateLimited
        self.there.append((key, part.text))
        return str(self.calls)

    async def find_posted(self, to: Destination, key: str, since_ms: int) -> str | None:
        return next((f"found {name}" for name, _ in self.there if name == key), None)


async def test_a_post_without_an_answer_is_given_time_to_arrive_before_it_is_looked_for(redis_url: str) -> None:
    async with bench(redis_url, Slow()) as at:
        await at.say("hello")
        await work(KEY, at.deps)
        turn = await at.store.leases.acquire(KEY, lease_s=30)
        assert isinstance(turn, NotYet)
        assert turn.in_s > ARRIVES_S / 2


async def test_a_post_that_may_still_arrive_is_looked_for_whatever_the_next_attempt_met(
    redis_url: str, raw: redis.asyncio.Redis
) -> None:
    platform = Slow()
    async with bench(redis_url, platform) as at:
        await at.say("hello")
        for _ in range(5):
            await work(KEY, at.deps)
            for state in await raw.keys("tw:*:s:*"):
                await raw.hdel(state, "until")
        assert [text for _, text in platform.there] == ["echo 1: hello"]
