"""The table at the end, for people and as JSON."""

from __future__ import annotations

import math
import os
import platform
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.pacing import CALL_SHARE
from tests.chaos.run.history import History
from tests.chaos.run.plan import Plan
from tests.chaos.run.recovery import DOUBTFUL, Recovery, percentile
from tests.chaos.run.verdict import FORGOTTEN, Verdict

RECOVERY_S = 2.0
"""Beyond the lease."""
HAND_OVER_S = 1.0
KILLS_PER_NOTICE = 15
_KILLS = ("kill worker", "kill gateway", "kill backend", "kill redis", "power cut", "stop worker")
FOOTNOTE = (
    "The lab is the witness and is not killed; its connections are cut. `acked`: the platform got a 2xx.\n"
    "Recovery: from SIGKILL or SIGSTOP of a worker until another one took the turn (in Redis outages: apart)."
)


@dataclass
class Report:
    """A run's figures and what they have to be."""

    plan: Plan
    server: str
    power: str
    """"" or why there were no power cuts."""
    verdict: Verdict
    history: History
    recoveries: Sequence[Recovery]
    counts: Counter[str] = field(default_factory=Counter)
    """What else was done: duplicates, lost acks, wake-ups, mishaps."""
    unsure_sends: int = 0
    drained_s: float = 0.0
    dead_letters: list[str] = field(default_factory=list)

    def times(self, kind: str, *, in_outage: bool = False) -> list[float]:
        """Seconds until another worker took the turn."""
        return [r.took_s for r in self.recoveries if r.kind == kind and r.in_outage == in_outage]

    @property
    def blows(self) -> Counter[str]:
        """How often each kind of fault came."""
        return Counter(blow.kind for blow in self.history.blows)

    @property
    def kills(self) -> int:
        """Processes that were ended, or stopped for longer than a lease, in the middle of their work."""
        return sum(self.blows[kind] for kind in _KILLS)

    def broken(self) -> list[str]:
        """Each broken promise in a line; [] when all were kept."""
        kinds = Counter((b.kind, b.conversation.partition(":")[0]) for b in self.verdict.breaches)
        lines = [f"{n} × {kind} ({at})" for (kind, at), n in sorted(kinds.items()) if not self.plan.excused(kind, at)]
        lines += [f"dead letter: {letter}" for letter in self.dead_letters]
        usual = self.kills / KILLS_PER_NOTICE
        # In a short run chance brings more: three standard deviations of what comes one by one.
        allowed = max(1.0, usual + 3 * math.sqrt(usual)) + self.unsure_sends
        for what, count in (("notices", self.verdict.notices), ("stubs", self.verdict.stubs)):
            if count > allowed:
                lines.append(f"{count} {what}, where {allowed:.1f} are allowed")
        if self.plan.timing:
            for kind, limit_s in self.limits.items():
                p99 = percentile(self.times(kind), 0.99)
                if p99 is not None and p99 > limit_s:
                    lines.append(f"{kind}: p99 {p99:.2f} s, where {limit_s:g} s are promised")
        return lines

    @property
    def limits(self) -> dict[str, float]:
        """Seconds that a turn may wait for another worker, by what its own met with."""
        put_off_s = CALL_SHARE * self.plan.lease_s + RECOVERY_S
        return {"kill": self.plan.lease_s + RECOVERY_S, "hand-over": HAND_OVER_S, DOUBTFUL: put_off_s}

    def slow(self) -> list[Recovery]:
        """The recoveries that took longer than promised, the slowest first."""
        late = [r for r in self.recoveries if not r.in_outage and r.took_s > self.limits[r.kind]]
        return sorted(late, key=lambda r: -r.took_s)

    def to_json(self) -> dict[str, Any]:
        """Everything, JSON-able."""
        return dict(self._rows()) | {"broken": self.broken()}

    def table(self) -> str:
        """A Markdown table, so that it can be pasted into a page."""
        rows = [f"| {name} | {_shown(value)} |" for name, value in self._rows()]
        return "\n".join(["| chaos | |", "|---|--:|", *rows, "", FOOTNOTE])

    def _rows(self) -> list[tuple[str, Any]]:
        verdict, blows = self.verdict, self.blows
        others = max(0, verdict.notices - self.unsure_sends)
        return [
            ("messages sent", verdict.messages),
            ("messages acked", verdict.acked),
            ("messages answered", verdict.answered),
            ("runs", verdict.runs),
            ("parts posted", verdict.parts),
            *((kind, blows[kind]) for kind in sorted(blows) if kind != "power cut"),
            ("power cut", self.power or blows["power cut"]),
            *sorted(self.counts.items()),
            ("lost", verdict.count("lost")),
            ("dead letters", len(self.dead_letters)),
            ("duplicate replies, Slack", verdict.count("doubled", "slack")),
            ("duplicate replies, Telegram", verdict.count("doubled", "telegram")),
            ("replies in another's chat", verdict.count("astray")),
            ("duplicate runs", verdict.count("doubled run") + verdict.count(FORGOTTEN)),
            ("reordered", verdict.count("reordered")),
            ("conversations wedged", verdict.count("wedged")),
            ("stubs, Telegram", verdict.stubs),
            ("notices, Telegram", verdict.notices),
            ("of them for sends that met a mishap on the wire", f"≤ {self.unsure_sends}"),
            ("others per 15 kills", round(KILLS_PER_NOTICE * others / max(1, self.kills), 2)),
            ("messages not complete, but told", verdict.told),
            *((f"said: {name}", count) for name, count in sorted(verdict.sayings.items()) if name != "unsure"),
            *self._times("recovery", "kill"),
            *self._times("hand-over", "hand-over"),
            *self._times("hand-over after a call that may still be on its way", DOUBTFUL),
            ("recoveries in a Redis outage, max s", _rounded(self.times("kill", in_outage=True))),
            ("drained in s", round(self.drained_s, 1)),
            ("lease s", self.plan.lease_s),
            ("seconds", self.plan.seconds),
            ("seed", self.plan.seed),
            ("delivery, Telegram", self.plan.delivery),
            ("server", f"{self.server}, appendfsync {self.plan.appendfsync}"),
            ("machine", f"{os.cpu_count()} cores, Python {platform.python_version()}"),
            ("command", command(self.plan)),
        ]

    def _times(self, name: str, kind: str) -> list[tuple[str, Any]]:
        values = self.times(kind)
        shown = [percentile(values, share) for share in (0.5, 0.99, 1.0)]
        said = " / ".join("–" if value is None else f"{value:.2f}" for value in shown)
        return [(f"{name} p50 / p99 / max s (n = {len(values)})", said)]


def command(plan: Plan) -> str:
    """What repeats the run, as far as its dice go."""
    words = ["python", "-m", "tests.chaos.run", "--seconds", f"{plan.seconds:g}", "--seed", str(plan.seed)]
    words += ["--lease", f"{plan.lease_s:g}", "--conversations", str(plan.conversations)]
    if plan.delivery != "notice":
        words += ["--delivery", plan.delivery]
    if plan.appendfsync != "always":
        words += ["--fsync", plan.appendfsync]
    if plan.redis_server:
        words += ["--redis-server", plan.redis_server]
    if plan.power_cuts:
        words += ["--power-cuts", str(plan.power_cuts)]
    return shlex.join(words + [f"--no-{name}" for name in sorted(plan.without)])


def _rounded(values: Sequence[float]) -> str:
    return f"{max(values):.2f} (n = {len(values)})" if values else "–"


def _shown(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
