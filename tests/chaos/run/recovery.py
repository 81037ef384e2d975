"""How long turns waited for another worker, read from the workers' logs. Pure: logs may be made up."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.run.history import Blow, Outage, Said

TAKEN = "turn.taken"
HANDED_OVER = "turn.handed_over"
DOUBTFUL = "doubtful hand-over"
"""One that is put off on purpose: a call of the turn may still be on its way; whoever looked at once might miss it."""
ENDED = frozenset(
    {"turn.finished", "turn.parked", "turn.dropped", "turn.given_up", "turn.interrupted", "turn.no_adapter"}
)
"""After these a worker holds the turn no more."""
KINDS = {"kill worker": "kill", "stop worker": "kill", "term worker": "hand-over"}


@dataclass(frozen=True, slots=True)
class Recovery:
    """One turn that a blow left without its worker."""

    kind: str
    """kill (a stop longer than the lease as well) | hand-over | DOUBTFUL"""
    turn: str
    at: float
    took_s: float
    in_outage: bool
    """Redis was away in between: counted apart."""


def recoveries(log: Iterable[Said], blows: Iterable[Blow], outages: Sequence[Outage]) -> list[Recovery]:
    """For each worker that was killed, stopped or told to end: each turn it held until then, and who took it next."""
    steps: dict[str, list[Said]] = defaultdict(list)
    put_off: set[tuple[int, object]] = set()
    for said in log:
        if said.event == HANDED_OVER and said.fields.get("for_s"):
            put_off.add((said.pid, said.fields.get("conversation")))
        if said.event == TAKEN or said.event in ENDED:
            steps[str(said.fields.get("turn"))].append(said)
    for of_turn in steps.values():
        of_turn.sort(key=lambda said: said.at)
    found: list[Recovery] = []
    for blow in blows:
        if blow.kind not in KINDS:
            continue
        for turn, of_turn in steps.items():
            held = [s for s in of_turn if s.at <= blow.at]
            if not held or held[-1].event != TAKEN or held[-1].pid != blow.pid:
                continue
            if taken := next((s for s in of_turn if s.at > blow.at and s.event == TAKEN), None):
                away = any(o.began <= taken.at and o.ended >= blow.at for o in outages)
                kind = KINDS[blow.kind]
                if kind == "hand-over" and (blow.pid, held[-1].fields.get("conversation")) in put_off:
                    kind = DOUBTFUL
                found.append(Recovery(kind, turn, blow.at, taken.at - blow.at, away))
    return found


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of all do not pass; None where there is none."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
