"""Does a flooded conversation delay the others? The same people ask the same worker, with and without the flood."""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.front import PATIENCE_S, Front, conversation_of, front
from bench.results import Result, Row
from bench.scratch import fleet, scratch
from gateway.domain.messages import Command
from tests.flow.processes import until

SLOTS = 50
PEOPLE = 20
RUN = "slow 0.2"
"""What makes the server take 0.2 s for its answer."""
THINKING_S = (0.2, 0.6)
"""How long a person reads a reply before asking again: the conversation is at rest by then and needs a wake-up, and the
worker has something to do, but cores to spare."""
FLOOD = 500
"""Messages of the flood: as many as an inbox takes."""
POURERS = 20
"""Messages of the flood that are handed in at the same time."""
FLOODED = "flooded"
ROUNDS = 4
ROUND_S = 2.5
"""A round's last question is asked before this time is over; the flood needs about three times as long."""


@dataclass(frozen=True, slots=True)
class Answered:
    """How long a person waited for one reply."""

    accepted_s: float
    """From handing the question in to its acceptance, when a platform would get its acknowledgement."""
    replied_s: float
    """From then until the reply was there."""


async def run(size: int) -> Result:
    """People ask, at most `size` questions a round, in turns alone and while a flood is worked off.

    Raises ThreadwayError where something takes longer than PATIENCE_S; AssertionError when a process ended too early, a
    reply is wrong, or the flood did not last until the end of its round.
    """
    alone: list[Answered] = []
    beside: list[Answered] = []
    async with (
        scratch() as (folder, url),
        fleet(folder, url) as processes,
        processes.backend(),
        front(folder, url) as gateway,
    ):
        await processes.worker("-c", str(SLOTS))
        await _round(gateway, size)  # not counted: the assistant's definition and the threads are made
        for _ in range(ROUNDS):
            alone += await _round(gateway, size)
            beside += await _flooded_round(gateway, size)
    bare = f"itself while nobody floods it with {FLOOD} messages"
    return Result("fairness", size, bare, tuple(_rows(beside, alone)))


def _rows(beside: list[Answered], alone: list[Answered]) -> Iterator[Row]:
    replied = [sorted(1000 * answered.replied_s for answered in side) for side in (beside, alone)]
    accepted = [sorted(1000 * answered.accepted_s for answered in side) for side in (beside, alone)]

    def row(what: str, figure: Callable[[list[float]], float], sides: list[list[float]]) -> Row:
        ours, bare = (figure(side) for side in sides)
        return Row(what, ours, bare, "lower")

    yield row("ms from acceptance to reply, mean", statistics.fmean, replied)
    yield row("the same, median", statistics.median, replied)
    yield row("the same, 99th percentile", _percentile_99, replied)
    yield row("ms from handing in to acceptance, mean", statistics.fmean, accepted)
    yield row("the same, 99th percentile", _percentile_99, accepted)


def _percentile_99(ascending: list[float]) -> float:
    return ascending[99 * len(ascending) // 100]


async def _round(gateway: Front, size: int) -> list[Answered]:
    """What became of each question, in the order of the replies."""
    answered: list[Answered] = []
    numbers = iter(range(size))
    end = time.monotonic() + ROUND_S

    async def person(name: str) -> None:
        await _think()  # else all of them would begin together
        for number in numbers:
            if time.monotonic() >= end:
                return
            question = f"{RUN} {name} {number}"
            asked = time.monotonic()
            await gateway.say(name, question)
            accepted = time.monotonic()
            reply = await gateway.heard(name)
            answered.append(Answered(accepted - asked, time.monotonic() - accepted))
            assert reply.endswith(f": {question}"), f"{question!r} was answered with {reply!r}"
            await _think()

    await asyncio.gather(*(person(f"p{number}") for number in range(min(PEOPLE, size))))
    return answered


async def _think() -> None:
    await asyncio.sleep(random.uniform(*THINKING_S))


async def _flooded_round(gateway: Front, size: int) -> list[Answered]:
    """A round while another conversation is flooded, and not through with it at the round's end.

    What is left then is stopped, which nobody measures.
    """
    numbers = iter(range(FLOOD))

    async def pour() -> None:
        for number in numbers:
            await gateway.say(FLOODED, f"{RUN} {number}")

    flood = asyncio.gather(*(pour() for _ in range(POURERS)))
    answered, _ = await asyncio.gather(_round(gateway, size), flood)
    assert await _left(gateway), "the flood was worked off before its round was over"
    await gateway.say(FLOODED, "/stop", Command.STOP)

    async def over() -> bool:
        return not await _left(gateway)

    await until(over, PATIENCE_S)
    return answered


async def _left(gateway: Front) -> int:
    return await gateway.store.inbox.waiting(conversation_of(FLOODED))
