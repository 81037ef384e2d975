"""The fleet's rounds: one roster, each partition exactly one worker's, and nothing due that nobody looks at."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.messages import ConversationKey, InboundMessage
from gateway.domain.pacing import SystemClock
from gateway.store import Store
from gateway.store.keys import PARTITIONS, SWEEPERS, WORKERS, partition
from gateway.store.rounds import share
from workers.sweep import Sweep

ALL = range(PARTITIONS)
GONE_S = 2.5


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    yield client
    await client.aclose()


rosters = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=12, unique=True)


@given(roster=rosters)
def test_each_partition_is_exactly_one_workers(roster: list[str]) -> None:
    shares = [share(worker, roster) for worker in roster]
    assert sorted(number for numbers in shares for number in numbers) == list(ALL)


@given(roster=rosters)
def test_when_a_worker_goes_its_share_alone_moves(roster: list[str]) -> None:
    gone, *stay = roster
    before = {worker: set(share(worker, roster)) for worker in roster}
    after = {worker: set(share(worker, stay)) for worker in stay}
    assert all(before[worker] <= after[worker] for worker in stay)
    assert share(gone, stay) == []


def test_a_share_is_the_same_in_every_process_and_version() -> None:
    """Python's hash() would differ in each; another arithmetic would split a fleet of two versions."""
    assert share("one", ["two", "one", "three"])[:6] == [0, 1, 2, 4, 14, 16]
    shares = [len(share(str(n), map(str, range(4)))) for n in range(4)]
    assert min(shares) >= 8, shares


async def age(raw: redis.asyncio.Redis, roster: str, worker: str, by_s: float) -> None:
    """Make a worker's last report `by_s` older."""
    await raw.zincrby(roster, -by_s * 1000, worker)


async def test_who_is_silent_leaves_the_roster(store: Store, raw: redis.asyncio.Redis) -> None:
    assert await store.rounds.report("b", gone_s=GONE_S) == ["b"]
    assert await store.rounds.report("a", gone_s=GONE_S) == ["a", "b"]
    await age(raw, SWEEPERS, "b", GONE_S)
    assert await store.rounds.report("a", gone_s=GONE_S) == ["a"]
    assert await store.rounds.report("b", gone_s=GONE_S) == ["a", "b"], "it was only slow"


async def test_who_has_no_room_or_leaves_has_no_share(store: Store) -> None:
    await store.rounds.report("a", gone_s=GONE_S)
    await store.rounds.report("b", gone_s=GONE_S)
    assert await store.rounds.report("b", gone_s=GONE_S, sweeps=False) == ["a"]
    assert await store.rounds.workers() == 2, "people still see it"
    assert await store.rounds.report("b", gone_s=GONE_S) == ["a", "b"]
    for _ in range(2):
        await store.rounds.leave("a")
    assert await store.rounds.report("b", gone_s=GONE_S) == ["b"]
    assert await store.rounds.workers() == 1


async def test_a_clock_that_was_set_back_keeps_no_dead_worker(store: Store, raw: redis.asyncio.Redis) -> None:
    """Its report lies in Redis's future: by age alone it would have its share until then."""
    await store.rounds.report("dead", gone_s=GONE_S)
    await age(raw, SWEEPERS, "dead", -3600)
    await age(raw, WORKERS, "dead", -3600)
    assert await store.rounds.report("a", gone_s=GONE_S) == ["a"]
    assert await store.rounds.workers() == 1


async def test_people_see_who_reported_lately(store: Store, raw: redis.asyncio.Redis) -> None:
    await store.rounds.report("a", gone_s=GONE_S)
    await age(raw, WORKERS, "a", 5)
    assert (await store.rounds.workers(), await store.rounds.workers(within_s=1)) == (1, 0)


async def test_reports_are_taken_by_a_full_redis(store: Store, raw: redis.asyncio.Redis) -> None:
    await raw.config_set("maxmemory", "1")
    try:
        assert await store.rounds.report("a", gone_s=GONE_S) == ["a"]
    finally:
        await raw.config_set("maxmemory", "0")


async def make_due(store: Store, raw: redis.asyncio.Redis, count: int, for_ms: int = 2000) -> list[ConversationKey]:
    """Conversations whose wake-ups got lost."""
    found = [ConversationKey(f"telegram:1:{n}:-") for n in range(count)]
    for key in found:
        await store.inbox.ingest(InboundMessage(conversation=key, dedupe_keys=(key,), text="hi", author_id="1"))
    seconds, micros = await raw.time()
    since = seconds * 1000 + micros // 1000 - for_ms
    for name in await raw.keys("tw:{*}:due"):
        for member in await raw.zrange(name, 0, -1):
            await raw.zadd(str(name), {str(member): since})
    return found


async def test_a_fleet_finds_everything_that_is_due_once(store: Store, raw: redis.asyncio.Redis) -> None:
    due = await make_due(store, raw, 40)
    roster = ["a", "b", "c"]
    seen: list[ConversationKey] = []
    for worker in roster:
        found = await store.rounds.sweep(share(worker, roster), limit=100, again_s=60, late_s=60)
        assert {partition(key) for key in found.conversations} <= set(share(worker, roster))
        assert found.total == len(due) - len(seen), "of all partitions: somebody has to see that nobody has room"
        seen += found.conversations
    assert sorted(seen) == sorted(due)
    assert (await store.rounds.sweep(ALL, limit=100, again_s=60, late_s=60)).conversations == []


async def test_what_is_late_is_found_by_anybody(store: Store, raw: redis.asyncio.Redis) -> None:
    """Its worker is dead, and the roster does not know it yet."""
    due = await make_due(store, raw, 40)
    found = await store.rounds.sweep([], limit=30, again_s=60, late_s=1)
    rest = await store.rounds.sweep([0], limit=30, again_s=60, late_s=1)
    assert (len(found.conversations), len(rest.conversations)) == (30, 10)
    assert sorted([*found.conversations, *rest.conversations]) == sorted(due)


async def test_a_sweep_is_one_round_trip_and_names_no_more_than_asked(store: Store, raw: redis.asyncio.Redis) -> None:
    due = await make_due(store, raw, 40)
    await store.rounds.sweep([0], limit=0, again_s=60, late_s=60)  # the script is known now
    await raw.config_resetstat()
    found = await store.rounds.sweep(ALL, limit=7, again_s=60, late_s=60)
    assert (len(found.conversations), found.total) == (7, 40)
    calls = await raw.info("commandstats")
    assert calls["cmdstat_evalsha"]["calls"] == 1
    nothing = await store.rounds.sweep([], limit=100, again_s=60, late_s=60)
    assert (nothing.conversations, nothing.total) == ([], 33)
    rest = await store.rounds.sweep(ALL, limit=100, again_s=60, late_s=60)
    assert sorted([*found.conversations, *rest.conversations]) == sorted(due)


async def test_no_partition_comes_first_for_ever(store: Store, raw: redis.asyncio.Redis) -> None:
    due = await make_due(store, raw, 30)
    first = set()
    for _ in range(30):
        (found,) = (await store.rounds.sweep(ALL, limit=1, again_s=0, late_s=60)).conversations
        first.add(partition(found))
    assert len(first) > 3
    assert first <= {partition(key) for key in due}


# --- the sweep of one worker


class Sweeper:
    """A worker's sweep, with the room that the test gives it, and what it woke."""

    def __init__(self, store: Store, name: str) -> None:
        self.room = 100
        self.woken: list[ConversationKey] = []
        self.sweep = Sweep(
            store,
            SystemClock(),
            name,
            wake_turn=self.woken.append,
            wake_run=lambda _: None,
            due_runs=None,
            room=lambda: self.room,
        )


async def test_workers_wake_for_their_own_share_alone(store: Store, raw: redis.asyncio.Redis) -> None:
    a, b = Sweeper(store, "a"), Sweeper(store, "b")
    assert await a.sweep.once() + await b.sweep.once() == 0, "both are on the roster now"
    due = await make_due(store, raw, 40, for_ms=0)  # not late yet
    for one in (a, b):
        await one.sweep.once()
    assert sorted(a.woken + b.woken) == sorted(due)
    assert {partition(key) for key in a.woken} <= set(share("a", ["a", "b"]))
    assert a.woken
    assert b.woken


async def test_a_full_worker_leaves_its_share_to_those_with_room(store: Store, raw: redis.asyncio.Redis) -> None:
    busy, idle = Sweeper(store, "busy"), Sweeper(store, "idle")
    await busy.sweep.once()
    busy.room = 0
    due = await make_due(store, raw, 40)
    await busy.sweep.once()
    await idle.sweep.once()
    assert busy.woken == []
    assert sorted(idle.woken) == sorted(due)
    busy.room = 1
    await busy.sweep.once()
    assert await store.rounds.report("idle", gone_s=GONE_S) == ["busy", "idle"]


async def test_a_worker_with_little_room_wakes_for_others(store: Store, raw: redis.asyncio.Redis) -> None:
    """Its partitions are its alone: by its own room it would keep the mail in them from workers with more."""
    one = Sweeper(store, "one")
    one.room = 1
    due = await make_due(store, raw, 20)
    await one.sweep.once()
    assert sorted(one.woken) == sorted(due)


async def test_a_worker_that_leaves_reports_no_more(store: Store, raw: redis.asyncio.Redis) -> None:
    one = Sweeper(store, "one")
    await one.sweep.once()
    await make_due(store, raw, 3)
    await one.sweep.leave()
    assert await one.sweep.once() == 0
    assert one.woken == []
    assert await store.rounds.workers() == 0
