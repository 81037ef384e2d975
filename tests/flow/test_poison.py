"""A message that kills every worker that takes it up: five lives, then it is put aside, and nobody else is hurt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.flow.processes import until
from tests.flow.talks import OPTIONS, Stack, Talk, stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow, pytest.mark.timeout(240)]

TOOL = '''
import os

from workers.tools import tool


@tool(repeatable=True)
def calculator(expression: str) -> str:
    """Kills its worker."""
    os._exit(1)
'''
LIVES = 5


@dataclass
class Aftermath:
    """What is there when the message has had its five workers."""

    at: Stack
    victim: Talk
    """Whose message it was."""
    other: Talk
    """Somebody who was answered in each life."""
    patient: Talk
    """Somebody whose run lasted through all of it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def aftermath(redis_socket: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Aftermath]:
    """The story is told once, in database 2, which no other test empties; the tests look at what came of it."""
    folder = tmp_path_factory.mktemp("poison")
    (folder / "mytools.py").write_text(TOOL)
    config = '[[assistants]]\nname = "deadly"\ntools = ["mytools:calculator"]\n'
    async with stack(folder, f"unix://{redis_socket}?db=2", config, workers=0, THREADWAY_LEASE_S="1") as at:
        supervisor = asyncio.create_task(_supervise(at))
        try:
            yield await _five_lives(at)
        finally:
            supervisor.cancel()
            await asyncio.gather(supervisor, return_exceptions=True)


async def _five_lives(at: Stack) -> Aftermath:
    told = Aftermath(at, at.telegram(), at.slack(), at.telegram())
    await told.patient.say("never")
    await told.victim.say("tool 1+1")
    for life in range(1, LIVES + 1):
        await told.other.say(f"hello {life}")
        await told.other.hears(f"echo {life}: hello {life}")
        await _died(at, life)
    await told.victim.hears("was put aside for the operator")
    return told


async def test_it_is_put_aside_after_five_tries_told_once_and_the_conversation_goes_on(aftermath: Aftermath) -> None:
    at, victim = aftermath.at, aftermath.victim
    letters = [each for each in await at.store.dead_letters.all() if each["conversation"] == victim.conversation]
    assert [letter["stage"] for letter in letters] == ["turn"]
    await victim.say("hello")
    await victim.hears("echo 2: hello")
    assert len(await victim.shown()) == 2
    assert len(at.workers) == LIVES + 1, "nobody has died of it since"


async def test_the_others_of_its_workers_are_answered(aftermath: Aftermath) -> None:
    """In each life: the story itself; and afterwards."""
    await aftermath.other.say("hello")
    await aftermath.other.hears(f"echo {LIVES + 1}: hello")
    assert len(await aftermath.other.shown()) == LIVES + 1
    letters = await aftermath.at.store.dead_letters.all()
    assert aftermath.other.conversation not in [letter["conversation"] for letter in letters]


async def test_a_run_that_only_waited_beside_it_is_not_taken_for_the_culprit(aftermath: Aftermath) -> None:
    await aftermath.patient.say("/stop")
    await aftermath.patient.hears("Stopped.")
    assert await aftermath.patient.shown() == ["Stopped."]


async def _supervise(at: Stack) -> None:
    """Start a worker whenever the one before has died."""
    while True:
        worker = await at.fleet.start("worker", ["-m", "gateway", "worker", *OPTIONS])
        at.workers.append(worker)
        assert await worker.process.wait() == 1


async def _died(at: Stack, life: int) -> None:
    """Return when so many workers have ended."""

    async def dead() -> bool:
        return sum(worker.process.returncode is not None for worker in at.workers) >= life

    await until(dead)
