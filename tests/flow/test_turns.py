"""Turns in real workers: stopped at once, resumed after SIGKILL, handed over at SIGTERM, a thousand at a time."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.flow.conftest import Terminal
from tests.flow.processes import Backend, Fleet, until


async def test_stop_ends_a_run_at_once(fleet: Fleet, backend: Backend, terminal: Terminal) -> None:
    await fleet.worker("-c", "20")
    await terminal.say("ann", "never")
    await until(lambda: _running(backend, "never"))
    began = time.monotonic()
    assert await terminal.ask("ann", "/stop") == "Stopped."
    assert time.monotonic() - began < 3, "a stop is nudged, it does not wait for a heartbeat"
    await terminal.settled("ann")
    assert "nothing to stop" in await terminal.ask("ann", "/stop")
    assert "echo" in await terminal.ask("ann", "hello")
    assert next(run for run in (await backend.log())["runs"] if run["text"] == "never")["status"] == "cancelled"


async def _running(backend: Backend, text: str) -> dict[str, str] | None:
    return next((run for run in (await backend.log())["runs"] if run["text"] == text), None)


async def test_a_killed_workers_turn_goes_on_with_the_same_run(
    fleet: Fleet, backend: Backend, terminal: Terminal
) -> None:
    first = await fleet.worker("-c", "20")
    await terminal.say("ann", "slow 12")
    run = await until(lambda: _running(backend, "slow 12"))
    await fleet.worker("-c", "20")
    first.kill()
    killed = time.monotonic()
    assert await terminal.hear("ann", 30) == "echo 1: slow 12"
    assert time.monotonic() - killed < 15
    assert [r["id"] for r in (await backend.log())["runs"]] == [run["id"]], "resumed, not repeated"


async def test_sigterm_hands_a_hundred_turns_over(fleet: Fleet, backend: Backend, terminal: Terminal) -> None:
    first = await fleet.worker("-c", "200")
    await fleet.worker("-c", "200")
    people = [f"p{n}" for n in range(100)]
    for person in people:
        await terminal.say(person, "slow 5")
    await until(lambda: _count_running(backend, 100))
    began = time.monotonic()
    first.terminate()
    assert await first.wait() == 0
    assert time.monotonic() - began <= 2
    assert await asyncio.gather(*(terminal.hear(person, 30) for person in people)) == ["echo 1: slow 5"] * 100
    assert len((await backend.log())["runs"]) == 100, "no run was made twice"


async def _count_running(backend: Backend, count: int) -> bool:
    return len((await backend.log())["runs"]) >= count


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_a_thousand_turns_in_one_worker(fleet: Fleet, backend: Backend, terminal: Terminal) -> None:
    await fleet.worker("-c", "1000")
    await backend.control(delay_s=5.0)
    people = [f"p{n}" for n in range(1000)]
    for person in people:
        await terminal.say(person, "one")
    await until(lambda: _count_running(backend, 1000), 90)
    for person in people:
        await terminal.say(person, "two")
    for person in people:
        assert await terminal.hear(person, 60) == "echo 1: one"
        assert await terminal.hear(person, 60) == "echo 2: two", "in order per conversation"
