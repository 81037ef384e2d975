"""The right to work: per conversation (with the turn itself), and per thing that only one process may do."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from uuid import uuid4

from gateway.domain.errors import StoreDown
from gateway.domain.messages import ConversationKey
from gateway.domain.turns import Lease, Turn
from gateway.store import keys
from gateway.store.turns import read_turn

Script = Callable[[Sequence[str], Sequence[str | int]], Awaitable[Any]]
Batch = Callable[[Sequence[tuple[Sequence[str], Sequence[str | int]]]], Awaitable[list[Any]]]


class Beat(IntEnum):
    """What a heartbeat learns about one lease."""

    LOST = 0
    OURS = 1
    STOP = 2
    """Ours, and the user asked to stop."""


@dataclass(frozen=True, slots=True)
class Due:
    """What a sweep found in one partition."""

    total: int
    conversations: list[ConversationKey]


class Leases:
    """Leases on conversations and on leader roles. Time is always Redis's own."""

    def __init__(self, acquire: Script, renew_many: Batch, sweep_many: Batch, keep_leader: Script) -> None:
        self._acquire = acquire
        self._renew_many = renew_many
        self._sweep_many = sweep_many
        self._keep_leader = keep_leader

    async def acquire(self, key: ConversationKey, *, lease_s: float, max_batch: int = 20) -> Turn | None:
        """Take the conversation and its turn: the unfinished one, else a new one made of the waiting mail.

        None when somebody else holds it, nothing waits, or it is parked. Raises StoreDown, and MailUnreadable, which
        carries the lease.
        """
        names = [keys.inbox(key), keys.state(key), keys.due(keys.partition(key))]
        words: list[str | int] = [key, uuid4().hex, int(lease_s * 1000), max_batch]
        try:
            answer = await self._acquire(names, words)
        except StoreDown:  # perhaps only the answer got lost: asked once more, its owner finds the lease it then has
            answer = await self._acquire(names, words)
        if answer[0] != "taken":
            return None
        _, fence, now_ms, flat, envelopes = answer
        fields = dict(zip(flat[::2], flat[1::2], strict=True))
        return read_turn(Lease(key, str(fence), str(words[1])), int(now_ms), fields, envelopes)

    async def renew(self, leases: Sequence[Lease], *, lease_s: float) -> dict[Lease, Beat]:
        """The heartbeat of many leases in one round trip. Raises StoreDown, and then every lease may still be ours."""
        groups: dict[int, list[Lease]] = defaultdict(list)
        for lease in leases:
            groups[keys.partition(lease.conversation)].append(lease)
        calls: list[tuple[Sequence[str], Sequence[str | int]]] = [
            (
                [keys.due(number), *(keys.state(lease.conversation) for lease in group)],
                [int(lease_s * 1000), *_words(group)],
            )
            for number, group in groups.items()
        ]
        answers = await self._renew_many(calls)
        return {
            lease: Beat(int(beat))
            for group, beats in zip(groups.values(), answers, strict=True)
            for lease, beat in zip(group, beats, strict=True)
        }

    async def sweep(self, partitions: Sequence[int], *, limit: int, again_s: float) -> Due:
        """Up to `limit` of what is due and unheld, each named at most once per `again_s` over the whole fleet.

        Raises StoreDown.
        """
        counts = await self._sweep_many([([keys.due(number)], [0, 0]) for number in partitions])
        due = {number: int(answer[0]) for number, answer in zip(partitions, counts, strict=True) if int(answer[0])}
        share, left = [], limit
        for number in random.sample(list(due), len(due)):  # no partition comes first for ever
            taken = min(left, due[number])
            left -= taken
            if taken:
                share.append((number, taken))
        answers = await self._sweep_many([([keys.due(n)], [taken, int(again_s * 1000)]) for n, taken in share])
        return Due(sum(due.values()), [ConversationKey(key) for answer in answers for key in answer[1:]])

    async def lead(self, role: str, owner: str, *, ttl_s: float) -> bool:
        """Take or renew a leader role; False when another owner has it. May be called at any time. Raises StoreDown."""
        return bool(await self._keep_leader([keys.leader(role)], [owner, int(ttl_s * 1000)]))

    async def resign(self, role: str, owner: str) -> None:
        """Give a leader role back at once; nothing happens if it is not ours."""
        await self._keep_leader([keys.leader(role)], [owner, 0])


def _words(leases: Sequence[Lease]) -> list[str | int]:
    return [word for lease in leases for word in (lease.conversation, lease.fence)]
