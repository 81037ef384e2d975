"""Requests that leave in time or not at all."""

from __future__ import annotations

from types import SimpleNamespace

import aiohttp

from gateway.domain.pacing import Clock
from gateway.slack.failures import TooLate


def punctual(clock: Clock, limit_s: float) -> aiohttp.TraceConfig:
    """For an aiohttp session: raises TooLate instead of writing a request that was begun `limit_s` ago or more.

    A process that is paused between its last look at the lease and the write (SIGSTOP, a frozen container) wakes up
    when somebody else has the lease, has looked, and posts. The session's own time limit does not help: its timer and
    the write may come due in the same turn of the loop, and the write first.
    """

    async def begin(session: aiohttp.ClientSession, call: SimpleNamespace, about: object) -> None:
        call.began_at = clock.monotonic()

    async def check(session: aiohttp.ClientSession, call: SimpleNamespace, about: object) -> None:
        # aiohttp calls this before it writes the headers, and awaits nothing that waits in between
        if clock.monotonic() - call.began_at >= limit_s:
            raise TooLate("nothing was sent")

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(begin)
    trace.on_request_headers_sent.append(check)
    return trace
