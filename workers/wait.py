"""Waiting: for a run, with looks paced by its age, and through short troubles of the other side."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeVar

from gateway.domain.errors import Retryable
from gateway.domain.messages import RunId, ThreadId
from gateway.domain.pacing import Clock, PollPolicy, RetryPolicy
from gateway.telemetry import LOOKS
from workers.backends import Backend, RunStatus, RunView
from workers.holding import Hold

T = TypeVar("T")


class Interruption(StrEnum):
    """Why waiting ended before the run did."""

    STOP = "stop"
    TIMEOUT = "timeout"
    MAIL = "mail"
    """Newer messages came in."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient we are."""

    clock: Clock
    poll: PollPolicy = field(default_factory=PollPolicy)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    in_place_s: float = 3.0
    """Troubles longer than this are not waited out in a slot: the turn is parked."""
    chance: Callable[[], float] = random.random
    crowd: Callable[[], int] = lambda: 0
    """How many turns this process works on now."""


async def patiently(call: Callable[[int], Awaitable[T]], hold: Hold, pace: Pace) -> T:
    """Repeat a call that may be repeated (it is told the attempt, 0-based) through a short trouble.

    The lease is checked before each attempt. Raises the last Retryable once waiting would pass `in_place_s`, or the
    other side asked for more than that; LeaseLost; and whatever else the call raises.
    """
    waited_s = 0.0
    attempt = 0
    while True:
        hold.check()
        try:
            return await call(attempt)
        except Retryable as trouble:
            delay_s = pace.retry.delay(attempt, pace.chance(), trouble.retry_after_s)
            if waited_s + delay_s > pace.in_place_s:
                raise
        await pace.clock.sleep(delay_s)
        waited_s += delay_s
        attempt += 1


async def follow(
    backend: Backend,
    thread: ThreadId,
    view: RunView,
    hold: Hold,
    pace: Pace,
    *,
    age_s: float,
    left_s: float,
    looked: Callable[[RunView], Awaitable[None]],
    heed: Collection[Interruption] = (Interruption.STOP,),
) -> RunView | Interruption:
    """Look at a run until it needs tool outputs or has ended, something to `heed` (STOP, MAIL) comes, or `left_s` has
    passed.

    `age_s` is the run's age now; `looked` is awaited after each look. Raises what `patiently` and Backend.look raise.
    """
    run: RunId = view.id
    begun = pace.clock.monotonic()
    while view.status is RunStatus.WORKING:
        waited_s = pace.clock.monotonic() - begun
        if waited_s >= left_s:
            return Interruption.TIMEOUT
        if heard := await _interrupted_within(hold, heed, pace.clock, _next_look_s(pace, age_s + waited_s, view)):
            return heard
        view = await patiently(lambda _: backend.look(thread, run), hold, pace)
        LOOKS.inc()
        await looked(view)
    return view


def _next_look_s(pace: Pace, age_s: float, view: RunView) -> float:
    """The backend's own wish counts, but a gap longer than the policy's would be felt."""
    wish_s = min(view.look_after_s, pace.poll.ceiling_s)
    return pace.poll.delay(age_s, pace.chance(), wish_s, pace.crowd())


async def _interrupted_within(
    hold: Hold, heed: Collection[Interruption], clock: Clock, seconds: float
) -> Interruption | None:
    """Sleep, unless something to heed has come or comes."""
    signals = {Interruption.STOP: hold.stop, Interruption.MAIL: hold.mail}

    def heard() -> Interruption | None:
        return next((kind for kind, signal in signals.items() if kind in heed and signal.is_set()), None)

    if now := heard():
        return now
    naps: list[asyncio.Future[Any]] = [asyncio.ensure_future(clock.sleep(seconds))]
    naps += [asyncio.ensure_future(signal.wait()) for kind, signal in signals.items() if kind in heed]
    try:
        await asyncio.wait(naps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for nap in naps:
            nap.cancel()
    return heard()
