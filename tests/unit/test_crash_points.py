"""The list of crash points is complete: no await of the story without one, no point without its scenario."""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest

from tests.chaos.points import POINTS
from tests.chaos.story import TOLD_TO_HAVE_POINTS, Story, read_story

STORY = read_story()


def test_every_await_of_the_story_has_a_point() -> None:
    assert STORY.faults() == []


def test_the_modules_of_the_story_have_points() -> None:
    with_points = {point.where.partition(":")[0] for point in STORY.points}
    assert set(TOLD_TO_HAVE_POINTS) <= with_points
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+", point.name) for point in STORY.points)


def test_every_name_stands_for_one_place() -> None:
    twice = [name for name, count in Counter(point.name for point in STORY.points).items() if count > 1]
    assert twice == []


def test_every_point_has_a_scenario_and_every_scenario_its_point() -> None:
    there = {point.name for point in STORY.points}
    assert {"without a scenario": there - POINTS.keys(), "not in the code": POINTS.keys() - there} == {
        "without a scenario": set(),
        "not in the code": set(),
    }


@pytest.mark.parametrize(
    ("code", "faults"),
    [
        ("await outside()", 1),
        ("crash.at('x.y')\nawait outside()", 0),
        ("crash.at('x.y')\nhold.check()\nawait outside()", 1),
        ("crash.at('x.y')\nif await outside():\n  pass\nelse:\n  await outside()", 1),
        ("crash.at('x.y')\nwhile await outside():\n  pass", 1),
        ("while True:\n  crash.at('x.y')\n  await outside()", 0),
        ("try:\n  pass\nexcept OSError:\n  await outside()\nfinally:\n  await outside()", 2),
        ("match x:\n  case 1:\n    await outside()", 1),
        ("async with outside():\n  pass", 1),
        ("async with here():\n  pass", 0),
        ("async for x in outside():\n  pass", 1),
        ("x = [y async for y in outside()]", 1),
        ("crash.at('x.y')\ndef inner():\n  pass\nawait outside()", 1),
        ("async def inner():\n  await outside()", 1),
        ("x = lambda: outside()", 0),
        ("return await here()", 0),
        ("return await (here() if x else outside())", 1),
        ("return await (here() if x else here())", 0),
        ("await asyncio.sleep(1)\nawait self._clock.sleep(1)\nawait deps.pace.clock.sleep(1)", 0),
        ("await progress.write()\nawait self._progress.write()\nawait self.write()", 0),
        ("await self._store.turns.write()", 1),
        ("await progress.store.write()", 1),
    ],
)
def test_the_reader_of_the_code_sees(code: str, faults: int) -> None:
    indented = "".join(f"  {line}\n" for line in code.splitlines())
    module = f"class Progress:\n  async def write(self):\n    pass\nasync def here():\n{indented}"
    assert len(Story({"workers/sample.py": ast.parse(module)}).faults()) == faults, module
