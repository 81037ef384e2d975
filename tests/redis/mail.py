"""Mail for tests of the store, and a worker's hand to take it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from gateway.domain.messages import Command, ConversationKey, InboundMessage
from gateway.domain.turns import Turn
from gateway.store import Store
from gateway.store.leases import NotYet

KEY = ConversationKey("telegram:1:2:-")
LEASE_S = 30.0


def message(
    name: str, text: str = "hi", *more: str, command: Command | None = None, key: ConversationKey = KEY, **rest: Any
) -> InboundMessage:
    """A message whose event id and platform id are `name`."""
    plain = InboundMessage(key, (name, *more), text, "7", command=command, message_id=name)
    return replace(plain, **rest)


async def put(store: Store, *names: str, command: Command | None = None, key: ConversationKey = KEY) -> None:
    """Messages without a number of the platform's, one after the other."""
    for name in names:
        await store.inbox.ingest(message(name, command=command, key=key))


async def take(store: Store, key: ConversationKey = KEY, lease_s: float = LEASE_S, max_batch: int = 20) -> Turn:
    """The conversation's turn, which must be there to be taken."""
    turn = await store.leases.acquire(key, lease_s=lease_s, max_batch=max_batch)
    assert isinstance(turn, Turn)
    return turn


async def wait_for_turn(store: Store) -> Turn:
    """The turn of KEY once its short lease has ended, by Redis's own clock."""
    while not isinstance(turn := await store.leases.acquire(KEY, lease_s=LEASE_S), Turn):
        pass
    return turn


async def wait_is_on(store: Store) -> bool:
    """Whether KEY has mail whose time has not come."""
    return isinstance(await store.leases.acquire(KEY, lease_s=LEASE_S), NotYet)


def ids(turn: Turn) -> list[str]:
    """The event ids of a turn's batch."""
    return [found.event_id for found in turn.batch]


async def rest(store: Store) -> list[list[str]]:
    """Work through all that waits, turn by turn; the event ids of each."""
    batches = []
    while isinstance(turn := await store.leases.acquire(KEY, lease_s=LEASE_S), Turn):
        batches.append(ids(turn))
        await store.turns.finish(turn.lease)
    return batches
