"""Mail that waits: the platform's order, edits and deletions."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import redis.asyncio

from gateway.domain.adapter import Accepted
from gateway.domain.errors import StoreDown
from gateway.domain.messages import Amendment, Attachment, Command
from gateway.domain.turns import Phase
from gateway.store import Store, keys
from gateway.store.inbox import GRACE_MS, Ingested
from tests.redis.mail import KEY, LEASE_S, ids, message, put, rest, take, wait_for_turn, wait_is_on

WAITING = keys.inbox(KEY)


async def send(store: Store, name: str, order: int, command: Command | None = None) -> Ingested:
    return await store.inbox.ingest(message(name, command=command, order=order))


def edit(name: str, text: str | None, revision: int = 1) -> Amendment:
    return Amendment(KEY, name, text, revision)


# -- order -------------------------------------------------------------------------------------------------------------
async def test_what_waits_together_is_answered_in_the_platforms_order(store: Store) -> None:
    for name, order in (("3", 30), ("1", 10), ("4", 40), ("2", 20)):
        await send(store, name, order)
    assert ids(await take(store)) == ["1", "2", "3", "4"]


async def test_the_same_number_keeps_the_order_of_arrival(store: Store) -> None:
    for name in "abc":
        await send(store, name, 7)
    assert ids(await take(store)) == ["a", "b", "c"]


async def test_a_big_number_is_compared_exactly(store: Store) -> None:
    """Slack's ts in µs: sixteen digits."""
    await send(store, "2", 1_763_740_800_123_457)
    await send(store, "1", 1_763_740_800_123_456)
    assert ids(await take(store)) == ["1", "2"]


async def test_a_message_that_comes_late_is_not_put_before_the_turn_at_work(store: Store) -> None:
    await send(store, "5", 50)
    turn = await take(store)
    await send(store, "7", 70)
    await send(store, "4", 40)
    assert await store.turns.step(turn.lease, {"run": "run_1"}, lease_s=LEASE_S) is False
    assert await store.turns.finish(turn.lease) == 2
    assert await rest(store) == [["4", "7"]]


async def test_a_parked_turn_keeps_its_batch_as_well(store: Store) -> None:
    await send(store, "5", 50)
    await store.turns.park((await take(store)).lease, 0)
    await send(store, "4", 40)
    assert ids(await take(store)) == ["5"]


async def test_what_has_no_number_is_not_overtaken(store: Store) -> None:
    await send(store, "9", 90)
    await send(store, "button", 0, Command.HELP)
    await send(store, "8", 80)
    await send(store, "7", 70)
    assert await rest(store) == [["9"], ["button"], ["7", "8"]]


async def test_what_cannot_be_read_is_not_overtaken(store: Store, raw: redis.asyncio.Redis) -> None:
    await send(store, "9", 90)
    for strange in ("1 m not json", '1 m "json"', "not even an envelope"):
        await raw.lset(WAITING, 0, strange)
        await send(store, strange, 10)
        assert await raw.lindex(WAITING, 0) == strange
        await raw.ltrim(WAITING, 0, 0)


async def test_a_stop_that_was_sent_earlier_spares_what_overtook_it(store: Store) -> None:
    await send(store, "1", 10)
    turn = await take(store)
    await send(store, "4", 40)
    assert (await send(store, "3", 30, Command.STOP)).stop
    await send(store, "2", 20)
    assert await store.turns.finish(turn.lease, through_stop=True) == 1
    last = await take(store)
    assert (ids(last), last.stop_requested) == (["4"], False)


async def test_a_stop_with_nothing_before_it_stops_what_came_late(store: Store) -> None:
    """Two gateways, and /stop was stored first: the message was sent before it all the same."""
    await send(store, "2", 20, Command.STOP)
    await send(store, "1", 10)
    await send(store, "3", 30)
    stopped = await take(store)
    assert (ids(stopped), stopped.stop_requested) == (["1"], True)
    assert await store.turns.finish(stopped.lease, through_stop=True) == 1
    later = await take(store)
    assert (ids(later), later.stop_requested) == (["3"], False)


async def test_a_stop_that_overtakes_everything_stops_nothing(store: Store) -> None:
    await send(store, "2", 20)
    assert await send(store, "1", 10, Command.STOP) == Ingested(Accepted.STORED, 2, wake=False, stop=False)
    stop = await take(store)
    assert (ids(stop), stop.stop_requested) == (["1"], False)
    await store.turns.finish(stop.lease)
    assert not (await take(store)).stop_requested


async def test_of_two_stops_the_later_one_counts_not_the_one_that_came_later(store: Store) -> None:
    await send(store, "1", 10)
    turn = await take(store)
    await send(store, "3", 30)
    await send(store, "4", 40, Command.STOP)
    await send(store, "2", 20, Command.STOP)
    await send(store, "5", 50)
    assert await store.turns.finish(turn.lease, through_stop=True) == 1
    assert await rest(store) == [["5"]]


async def test_mail_for_a_held_conversation_is_told_apart(store: Store) -> None:
    assert not (await send(store, "1", 0)).mail, "nobody holds it"
    turn = await take(store)
    assert (await send(store, "2", 0)).mail
    assert not (await send(store, "3", 0, Command.HELP)).mail, "a command is a turn of its own"
    assert not (await send(store, "2", 0)).mail, "a duplicate"
    await store.turns.park(turn.lease, 60)
    assert not (await send(store, "4", 0)).mail, "parked: nobody holds it"


# -- edits -------------------------------------------------------------------------------------------------------------
async def test_an_edit_replaces_the_text_of_a_waiting_message(store: Store) -> None:
    files = (Attachment("image", "f1", size_bytes=2**53 + 1),)
    await store.inbox.ingest(message("1", "old", attachments=files, order=5))
    await put(store, "2")
    assert await store.inbox.amend(edit("1", 'neu 🙂 \n"x"'))
    turn = await take(store)
    assert turn.batch == [
        message("1", 'neu 🙂 \n"x"', attachments=files, order=5, revision=1),
        message("2"),
    ]
    assert turn.fresh[1].attachments == (), "an empty list is still a list"


async def test_what_a_newer_version_wrote_survives_an_edit(store: Store, raw: redis.asyncio.Redis) -> None:
    await put(store, "1")
    content = json.loads(message("1").to_json()) | {"mood": {}, "big": 2**60}
    await raw.lset(WAITING, 0, f"1 m {json.dumps(content)}")
    assert await store.inbox.amend(edit("1", "new", 9))
    kept = json.loads(str(await raw.lindex(WAITING, 0)).split(" ", 2)[2])
    assert kept == content | {"text": "new", "revision": 9}


async def test_an_older_edit_never_replaces_a_newer_one(store: Store) -> None:
    await put(store, "1")
    assert await store.inbox.amend(edit("1", "third", 3))
    assert not await store.inbox.amend(edit("1", "second", 2))
    assert await store.inbox.amend(edit("1", "third", 3)), "sent again: it reads so"
    assert (await take(store)).first.text == "third"


async def test_the_batch_of_a_turn_is_not_edited(store: Store) -> None:
    await put(store, "1", "2")
    turn = await take(store, max_batch=1)
    assert not await store.inbox.amend(edit("1", "too late"))
    assert not await store.inbox.amend(edit("1", None))
    assert await store.inbox.amend(edit("2", "in time"))
    await store.turns.park(turn.lease, 0)
    assert not await store.inbox.amend(edit("1", "too late")), "its run may exist"
    assert (await take(store)).first.text == "hi"


async def test_an_edit_of_what_does_not_wait_is_nothing(store: Store) -> None:
    assert not await store.inbox.amend(edit("1", "text"))
    assert not await store.inbox.amend(edit("1", None))
    await put(store, "1")
    await store.inbox.ingest(message("2", 'says "77"', message_id="3"))
    for name in ("77", "", "*", "2"):
        assert not await store.inbox.amend(edit(name, "text"))
        assert not await store.inbox.amend(edit(name, None))
    assert [m.text for m in (await take(store)).batch] == ["text", 'says "77"'], "the first edit came early"


async def test_an_amendment_that_overtakes_its_message_waits_for_it(store: Store) -> None:
    await store.inbox.amend(Amendment(KEY, "1", "newer", 2))
    await store.inbox.amend(Amendment(KEY, "1", "older", 1))
    await store.inbox.amend(edit("2", None))
    await put(store, "1", "2", "3")
    assert [m.text for m in (await take(store)).batch] == ["newer", "hi"]


async def test_an_amendment_is_not_lost_with_the_gateway_that_stored_its_message(
    store: Store, raw: redis.asyncio.Redis
) -> None:
    await put(store, "1")
    await raw.set(keys.amended(KEY, "1"), json.dumps({"text": "new", "revision": 5}), ex=600)
    await put(store, "1")
    assert [m.text for m in (await take(store)).batch] == ["new"]


async def test_messages_without_an_id_are_nobodys_to_edit(store: Store) -> None:
    await store.inbox.ingest(message("1", message_id=""))
    assert not await store.inbox.amend(edit("", "text"))
    assert not await store.inbox.amend(edit("", None))


async def test_a_command_is_not_edited_but_may_be_deleted(store: Store) -> None:
    await put(store, "1")
    await put(store, "2", command=Command.NEW)
    await put(store, "3", command=Command.STOP)
    assert not await store.inbox.amend(edit("2", "text"))
    assert not await store.inbox.amend(edit("3", None)), "it was heard already"
    assert await store.inbox.amend(edit("2", None))
    turn = await take(store)
    assert turn.stop_requested
    assert await store.turns.finish(turn.lease) == 1


async def test_an_edit_that_reads_like_a_command_only_changes_the_text(store: Store) -> None:
    await put(store, "1", "2")
    await store.inbox.amend(edit("2", "/new"))
    turn = await take(store)
    assert ([m.text for m in turn.batch], turn.batch[1].command) == (["hi", "/new"], None)


async def test_an_edit_looks_again_when_the_message_changed_meanwhile(
    store: Store, raw: redis.asyncio.Redis, redis_url: str
) -> None:
    """The script itself: it puts nothing in the place of an envelope that is not there like this any more."""
    await put(store, "1", "2")
    first, second = [str(envelope) for envelope in await raw.lrange(WAITING, 0, -1)]
    names: Any = [WAITING, keys.state(KEY)]
    assert await store.inbox._amend(names, [second, "2 m {}"]) == 1
    assert await store.inbox._amend(names, [second, "2 m 1"]) == 0, "changed meanwhile"
    await take(store, max_batch=1)
    assert await store.inbox._amend(names, [first, "1 m {}"]) == 0, "taken meanwhile"
    assert await raw.lrange(WAITING, 0, -1) == [first, "2 m {}"]


async def test_edits_that_meet_end_in_the_newest(store: Store) -> None:
    await put(store, "1")
    done = await asyncio.gather(*(store.inbox.amend(edit("1", f"edit {n}", n)) for n in (2, 4, 1, 3)))
    assert done[1]
    assert (await take(store)).first == message("1", "edit 4", revision=4)


# -- deletions ---------------------------------------------------------------------------------------------------------
async def test_a_deleted_message_is_gone_and_a_redelivery_does_not_bring_it_back(store: Store) -> None:
    await put(store, "1", "2", "3")
    assert await store.inbox.amend(edit("2", None, 0))
    assert not await store.inbox.amend(edit("2", None, 0)), "sent again"
    assert (await store.inbox.ingest(message("2"))).outcome is Accepted.DUPLICATE
    assert ids(await take(store)) == ["1", "3"]


async def test_an_edited_message_is_still_known(store: Store) -> None:
    await put(store, "1")
    await store.inbox.amend(edit("1", "new"))
    assert (await store.inbox.ingest(message("1"))).outcome is Accepted.DUPLICATE
    assert [m.text for m in (await take(store)).batch] == ["new"]


async def test_when_the_last_waiting_message_is_deleted_nobody_has_to_look(
    store: Store, raw: redis.asyncio.Redis
) -> None:
    await store.inbox.ingest(message("1"), debounce_s=60)
    assert await wait_is_on(store)
    assert await store.inbox.amend(edit("1", None))
    assert await raw.exists(WAITING, keys.due(keys.partition(KEY))) == 0
    assert await store.leases.acquire(KEY, lease_s=LEASE_S) is None
    assert (await store.inbox.ingest(message("2"))).wake
    assert ids(await take(store)) == ["2"], "the burst of a message that is gone is over"


async def test_a_deletion_beside_a_turn_at_work_leaves_its_due_entry(store: Store, raw: redis.asyncio.Redis) -> None:
    await put(store, "1")
    turn = await take(store)
    await put(store, "2")
    assert await store.inbox.amend(edit("2", None))
    assert await raw.zscore(keys.due(keys.partition(KEY)), KEY) is not None
    assert await store.turns.finish(turn.lease) == 0
    assert await raw.zscore(keys.due(keys.partition(KEY)), KEY) is None


async def test_a_deletion_before_a_stop_leaves_the_stop(store: Store) -> None:
    await put(store, "1")
    turn = await take(store)
    await put(store, "2")
    await put(store, "3", command=Command.STOP)
    await put(store, "4")
    await store.inbox.amend(edit("2", None))
    assert await store.turns.finish(turn.lease, through_stop=True) == 1
    assert await rest(store) == [["4"]]


async def test_a_full_redis_refuses_an_edit_but_never_a_deletion(store: Store, raw: redis.asyncio.Redis) -> None:
    await put(store, "1", "2")
    await raw.config_set("maxmemory", "1")
    try:
        with pytest.raises(StoreDown):
            await store.inbox.amend(edit("1", "new"))
        assert await store.inbox.amend(edit("2", None))
    finally:
        await raw.config_set("maxmemory", "0")
    assert await store.inbox.amend(edit("1", "new")), "sent again"
    assert [m.text for m in (await take(store)).batch] == ["new"]


async def test_an_edit_reaches_what_waits_behind_a_dead_worker(store: Store) -> None:
    await put(store, "1")
    dead = await take(store, lease_s=0.001)
    await store.turns.step(dead.lease, {"phase": Phase.RUNNING, "run": "run_1"}, lease_s=0.001)
    await put(store, "2")
    assert await store.inbox.amend(edit("2", "new"))
    await store.turns.finish((await wait_for_turn(store)).lease)
    assert (await take(store)).first.text == "new"


async def test_a_burst_is_not_shortened_by_order(store: Store, raw: redis.asyncio.Redis) -> None:
    await store.inbox.ingest(message("2", order=20), debounce_s=60)
    await send(store, "1", 10)
    due = await raw.zscore(keys.due(keys.partition(KEY)), KEY)
    until = await raw.hget(keys.state(KEY), "until")
    assert await wait_is_on(store)
    assert due == float(str(until)) + GRACE_MS
