"""The broker dies, forgets, refuses, or is another one: every turn is answered once, and the worker consumes again.

It is a Redis apart from the one that holds the state, or a RabbitMQ: what happens to it must cost wake-ups alone.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gateway.domain.messages import ConversationKey
from gateway.intake import Intake, WakesTurns
from gateway.queue import TURN_TASK, TURNS, Waker, make_celery
from gateway.store import Store
from tests.flow.brokers import (
    RabbitBroker,
    RedisBroker,
    queued,
    rabbit_broker,
    redis_broker,
    why_no_rabbitmq,
)
from tests.flow.conftest import Terminal
from tests.flow.processes import Backend, Fleet, Process, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]
PEOPLE = [f"p{n}" for n in range(20)]
LOST = "Connection to broker lost"


class NobodyWakes:
    """Every wake-up of the gateway gets lost."""

    def wake_turn(self, conversation: ConversationKey) -> None:
        """See WakesTurns."""


@asynccontextmanager
async def terminal(redis_url: str, waker: WakesTurns) -> AsyncIterator[Terminal]:
    """A terminal whose wake-ups go through `waker`."""
    store = Store(redis_url)
    try:
        yield Terminal(store, Intake(store, waker))
    finally:
        if isinstance(waker, Waker):
            waker.close()
        await store.close()


@pytest.fixture
async def broker(tmp_path: Path, fleet: Fleet) -> AsyncIterator[RedisBroker]:
    """A broker of its own for every process of the fleet."""
    async with redis_broker(tmp_path / "broker") as own:
        fleet.env["CELERY_BROKER_URL"] = own.url
        yield own


async def all_running(backend: Backend) -> None:
    """Return when each of PEOPLE has a run."""

    async def running() -> bool:
        return len((await backend.log())["runs"]) == len(PEOPLE)

    await until(running)


async def answered_once(people: Terminal, backend: Backend, text: str) -> None:
    """Each of PEOPLE hears one answer to `text`, and nobody's run was made twice."""
    assert await asyncio.gather(*(people.hear(person, 40) for person in PEOPLE)) == [f"echo 1: {text}"] * len(PEOPLE)
    for person in PEOPLE:
        await people.settled(person)
        assert await people.store.mailbox.take(person, 0.01) is None
    assert len((await backend.log())["runs"]) == len(PEOPLE)


async def consumes(worker: Process, url: str) -> None:
    """The worker takes a wake-up from the broker at `url`: the sweep would hide it if it did not."""
    await asyncio.to_thread(make_celery(url).send_task, TURN_TASK, ("console:nobody",), ignore_result=True)

    async def taken() -> bool:
        return await asyncio.to_thread(queued, url, TURNS) == 0

    await until(taken, 30)
    assert worker.process.returncode is None
    assert [line for line in worker.lines if "Unrecoverable" in line] == []


async def killed_at_once(worker: Process, broker: RedisBroker) -> None:
    await broker.end(signal.SIGKILL)
    await broker.start()


async def stopped_for_a_while(worker: Process, broker: RedisBroker) -> None:
    await broker.end(signal.SIGTERM)
    await worker.until_line("Cannot connect to")  # it has tried in vain to connect again
    await broker.start()


@pytest.mark.parametrize("trouble", [killed_at_once, stopped_for_a_while])
async def test_a_broker_that_restarts_costs_no_turn_and_no_worker(
    fleet: Fleet,
    backend: Backend,
    broker: RedisBroker,
    redis_url: str,
    trouble: Callable[[Process, RedisBroker], Awaitable[None]],
) -> None:
    """One wake-up that is not acknowledged yet, and kombu ends the worker's consumer here ("Unrecoverable error")."""
    worker = await fleet.worker("-c", "50")
    async with terminal(redis_url, Waker(make_celery(broker.url))) as people:
        for person in PEOPLE:
            await people.say(person, "slow 5")
        await all_running(backend)
        await trouble(worker, broker)
        await worker.until_line(LOST)
        await answered_once(people, backend, "slow 5")
        await consumes(worker, broker.url)
        assert await people.ask("late", "hello") == "echo 1: hello"


async def test_a_broker_that_is_emptied_and_wake_ups_that_are_all_lost_cost_a_moment(
    fleet: Fleet, backend: Backend, broker: RedisBroker, redis_url: str
) -> None:
    worker = await fleet.worker("-c", "50")
    async with terminal(redis_url, NobodyWakes()) as people:
        assert await people.ask("first", "hello") == "echo 1: hello"
        emptying = asyncio.create_task(_empty_again_and_again(broker))
        began = time.monotonic()
        for person in PEOPLE:
            await people.say(person, "hello")
        heard = await asyncio.gather(*(people.hear(person) for person in PEOPLE))
        took_s = time.monotonic() - began
        emptying.cancel()
        assert heard == ["echo 1: hello"] * len(PEOPLE)
        assert took_s < 6, "a grace, a pass of the sweep, and once more where the sweep's own wake-up was lost"
        for person in PEOPLE:
            await people.say(person, "slow 2")
        await broker.client.flushall()
        assert await asyncio.gather(*(people.hear(p) for p in PEOPLE)) == ["echo 2: slow 2"] * len(PEOPLE)
        await consumes(worker, broker.url)


async def _empty_again_and_again(broker: RedisBroker) -> None:
    while True:
        await broker.client.flushall()
        await asyncio.sleep(0.3)


async def test_a_full_broker_costs_no_turn_and_no_worker(
    fleet: Fleet, backend: Backend, broker: RedisBroker, redis_url: str
) -> None:
    worker = await fleet.worker("-c", "50")
    async with terminal(redis_url, Waker(make_celery(broker.url))) as people:
        assert await people.ask("first", "hello") == "echo 1: hello"
        worker.process.send_signal(signal.SIGSTOP)
        for person in PEOPLE:
            await people.say(person, "slow 1")

        async def published() -> bool:
            """All but the one that was handed to the worker as it stopped."""
            return await asyncio.to_thread(queued, broker.url, TURNS) >= len(PEOPLE) - 1

        await until(published)
        await broker.client.config_set("maxmemory", "1")  # it still has wake-ups that the worker will take
        worker.process.send_signal(signal.SIGCONT)
        assert await asyncio.gather(*(people.hear(p, 40) for p in PEOPLE)) == ["echo 1: slow 1"] * len(PEOPLE)
        assert await people.ask("second", "hello") == "echo 1: hello", "nobody could be woken"
        await broker.client.config_set("maxmemory", "0")
        await consumes(worker, broker.url)
        assert await people.ask("second", "hello") == "echo 2: hello"


@pytest.mark.skipif(bool(why_no_rabbitmq()), reason=why_no_rabbitmq() or "-")
async def test_rabbitmq_carries_wake_ups_and_may_restart(
    fleet: Fleet, backend: Backend, redis_url: str, tmp_path: Path
) -> None:
    async with rabbit_broker(tmp_path / "rabbit") as broker:
        fleet.env["CELERY_BROKER_URL"] = broker.url
        worker = await fleet.worker("-c", "50")
        async with terminal(redis_url, Waker(make_celery(broker.url))) as people:
            began = time.monotonic()
            assert await people.ask("first", "hello") == "echo 1: hello"
            assert time.monotonic() - began < 5
            for person in PEOPLE:
                await people.say(person, "slow 5")
            await all_running_but_one(backend)
            await _restart(broker)
            heard = await asyncio.gather(*(people.hear(person, 40) for person in PEOPLE))
            assert heard == ["echo 1: slow 5"] * len(PEOPLE)
            await consumes(worker, broker.url)
            assert await people.ask("first", "again") == "echo 2: again"


async def all_running_but_one(backend: Backend) -> None:
    """As `all_running`, with one more run that has ended."""

    async def running() -> bool:
        return len((await backend.log())["runs"]) == len(PEOPLE) + 1

    await until(running)


async def _restart(broker: RabbitBroker) -> None:
    await broker.end(signal.SIGKILL)
    await broker.start()
