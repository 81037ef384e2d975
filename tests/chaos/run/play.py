"""One run from the first process to the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from gateway.lab.client import LabClient
from gateway.redis_server import find_server
from tests.chaos.run import recovery
from tests.chaos.run.faults import Faults
from tests.chaos.run.history import History, read_journal, read_log
from tests.chaos.run.plan import Plan
from tests.chaos.run.processes import Processes
from tests.chaos.run.redis_servers import version
from tests.chaos.run.report import Report
from tests.chaos.run.stage import Stage
from tests.chaos.run.tally import Tally
from tests.chaos.run.traffic import Traffic
from tests.chaos.run.verdict import UNSURE, judge
from workers import phrases

END_S = 30.0
"""A storm that has not ended by then is stuck, which is a fault of this program."""
QUIET_S = 4.0
"""Beyond a lease: when every last message is answered and nothing has come for so long, no more will come."""
SETTLE_S = 2.0
"""Beyond a lease: what a zombie or a second holder would still post has come by then."""


async def play(plan: Plan, *, keep: Path | None = None) -> Report:
    """Play `plan` and judge it; `keep`: where logs and journal are left. Every process has ended when it returns."""
    folder = Path(tempfile.mkdtemp(prefix="tw-chaos-"))
    history = History()
    try:
        async with Processes(folder) as processes:
            stage = Stage(plan, folder, processes, history)
            async with stage.set_up() as lab, LabClient(lab.url) as client:
                tally = Tally(stage.journal)
                traffic = Traffic(plan, client, history, tally)
                faults = Faults(plan, stage)
                watching = [asyncio.create_task(traffic.look()), asyncio.create_task(_keep_tally(tally))]
                try:
                    await _storm(plan, traffic, faults)
                    probes, drained_s = await _drain(plan, traffic, tally, history)
                finally:
                    for task in watching:
                        task.cancel()
                    await asyncio.gather(*watching, return_exceptions=True)
        return _judged(plan, stage, traffic, faults, probes, drained_s)
    finally:
        if keep is not None:
            shutil.copytree(folder, keep, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
        shutil.rmtree(folder, ignore_errors=True)


async def _storm(plan: Plan, traffic: Traffic, faults: Faults) -> None:
    """Traffic and faults for as long as the plan says."""
    both = [asyncio.create_task(traffic.write()), asyncio.create_task(faults.run())]
    done: set[asyncio.Task[None]] = set()
    try:
        done, _ = await asyncio.wait(both, timeout=plan.seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in both:
            task.cancel()
        async with asyncio.timeout(END_S):
            await asyncio.gather(*both, return_exceptions=True)
    for task in done:  # neither ends by itself
        task.result()


async def _drain(plan: Plan, traffic: Traffic, tally: Tally, history: History) -> tuple[frozenset[str], float]:
    """All is well again: whatever is still open has to come to its end now. The last messages, and how long it took."""
    probes = await traffic.say_all()
    began = last_news = time.monotonic()
    answered = 0
    while time.monotonic() - began < plan.drain_limit_s:
        if len(tally.answered) > answered:
            answered, last_news = len(tally.answered), time.monotonic()
        quiet = time.monotonic() - last_news > plan.lease_s + QUIET_S
        if answered == len(history.messages) or (quiet and probes <= tally.answered):
            break
        await asyncio.sleep(0.1)
    drained_s = time.monotonic() - began
    await asyncio.sleep(plan.lease_s + SETTLE_S)
    return probes, drained_s


async def _keep_tally(tally: Tally) -> None:
    while True:
        tally.look()
        await asyncio.sleep(0.2)


def _judged(
    plan: Plan, stage: Stage, traffic: Traffic, faults: Faults, probes: frozenset[str], drained_s: float
) -> Report:
    history = stage.history
    history.outages = stage.state.outages
    history.runs = read_journal(stage.journal.read_text().splitlines(), traffic.chats)
    for process in stage.lives:
        history.log += read_log(process.log, process.pid)
    dead = [f"{s.event} {dict(s.fields)}" for s in history.log if s.event in ("turn.given_up", "mail.put_aside")]
    counts = Counter(stage.door.counts)
    counts["wake-ups dropped"] = faults.thief.stolen
    for wire in (stage.to_lab, stage.to_backend):
        counts.update({f"calls to the {wire.name}: {kind}": count for kind, count in wire.mishaps.items()})
    return Report(
        plan=plan,
        server=version(plan.redis_server or str(find_server())),
        power=stage.power if isinstance(stage.power, str) else "",
        verdict=judge(history, sayings(), probes=probes),
        history=history,
        recoveries=recovery.recoveries(history.log, history.blows, history.outages),
        counts=counts,
        unsure_sends=stage.to_lab.unsure_sends,
        drained_s=drained_s,
        dead_letters=dead,
    )


def sayings() -> Mapping[str, str]:
    """How each of our own sentences begins, with a name for it."""
    found: dict[str, str] = {}
    for name, value in vars(phrases).items():
        texts = {"": value} if isinstance(value, str) else value if isinstance(value, dict) else {}
        for part, text in texts.items():
            if name.isupper() and isinstance(text, str):
                start = text.partition("{")[0].partition("\n")[0].strip()[:40]
                found[start] = UNSURE if name == "UNSURE" else f"{name.lower()} {part}".strip()
    return {start: name for start, name in found.items() if start}


def explain(report: Report, *, most: int = 3) -> None:
    """Print the histories of conversations whose promise was broken, and of turns that waited for too long."""
    with contextlib.suppress(BrokenPipeError):
        for breach in report.verdict.breaches:
            print(f"broken: {breach.kind}: {breach.conversation}: {breach.what}", file=sys.stderr)
        for place in list(dict.fromkeys(b.conversation for b in report.verdict.breaches))[:most]:
            print(f"\nhistory of {place}, seed {report.plan.seed}:", file=sys.stderr)
            print("\n".join(report.history.of(place)), file=sys.stderr)
        for late in report.slow() if report.plan.timing else ():
            print(f"\nlate: {late.kind}, turn {late.turn}: {late.took_s:.2f} s from {late.at:.3f} on", file=sys.stderr)
            print("\n".join(report.history.waiting(late.turn, late.at, late.at + late.took_s)), file=sys.stderr)
