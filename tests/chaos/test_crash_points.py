"""A real process dies at each named point of the story, on both platforms; another one loses and doubles nothing.

Cases run side by side, each in a place of its own (tests/chaos/arena.py): a test begins the next ones, too, and waits
for its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from gateway.lab.client import Platform
from tests.chaos.arena import Arena, open_arena
from tests.chaos.invariants import check
from tests.chaos.points import POINTS, TWICE, Passage
from tests.chaos.scenarios import SCENARIOS
from tests.chaos.stage import Stage

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]

AT_ONCE = 8
AHEAD = 12
"""Cases that are begun before their own test: one that takes long must not leave the others idle."""
CASE_S = 50.0
SETTINGS = """
[[assistants]]
name = "assistant"
tools = ["tests.chaos.counted:calculator"]
[conversations]
while_running = "{while_running}"
[delivery]
telegram = "{mode}"
"""


@dataclass(frozen=True, slots=True)
class Case:
    """Who dies where, in which scenario."""

    scenario: str
    platform: Platform
    arms: tuple[str, ...] = ()
    mode: str = "notice"
    late: bool = False
    webhook: bool = False

    def __str__(self) -> str:
        arms = " then ".join(self.arms) or "nobody dies"
        more = "".join([f" {self.mode}" * (self.mode != "notice"), " late" * self.late, " by webhook" * self.webhook])
        return f"{self.platform} {self.scenario}: {arms}{more}"


def cases() -> list[Case]:
    """Each scenario without a death; each point on each platform; some points twice in a row."""
    dying = [case for point, passages in POINTS.items() for passage in passages for case in _at(point, passage)]
    twice = [
        replace(case, arms=(*case.arms, point), late=not case.late)
        for point in TWICE
        for case in dying
        if case.arms[-1].partition(":")[0] == point
    ]
    unharmed = [Case(case.scenario, case.platform, mode=case.mode, webhook=case.webhook) for case in dying]
    return [*dict.fromkeys(unharmed), *dying, *twice]


def _at(point: str, passage: Passage) -> list[Case]:
    """The successor is late on Slack, which can be asked what arrived; and where no other passage would have it so."""
    arms = (*filter(None, (passage.after,)), f"{point}:{passage.nth}" if passage.nth > 1 else point)
    never_on_slack = not any("slack" in other.on for other in POINTS[point])
    return [
        Case(passage.scenario, platform, arms, passage.mode, platform == "slack" or never_on_slack, passage.webhook)
        for platform in passage.on
    ]


CASES = cases()


class Programme:
    """Plays the cases in their order, some at once."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._free = asyncio.Semaphore(AT_ONCE)
        self._begun: dict[Case, asyncio.Task[None]] = {}

    async def outcome(self, case: Case, wanted: list[Case]) -> None:
        """Play `case` and begin those after it. Raises AssertionError with the history of the conversation."""
        for coming in wanted[wanted.index(case) :][:AHEAD]:
            if coming not in self._begun:
                self._begun[coming] = asyncio.create_task(self._play(coming))
        await self._begun[case]

    async def end(self) -> None:
        """Stop what nobody waits for any more."""
        for task in self._begun.values():
            task.cancel()
        await asyncio.gather(*self._begun.values(), return_exceptions=True)

    async def _play(self, case: Case) -> None:
        scenario = SCENARIOS[case.scenario]
        settings = SETTINGS.format(while_running=scenario.while_running, mode=case.mode)
        async with self._free, self._arena.place(case.platform, settings, webhook=case.webhook) as place:
            stage = Stage(place, case.arms, late=case.late)
            try:
                async with asyncio.timeout(CASE_S):
                    await stage.open()
                    await scenario.play(stage)
                    await place.kept.idle()
                    await place.say("after")
                    await place.kept.idle()
                    there = sum(m["role"] == "user" for thread in place.backend.threads.values() for m in thread)
                    stage.expect(f"echo {there}: after", said="after")
                    await check(stage, mode=case.mode)
            except Exception as failed:
                why = str(failed) or ("too slow" if isinstance(failed, TimeoutError) else repr(failed))
                raise AssertionError(f"{why}\n{await place.history()}") from failed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def programme() -> AsyncIterator[Programme]:
    """The arena and what is played in it; everything ends with the module."""
    async with open_arena() as arena:
        running = Programme(arena)
        yield running
        await running.end()


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_who_dies_leaves_nothing_lost_and_nothing_doubled(
    case: Case, programme: Programme, request: pytest.FixtureRequest
) -> None:
    items = [item for item in request.session.items if item.path == request.path]
    await programme.outcome(case, [item.callspec.params["case"] for item in items])  # type: ignore[attr-defined]
