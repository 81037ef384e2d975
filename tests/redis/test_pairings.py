"""Pairing codes and refusals on a real Redis: one code lets one person in, one refusal is told once."""

from __future__ import annotations

import asyncio

import pytest
import redis.asyncio

from gateway.access import CODE_LIFE_S, fingerprint, new_code
from gateway.domain.errors import StoreDown
from gateway.store import Store
from gateway.store.pairings import GUESSES_S, MAX_GUESSES, TOLD_S, Knock, Paired

ANN, BOB = "telegram:user:1", "slack:user:T0EX:U0BOB"


async def a_code(store: Store) -> str:
    """The fingerprint of a fresh code."""
    code = fingerprint(new_code())
    await store.pairings.add_code(code, life_s=CODE_LIFE_S)
    return code


async def test_a_code_pairs_one_person_once(store: Store) -> None:
    code = await a_code(store)
    assert await store.pairings.knock(ANN, "e1") is Knock.REFUSED
    assert await store.pairings.knock(ANN, "e2", code=code, name="Ann") is Knock.PAIRED
    assert await store.pairings.knock(ANN, "e3") is Knock.IN
    assert await store.pairings.knock(BOB, "e4", code=code) is Knock.WRONG_CODE
    assert [(paired.person, paired.name) for paired in await store.pairings.all()] == [(ANN, "Ann")]


async def test_of_many_who_send_a_code_at_once_one_gets_in(redis_url: str) -> None:
    stores = [Store(redis_url) for _ in range(4)]
    try:
        for _ in range(10):
            code = await a_code(stores[0])
            people = [f"telegram:user:{number}" for number in range(1, 21)]
            knocks = [
                stores[number % 4].pairings.knock(person, f"e{number}", code=code)
                for number, person in enumerate(people)
            ]
            answers = await asyncio.gather(*knocks)
            assert answers.count(Knock.PAIRED) == 1
            (paired,) = await stores[0].pairings.all()
            assert await stores[0].pairings.revoke(paired.person)
    finally:
        await asyncio.gather(*(store.close() for store in stores))


async def test_a_message_that_comes_again_gets_the_same_answer(store: Store) -> None:
    """The gateway may have died between the decision and the word to the person."""
    code = await a_code(store)
    assert [await store.pairings.knock(BOB, "e1") for _ in range(2)] == [Knock.REFUSED] * 2
    assert await store.pairings.knock(BOB, "e2") is Knock.SILENT
    assert [await store.pairings.knock(ANN, "e3", code=code) for _ in range(2)] == [Knock.PAIRED] * 2
    assert await store.pairings.knock(ANN, "e4", code=await a_code(store)) is Knock.IN, "another code is not used up"


async def test_of_many_messages_at_once_one_is_told(store: Store) -> None:
    answers = await asyncio.gather(*(store.pairings.knock(ANN, f"e{number}") for number in range(20)))
    assert sorted(answers) == [Knock.REFUSED, *[Knock.SILENT] * 19]


async def test_who_is_not_to_be_told_is_not_counted_as_told(store: Store) -> None:
    assert await store.pairings.knock(ANN, "e1", tell=False) is Knock.SILENT
    assert await store.pairings.knock(ANN, "e2") is Knock.REFUSED


async def test_codes_counts_and_refusals_end(store: Store, raw: redis.asyncio.Redis) -> None:
    code = await a_code(store)
    await store.pairings.knock(ANN, "e1")
    await store.pairings.knock(ANN, "e2", code="wrong")
    lives = {name: await raw.ttl(name) for name in await raw.keys("tw:{access}:*")}
    wanted = {f"code:{code}": CODE_LIFE_S, f"told:{ANN}": TOLD_S, f"guesses:{ANN}": GUESSES_S}
    assert lives.keys() == {f"tw:{{access}}:{name}" for name in wanted}
    for name, life in wanted.items():
        assert life - 5 <= lives[f"tw:{{access}}:{name}"] <= life
    await raw.pexpire(f"tw:{{access}}:code:{code}", 1)
    while await raw.exists(f"tw:{{access}}:code:{code}"):
        pass
    assert await store.pairings.knock(ANN, "e3", code=code) is Knock.WRONG_CODE
    await raw.delete(f"tw:{{access}}:told:{ANN}")
    assert await store.pairings.knock(ANN, "e4") is Knock.REFUSED, "a day later it is told again"


async def test_who_guesses_is_not_listened_to_any_more(store: Store, raw: redis.asyncio.Redis) -> None:
    answers = [await store.pairings.knock(ANN, f"e{n}", code=f"guess {n}") for n in range(MAX_GUESSES + 2)]
    assert answers == [*[Knock.WRONG_CODE] * (MAX_GUESSES - 1), Knock.TOO_MANY_CODES, Knock.SILENT, Knock.SILENT]
    code = await a_code(store)
    assert await store.pairings.knock(ANN, "right", code=code) is Knock.SILENT
    assert await store.pairings.knock(BOB, "other", code=code) is Knock.PAIRED, "others are not punished for it"
    await raw.delete(f"tw:{{access}}:guesses:{ANN}")
    assert await store.pairings.knock(ANN, "later", code=await a_code(store)) is Knock.PAIRED


async def test_a_revoked_person_is_out_and_may_be_paired_anew(store: Store) -> None:
    code = await a_code(store)
    await store.pairings.knock(ANN, "e0")
    await store.pairings.knock(ANN, "e1", code=code)
    assert [await store.pairings.revoke(ANN) for _ in range(2)] == [True, False]
    assert await store.pairings.all() == []
    assert await store.pairings.knock(ANN, "e2", code=code) is Knock.WRONG_CODE, "a used code does not come back"
    assert await store.pairings.knock(ANN, "e3") is Knock.REFUSED
    assert await store.pairings.knock(ANN, "e4", code=await a_code(store)) is Knock.PAIRED


async def test_where_there_is_no_pairing_who_is_paired_does_not_count(store: Store) -> None:
    await store.pairings.knock(ANN, "e1", code=await a_code(store))
    assert await store.pairings.knock(ANN, "e2", pairing=False) is Knock.REFUSED


async def test_the_list_is_newest_first_and_tells_no_code(store: Store, raw: redis.asyncio.Redis) -> None:
    assert await store.pairings.all() == []
    await raw.hset("tw:{access}:paired", ANN, '{"at_ms": 5, "name": "Ännchen \\u202e", "code": "c"}')
    await store.pairings.knock(BOB, "e1", code=await a_code(store), name='quo"te')
    newest, oldest = await store.pairings.all()
    assert (newest.person, newest.name) == (BOB, 'quo"te')
    assert oldest == Paired(ANN, "Ännchen \u202e", 5)
    seconds, micros = await raw.time()
    assert 0 <= seconds * 1000 + micros // 1000 - newest.at_ms < 10_000


async def test_a_full_redis_lets_nobody_in_and_can_still_revoke(store: Store, raw: redis.asyncio.Redis) -> None:
    code = await a_code(store)
    await store.pairings.knock(BOB, "e1", code=await a_code(store))
    await raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(StoreDown):
            await store.pairings.knock(ANN, "e2", code=code)
        assert await store.pairings.revoke(BOB)
    finally:
        await raw.config_set("maxmemory", 0)
    assert await store.pairings.knock(ANN, "e2", code=code) is Knock.PAIRED, "the code was not used up"
