"""Waiting: for a run, with looks paced by its age, and through short troubles of the other side."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeVar

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
    looked: Callable[[], None],
) -> RunView | Interruption:
    """Look at a run until it needs tool outputs or has ended, the user asks to stop, or `left_s` has passed.

    `looked` is called after each look.

    `age_s` is the run's age now. Raises what `patiently` and Backend.look raise.
    """
    run: RunId = view.id
    begun = pace.clock.monotonic()
    while view.status is RunStatus.WORKING:
        waited_s = pace.clock.monotonic() - begun
        if waited_s >= left_s:
            return Interruption.TIMEOUT
        if await _stopped_within(hold, pace.clock, _next_look_s(pace, age_s + waited_s, view)):
            return Interruption.STOP
        view = await patiently(lambda _: backend.look(thread, run), hold, pace)
        LOOKS.inc()
        looked()
    return view


def _next_look_s(pace: Pace, age_s: float, view: RunView) -> float:
    """The backend's own wish counts, but a gap longer than the policy's would be felt."""
    wish_s = min(view.look_after_s, pace.poll.ceiling_s)
    return pace.poll.delay(age_s, pace.chance(), wish_s, pace.crowd())


async def _stopped_within(hold: Hold, clock: Clock, seconds: float) -> bool:
    """Sleep, unless a stop is or gets asked for."""
    if hold.stop.is_set():
        return True
    naps = [asyncio.ensure_future(clock.sleep(seconds)), asyncio.ensure_future(hold.stop.wait())]
    try:
        await asyncio.wait(naps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for nap in naps:
            nap.cancel()
    return hold.stop.is_set()
