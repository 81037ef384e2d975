"""Sides that take turns at the same work, so that a neighbour on the same cores disturbs all of them alike."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence

ROUNDS = 5
ROUND_S = 1.0
"""A round of one side ends after this time, however much of its work is left."""


async def in_turns(sides: Sequence[Callable[[], Awaitable[Mapping[str, float]]]]) -> dict[str, float]:
    """Let each side measure its rates, by name, ROUNDS times, one side after another; the median of each rate.

    One round before that is not counted: it opens connections, loads scripts and fills caches. Raises what a side
    raises.
    """
    rates: dict[str, list[float]] = defaultdict(list)
    for number in range(ROUNDS + 1):
        for measure in sides:
            found = await measure()
            for name, rate in found.items() if number else ():
                rates[name].append(rate)
    return {name: statistics.median(found) for name, found in rates.items()}
