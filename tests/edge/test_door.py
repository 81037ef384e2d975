"""The door and the intake on a real Redis: who is let in, what is kept of who is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis.asyncio

from gateway.access import CODE_LIFE_S, fingerprint, new_code
from gateway.domain.adapter import Accepted
from gateway.domain.messages import Amendment, Command, ConversationKey, InboundMessage, Origin, Refusal
from gateway.domain.pacing import SystemClock
from gateway.domain.turns import Turn
from gateway.door import REMEMBER_S, Door
from gateway.intake import Intake
from gateway.settings import load
from gateway.store import Store
from gateway.store.inbox import INBOX_CAP

ANN, BOB = "telegram:user:1", "telegram:user:2"
DM = ConversationKey("telegram:9:1:-")


class NobodyToWake:
    """No worker is there."""

    def wake_turn(self, conversation: ConversationKey) -> None:
        """Nobody hears it."""


class Moments(SystemClock):
    """A clock that stands still until somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


class House:
    """A gateway's intake with its door, and a second gateway beside it."""

    def __init__(self, redis_url: str, folder: Path, mode: str, table: str = "") -> None:
        (folder / "threadway.toml").write_text(f"[access]\n{table}")
        settings = load({"THREADWAY_ACCESS": mode} if mode else {}, folder)
        self.store = Store(redis_url)
        self.clock = Moments()
        self.door = Door(settings, self.store.pairings, self.clock)
        self.intake = Intake(self.store, NobodyToWake(), door=self.door)
        self.neighbour = Intake(self.store, NobodyToWake(), door=Door(settings, self.store.pairings, Moments()))
        self._number = 0

    def message(
        self, text: str, person: str = ANN, *places: str, direct: bool = True, key: ConversationKey = DM
    ) -> InboundMessage:
        """What somebody writes."""
        self._number += 1
        origin = Origin(person, places, direct=direct)
        name = f"9:{self._number}"
        return InboundMessage(key, (name,), text, person.rpartition(":")[2], message_id=name, origin=origin)

    async def waiting(self, key: ConversationKey = DM) -> list[InboundMessage]:
        """Everything in the inbox, taken out."""
        found = []
        while isinstance(turn := await self.store.leases.acquire(key, lease_s=10), Turn):
            found += turn.batch
            await self.store.turns.finish(turn.lease)
        return found

    async def code(self) -> str:
        """A fresh pairing code."""
        code = new_code()
        await self.store.pairings.add_code(fingerprint(code), life_s=CODE_LIFE_S)
        return code


@pytest.fixture
async def pairing(redis_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """Whoever is not paired has to bring a code."""
    house = House(redis_url, tmp_path, "pairing", f'allow = ["{BOB}"]\n')
    yield house
    await house.store.close()


async def kept(raw: redis.asyncio.Redis) -> str:
    """Everything that Redis holds, as one text."""
    words = []
    for name in await raw.keys("*"):
        kind = await raw.type(name)
        read = {"string": raw.get, "hash": raw.hgetall, "list": lambda n: raw.lrange(n, 0, -1)}
        value = await read[kind](name) if kind in read else await raw.zrange(name, 0, -1)  # type: ignore[no-untyped-call]
        words.append(f"{name!s} {value!r}")
    return "\n".join(words)


@pytest.fixture
async def raw(redis_url: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis.from_url(redis_url, decode_responses=True)
    yield client
    await client.aclose()


async def test_a_stranger_is_told_once_and_nothing_they_wrote_is_kept(pairing: House, raw: redis.asyncio.Redis) -> None:
    first = replace(pairing.message("sesame one"), author_name="Sesame Street", more_follows=True)
    assert [await pairing.intake.accept(first) for _ in range(2)] == [Accepted.REFUSED] * 2
    assert await pairing.neighbour.accept(first) is Accepted.REFUSED
    assert await pairing.neighbour.accept(pairing.message("sesame two")) is Accepted.REFUSED
    edit = Amendment(DM, first.message_id, "sesame three", 1, first.origin)
    assert await pairing.intake.accept(edit) is Accepted.REFUSED
    assert "sesame" not in (await kept(raw)).lower()
    (word,) = await pairing.waiting()
    assert (word.command, word.argument, word.text) == (Command.REFUSED, Refusal.NOT_PAIRED, "")
    assert (word.event_id, word.origin.person) == (first.event_id, ANN)


async def test_a_refused_deletion_deletes_nothing_of_others_and_is_no_trouble(pairing: House) -> None:
    said = pairing.message("hello", BOB)
    await pairing.intake.accept(said)
    await pairing.intake.accept(Amendment(DM, "elsewhere", None, 1))
    assert [found.text for found in await pairing.waiting()] == ["hello"]


async def test_an_edit_is_refused_in_silence(pairing: House) -> None:
    """It may overtake its message, which is what the author is told about."""
    said = pairing.message("hello")
    assert await pairing.intake.accept(Amendment(DM, said.message_id, "hallo", 1, said.origin)) is Accepted.REFUSED
    assert await pairing.waiting() == []
    await pairing.intake.accept(said)
    assert [word.command for word in await pairing.waiting()] == [Command.REFUSED]


async def test_a_gateway_that_dies_over_a_pairing_makes_up_for_it(pairing: House) -> None:
    sent = pairing.message(await pairing.code())
    words = [await pairing.door.judge(sent), await pairing.door.judge(sent)]
    assert [isinstance(word, InboundMessage) and word.command for word in words] == [Command.PAIRED] * 2


@pytest.mark.parametrize("form", ["{}", "/start {}", "!start {}", "payload"])
async def test_a_code_lets_in_at_once_everywhere(pairing: House, form: str) -> None:
    assert await pairing.intake.accept(pairing.message("hello")) is Accepted.REFUSED
    code = await pairing.code()
    sent = pairing.message(form.format(code))
    if form == "payload":
        sent = replace(sent, text=f"/start {code}", command=Command.START, argument=code)
    assert await pairing.intake.accept(sent) is Accepted.STORED
    assert await pairing.intake.accept(sent) is Accepted.DUPLICATE, "as if the platform had sent it again"
    assert await pairing.neighbour.accept(pairing.message("here I am")) is Accepted.STORED
    assert await pairing.intake.accept(pairing.message("in a group", ANN, "telegram:chat:-5", direct=False)) is (
        Accepted.STORED
    )
    refused, paired, *said = await pairing.waiting()
    assert (refused.command, paired.command, paired.text) == (Command.REFUSED, Command.PAIRED, "")
    assert [found.text for found in said] == ["here I am", "in a group"]


async def test_a_code_is_not_taken_where_others_read_along_or_from_a_chat(pairing: House) -> None:
    code = await pairing.code()
    await pairing.intake.accept(pairing.message(code, ANN, "telegram:chat:-5", direct=False))
    await pairing.intake.accept(pairing.message(code, "telegram:chat:-5"))
    assert await pairing.store.pairings.all() == []
    assert [word.argument for word in await pairing.waiting()] == [Refusal.NOT_PAIRED] * 2
    assert await pairing.intake.accept(pairing.message(code)) is Accepted.STORED, "it was not used up"


async def test_wrong_codes_are_told_until_there_are_too_many(pairing: House) -> None:
    for _ in range(8):
        assert await pairing.intake.accept(pairing.message(new_code())) is Accepted.REFUSED
    assert [word.argument for word in await pairing.waiting()] == [
        *[Refusal.WRONG_CODE] * 4,
        Refusal.TOO_MANY_CODES,
    ]


async def test_who_was_paired_is_asked_for_once_in_a_while_and_a_revocation_holds_within_seconds(
    pairing: House, raw: redis.asyncio.Redis
) -> None:
    async def looks() -> int:
        stats = await raw.info("commandstats")
        return int(stats.get("cmdstat_evalsha", {}).get("calls", 0))

    await pairing.intake.accept(pairing.message(await pairing.code()))
    before = await looks()
    for number in range(10):
        assert await pairing.door.judge(pairing.message(f"n{number}")) is not None
    assert await looks() == before
    assert await pairing.store.pairings.revoke(ANN)
    await pairing.clock.sleep(REMEMBER_S)
    word = await pairing.door.judge(pairing.message("still here?"))
    assert isinstance(word, InboundMessage)
    assert word.command is Command.REFUSED
    assert await looks() == before + 1


async def test_one_look_at_redis_at_most(pairing: House, raw: redis.asyncio.Redis) -> None:
    async def looks() -> int:
        return int((await raw.info("commandstats"))["cmdstat_evalsha"]["calls"])

    await pairing.door.judge(pairing.message("loads the script"))
    for mail, most in (
        (pairing.message("listed", BOB), 0),
        (pairing.message("stranger"), 1),
        (pairing.message(new_code()), 1),
    ):
        before = await looks()
        await pairing.door.judge(mail)
        assert await looks() - before == most


async def test_what_is_said_to_nobody_is_refused_in_silence(pairing: House) -> None:
    message = pairing.message("among ourselves", ANN, "slack:channel:T0:C0", direct=False)
    aside = replace(message, origin=replace(message.origin, addressed=False))
    assert await pairing.intake.accept(aside) is Accepted.REFUSED
    assert await pairing.waiting() == []
    assert await pairing.intake.accept(pairing.message("to you!")) is Accepted.REFUSED
    assert [word.command for word in await pairing.waiting()] == [Command.REFUSED]


async def test_a_refusal_holds_nobody_up_where_the_inbox_is_full(pairing: House) -> None:
    for number in range(INBOX_CAP + INBOX_CAP // 25):
        command = Command.HELP if number >= INBOX_CAP else None
        await pairing.intake.accept(replace(pairing.message("flood", BOB), command=command))
    assert await pairing.intake.accept(replace(pairing.message("more", BOB), command=Command.HELP)) is Accepted.FULL
    assert await pairing.intake.accept(pairing.message("let me in")) is Accepted.REFUSED


async def test_an_allowlist_lets_in_the_named_only(redis_url: str, tmp_path: Path) -> None:
    house = House(redis_url, tmp_path, "", f'mode = "allowlist"\nallow = ["telegram:chat:-5"]\nadmins = ["{BOB}"]\n')
    try:
        assert await house.intake.accept(house.message("a", BOB)) is Accepted.STORED
        assert await house.intake.accept(house.message("b", ANN, "telegram:chat:-5", direct=False)) is Accepted.STORED
        assert await house.intake.accept(house.message(await house.code())) is Accepted.REFUSED
        *_, word = await house.waiting()
        assert (word.command, word.argument) == (Command.REFUSED, Refusal.NOT_LISTED)
        assert (house.door.is_admin(BOB), house.door.is_admin(ANN)) == (True, False)
    finally:
        await house.store.close()


@pytest.mark.parametrize("mode", ["pairing", "allowlist"])
async def test_an_adapter_that_names_nobody_lets_in_nobody_and_the_terminal_everybody(
    redis_url: str, tmp_path: Path, mode: str
) -> None:
    house = House(redis_url, tmp_path, mode)
    try:
        for key, outcome in (("irc:ann", Accepted.REFUSED), ("console:ann", Accepted.STORED)):
            nameless = replace(house.message("hello", key=ConversationKey(key)), origin=Origin())
            assert await house.intake.accept(nameless) is outcome
        (word,) = await house.waiting(ConversationKey("irc:ann"))
        assert word.origin.person == "irc:user:1"
    finally:
        await house.store.close()


async def test_open_asks_redis_nothing(redis_url: str, tmp_path: Path, raw: redis.asyncio.Redis) -> None:
    house = House(redis_url, tmp_path, "")
    try:
        mail = house.message("hello")
        assert await house.door.judge(mail) is mail
        assert await raw.dbsize() == 0
        assert await asyncio.gather(*(house.intake.accept(house.message("hi")) for _ in range(3)))
    finally:
        await house.store.close()
