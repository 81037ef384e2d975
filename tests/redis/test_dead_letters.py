"""Dead letters: kept once, listed over all conversations, replayed once with their key, or dropped."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import redis.asyncio

from gateway.domain.errors import StoreDown
from gateway.domain.messages import ConversationKey, InboundMessage, OutboundPart, RunId
from gateway.domain.turns import Phase, Turn
from gateway.store import MailUnreadable, Store, keys
from gateway.store.dead_letters import KEPT
from gateway.store.inbox import GRACE_MS

ANN, BOB = ConversationKey("console:ann"), ConversationKey("console:bob")


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    yield client
    await client.config_set("maxmemory", "0")
    await client.aclose()


def message(name: str, key: ConversationKey = ANN) -> InboundMessage:
    return InboundMessage(conversation=key, dedupe_keys=(name,), text=f"text of {name}", author_id="7")


async def taken(store: Store, name: str, key: ConversationKey = ANN) -> Turn:
    """A turn made of one message."""
    await store.inbox.ingest(message(name, key))
    turn = await store.leases.acquire(key, lease_s=60)
    assert isinstance(turn, Turn)
    return turn


async def dead(
    store: Store, name: str, key: ConversationKey = ANN, *, stage: str = "turn", at_ms: int = 1, parts: int = 0
) -> str:
    """A dead letter made of one message, its turn finished; its id."""
    turn = await taken(store, name, key)
    turn.run = RunId(f"run_{name}")
    turn.outcome = "completed" if parts else ""
    turn.parts = [OutboundPart(f"part {n}").to_json() for n in range(parts)]
    turn.posted = {0: "17"} if parts else {}
    await store.dead_letters.bury(turn, stage, "blocked", at_ms)
    await store.turns.finish(turn.lease)
    return f"{turn.id}-{stage}"


async def inbox(raw: redis.asyncio.Redis, key: ConversationKey = ANN) -> list[str]:
    return [str(envelope) for envelope in await raw.lrange(keys.inbox(key), 0, -1)]


async def test_a_turn_is_kept_once_for_each_stage(store: Store) -> None:
    turn = await taken(store, "1")
    for stage in ("run", "delivery", "run", "delivery", "delivery"):  # whoever buried it may have died before finish
        await store.dead_letters.bury(turn, stage, "why", 1)
    letters = await store.dead_letters.of(ANN)
    assert [letter["id"] for letter in letters] == [f"{turn.id}-delivery", f"{turn.id}-run"]


async def test_the_letters_of_all_conversations_are_listed_newest_first(store: Store) -> None:
    ids = [await dead(store, str(n), key, at_ms=n) for n, key in enumerate((ANN, BOB, ANN, BOB), 1)]
    assert [letter["id"] for letter in await store.dead_letters.all()] == ids[::-1]
    assert [letter["id"] for letter in await store.dead_letters.all(2)] == ids[:1:-1]
    found = await store.dead_letters.find(ids[1])
    assert found is not None
    assert (found["conversation"], found["reason"], found["at_ms"]) == (BOB, "blocked", 2)
    assert await store.dead_letters.find("nobody-turn") is None


async def test_only_so_many_are_kept_for_a_conversation(store: Store) -> None:
    turn = await taken(store, "1")
    for n in range(KEPT + 3):
        turn.id = f"turn{n}"
        await store.dead_letters.bury(turn, "turn", "why", n)
    letters = await store.dead_letters.of(ANN)
    assert (len(letters), letters[0]["turn"], letters[-1]["turn"]) == (KEPT, f"turn{KEPT + 2}", "turn3")


async def test_what_is_dropped_is_gone_and_the_rest_stays(store: Store, raw: redis.asyncio.Redis) -> None:
    first, second = await dead(store, "1"), await dead(store, "2")
    await raw.config_set("maxmemory", "1")  # dropping makes room
    assert await store.dead_letters.drop(first)
    assert not await store.dead_letters.drop(first)
    assert [letter["id"] for letter in await store.dead_letters.all()] == [second]
    assert await store.dead_letters.drop(second)
    assert await raw.keys("tw:*:dead") == [], "nobody looks at conversations without letters"


async def test_an_index_forgets_whose_letters_have_ended(store: Store, raw: redis.asyncio.Redis) -> None:
    await dead(store, "1", at_ms=1)
    await raw.delete(keys.dead(ANN))  # ended
    await raw.zadd(keys.dead_index(keys.partition(ANN)), {"console:gone": 1})
    await dead(store, "2", at_ms=keys.DEAD_S * 1000 + 2)
    assert await raw.zrange(keys.dead_index(keys.partition(ANN)), 0, -1) == [ANN]
    assert 0 < await raw.ttl(keys.dead(ANN)) <= keys.DEAD_S


async def test_a_replayed_letter_keeps_its_key_run_and_posted_parts(store: Store, raw: redis.asyncio.Redis) -> None:
    name = await dead(store, "1", stage="delivery", parts=2)
    await store.inbox.ingest(message("2"))
    assert await store.dead_letters.replay(name) == ANN
    newer, again = await inbox(raw)
    assert newer.split(" ")[:2] == ["2", "m"], "it goes behind what waits already"
    seq, kind, text = again.split(" ", 2)
    assert (seq, kind) == ("3", "r")
    assert json.loads(text) == {
        "messages": [message("1").to_json()],
        "run": "run_1",
        "thread": None,
        "parts": [OutboundPart("part 0").to_json(), OutboundPart("part 1").to_json()],
        "posted": {"0": "17"},
        "outcome": "completed",
        "phase": Phase.REPLYING,
        "key": f"{ANN}#1",
        "sent": 0,
        "intended": -1,
    }
    assert await store.dead_letters.all() == []
    assert await raw.keys("tw:*:dead") == []


async def test_a_turn_without_a_reply_begins_anew(store: Store, raw: redis.asyncio.Redis) -> None:
    await store.dead_letters.replay(await dead(store, "1", stage="run"))
    (envelope,) = await inbox(raw)
    again = json.loads(envelope.split(" ", 2)[2])
    assert (again["phase"], again["run"], again["parts"], again["posted"]) == (Phase.COLLECTED, "run_1", [], {})


async def test_a_letter_is_replayed_once_however_many_try(store: Store, raw: redis.asyncio.Redis) -> None:
    name = await dead(store, "1")
    tries = await asyncio.gather(*(store.dead_letters.replay(name) for _ in range(5)), store.dead_letters.drop(name))
    assert sum(bool(done) for done in tries) == 1
    assert len(await inbox(raw)) == (0 if tries[-1] else 1)
    assert await store.dead_letters.replay(name) is None


async def test_a_replay_is_due_at_once_unless_somebody_looks_anyway(store: Store, raw: redis.asyncio.Redis) -> None:
    first, second = await dead(store, "1"), await dead(store, "2")
    due = keys.due(keys.partition(ANN))
    assert await raw.zscore(due, ANN) is None
    await store.dead_letters.replay(first)
    seconds, micros = await raw.time()
    score = await raw.zscore(due, ANN)
    assert score is not None
    assert 0 < score - (seconds * 1000 + micros // 1000) <= GRACE_MS
    await raw.zadd(due, {ANN: 5})
    await store.dead_letters.replay(second)
    assert await raw.zscore(due, ANN) == 5, "a parked or held turn's time stays"


async def test_a_full_redis_refuses_a_replay_and_keeps_the_letter(store: Store, raw: redis.asyncio.Redis) -> None:
    name = await dead(store, "1")
    await raw.config_set("maxmemory", "1")
    with pytest.raises(StoreDown):
        await store.dead_letters.replay(name)
    await raw.config_set("maxmemory", "0")
    assert await inbox(raw) == []
    assert await store.dead_letters.replay(name) == ANN


async def test_unreadable_mail_is_replayed_as_it_was(store: Store, raw: redis.asyncio.Redis) -> None:
    turn = await taken(store, "1")
    strange = ['4 c {"a": 1}', "5 m two\nlines of it", "a hand wrote this"]
    await store.dead_letters.bury_unreadable(MailUnreadable(turn.lease, 9, 6, strange, "ValueError"))
    (letter,) = await store.dead_letters.all()
    assert (letter["stage"], letter["tries"], letter["messages"]) == (
        "inbox",
        6,
        ['{"a": 1}', "two\nlines of it", "a hand wrote this"],
    )
    assert letter["id"].endswith("-inbox")
    assert letter["id"].isascii()
    assert " " not in letter["id"]
    await store.turns.finish(turn.lease)
    assert await store.dead_letters.replay(letter["id"]) == ANN
    assert await inbox(raw) == ['2 c {"a": 1}', "3 m two\nlines of it", "4 m a hand wrote this"]


async def test_words_that_no_encoding_holds_can_be_buried_and_replayed(store: Store, raw: redis.asyncio.Redis) -> None:
    turn = await taken(store, "1")
    await store.dead_letters.bury(turn, "turn", 'half a pair \ud83d, a "quote" and ü', 1)
    await store.turns.finish(turn.lease)
    assert await store.dead_letters.replay(f"{turn.id}-turn") == ANN
    assert len(await inbox(raw)) == 1
