"""The front of a benchmark: mail comes in as through a gateway, replies come out at people's terminals."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.domain.adapter import Accepted
from gateway.domain.messages import Command, ConversationKey, InboundMessage
from gateway.intake import Intake
from gateway.queue import Waker, make_celery
from gateway.settings import load
from gateway.store import Store

PATIENCE_S = 40.0
CONNECTIONS = 64
"""As many as a gateway's store keeps."""


class Front:
    """Store, waker and intake as a gateway has them."""

    def __init__(self, store: Store, intake: Intake) -> None:
        self.store = store
        self.intake = intake
        self._numbers = itertools.count(1)

    async def say(self, user: str, text: str, command: Command | None = None, *, again_s: float = 0.1) -> None:
        """Hand in a new message, and while the inbox is full again every `again_s`, as a platform does.

        Raises StoreDown.
        """
        name = f"console:{user}:{next(self._numbers)}"
        message = InboundMessage(conversation_of(user), (name,), text, author_id=user, command=command)
        while (accepted := await self.intake.accept(message)) is Accepted.FULL:  # noqa: ASYNC110  a worker makes the room
            await asyncio.sleep(again_s)
        assert accepted is Accepted.STORED

    async def heard(self, user: str) -> str:
        """The next reply at a person's terminal. Raises TimeoutError after PATIENCE_S, StoreDown."""
        async with asyncio.timeout(PATIENCE_S):
            while (reply := await self.store.mailbox.take(user, 2.0)) is None:
                pass
            return reply


def conversation_of(user: str) -> ConversationKey:
    """The conversation at a person's terminal."""
    return ConversationKey(f"console:{user}")


@asynccontextmanager
async def front(folder: Path, url: str) -> AsyncIterator[Front]:
    """A front on the Redis at `url`, closed afterwards."""
    store = Store(url, connections=CONNECTIONS)
    waker = Waker(make_celery(load({}, folder).broker_url(url)))
    try:
        yield Front(store, Intake(store, waker))
    finally:
        waker.close()
        await store.close()
