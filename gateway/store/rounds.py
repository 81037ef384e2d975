"""The rounds of the fleet: who works, which partitions each worker looks after, and what is due there."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.domain.messages import ConversationKey
from gateway.store import keys

Script = Callable[[Sequence[str], Sequence[str | int]], Awaitable[Any]]
HERE_S = 10.0
"""A worker that said nothing for so long does not work any more, as far as people ask."""


@dataclass(frozen=True, slots=True)
class Due:
    """What a sweep found."""

    total: int
    """How many conversations are due in all partitions, named or not."""
    conversations: list[ConversationKey]


def share(worker: str, sweepers: Iterable[str]) -> list[int]:
    """The partitions that are `worker`'s among `sweepers`.

    For one roster each partition is exactly one worker's. Rendezvous hashing: when a worker comes or goes only its own
    share moves, so that a fleet that disagrees for a moment about who is there agrees on nearly everything.
    """
    names = list(sweepers)
    if worker not in names:
        return []
    return [number for number in range(keys.PARTITIONS) if max(names, key=lambda name: _weight(name, number)) == worker]


def _weight(worker: str, number: int) -> tuple[bytes, str]:
    # Not Python's hash(), which differs between processes.
    return hashlib.blake2b(f"{number} {worker}".encode(), digest_size=8).digest(), worker


class Rounds:
    """The roster of workers, and the sweep over partitions. Time is always Redis's own."""

    def __init__(self, report: Script, sweep: Script, call: Callable[..., Awaitable[Any]]) -> None:
        self._report = report
        self._sweep = sweep
        self._call = call

    async def report(self, worker: str, *, gone_s: float, sweeps: bool = True) -> list[str]:
        """Say that `worker` lives, and learn who shares the sweep: whoever reported so within `gone_s`.

        `sweeps` False takes it off that roster: it has no room, or does not consume turns. Raises StoreDown.
        """
        words: list[str | int] = [worker, int(sweeps), int(HERE_S * 1000), int(gone_s * 1000)]
        return [str(name) for name in await self._report([keys.WORKERS, keys.SWEEPERS], words)]

    async def leave(self, worker: str) -> None:
        """Say that a worker ends: its share is the others' at their next report. Repeatable. Raises StoreDown."""
        for roster in (keys.SWEEPERS, keys.WORKERS):
            await self._call("ZREM", roster, worker)

    async def workers(self, *, within_s: float = HERE_S) -> int:
        """How many workers reported within `within_s`, those included that take no share. Raises StoreDown."""
        seconds, micros = await self._call("TIME")
        since_ms = int(seconds) * 1000 + int(micros) // 1000 - int(within_s * 1000)
        return int(await self._call("ZCOUNT", keys.WORKERS, since_ms, "+inf"))

    async def sweep(self, partitions: Sequence[int], *, limit: int, again_s: float, late_s: float) -> Due:
        """Up to `limit` of what is due and unheld in `partitions`, and since `late_s` in others', in one round trip.

        Each is named at most once per `again_s` over the whole fleet. No partition comes first for ever. Raises
        StoreDown, and then some may have been put off without having been named.
        """
        ours = random.sample(list(partitions), len(partitions))
        rest = sorted(set(range(keys.PARTITIONS)).difference(ours))
        others = random.sample(rest, len(rest))
        words: list[str | int] = [len(ours), limit, int(again_s * 1000), int(late_s * 1000)]
        total, *found = await self._sweep([keys.due(number) for number in (*ours, *others)], words)
        return Due(int(total), [ConversationKey(key) for key in found])
