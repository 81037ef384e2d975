"""Mail that comes while a turn is at work: told to its holder, joined to it, or refused; and turns that come back."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import redis.asyncio

from gateway.domain.errors import LeaseLost
from gateway.domain.messages import Amendment, Command, InboundMessage, OutboundPart
from gateway.domain.turns import Phase, Turn
from gateway.store import MailUnreadable, Store, envelope_message, keys
from gateway.store.leases import Beat
from tests.redis.mail import KEY, LEASE_S, ids, message, put, rest, take, wait_for_turn

WAITING, STATE = keys.inbox(KEY), keys.state(KEY)


async def begun(store: Store, *names: str, **fields: Any) -> Turn:
    """A turn of these messages whose run exists."""
    await put(store, *names)
    turn = await take(store)
    await store.turns.step(turn.lease, {"phase": Phase.RUNNING, "ri": 1, "run": "run_1", **fields}, lease_s=LEASE_S)
    return turn


async def joined(store: Store, turn: Turn, max_batch: int = 20) -> list[str]:
    return [found.event_id for found in await store.turns.extend(turn.lease, max_batch=max_batch, lease_s=LEASE_S)]


async def stale(store: Store) -> tuple[Turn, Turn]:
    """A turn whose holder lost it, and the same turn in the hands of who has it now."""
    await put(store, "1")
    lost = await take(store, lease_s=0.001)
    return lost, await wait_for_turn(store)


# -- the heartbeat tells -----------------------------------------------------------------------------------------------
async def test_a_heartbeat_tells_of_plain_mail_directly_behind_the_batch(store: Store) -> None:
    turn = await begun(store, "1")

    async def beat() -> Beat:
        return (await store.leases.renew([turn.lease], lease_s=LEASE_S))[turn.lease]

    assert await beat() == Beat.OURS
    await put(store, "2", command=Command.NEW)
    await put(store, "3")
    assert await beat() == Beat.OURS, "the command comes first"
    await store.inbox.amend(Amendment(KEY, "2", None, 0))
    assert await beat() == Beat.OURS | Beat.MAIL
    await put(store, "4", command=Command.STOP)
    assert await beat() == Beat.OURS | Beat.STOP | Beat.MAIL


async def test_a_heartbeat_tells_each_conversation_its_own(store: Store, raw: redis.asyncio.Redis) -> None:
    places = [key for n in range(400) if keys.partition(key := type(KEY)(f"console:{n}")) == keys.partition(KEY)]
    leases = []
    for key in places[:4]:
        await put(store, "1", key=key)
        leases.append((await take(store, key)).lease)
    await put(store, "2", key=places[1])
    await put(store, "2", key=places[2], command=Command.STOP)
    await store.turns.finish(leases[3])
    beats = await store.leases.renew(leases, lease_s=LEASE_S)
    assert list(beats.values()) == [Beat.OURS, Beat.OURS | Beat.MAIL, Beat.OURS | Beat.STOP, Beat.LOST]
    due = keys.due(keys.partition(KEY))
    assert await raw.zscore(due, places[0]) == float(str(await raw.hget(keys.state(places[0]), "lease")))


# -- extend ------------------------------------------------------------------------------------------------------------
async def test_waiting_messages_join_the_turn_and_the_next_run_brings_just_them(
    store: Store, raw: redis.asyncio.Redis
) -> None:
    of_the_run = {"steer": 1, "started": 17, "rounds": 2, "t:call": "out", "ti:call": 1}
    of_the_turn = {"no:waiting": 1, "thread": "t", "tries": 3}
    turn = await begun(store, "1", "2", **of_the_run, **of_the_turn)
    await put(store, "3", "4")
    await put(store, "5", command=Command.NEW)
    await put(store, "6")
    assert await joined(store, turn) == ["3", "4"]
    await raw.hset(STATE, "lease", "1")
    again = await take(store)
    assert (ids(again), again.sent, again.steering, again.tries) == (["1", "2", "3", "4"], 2, False, 2)
    assert [found.event_id for found in again.fresh] == ["3", "4"]
    assert (again.phase, again.run, again.run_intended, again.started_ms, again.rounds) == (
        Phase.COLLECTED,
        None,
        False,
        0,
        0,
    )
    assert (again.outputs, again.intended_calls, again.notices, again.thread) == ({}, set(), {"waiting"}, "t")
    assert (again.id, again.run_key) == (turn.id, f"{KEY}#3")
    await store.turns.finish(again.lease)
    assert await rest(store) == [["5"], ["6"]]


async def test_a_lost_answer_to_extend_is_given_again(store: Store) -> None:
    turn = await begun(store, "1")
    await put(store, "2")
    assert await joined(store, turn) == ["2"]
    await put(store, "3")
    assert await joined(store, turn) == ["2"], "the same answer, also when more has come"
    await store.turns.step(turn.lease, {"ri": 1}, lease_s=LEASE_S)
    assert await joined(store, turn) == ["3"], "the run with the second one was begun"
    await store.turns.step(turn.lease, {"run": "run_3", "ri": ""}, lease_s=LEASE_S)
    await put(store, "4")
    assert await joined(store, turn) == ["4"]


async def test_nothing_joins_where_nothing_waits_and_nothing_changes(store: Store, raw: redis.asyncio.Redis) -> None:
    turn = await begun(store, "1")
    await put(store, "2", command=Command.NEW)
    await put(store, "3")
    before: Any = await raw.hgetall(STATE)
    assert await joined(store, turn) == []
    after: Any = await raw.hgetall(STATE)
    assert before | {"lease": after["lease"]} == after


async def test_a_full_batch_takes_no_more(store: Store) -> None:
    turn = await begun(store, "1", "2")
    await put(store, "3", "4")
    assert await joined(store, turn, max_batch=2) == []
    assert await joined(store, turn, max_batch=3) == ["3"]


async def test_nothing_joins_a_turn_that_has_not_begun_a_run(store: Store) -> None:
    """Its run brings the whole batch; were it marked as sent, it would never be."""
    await put(store, "1")
    turn = await take(store)
    await put(store, "2")
    assert await joined(store, turn) == []
    await store.turns.finish(turn.lease)
    assert await rest(store) == [["2"]]


async def test_nothing_joins_a_command(store: Store) -> None:
    await put(store, "1", command=Command.HELP)
    turn = await take(store)
    await store.turns.step(turn.lease, {"ri": 1}, lease_s=LEASE_S)
    await put(store, "2")
    assert await joined(store, turn) == []


async def test_a_reply_that_was_under_way_is_forgotten_when_mail_joins(store: Store) -> None:
    reply = {"phase": Phase.REPLYING, "parts": "[]", "outcome": "completed", "psend": 1, "mid:0": "77"}
    turn = await begun(store, "1", **reply)
    await put(store, "2")
    assert await joined(store, turn) == ["2"]
    await store.turns.park(turn.lease, 0)
    again = await take(store)
    assert (again.phase, again.posted, again.outcome, again.part_intended) == (Phase.COLLECTED, {}, "", -1)


async def test_extend_renews_the_lease(store: Store, raw: redis.asyncio.Redis) -> None:
    turn = await begun(store, "1")
    await raw.hset(STATE, "lease", "1")
    await joined(store, turn)
    assert await store.leases.acquire(KEY, lease_s=LEASE_S) is None, "held again"
    due = await raw.zscore(keys.due(keys.partition(KEY)), KEY)
    assert due == float(str(await raw.hget(STATE, "lease")))


async def test_a_stale_holder_extends_and_rejects_nothing(store: Store) -> None:
    lost, current = await stale(store)
    await put(store, "2")
    found = await store.turns.behind(current.lease, 10)
    assert len(found) == 1
    with pytest.raises(LeaseLost):
        await store.turns.extend(lost.lease, max_batch=9, lease_s=LEASE_S)
    with pytest.raises(LeaseLost):
        await store.turns.behind(lost.lease, 10)
    with pytest.raises(LeaseLost):
        await store.turns.reject(lost.lease, found)
    assert await store.turns.finish(current.lease) == 1
    for late in (
        store.turns.extend(current.lease, max_batch=9, lease_s=LEASE_S),
        store.turns.behind(current.lease, 10),
        store.turns.reject(current.lease, found),
    ):
        with pytest.raises(LeaseLost):
            await late
    assert await rest(store) == [["2"]]


async def test_a_run_that_covers_fewer_messages_leaves_the_others_to_the_next_turn(store: Store) -> None:
    await put(store, "1", "2", "3")
    turn = await take(store)
    await store.turns.step(turn.lease, {"n": 1, "run": "run_1"}, lease_s=LEASE_S)
    await store.turns.park(turn.lease, 0)
    turn = await take(store)
    assert ids(turn) == ["1"]
    assert await store.turns.finish(turn.lease) == 2
    assert await rest(store) == [["2", "3"]]


# -- reject ------------------------------------------------------------------------------------------------------------
async def test_exactly_the_named_messages_are_rejected(store: Store) -> None:
    turn = await begun(store, "1")
    await put(store, "2", "3", "4")
    await put(store, "5", command=Command.HELP)
    await put(store, "6")
    found = await store.turns.behind(turn.lease, 2)
    assert [envelope_message(envelope).event_id for envelope in found] == ["2", "3"]
    assert len(await store.turns.behind(turn.lease, 50)) == 3, "up to the command"
    await store.inbox.amend(Amendment(KEY, "3", "edited", 1))
    assert await store.turns.reject(turn.lease, found) == 1, "the edited one is another one"
    assert await store.turns.reject(turn.lease, found) == 0
    assert await store.turns.finish(turn.lease) == 4
    assert await rest(store) == [["3", "4"], ["5"], ["6"]]


async def test_the_batch_of_the_turn_cannot_be_rejected(store: Store, raw: redis.asyncio.Redis) -> None:
    turn = await begun(store, "1", "2")
    batch = [str(envelope) for envelope in await raw.lrange(WAITING, 0, -1)]
    assert await store.turns.reject(turn.lease, batch) == 0
    assert await store.turns.behind(turn.lease, 10) == []
    assert await raw.lrange(WAITING, 0, -1) == batch


# -- the last reply ----------------------------------------------------------------------------------------------------
async def test_the_last_reply_is_kept_for_as_long_as_asked(store: Store, raw: redis.asyncio.Redis) -> None:
    assert await store.conversations.last_reply(KEY) is None
    parts = [OutboundPart('a "b" \\ ü', {"blocks": [], "big": 2**60}).to_json(), OutboundPart("2").to_json()]
    turn = await begun(store, "1", phase=Phase.REPLYING, parts=json.dumps(parts))
    await store.turns.finish(turn.lease, keep_reply_s=100, turn_id=turn.id)
    assert await store.conversations.last_reply(KEY) == (turn.id, parts)
    assert 0 < await raw.pttl(keys.last_reply(KEY)) <= 100_000
    await store.turns.finish((await begun(store, "2")).lease, keep_reply_s=100, turn_id="x")
    assert (await store.conversations.last_reply(KEY) or ("", []))[0] == turn.id, "a turn without a reply has none"
    silent = await begun(store, "3", parts=json.dumps(parts[1:]))
    await store.turns.finish(silent.lease)
    assert (await store.conversations.last_reply(KEY) or ("", []))[1] == parts, "nobody asked to keep that one"


# -- a dead letter comes back ------------------------------------------------------------------------------------------
async def replay(raw: redis.asyncio.Redis, store: Store, **more: Any) -> None:
    """A dead letter of the messages 1 and 2 put into the inbox."""
    letter: dict[str, Any] = {
        "messages": [message("1").to_json(), message("2").to_json()],
        "run": "run_1",
        "parts": [],
        "posted": {},
        "outcome": "",
        "phase": "collected",
        "key": f"{KEY}#1",
        **more,
    }
    seq = await raw.hincrby(STATE, "seq", 1)
    await raw.rpush(WAITING, f"{seq} r {json.dumps(letter, ensure_ascii=False)}")
    await raw.zadd(keys.due(keys.partition(KEY)), {KEY: 1})


async def test_a_replayed_letter_is_a_turn_of_its_own_under_its_old_key(store: Store, raw: redis.asyncio.Redis) -> None:
    first = await begun(store, "0")
    await put(store, "x")
    await replay(raw, store)
    await put(store, "3")
    await store.turns.finish(first.lease)
    assert ids(await take_and_finish(store)) == ["x"]
    turn = await take(store)
    assert (ids(turn), turn.key, turn.phase) == (["1", "2"], f"{KEY}#1", Phase.COLLECTED)
    assert (turn.run, turn.run_intended, turn.passed_over, turn.parts) == (None, True, "run_1", [])
    assert await store.turns.finish(turn.lease) == 1
    assert await rest(store) == [["3"]]


async def test_what_a_found_run_of_a_letter_does_not_cover_waits_again(store: Store, raw: redis.asyncio.Redis) -> None:
    await replay(raw, store)
    await put(store, "3")
    turn = await take(store)
    await store.turns.step(turn.lease, {"n": 1, "run": "run_1"}, lease_s=LEASE_S)
    await store.turns.finish(turn.lease)
    assert await rest(store) == [["2", "3"]]


async def test_mail_joins_a_replayed_turn_as_any_other(store: Store, raw: redis.asyncio.Redis) -> None:
    await replay(raw, store)
    await put(store, "3")
    turn = await take(store)
    await store.turns.step(turn.lease, {"run": "run_2"}, lease_s=LEASE_S)
    assert await joined(store, turn) == ["3"]
    await store.turns.park(turn.lease, 0)
    again = await take(store)
    assert ([m.event_id for m in again.fresh], again.sent, again.key) == (["3"], 2, turn.key)
    assert (again.run_intended, again.passed_over) == (False, None), "its run is another one"


async def test_a_letter_of_a_steered_turn_remembers_what_its_thread_has(store: Store, raw: redis.asyncio.Redis) -> None:
    await replay(raw, store, sent=1)
    assert [m.event_id for m in (await take(store)).fresh] == ["2"]


async def test_a_letter_of_another_thread_brings_all_its_messages(store: Store, raw: redis.asyncio.Redis) -> None:
    await raw.hset(STATE, "thread", "thread_2")
    await replay(raw, store, sent=1, thread="thread_1")
    assert [m.event_id for m in (await take_and_finish(store)).fresh] == ["1", "2"]
    await replay(raw, store, sent=1, thread="thread_2")
    assert [m.event_id for m in (await take(store)).fresh] == ["2"]


async def test_a_part_that_may_have_been_posted_is_in_doubt_after_a_replay_as_well(
    store: Store, raw: redis.asyncio.Redis
) -> None:
    await put(store, "1")
    turn = await take(store)
    turn.parts, turn.part_intended = ["{}", "{}"], 1
    await store.dead_letters.bury(turn, "delivery", "given up", 1)
    await store.turns.finish(turn.lease)
    await store.dead_letters.replay(f"{turn.id}-delivery")
    assert (await take(store)).part_intended == 1


async def test_a_letter_that_does_not_know_its_run_passes_over_whichever_it_was(
    store: Store, raw: redis.asyncio.Redis
) -> None:
    await replay(raw, store, run=None)
    turn = await take(store)
    assert (turn.run, turn.run_intended, turn.passed_over) == (None, True, "")


async def test_a_replayed_command_is_still_one(store: Store, raw: redis.asyncio.Redis) -> None:
    for name, command in (("1", Command.HELP), ("2", Command.STOP)):
        await replay(raw, store, messages=[message(name, command=command).to_json()])
        turn = await take(store)
        assert (ids(turn), turn.first.command, turn.stop_requested) == ([name], command, False)
        assert str(await raw.lindex(WAITING, 0)).split(" ")[1] == {Command.HELP: "c", Command.STOP: "s"}[command]
        await store.turns.finish(turn.lease)


async def take_and_finish(store: Store) -> Turn:
    turn = await take(store)
    await store.turns.finish(turn.lease)
    return turn


async def test_a_replayed_letter_has_the_id_that_it_had(store: Store, raw: redis.asyncio.Redis) -> None:
    await put(store, "1", "2")
    dead = await take_and_finish(store)
    await replay(raw, store, key=dead.key)
    turn = await take_and_finish(store)
    assert (turn.id, turn.key) == (dead.id, dead.key)
    await replay(raw, store, key=f"{KEY}#0")
    assert (await take(store)).key == f"{KEY}#0", "not made from what is left of its messages"


async def test_of_a_replayed_reply_only_what_was_not_posted_is_left(store: Store, raw: redis.asyncio.Redis) -> None:
    parts = [OutboundPart(f'{n} "ü" /', {"blocks": []}).to_json() for n in range(3)]
    await replay(raw, store, phase="replying", parts=parts, posted={"0": "77"}, outcome="completed")
    turn = await take(store)
    assert (turn.phase, turn.parts, turn.posted, turn.outcome) == (Phase.REPLYING, parts, {0: "77"}, "completed")
    await store.turns.step(turn.lease, {"mid:1": "78", "psend": 2}, lease_s=LEASE_S)
    await store.turns.park(turn.lease, 0)
    again = await take(store)
    assert (again.phase, again.parts, again.posted, again.part_intended) == (
        Phase.REPLYING,
        parts,
        {0: "77", 1: "78"},
        2,
    )
    await store.turns.finish(again.lease, keep_reply_s=9, turn_id=again.id)
    assert await store.conversations.last_reply(KEY) == (again.id, parts)


async def test_a_replayed_turn_goes_on_from_what_it_wrote_itself(store: Store, raw: redis.asyncio.Redis) -> None:
    await replay(raw, store)
    turn = await take(store)
    await store.turns.step(turn.lease, {"phase": Phase.RUNNING, "run": "run_2"}, lease_s=LEASE_S)
    await store.turns.park(turn.lease, 0)
    again = await take(store)
    assert (again.phase, again.run, again.passed_over) == (Phase.RUNNING, "run_2", "run_1")


@pytest.mark.parametrize(
    "strange",
    ["not json", "5", '{"messages":[]}', '{"messages":{"1":"x"}}', '{"messages":["x"]}', '{"messages":["{}"]}'],
)
async def test_a_letter_that_cannot_be_read_does_not_block_its_conversation(
    store: Store, raw: redis.asyncio.Redis, strange: str
) -> None:
    await replay(raw, store)
    await raw.lset(WAITING, 0, f"1 r {strange}")
    await put(store, "3")
    with pytest.raises(MailUnreadable) as unreadable:
        await take(store)
    await store.turns.finish(unreadable.value.lease)
    assert await rest(store) == [["3"]]


async def test_a_stop_spares_a_letter_before_it(store: Store, raw: redis.asyncio.Redis) -> None:
    """An operator replayed it, and it is nowhere else any more."""
    turn = await begun(store, "0")
    await replay(raw, store)
    await put(store, "3", command=Command.STOP)
    assert await store.turns.finish(turn.lease, through_stop=True) == 1
    assert await rest(store) == [["1", "2"]]


# -- a Redis that may remember less ------------------------------------------------------------------------------------
async def test_a_redis_that_was_restarted_is_suspicious_for_ten_minutes(store: Store, raw: redis.asyncio.Redis) -> None:
    async def suspicious() -> bool:
        turn = await take(store)
        await store.turns.park(turn.lease, 0)
        return turn.suspicious

    server = keys.server(keys.partition(KEY))
    await put(store, "1")
    assert not await suspicious(), "a new installation"
    assert not await suspicious()
    await raw.hset(server, "run_id", "another")
    assert await suspicious()
    assert await suspicious(), "and the next turn, too"
    seconds, _ = await raw.time()
    await raw.hset(server, "since", str(seconds * 1000 - 599_000))
    assert await suspicious()
    await raw.hset(server, "since", str(seconds * 1000 - 600_001))
    assert not await suspicious()


async def test_a_repeated_acquire_gets_the_same_answer(store: Store) -> None:
    """Its first answer got lost: the owner finds its own lease, and the turn with it."""
    await put(store, "1")
    names = [WAITING, STATE, keys.due(keys.partition(KEY)), keys.server(keys.partition(KEY))]
    _, fence, _, *turn = await store.leases._acquire(names, [KEY, "me", 30_000, 20])
    _, again, _, *same = await store.leases._acquire(names, [KEY, "me", 30_000, 20])
    assert (again, same) == (fence, turn)
    assert await store.leases._acquire(names, [KEY, "you", 30_000, 20]) == ["held"]


async def test_many_gateways_and_one_holder_agree_on_what_waits(store: Store) -> None:
    """Arrivals from all sides while the holder extends: in the end each message was in exactly one place."""
    turn = await begun(store, "0")

    async def arrive(first: int) -> None:
        for n in range(first, first + 10):
            await store.inbox.ingest(message(str(n + 1), order=n + 1))

    async def extend() -> list[InboundMessage]:
        found: list[InboundMessage] = []
        while len(found) < 20:
            found += await store.turns.extend(turn.lease, max_batch=21, lease_s=LEASE_S)
            await store.turns.step(turn.lease, {"ri": 1}, lease_s=LEASE_S)
        return found

    found, *_ = await asyncio.gather(extend(), arrive(0), arrive(100), arrive(200))
    assert await store.turns.finish(turn.lease) == 10
    names = [m.event_id for m in found] + [name for batch in await rest(store) for name in batch]
    assert sorted(names, key=int) == [str(n + 1) for first in (0, 100, 200) for n in range(first, first + 10)]
