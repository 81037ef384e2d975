"""What one run does: how long, how hard, on what."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

WORKERS, GATEWAYS = 4, 2

PER_MINUTE: dict[str, float] = {
    "kill worker": 16,
    "term worker": 5,
    "stop worker": 3,
    "kill gateway": 7,
    "kill backend": 4,
    "kill redis": 2,
    "power cut": 2,
    "flush broker": 2,
    "kill broker": 1,
    "cut wires": 3,
}
"""Each kind has its own rhythm; the pauses between are drawn."""
SWITCHES: dict[str, tuple[str, ...]] = {
    "worker-kills": ("kill worker",),
    "worker-terms": ("term worker",),
    "zombies": ("stop worker",),
    "gateway-kills": ("kill gateway",),
    "backend-kills": ("kill backend",),
    "redis-kills": ("kill redis",),
    "power-cuts": ("power cut",),
    "broker-faults": ("flush broker", "kill broker"),
    "mishaps": ("cut wires",),
}
"""--no-<switch> → what it leaves out; `mishaps` are the wires' 429, 5xx and cuts as well."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The options of a run."""

    seconds: float = 60.0
    seed: int = 1
    lease_s: float = 3.0
    redis_server: str = ""
    """The state's server program; "" is the embedded one."""
    appendfsync: str = "always"
    delivery: str = "notice"
    """`[delivery] telegram`: notice | edit | repeat."""
    conversations: int = 24
    """Half of them on each platform."""
    messages_per_s: float = 12.0
    unanswered: int = 10
    """Nobody sends into a conversation in which more than so many messages wait."""
    power_cuts: int = 0
    """At least so many, spread over the run."""
    mishap_rate: float = 0.02
    """Of all calls out: 429, 5xx or cut, before the effect or after it."""
    duplicate_rate: float = 0.05
    """Of all events in: brought twice, to both gateways at once."""
    lost_ack_rate: float = 0.02
    """Of all events in: stored, but the platform does not hear it and brings it again."""
    dropped_wake_ups: float = 0.10
    drain_s: float = 60.0
    without: frozenset[str] = field(default_factory=frozenset)
    """Names of SWITCHES."""
    timing: bool = True
    """Whether the times of recovery are promises, too."""

    def __post_init__(self) -> None:
        if self.conversations < 2 or self.seconds <= 0 or self.lease_s < 1:
            raise ValueError("at least 2 conversations, 1 s of lease, and some seconds")
        if unknown := self.without - SWITCHES.keys():
            raise ValueError(f"unknown switch {sorted(unknown)[0]}")

    def excused(self, kind: str, platform: str) -> bool:
        """Whether this set-up does not promise that there are none of a kind of breach (docs/guarantees.md)."""
        forgetful = self.appendfsync != "always"
        return (forgetful and kind in ("lost", "doubled run in a new thread")) or (
            kind == "doubled" and platform == "telegram" and (forgetful or self.delivery == "repeat")
        )

    def chance(self, about: str) -> random.Random:
        """A generator of its own for each thing that is drawn, so that one does not shift the other."""
        return random.Random(f"{self.seed}/{about}")

    def rate(self, kind: str) -> float:
        """How often a fault comes, per second; 0: never."""
        if any(kind in SWITCHES[name] for name in self.without):
            return 0.0
        if kind == "power cut" and self.power_cuts:
            return max(PER_MINUTE[kind] / 60, self.power_cuts / self.seconds)
        return PER_MINUTE[kind] / 60

    @property
    def mishaps(self) -> float:
        """The wires' rate."""
        return 0.0 if "mishaps" in self.without else self.mishap_rate

    @property
    def drain_limit_s(self) -> float:
        """How long after the faults everything may take to be answered: a lease more than asked for."""
        return self.drain_s + self.lease_s
