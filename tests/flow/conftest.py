"""A fleet of real processes for each test, and a terminal to talk to it."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.domain.commands import parse_order
from gateway.domain.messages import ConversationKey, InboundMessage
from gateway.intake import Intake
from gateway.queue import Waker, make_celery
from gateway.settings import load
from gateway.store import Store
from tests.flow.processes import Backend, Fleet, environment, until


@pytest.fixture
async def fleet(tmp_path: Path, redis_url: str) -> AsyncIterator[Fleet]:
    """Processes of this test; all are ended with it, and their logs shown when it failed."""
    started = Fleet(tmp_path, environment(tmp_path, redis_url))
    yield started
    await started.end()
    started.show()


@pytest.fixture
async def backend(fleet: Fleet) -> AsyncIterator[Backend]:
    """The strict Assistants server as everybody's upstream."""
    async with fleet.backend() as server:
        yield server


class Terminal:
    """People at terminals: the shortest way through the whole system."""

    def __init__(self, store: Store, intake: Intake) -> None:
        self.store = store
        self._intake = intake
        self._numbers = itertools.count(1)

    async def say(self, user: str, text: str) -> str:
        """Hand in a message; its event id."""
        event = f"console:{user}:{next(self._numbers)}"
        order = parse_order(text, "/")
        await self._intake.accept(
            InboundMessage(
                conversation=ConversationKey(f"console:{user}"),
                dedupe_keys=(event,),
                text=text,
                author_id=user,
                command=order.command if order else None,
                message_id=event,
            )
        )
        return event

    async def hear(self, user: str, timeout_s: float = 20.0) -> str:
        """The next reply for `user`."""
        waited = 0.0
        while waited < timeout_s:
            if (reply := await self.store.mailbox.take(user, 1.0)) is not None:
                return reply
            waited += 1.0
        raise AssertionError(f"no reply for {user} within {timeout_s} s")

    async def settled(self, user: str) -> None:
        """Return when nothing of `user` is waiting or at work: a reply is heard before its turn is finished."""
        key = ConversationKey(f"console:{user}")

        async def idle() -> bool:
            return not await self.store.inbox.waiting(key)

        await until(idle)

    async def ask(self, user: str, text: str, timeout_s: float = 20.0) -> str:
        """Say something and hear the answer."""
        await self.say(user, text)
        return await self.hear(user, timeout_s)


@pytest.fixture
async def terminal(redis_url: str, tmp_path: Path) -> AsyncIterator[Terminal]:
    """A terminal on this test's Redis."""
    store = Store(redis_url)
    waker = Waker(make_celery(load({}, tmp_path).broker_url(redis_url)))
    yield Terminal(store, Intake(store, waker))
    waker.close()
    await store.close()
