"""Fault switches: what goes wrong on purpose, by chance (seeded) or for the next calls (exact)."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, cast, get_args

Platform = Literal["telegram", "slack"]
FaultKind = Literal["rate_429", "errors_5xx", "drop_response", "cut_before", "cut_after", "latency", "duplicates"]
PLATFORMS: tuple[Platform, ...] = get_args(Platform)

MAX_LATENCY_MS = 60_000
MAX_PLANNED = 100


class BadFault(ValueError):
    """A fault switch was given something it does not know; the text says what."""


@dataclass(slots=True)
class Rates:
    """Faults by chance, of one platform. Probabilities are 0 to 1."""

    rate_429: float = 0.0
    retry_after: int = 1
    """Seconds, told with each 429."""
    errors_5xx: float = 0.0
    latency_ms: int = 0
    """Added to every call."""
    duplicates: float = 0.0
    """An update or event is delivered twice."""
    drop_response: float = 0.0
    """The call has its effect, the answer is 502."""
    cut_before: float = 0.0
    """The connection ends in the middle of the answer; the call had no effect."""
    cut_after: float = 0.0
    """The same, but the call had its effect."""


@dataclass(slots=True)
class Planned:
    """A fault for the next `count` calls of `method` ("*": any; duplicates: the next updates or events)."""

    method: str
    fault: FaultKind
    count: int
    retry_after: int = 1
    latency_ms: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What happens to one call."""

    fault: FaultKind | None = None
    retry_after: int = 1
    delay_s: float = 0.0


@dataclass(slots=True)
class Faults:
    """All switches. `judge` draws from a seeded generator, so that a run can be repeated."""

    seed: int = 0
    rates: dict[Platform, Rates] = field(default_factory=lambda: {p: Rates() for p in PLATFORMS})
    planned: dict[Platform, list[Planned]] = field(default_factory=lambda: {p: [] for p in PLATFORMS})
    _chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)  # noqa: S311 (faults, not secrets)

    def judge(self, platform: Platform, method: str) -> Verdict:
        """Decide about one API call; planned faults come first and are used up."""
        rates = self.rates[platform]
        delay_s = rates.latency_ms / 1000
        plan = self._take(platform, method, duplicates=False)
        if plan is not None:
            if plan.fault == "latency":
                return Verdict(delay_s=plan.latency_ms / 1000)
            return Verdict(plan.fault, plan.retry_after, delay_s)
        kinds: tuple[tuple[FaultKind, float], ...] = (
            ("rate_429", rates.rate_429),
            ("errors_5xx", rates.errors_5xx),
            ("drop_response", rates.drop_response),
            ("cut_before", rates.cut_before),
            ("cut_after", rates.cut_after),
        )
        for kind, probability in kinds:
            if probability and self._chance.random() < probability:
                return Verdict(kind, rates.retry_after, delay_s)
        return Verdict(delay_s=delay_s)

    def duplicate(self, platform: Platform) -> bool:
        """Whether the update or event that is being made shall be delivered twice."""
        if self._take(platform, "*", duplicates=True) is not None:
            return True
        probability = self.rates[platform].duplicates
        return bool(probability) and self._chance.random() < probability

    def change(self, wish: dict[str, Any]) -> None:
        """Apply a control request: {"reset"?: true, "seed"?: n, "telegram"?: rates, "slack"?: rates, "next"?: [plan]}.

        A plan is {"platform", "method"?, "fault", "count"?, "retry_after"?, "latency_ms"?}. Raises BadFault and then
        changes nothing.
        """
        unknown = set(wish) - {"reset", "seed", "next", *PLATFORMS}
        if unknown:
            raise BadFault(f"unknown switch {sorted(unknown)[0]!r}")
        fresh = bool(wish.get("reset"))
        rates = {p: _rates(Rates() if fresh else self.rates[p], wish.get(p, {})) for p in PLATFORMS}
        plans = [_plan(p) for p in _listed(wish.get("next", []))]
        seed = int(_number("seed", wish["seed"], 0, 2**32)) if "seed" in wish else None
        self.rates = rates
        if fresh:
            self.planned = {p: [] for p in PLATFORMS}
        for platform, plan in plans:
            self.planned[platform] = [*self.planned[platform], plan][-MAX_PLANNED:]
        if seed is not None:
            self.seed, self._chance = seed, random.Random(seed)  # noqa: S311

    def view(self) -> dict[str, Any]:
        """The switches as they stand, for the page."""
        return {
            "seed": self.seed,
            **{p: asdict(self.rates[p]) for p in PLATFORMS},
            "next": [{"platform": p, **asdict(plan)} for p in PLATFORMS for plan in self.planned[p]],
        }

    def _take(self, platform: Platform, method: str, *, duplicates: bool) -> Planned | None:
        plans = self.planned[platform]
        for plan in plans:
            fits = duplicates or plan.method == "*" or plan.method.lower() == method.lower()
            if fits and (plan.fault == "duplicates") == duplicates:
                plan.count -= 1
                if plan.count <= 0:
                    plans.remove(plan)
                return plan
        return None


def _rates(now: Rates, wish: Any) -> Rates:
    if not isinstance(wish, dict):
        raise BadFault("a platform's switches are an object")
    values = asdict(now)
    for name, value in wish.items():
        if name not in values:
            raise BadFault(f"unknown switch {name!r}; known: {', '.join(values)}")
        if name == "latency_ms":
            values[name] = int(_number(name, value, 0, MAX_LATENCY_MS))
        elif name == "retry_after":
            values[name] = int(_number(name, value, 1, 86_400))
        else:
            values[name] = _number(name, value, 0, 1)
    return Rates(**values)


def _plan(wish: Any) -> tuple[Platform, Planned]:
    if not isinstance(wish, dict) or wish.get("platform") not in PLATFORMS:
        raise BadFault("each of next is an object with platform telegram or slack")
    unknown = set(wish) - {"platform", "method", "fault", "count", "retry_after", "latency_ms"}
    if unknown:
        raise BadFault(f"unknown field {sorted(unknown)[0]!r} in next")
    if wish.get("fault") not in get_args(FaultKind):
        raise BadFault(f"fault is one of {', '.join(get_args(FaultKind))}")
    method = wish.get("method", "*")
    if not isinstance(method, str) or not 1 <= len(method) <= 100:
        raise BadFault("method is a method's name or *")
    return cast("Platform", wish["platform"]), Planned(
        method=method,
        fault=wish["fault"],
        count=int(_number("count", wish.get("count", 1), 1, 10_000)),
        retry_after=int(_number("retry_after", wish.get("retry_after", 1), 1, 86_400)),
        latency_ms=int(_number("latency_ms", wish.get("latency_ms", 0), 0, MAX_LATENCY_MS)),
    )


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > MAX_PLANNED:
        raise BadFault(f"next is a list of at most {MAX_PLANNED}")
    return value


def _number(name: str, value: Any, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadFault(f"{name} is a number from {least:g} to {most:g}")
    return float(value)
