"""Prints the table of 0003-polling.md: what looking at a run costs and how late its end is seen, by policy.

No network and no clock: run times are drawn once, each policy looks at the same ones, a look takes no time.
`.venv/bin/python docs/decisions/simulate_polling.py`; a test compares the page with it.
"""

from __future__ import annotations

import math
import random
import statistics
import sys
from collections.abc import Callable

from gateway.domain.pacing import PollPolicy

RUNS = 10_000
SIGMA = 0.5
KINDS = {"short": (0.8, 0.1, 4.0), "usual": (6.0, 2.0, 20.0), "long": (60.0, 20.0, 300.0)}
"""Run times in seconds, log-normal and clipped: median, shortest, longest."""

chances = random.Random(1)  # noqa: S311 - spreads load only
Delay = Callable[[float, int], float]
"""(age of the run in seconds, looks so far) → seconds before the next look."""

POLICIES: dict[str, Delay] = {
    "every 0.5 s": lambda age_s, looks: 0.5,
    "every 1 s": lambda age_s, looks: 1.0,
    "every 2 s": lambda age_s, looks: 2.0,
    "exponential, 0.5 s × 1.5 to 8 s": lambda age_s, looks: min(0.5 * 1.5**looks, 8.0),
    "exponential, 0.5 s × 1.5 to 2 s": lambda age_s, looks: min(0.5 * 1.5**looks, 2.0),
    "15 % of the age, 0.5 to 2 s": lambda age_s, looks: min(max(0.15 * age_s, 0.5), 2.0),
    "**ours: `PollPolicy()`**": lambda age_s, looks: PollPolicy().delay(age_s, chances.random()),
}


def run_times(kind: str) -> list[float]:
    """The same ones at each call."""
    median_s, shortest_s, longest_s = KINDS[kind]
    draw = random.Random(0)  # noqa: S311 - a simulation
    times = (draw.lognormvariate(math.log(median_s), SIGMA) for _ in range(RUNS))
    return [min(max(time_s, shortest_s), longest_s) for time_s in times]


def watch(run_s: float, delay: Delay) -> tuple[int, float]:
    """How many looks one run costs, and how many seconds after its end the last of them comes."""
    age_s, looks = 0.0, 0
    while age_s < run_s:
        age_s += delay(age_s, looks)
        looks += 1
    return looks, age_s - run_s


def row(name: str, delay: Delay) -> str:
    """One policy as a row of the page's table: per kind of run the looks, and mean and 99th percentile of the delay."""
    cells = []
    for kind in KINDS:
        seen = [watch(run_s, delay) for run_s in run_times(kind)]
        late = sorted(late_s for _, late_s in seen)
        looks = statistics.mean(looks for looks, _ in seen)
        cells += [f"{looks:.1f}", f"{statistics.mean(late):.2f} / {late[RUNS * 99 // 100]:.2f}"]
    return f"| {name} | {' | '.join(cells)} |"


def table() -> list[str]:
    """All rows."""
    return [row(name, delay) for name, delay in POLICIES.items()]


if __name__ == "__main__":
    sys.stdout.write("\n".join(table()) + "\n")
