"""Whole turns through one real worker, against the same calls made bare, on the same server in the same run."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp

from bench.front import PATIENCE_S, Front, conversation_of, front
from bench.results import Result, Row
from bench.scratch import fleet, scratch
from gateway.domain.errors import ThreadwayError
from tests.flow.processes import Fleet, Process, free_port, until

RUN_S = 2.0
TEXT = f"slow {RUN_S:g}"
"""What makes the server take RUN_S for its answer."""
REPLY = f"echo 1: {TEXT}"
ACCEPTS = 50
"""Messages handed in at the same time."""


@dataclass(frozen=True, slots=True)
class Side:
    """What one side needed for all its turns."""

    cpu_s: float
    wall_s: float
    looks: int
    late_s: list[float]
    """Per turn: from the run's end to the reply being there, ascending."""


async def run(size: int) -> Result:
    """Bring `size` conversations at once to their answers, first bare, then through a worker.

    Linux only: a process's CPU time is read from /proc. Raises ThreadwayError where that is missing, or something takes
    longer than PATIENCE_S; AssertionError when a process ended too early or a reply is wrong.
    """
    if not sys.platform.startswith("linux"):
        raise ThreadwayError("turns reads CPU times from /proc and needs Linux")
    async with scratch() as (folder, url), fleet(folder, url) as processes, _server(processes) as server:
        bare = await _bare(server, size)
        async with front(folder, url) as gateway:
            ours = await _ours(server, gateway, size)
    return Result("turns", size, "the SDK's calls in one process, a look every 0.5 s", tuple(_rows(ours, bare, size)))


def _rows(ours: Side, bare: Side, size: int) -> list[Row]:
    def row(what: str, ours_value: float, bare_value: float) -> Row:
        return Row(what, ours_value, bare_value, "lower")

    return [
        row("CPU ms a turn", 1000 * ours.cpu_s / size, 1000 * bare.cpu_s / size),
        row("wall-clock s for all turns", ours.wall_s, bare.wall_s),
        row("looks a turn", ours.looks / size, bare.looks / size),
        row("seconds from a run's end to its reply, mean", statistics.mean(ours.late_s), statistics.mean(bare.late_s)),
        row("the same, 99th percentile", ours.late_s[99 * size // 100], bare.late_s[99 * size // 100]),
    ]


class _Upstream:
    """The fake server, and the fleet whose processes talk to it."""

    def __init__(self, fleet: Fleet, url: str, http: aiohttp.ClientSession) -> None:
        self.fleet = fleet
        self.url = url
        self._http = http

    async def log(self) -> dict[str, Any]:
        """See bench.server."""
        async with self._http.get(f"{self.url}/control/log") as answer:
            return dict(await answer.json())

    async def side(self, *, cpu_s: float, wall_s: float, looks_before: int, seen: Mapping[str, float]) -> Side:
        """What `seen` (conversation → when its reply was there, monotonic seconds) comes to."""
        log = await self.log()
        late_s = sorted(at - log["began"][name] - RUN_S for name, at in seen.items())
        return Side(cpu_s, wall_s, log["looks"] - looks_before, late_s)


@asynccontextmanager
async def _server(fleet: Fleet) -> AsyncIterator[_Upstream]:
    """The server as the upstream of the fleet's processes."""
    port = free_port()
    server = await fleet.start("server", ["-m", "bench.server", str(port)])
    await server.until_line("ready")
    url = f"http://127.0.0.1:{port}"
    fleet.env |= {"THREADWAY_BACKEND": "assistants", "OPENAI_BASE_URL": f"{url}/v1", "THREADWAY_MODEL": "fake"}
    async with aiohttp.ClientSession() as http:
        yield _Upstream(fleet, url, http)


async def _bare(server: _Upstream, size: int) -> Side:
    client = await server.fleet.start("bare", ["-m", "bench.bare", f"{server.url}/v1", str(size), TEXT])
    told = json.loads(await client.until_line('"cpu_s"', PATIENCE_S))
    warm_up_looks = 1
    return await server.side(cpu_s=told["cpu_s"], wall_s=told["wall_s"], looks_before=warm_up_looks, seen=told["seen"])


async def _ours(server: _Upstream, gateway: Front, size: int) -> Side:
    worker = await server.fleet.worker("-c", str(size))
    await gateway.say("warm-up", "hello")
    await gateway.heard("warm-up")  # the assistant's definition is made, connections are open
    await _finished(worker, 1)
    looks = (await server.log())["looks"]
    cpu_s, wall_s = _cpu_s(worker), time.monotonic()
    await _hand_in(gateway, size)
    for number in range(size):
        assert await gateway.heard(f"p{number}") == REPLY
    finished = await _finished(worker, 1 + size)
    cpu_s = _cpu_s(worker) - cpu_s
    wall_s = max(finished.values()) - wall_s
    seen = {name: at for name, at in finished.items() if name != conversation_of("warm-up")}
    return await server.side(cpu_s=cpu_s, wall_s=wall_s, looks_before=looks, seen=seen)


async def _hand_in(gateway: Front, size: int) -> None:
    numbers = iter(range(size))

    async def person() -> None:
        for number in numbers:
            await gateway.say(f"p{number}", TEXT)

    await asyncio.gather(*(person() for _ in range(ACCEPTS)))


async def _finished(worker: Process, count: int) -> dict[str, float]:
    """Conversation → when its turn was finished, by the worker's log: a little later than its reply was there.

    Returns when there are `count`. Reading the log costs the worker nothing that it does not cost it in production.
    """
    taken: dict[str, str] = {}
    found: dict[str, float] = {}
    read = 0

    async def all_of_them() -> bool:
        nonlocal read
        lines, read = worker.lines[read:], len(worker.lines)
        for line in lines:
            if '"turn.taken"' in line:
                entry = json.loads(line)
                taken[entry["turn"]] = entry["conversation"]
            elif '"turn.finished"' in line:
                entry = json.loads(line)
                found[taken[entry["turn"]]] = _monotonic(entry["timestamp"])
        return len(found) >= count

    await until(all_of_them, PATIENCE_S)
    return found


def _monotonic(timestamp: str) -> float:
    """A log line's time on the clock that the server and the bare side use; they are all on this machine."""
    return datetime.fromisoformat(timestamp).timestamp() - time.time() + time.monotonic()


def _cpu_s(process: Process) -> float:
    """CPU seconds of a process so far, user and system, in steps of a clock tick (proc_pid_stat(5), 14 and 15)."""
    stat = Path(f"/proc/{process.process.pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
