"""What follows a post whose outcome nobody knows, where the platform cannot be asked: notice, edit, or once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import redis.asyncio

from gateway.console import ConsoleAdapter
from gateway.domain.adapter import Doubt
from gateway.domain.errors import (
    Ambiguous,
    ConversationMoved,
    DeliveryRefused,
    FormatRefused,
    ThreadwayError,
    Unreachable,
)
from gateway.domain.messages import Command, ConversationKey, Destination, OutboundPart
from tests.edge.work import Bench, bench
from workers.turn import work

KEY = ConversationKey("console:ann")
TEXT = "echo 1: hello"


class Wall(ConsoleAdapter):
    """Messages on a wall, which can be edited. The next calls do what they should and fail all the same (`after`), or
    fail before (`before`)."""

    def __init__(
        self,
        before: Sequence[ThreadwayError | None] = (),
        after: Sequence[ThreadwayError | None] = (),
        edits: Sequence[ThreadwayError | None] = (),
    ) -> None:
        self.before, self.after, self.edits = list(before), list(after), list(edits)
        self.wall: list[OutboundPart] = []

    def render(self, reply: str) -> Sequence[OutboundPart]:
        return [OutboundPart(reply, {"bold": True})]

    async def post(self, to: Destination, part: OutboundPart, key: str) -> str:
        if self.before and (failure := self.before.pop(0)):
            raise failure
        self.wall.append(part)
        if self.after and (failure := self.after.pop(0)):
            raise failure
        return str(len(self.wall))

    async def edit(self, to: Destination, platform_id: str, part: OutboundPart) -> None:
        if self.edits and (failure := self.edits.pop(0)):
            raise failure
        self.wall[int(platform_id) - 1] = part

    @property
    def texts(self) -> list[str]:
        return [part.text for part in self.wall]


async def hello(redis_url: str, wall: Wall, doubt: Doubt) -> list[str]:
    """What the wall shows when "hello" is answered, however often the turn had to be taken up."""
    async with bench(redis_url, wall) as at:
        at.deps = replace(at.deps, doubts={"console": doubt})
        await at.say("hello")
        await until_answered(at, redis_url)
        return wall.texts


async def until_answered(at: Bench, redis_url: str) -> None:
    """Work, and again when a pause has come to its end."""
    async with redis.asyncio.Redis.from_url(redis_url, decode_responses=True) as raw:
        (state,) = await raw.keys("tw:*:s:*")
        for _ in range(10):
            await work(KEY, at.deps)
            if not await at.store.inbox.waiting(KEY):
                return
            await raw.hdel(state, "until")
    raise AssertionError("never answered")


async def test_a_notice_offers_what_may_be_missing(redis_url: str) -> None:
    wall = Wall(after=[Ambiguous()])
    assert len(await hello(redis_url, wall, Doubt.NOTICE)) == 2
    assert wall.texts[0] == TEXT
    assert "cannot see whether" in wall.texts[1]
    (offer,) = wall.wall[1].offers
    assert (offer.label, offer.command) == ("Show again", Command.LAST)


async def test_the_offer_shows_the_reply_again(redis_url: str) -> None:
    wall = Wall(before=[Ambiguous()])
    async with bench(redis_url, wall) as at:
        await at.say("hello")
        await until_answered(at, redis_url)
        (offer,) = wall.wall[0].offers
        await at.say(f"/{offer.command} {offer.argument}")
        await work(KEY, at.deps)
        assert wall.wall[1] == OutboundPart(TEXT, {"bold": True}), "with its markup"


async def test_what_is_no_answer_is_offered_as_well(redis_url: str) -> None:
    wall = Wall(before=[Ambiguous()])
    async with bench(redis_url, wall) as at:
        await at.say("/help")
        await until_answered(at, redis_url)
        (offer,) = wall.wall[0].offers
        await at.say(f"/{offer.command} {offer.argument}")
        await work(KEY, at.deps)
        assert wall.texts[1].startswith("I am an assistant")


async def test_the_notice_follows_a_conversation_that_has_moved(redis_url: str) -> None:
    class Moved(Wall):
        async def post(self, to: Destination, part: OutboundPart, key: str) -> str:
            if not self.before and to.conversation == KEY:
                raise ConversationMoved("console:bob")
            return await super().post(to, part, key)

    wall = Moved(before=[Ambiguous()])
    async with bench(redis_url, wall) as at:
        at.deps = replace(at.deps, doubts={"console": Doubt.NOTICE})
        await at.say("hello")
        await until_answered(at, redis_url)
        assert [text[:17] for text in wall.texts] == ["I was interrupted"]


@pytest.mark.parametrize(
    ("wall", "shown"), [(Wall(after=[Ambiguous()]), [TEXT, TEXT]), (Wall(before=[Ambiguous()]), [TEXT])]
)
async def test_repeat_posts_again(redis_url: str, wall: Wall, shown: list[str]) -> None:
    assert await hello(redis_url, wall, Doubt.REPEAT) == shown


@pytest.mark.parametrize(
    ("wall", "shown"),
    [
        (Wall(), [TEXT]),
        (Wall(before=[Unreachable()]), [TEXT]),
        (Wall(before=[Ambiguous()]), [TEXT]),
        (Wall(after=[Ambiguous()]), ["…", TEXT]),
        (Wall(edits=[Ambiguous(), Ambiguous()]), [TEXT]),
        (Wall(edits=[FormatRefused()]), [TEXT]),
        (Wall(edits=[DeliveryRefused("deleted")]), ["…", TEXT]),
        (Wall(after=[None, Ambiguous()], edits=[DeliveryRefused("deleted")]), [TEXT, "…"]),
    ],
)
async def test_an_edited_part_is_never_doubled(redis_url: str, wall: Wall, shown: list[str]) -> None:
    assert await hello(redis_url, wall, Doubt.EDIT) == shown


async def test_a_worker_that_died_after_the_placeholder_is_followed_by_one_that_edits_it(redis_url: str) -> None:
    wall = Wall(edits=[RuntimeError("the worker died")])  # type: ignore[list-item]  # no error of ours ends a turn so
    assert await hello(redis_url, wall, Doubt.EDIT) == [TEXT]
