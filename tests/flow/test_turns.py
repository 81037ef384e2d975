"""The whole way of a turn: inbox → Celery → worker → backend → reply, with real processes."""

from __future__ import annotations

import asyncio
import re
import time

import pytest

from gateway.domain.messages import ConversationKey
from tests.flow.conftest import Terminal
from tests.flow.processes import Backend, Fleet, until


async def test_a_conversation_keeps_its_thread_until_new(fleet: Fleet, backend: Backend, terminal: Terminal) -> None:
    await fleet.worker("-c", "20")
    assert await terminal.ask("ann", "hello") == "echo 1: hello"
    assert await terminal.ask("ann", "again") == "echo 2: again", "the same thread"
    assert await terminal.ask("bob", "hello") == "echo 1: hello", "another conversation has a thread of its own"
    assert "new conversation" in await terminal.ask("ann", "/new")
    assert await terminal.ask("ann", "hello") == "echo 1: hello"
    threads = (await backend.log())["threads"]
    assert sorted(threads.values()) == ["console:ann", "console:ann", "console:bob"]


async def test_every_ending_is_told_in_one_sentence_and_the_conversation_goes_on(
    fleet: Fleet, backend: Backend, terminal: Terminal
) -> None:
    await fleet.worker("-c", "20")
    for said, told in (
        ("fail", "could not finish"),
        ("limit", "over its limit"),
        ("expire", "has expired"),
        ("cut", "length limit"),
    ):
        reply = await terminal.ask("ann", said)
        assert told in reply
        assert re.search(r"turn [0-9a-f]{10}", reply)
        assert reply.startswith("a partial answer") == (said == "cut")
        assert "echo" in await terminal.ask("ann", "and now?")


async def test_tools_one_and_two_at_once(fleet: Fleet, backend: Backend, terminal: Terminal) -> None:
    await fleet.worker("-c", "20")
    assert await terminal.ask("ann", "tool 6*7") == "42"
    assert await terminal.ask("ann", "tools") == "144 and 5"
    assert "zero" in await terminal.ask("ann", "tool 1/0")


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


async def test_a_backend_that_is_down_is_waited_for(fleet: Fleet, backend: Backend, terminal: Terminal) -> None:
    await fleet.worker("-c", "20")
    await backend.control(down=True)
    await terminal.say("ann", "hello")
    await until(lambda: _parked(terminal))
    await backend.control(down=False)
    assert await terminal.hear("ann", 30) == "echo 1: hello"


async def _parked(terminal: Terminal) -> bool:
    """The turn is put down: it is stored, and nobody holds it."""
    key = ConversationKey("console:ann")
    if not await terminal.store.inbox.waiting(key):
        return False
    state = await terminal.store.conversations.progress(key)
    return int(state.get("failures", "0")) > 0 and "lease" not in state


async def test_a_thread_that_is_gone_is_replaced_and_the_user_is_told(
    fleet: Fleet, backend: Backend, terminal: Terminal
) -> None:
    await fleet.worker("-c", "20")
    assert await terminal.ask("ann", "hello") == "echo 1: hello"
    await backend.control(threads={})
    reply = await terminal.ask("ann", "hello")
    assert "begin anew" in reply
    assert reply.endswith("echo 1: hello")


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
