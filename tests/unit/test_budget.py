"""A budget lets so many work at a time, and forgets nobody it sent away."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry, Gauge

from workers.budget import Budget


async def test_what_comes_over_the_budget_is_woken_when_something_ends() -> None:
    registry = CollectorRegistry()
    woken: list[str] = []
    budget = Budget(2, woken.append, Gauge("at_work", "", registry=registry))
    ends = {name: asyncio.Event() for name in "abcd"}

    async def body(name: str) -> None:
        await ends[name].wait()

    async with asyncio.TaskGroup() as group:
        first = group.create_task(budget.run("a", body))
        group.create_task(budget.run("b", body))
        await asyncio.sleep(0)
        assert await budget.run("a", body) == "at work"
        assert [await budget.run(name, body) for name in "cdc"] == ["over budget"] * 3
        assert (budget.free, registry.get_sample_value("at_work"), woken) == (0, 2, [])
        ends["a"].set()
        assert await first == "done"
        assert woken == ["c"], "the one that has waited longest, once"
        ends["b"].set()
    assert woken == ["c", "d"]
    assert (budget.free, registry.get_sample_value("at_work")) == (2, 0)


async def test_a_failing_body_gives_its_place_back() -> None:
    budget = Budget(1, lambda _: None, Gauge("at_work", "", registry=CollectorRegistry()))

    async def fails(_: str) -> None:
        raise RuntimeError

    for _ in range(3):
        try:
            await budget.run("a", fails)
        except RuntimeError:
            continue
        raise AssertionError("the error has to come through")
    assert budget.free == 1
