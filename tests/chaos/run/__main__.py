"""The command line: `python -m tests.chaos.run --seconds 60 --seed 1`.

Exit codes: 0 every promise was kept, 1 one was broken, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
from pathlib import Path

from gateway.telemetry import configure_logging
from tests.chaos.run.plan import SWITCHES, Plan
from tests.chaos.run.play import explain, play


def main() -> int:
    """Run, print the table, explain what was broken; the exit code."""
    wanted = _arguments()
    try:
        plan = _plan(wanted)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    for name in [n for n in os.environ if n.startswith(("THREADWAY", "TELEGRAM_", "SLACK_", "OPENAI_", "REDIS_URL"))]:
        del os.environ[name]
    configure_logging("ERROR")
    print(f"chaos for {plan.seconds:g} s, seed {plan.seed} ...", file=sys.stderr, flush=True)
    report = asyncio.run(play(plan, keep=wanted.keep))
    print(json.dumps(report.to_json(), indent=2) if wanted.json else report.table(), flush=True)
    broken = report.broken()
    if broken:
        explain(report)
        print(f"\nseed {plan.seed}: broken promises:", *broken, sep="\n  ", file=sys.stderr)
    return 1 if broken else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.run", description="The proof under random kills.")
    parser.add_argument("--seconds", type=float, default=60.0, help="of traffic and faults; default 60")
    parser.add_argument("--seed", type=int, help="of the dice; default: a new one, which is printed")
    parser.add_argument("--lease", type=float, default=3.0, metavar="S", help="THREADWAY_LEASE_S; default 3")
    parser.add_argument("--redis-server", default="", metavar="PATH", help="default: the embedded one")
    parser.add_argument(
        "--fsync",
        default="always",
        choices=("always", "everysec"),
        help="with everysec, losses are shown, not promised not to be",
    )
    parser.add_argument("--delivery", default="notice", choices=("notice", "edit", "repeat"), help="on Telegram")
    parser.add_argument("--conversations", type=int, default=24, metavar="N")
    parser.add_argument("--rate", type=float, default=12.0, metavar="N", help="messages a second at most; default 12")
    parser.add_argument("--power-cuts", type=int, default=0, metavar="N", help="at least about so many")
    parser.add_argument("--drain", type=float, default=60.0, metavar="S", help="time for the rest; default 60")
    parser.add_argument("--no-timing", action="store_true", help="times of recovery are shown, not promised")
    for name, kinds in SWITCHES.items():
        parser.add_argument(f"--no-{name}", action="append_const", dest="without", const=name, help=", ".join(kinds))
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave logs and the backend's journal there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser.parse_args()


def _plan(wanted: argparse.Namespace) -> Plan:
    return Plan(
        seconds=wanted.seconds,
        seed=random.randrange(10**6) if wanted.seed is None else wanted.seed,
        lease_s=wanted.lease,
        redis_server=wanted.redis_server,
        appendfsync=wanted.fsync,
        delivery=wanted.delivery,
        conversations=wanted.conversations,
        messages_per_s=wanted.rate,
        power_cuts=wanted.power_cuts,
        drain_s=wanted.drain,
        without=frozenset(wanted.without or ()),
        timing=not wanted.no_timing,
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)
