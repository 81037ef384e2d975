"""The protocol of the store, script by script, on a real Redis."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

import gateway.store
from gateway.domain.adapter import Accepted
from gateway.domain.errors import LeaseLost, SettingsInvalid, StoreDown
from gateway.domain.messages import Command, ConversationKey
from gateway.domain.turns import Phase
from gateway.store import MailUnreadable, Store
from gateway.store.inbox import GRACE_MS
from gateway.store.keys import MAILBOX_S, PARTITIONS, mailbox
from gateway.store.leases import Beat, NotYet
from gateway.store.shared import Definition
from gateway.store.streams import Nudge
from tests.redis.mail import KEY, LEASE_S, message, take, wait_for_turn, wait_is_on

ALL = range(PARTITIONS)


async def test_a_message_is_stored_once_under_all_its_names(store: Store) -> None:
    first = await store.inbox.ingest(message("Ev1", "hi", "T:C:1.0"))
    assert (first.outcome, first.seq, first.wake) == (Accepted.STORED, 1, True)
    assert (await store.inbox.ingest(message("Ev2", "hi", "T:C:1.0"))).outcome is Accepted.DUPLICATE
    assert (await store.inbox.ingest(message("Ev2"))).outcome is Accepted.DUPLICATE, "the second name was learned"
    assert [m.event_id for m in (await take(store)).batch] == ["Ev1"]


async def test_only_the_first_message_asks_for_a_wake_up(store: Store) -> None:
    assert (await store.inbox.ingest(message("1"))).wake
    assert not (await store.inbox.ingest(message("2"))).wake
    turn = await take(store)
    assert not (await store.inbox.ingest(message("3"))).wake, "the holder will find it"
    assert [m.event_id for m in turn.batch] == ["1", "2"]
    assert await store.turns.finish(turn.lease) == 1


async def test_a_full_inbox_refuses_and_takes_the_message_when_it_is_sent_again(store: Store) -> None:
    for n in range(25):
        await store.inbox.ingest(message(str(n)), cap=25)
    assert (await store.inbox.ingest(message("late"), cap=25)).outcome is Accepted.FULL
    stop = message("stop", command=Command.STOP)
    assert (await store.inbox.ingest(stop, cap=25)).outcome is Accepted.STORED, "who is flooded can say stop"
    await store.turns.finish((await take(store)).lease)
    assert (await store.inbox.ingest(message("late"), cap=25)).outcome is Accepted.STORED


async def test_a_conversation_has_one_holder(store: Store) -> None:
    await store.inbox.ingest(message("1"))
    takers = await asyncio.gather(*(store.leases.acquire(KEY, lease_s=LEASE_S) for _ in range(8)))
    assert sum(turn is not None for turn in takers) == 1


async def test_a_command_is_a_turn_of_its_own(store: Store) -> None:
    for name, command in (("1", None), ("2", None), ("3", Command.NEW), ("4", None)):
        await store.inbox.ingest(message(name, command=command))
    batches = []
    for _ in range(3):
        turn = await take(store)
        batches.append([m.event_id for m in turn.batch])
        await store.turns.finish(turn.lease)
    assert batches == [["1", "2"], ["3"], ["4"]]
    assert await store.leases.acquire(KEY, lease_s=LEASE_S) is None


async def test_an_unfinished_turn_is_taken_up_where_it_stopped(store: Store) -> None:
    await store.inbox.ingest(message("1"))
    dead = await take(store, lease_s=0.001)
    await store.turns.step(
        dead.lease,
        {"phase": Phase.RUNNING, "run": "run_9", "ri": 1, "t:call_1": "144", "ti:call_2": 1},
        lease_s=0.001,
    )
    await store.inbox.ingest(message("2"))
    turn = await wait_for_turn(store)
    assert (turn.phase, turn.run, turn.run_intended, turn.tries) == (Phase.RUNNING, "run_9", True, 2)
    assert (turn.outputs, turn.intended_calls) == ({"call_1": "144"}, {"call_2"})
    assert [m.event_id for m in turn.batch] == ["1"], "the batch of a turn never grows"
    assert (turn.id, turn.key) == (dead.id, dead.key)


async def test_a_stale_holder_writes_nothing(store: Store) -> None:
    await store.inbox.ingest(message("1"))
    stale = await take(store, lease_s=0.001)
    current = await wait_for_turn(store)
    with pytest.raises(LeaseLost):
        await store.turns.step(stale.lease, {"run": "run_stale"}, lease_s=LEASE_S)
    with pytest.raises(LeaseLost):
        await store.turns.park(stale.lease, 0)
    assert await store.turns.finish(stale.lease) == 0
    beats = await store.leases.renew([stale.lease, current.lease], lease_s=LEASE_S)
    assert beats == {stale.lease: Beat.LOST, current.lease: Beat.OURS}
    await store.turns.finish(current.lease)
    assert await store.leases.acquire(KEY, lease_s=LEASE_S) is None, "the stale finish had trimmed nothing twice"


async def test_finish_may_be_repeated_and_spares_mail_that_came_meanwhile(store: Store) -> None:
    await store.inbox.ingest(message("1"))
    turn = await take(store)
    await store.inbox.ingest(message("2"))
    assert await store.turns.finish(turn.lease) == 1
    assert await store.turns.finish(turn.lease) == 0
    assert [m.event_id for m in (await take(store)).batch] == ["2"]


async def test_a_parked_turn_waits_its_time_and_does_not_count_as_a_failure(store: Store) -> None:
    await store.inbox.ingest(message("1"))
    turn = await take(store)
    await store.turns.park(turn.lease, 60, {"failures": 3})
    later = await store.leases.acquire(KEY, lease_s=LEASE_S)
    assert isinstance(later, NotYet)
    assert 50 < later.in_s <= 60
    assert (await store.rounds.sweep(ALL, limit=10, again_s=1, late_s=60)).conversations == []
    await store.inbox.ingest(message("2", command=Command.STOP))
    again = await take(store)
    assert (again.tries, again.failures, again.stop_requested) == (1, 3, True)


async def test_stop_reaches_the_holder_and_covers_what_was_sent_before_it(store: Store) -> None:
    await store.inbox.ingest(message("1"))
    turn = await take(store)
    await store.inbox.ingest(message("2"))
    stop = await store.inbox.ingest(message("3", command=Command.STOP))
    assert stop.stop
    assert not stop.wake
    await store.inbox.ingest(message("4"))
    assert (await store.leases.renew([turn.lease], lease_s=LEASE_S))[turn.lease] == Beat.OURS | Beat.STOP | Beat.MAIL
    assert await store.turns.step(turn.lease, {}, lease_s=LEASE_S)
    assert await store.turns.finish(turn.lease, through_stop=True) == 1
    assert [m.event_id for m in (await take(store)).batch] == ["4"]


async def test_a_stop_that_the_turn_at_work_did_not_hear_stops_the_mail_before_it(store: Store) -> None:
    await store.inbox.ingest(message("1"))
    turn = await take(store)
    await store.inbox.ingest(message("2"))
    await store.inbox.ingest(message("3", command=Command.STOP))
    await store.inbox.ingest(message("4"))
    await store.turns.finish(turn.lease)  # its reply was on its way already
    stopped = await take(store)
    assert ([m.event_id for m in stopped.batch], stopped.stop_requested) == (["2"], True)
    await store.turns.finish(stopped.lease, through_stop=True)
    later = await take(store)
    assert ([m.event_id for m in later.batch], later.stop_requested) == (["4"], False)


async def test_an_answered_stop_stops_nothing_any_more(store: Store) -> None:
    await store.inbox.ingest(message("1"))
    turn = await take(store)
    await store.inbox.ingest(message("2", command=Command.STOP))
    await store.inbox.ingest(message("3"))
    await store.turns.finish(turn.lease)
    stop = await take(store)
    assert (stop.first.event_id, stop.stop_requested) == ("2", True)
    await store.turns.finish(stop.lease)
    assert not (await take(store)).stop_requested


async def test_a_stop_spares_the_commands_before_it(store: Store) -> None:
    """/new while a run goes on, then /stop: the run is stopped, and the new conversation begins all the same."""
    await store.inbox.ingest(message("1"))
    turn = await take(store)
    for name, command in (("2", Command.NEW), ("3", None), ("4", Command.HELP), ("5", Command.STOP), ("6", None)):
        await store.inbox.ingest(message(name, command=command))
    assert await store.turns.finish(turn.lease, through_stop=True) == 3
    batches = []
    for _ in range(3):
        turn = await take(store)
        batches.append(([m.event_id for m in turn.batch], turn.stop_requested))
        await store.turns.finish(turn.lease)
    assert batches == [(["2"], False), (["4"], False), (["6"], False)]


async def test_a_stop_that_was_heard_does_not_shorten_the_wait(store: Store) -> None:
    """A backend that is away, or a platform that said "slow down", would be asked without a pause."""
    await store.inbox.ingest(message("1"))
    turn = await take(store)
    await store.inbox.ingest(message("2", command=Command.STOP))
    await store.turns.park(turn.lease, 60, heard=True)
    assert await wait_is_on(store)
    await store.inbox.ingest(message("3", command=Command.STOP))
    turn = await take(store)
    await store.turns.park(turn.lease, 60, heard=False)
    await take(store)


async def test_a_reply_that_waits_for_the_platform_is_not_hastened_by_a_stop(store: Store) -> None:
    await store.inbox.ingest(message("1"))
    turn = await take(store)
    await store.turns.park(turn.lease, 60, {"phase": Phase.REPLYING})
    stop = await store.inbox.ingest(message("2", command=Command.STOP))
    assert (stop.outcome, stop.wake) == (Accepted.STORED, False)
    assert await wait_is_on(store)


async def test_a_stop_with_nothing_to_stop_is_an_ordinary_command(store: Store) -> None:
    assert (await store.inbox.ingest(message("1", command=Command.STOP))).wake
    turn = await take(store)
    assert not turn.stop_requested
    assert turn.first.command is Command.STOP


async def test_new_opens_the_next_thread_and_keeps_the_old_one(store: Store) -> None:
    await store.inbox.ingest(message("1"))
    turn = await take(store)
    await store.turns.step(turn.lease, {"thread": "thread_1"}, lease_s=LEASE_S)
    await store.turns.finish(turn.lease)
    assert await store.conversations.thread(KEY) == "thread_1"
    await store.inbox.ingest(message("2", command=Command.NEW))
    await store.turns.finish((await take(store)).lease, new_thread=True)
    assert await store.conversations.thread(KEY) is None
    assert await store.conversations.earlier_threads(KEY) == ["thread_1"]
    await store.inbox.ingest(message("3"))
    assert (await take(store)).thread is None


async def test_the_sweep_names_what_is_due_once_per_interval(store: Store, raw: redis.asyncio.Redis) -> None:
    keys = [ConversationKey(f"telegram:1:{n}:-") for n in range(20)]
    for key in keys:
        await store.inbox.ingest(message(str(key), key=key))
    assert (await store.rounds.sweep(ALL, limit=50, again_s=5, late_s=60)).conversations == [], (
        "their wake-ups still have their chance"
    )
    seconds, _ = await raw.time()
    for name in await raw.keys("tw:{*}:due"):
        for member in await raw.zrange(name, 0, -1):
            await raw.zadd(str(name), {str(member): seconds * 1000 - GRACE_MS})
    found = await store.rounds.sweep(ALL, limit=50, again_s=5, late_s=60)
    assert (sorted(found.conversations), found.total) == (sorted(keys), 20)
    assert (await store.rounds.sweep(ALL, limit=50, again_s=5, late_s=60)).conversations == []
    assert (await take(store, keys[0])).batch, "being put off by a sweep does not keep anybody from the mail"


async def test_an_ended_lease_makes_the_conversation_due(store: Store) -> None:
    await store.inbox.ingest(message("1"))
    await take(store, lease_s=0.001)
    found: list[ConversationKey] = []
    while not found:
        found = (await store.rounds.sweep(ALL, limit=50, again_s=5, late_s=60)).conversations
    assert found == [KEY]


async def test_full_memory_refuses_mail_but_lets_accepted_work_finish(store: Store, raw: redis.asyncio.Redis) -> None:
    await store.inbox.ingest(message("1"))
    await raw.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreDown):
            await store.inbox.ingest(message("2"))
        turn = await take(store)
        await store.turns.step(turn.lease, {"run": "run_1"}, lease_s=LEASE_S)
        await store.turns.park(turn.lease, 0)
        turn = await take(store)
        for _ in range(2):  # whoever buried it may have died before it was finished
            await store.dead_letters.bury(turn, "turn", "why", 1)
        assert len(await store.dead_letters.of(KEY)) == 1
        assert await store.turns.finish(turn.lease) == 0
    finally:
        await raw.config_set("maxmemory", "0")
    assert (await store.inbox.ingest(message("2"))).outcome is Accepted.STORED


async def test_what_redis_refuses_for_now_is_store_down_in_a_pipeline_too(
    store: Store, raw: redis.asyncio.Redis
) -> None:
    """redis-py puts its own words in front of the error's; taken for a defect, it would end the heartbeat for good."""
    await store.inbox.ingest(message("1"))
    turn = await take(store)
    await raw.config_set("min-replicas-to-write", "1")
    try:
        with pytest.raises(StoreDown):
            await store.leases.renew([turn.lease], lease_s=LEASE_S)
        with pytest.raises(StoreDown):
            await store.turns.step(turn.lease, {}, lease_s=LEASE_S)
    finally:
        await raw.config_set("min-replicas-to-write", "0")


async def test_half_a_surrogate_pair_does_not_make_a_message_unstorable(store: Store) -> None:
    """JSON can hold one; refused, the platform would send it again and again, and nothing behind it."""
    assert (await store.inbox.ingest(message("1", "cut \ud83d"))).outcome is Accepted.STORED
    turn = await take(store)
    assert turn.first.text == "cut ?"
    await store.turns.step(turn.lease, {"t:1": "\udc00"}, lease_s=LEASE_S)


async def test_mail_that_cannot_be_read_is_handed_out_with_its_lease(store: Store, raw: redis.asyncio.Redis) -> None:
    """From a newer version, say. Read in vain again and again, the conversation would wait behind it for ever."""
    await store.inbox.ingest(message("1", "a secret"))
    (inbox,) = await raw.keys("tw:*:i:*")
    await raw.lset(inbox, 0, '1 m {"conversation": "a secret"}')
    with pytest.raises(MailUnreadable) as strange:
        await take(store)
    assert (strange.value.tries, "secret" in str(strange.value)) == (1, False)
    await store.dead_letters.bury_unreadable(strange.value)
    assert await store.turns.finish(strange.value.lease) == 0
    (letter,) = await store.dead_letters.of(KEY)
    assert (letter["stage"], letter["messages"]) == ("inbox", ['{"conversation": "a secret"}'])


async def test_an_evicting_redis_is_refused(store: Store, raw: redis.asyncio.Redis) -> None:
    assert await store.check_server() == []
    await raw.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with pytest.raises(SettingsInvalid, match=r"allkeys-lru.*noeviction"):
            await store.check_server()
    finally:
        await raw.config_set("maxmemory-policy", "noeviction")
    await raw.config_set("appendfsync", "everysec")
    try:
        assert any("appendfsync always" in warning for warning in await store.check_server())
    finally:
        await raw.config_set("appendfsync", "always")


async def test_a_redis_that_is_away_is_store_down() -> None:
    away = Store("unix:///nowhere/r.sock", timeout_s=0.2)
    assert not await away.ping()
    with pytest.raises(StoreDown):
        await away.inbox.ingest(message("1"))
    await away.close()


async def test_leader_roles_have_one_owner(store: Store) -> None:
    assert await store.leases.lead("poll", "a", ttl_s=30)
    assert not await store.leases.lead("poll", "b", ttl_s=30)
    assert await store.leases.lead("poll", "a", ttl_s=30), "renewed"
    await store.leases.resign("poll", "b")
    assert not await store.leases.lead("poll", "b", ttl_s=30), "nobody gives back what he does not have"
    await store.leases.resign("poll", "a")
    assert await store.leases.lead("poll", "b", ttl_s=30)


async def test_small_facts(store: Store) -> None:
    await store.conversations.remember(KEY, "colour", "green")
    assert await store.conversations.recall(KEY, None) == {"colour": "green"}
    assert await store.conversations.recall(KEY, "size") == {}
    await store.shared.set_definition("b", "a", Definition("asst_1", "f"))
    assert await store.shared.definition("b", "a") == Definition("asst_1", "f")
    await store.shared.set_definition("b", "a", None)
    assert await store.shared.definition("b", "a") is None
    await store.mailbox.put("ann", "hello")
    assert await store.mailbox.take("ann", 1) == "hello"


async def test_replies_wait_for_a_terminal_in_order_and_not_for_ever(store: Store, raw: redis.asyncio.Redis) -> None:
    await store.mailbox.put("ann", "1")
    await store.mailbox.put("ann", "2")
    assert 0 < await raw.ttl(mailbox("ann")) <= MAILBOX_S
    assert [await store.mailbox.take("ann", 1) for _ in range(2)] == ["1", "2"]


async def test_the_timeline_and_nudges_reach_their_listeners(store: Store) -> None:
    store.timeline.switch_on()
    seen: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    heard: asyncio.Queue[tuple[Nudge, ConversationKey]] = asyncio.Queue()

    async def follow() -> None:
        async for event in store.timeline.subscribe():
            seen.put_nowait(event)

    def hear(nudge: Nudge, conversation: ConversationKey) -> None:
        heard.put_nowait((nudge, conversation))

    followers = [asyncio.create_task(follow()), asyncio.create_task(store.nudges.listen(hear))]
    while seen.empty() or heard.empty():  # both begin "from now on", so the first ones may be missed
        store.timeline.record(KEY, "11", "queued", seq=1)
        await store.nudges.send(Nudge.MAIL, KEY)
        await asyncio.sleep(0.01)
    event = seen.get_nowait()
    assert (event["conversation"], event["message"], event["event"], event["detail"]) == (
        KEY,
        "11",
        "queued",
        {"seq": 1},
    )
    assert heard.get_nowait() == (Nudge.MAIL, KEY)
    for follower in followers:
        follower.cancel()
    await asyncio.gather(*followers, return_exceptions=True)


BRINGS_MAIL = {"ingest", "amend", "knock", "replay_dead"}


def test_every_script_tells_its_contract_and_only_new_mail_minds_a_full_memory() -> None:
    for path in (Path(gateway.store.__file__).parent / "lua").glob("*.lua"):
        text = path.read_text()
        assert re.search(rf"^-- {path.stem}\(KEYS: ", text, re.M), path.name
        assert ("allow-oom" in text.splitlines()[0]) == (path.stem not in BRINGS_MAIL), path.name
