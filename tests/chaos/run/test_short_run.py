"""A minute of chaos, as everybody can run it: `make chaos SECONDS=60`. Longer runs are in docs/reliability.md."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.chaos.run.plan import Plan
from tests.chaos.run.play import explain, play
from tests.chaos.run.processes import ROOT
from tests.flow.processes import until

EVERYBODY = 11
"""Driver, lifeline, two Redis servers, backend, two gateways, four workers."""


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_a_minute_of_chaos_breaks_no_promise(tmp_path: Path) -> None:
    # The machine that runs all tests at once may be slow: the times are printed here, and promised in `make chaos`.
    report = await play(Plan(seconds=60, seed=4, timing=False), keep=tmp_path / "logs")
    print(report.table())
    explain(report)
    assert report.broken() == []
    assert report.verdict.answered + report.verdict.told >= report.verdict.acked > 100
    assert report.kills > 20
    assert report.times("kill")
    assert report.times("hand-over")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for the processes in /proc")
async def test_nothing_is_left_behind_by_a_driver_that_is_killed(tmp_path: Path) -> None:
    driver = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.chaos.run", "--seconds", "60", "--conversations", "2", "--no-worker-kills"),
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: _count(tmp_path, at_least=EVERYBODY), 50)
    finally:
        driver.kill()
        await driver.wait()
    await until(lambda: _count(tmp_path, at_most=0), 20)


async def _count(folder: Path, *, at_least: int = 0, at_most: int = 1000) -> bool:
    """Whether so many processes are in a folder of the run; one that only waits to be reaped is in none."""
    found = 0
    for pid in os.listdir("/proc"):
        with suppress(OSError):
            found += pid.isdecimal() and os.readlink(f"/proc/{pid}/cwd").startswith(str(folder))
    return at_least <= found <= at_most
