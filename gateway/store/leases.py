"""The right to work: per conversation (with the turn itself), and per thing that only one process may do."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any
from uuid import uuid4

from gateway.domain.errors import StoreDown
from gateway.domain.messages import ConversationKey
from gateway.domain.turns import Lease, Turn
from gateway.store import keys
from gateway.store.turns import read_turn

Script = Callable[[Sequence[str], Sequence[str | int]], Awaitable[Any]]
Batch = Callable[[Sequence[tuple[Sequence[str], Sequence[str | int]]]], Awaitable[list[Any]]]


class Beat(IntFlag):
    """What a heartbeat learns about one lease: nothing set means lost, else OURS is always set."""

    LOST = 0
    OURS = 1
    STOP = 2
    """The user asked to stop."""
    MAIL = 4
    """Plain messages wait directly behind the turn's batch."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """Mail waits, but its time has not come: the turn is parked, or a burst is being collected."""

    in_s: float
    """How long from now, by Redis's clock."""


class Leases:
    """Leases on conversations and on leader roles. Time is always Redis's own."""

    def __init__(self, acquire: Script, renew_many: Batch, keep_leader: Script) -> None:
        self._acquire = acquire
        self._renew_many = renew_many
        self._keep_leader = keep_leader

    async def acquire(self, key: ConversationKey, *, lease_s: float, max_batch: int = 20) -> Turn | NotYet | None:
        """Take the conversation and its turn: the unfinished one, else a new one made of the waiting mail.

        None when somebody else holds it or nothing waits. Raises StoreDown, and MailUnreadable, which carries the
        lease.
        """
        number = keys.partition(key)
        names = [keys.inbox(key), keys.state(key), keys.due(number), keys.server(number)]
        words: list[str | int] = [key, uuid4().hex, int(lease_s * 1000), max_batch]
        try:
            answer = await self._acquire(names, words)
        except StoreDown:  # perhaps only the answer got lost: asked once more, its owner finds the lease it then has
            answer = await self._acquire(names, words)
        if answer[0] == "not_yet":
            return NotYet(int(answer[1]) / 1000)
        if answer[0] != "taken":
            return None
        _, fence, now_ms, suspicious, flat, envelopes = answer
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        turn = read_turn(Lease(key, str(fence), str(words[1])), int(now_ms), fields, envelopes)
        turn.suspicious = bool(suspicious)
        return turn

    async def renew(self, leases: Sequence[Lease], *, lease_s: float) -> dict[Lease, Beat]:
        """The heartbeat of many leases in one round trip. Raises StoreDown, and then every lease may still be ours."""
        groups: dict[int, list[Lease]] = defaultdict(list)
        for lease in leases:
            groups[keys.partition(lease.conversation)].append(lease)
        calls: list[tuple[Sequence[str], Sequence[str | int]]] = [
            (
                [keys.due(number), *(name for lease in group for name in _names(lease))],
                [int(lease_s * 1000), *(word for lease in group for word in (lease.conversation, lease.fence))],
            )
            for number, group in groups.items()
        ]
        answers = await self._renew_many(calls)
        return {
            lease: Beat(int(beat))
            for group, beats in zip(groups.values(), answers, strict=True)
            for lease, beat in zip(group, beats, strict=True)
        }

    async def lead(self, role: str, owner: str, *, ttl_s: float) -> bool:
        """Take or renew a leader role; False when another owner has it. May be called at any time. Raises StoreDown."""
        return bool(await self._keep_leader([keys.leader(role)], [owner, int(ttl_s * 1000)]))

    async def resign(self, role: str, owner: str) -> None:
        """Give a leader role back at once; nothing happens if it is not ours."""
        await self._keep_leader([keys.leader(role)], [owner, 0])


def _names(lease: Lease) -> tuple[str, str]:
    return keys.state(lease.conversation), keys.inbox(lease.conversation)
