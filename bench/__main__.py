"""The command line of the benchmarks: `python -m bench [name] [--turns N] [--json]`.

Exit codes: 0 done, 1 a benchmark failed or took too long, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import sys
from collections.abc import Awaitable

from bench.results import Result
from bench.scratch import forget_settings
from gateway.domain.errors import ThreadwayError
from gateway.telemetry import configure_logging

BENCHMARKS = ("turns", "fairness", "intake", "render")
"""Modules of this package, each with `async def run(size: int) -> Result`; imported when they are wanted."""
SIZE = 300
LARGEST = 1000
"""Beyond that the turns of one worker no longer fit into LIMIT_S on two cores."""
LIMIT_S = 60.0
"""A benchmark that takes longer is ended: something is wrong, and its figures would be."""


def main() -> int:
    """Run the benchmarks that the command line names, one after another; the exit code."""
    wanted = _arguments()
    forget_settings()
    configure_logging("WARNING")
    results = []
    for name in [wanted.name] if wanted.name else BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            benchmark = importlib.import_module(f"bench.{name}")
            result: Result = asyncio.run(_limited(benchmark.run(wanted.turns)))
        except TimeoutError:
            print(f"{name} did not end within {LIMIT_S:.0f} s; a smaller --turns may", file=sys.stderr)
            return 1
        except (ThreadwayError, AssertionError) as failure:
            print(f"{name} failed: {failure}", file=sys.stderr)
            return 1
        results.append(result)
        if not wanted.json:
            print(f"{result.table()}\n", flush=True)
    if wanted.json:
        print(json.dumps([result.to_json() for result in results], indent=2))
    else:
        print("Ratios of this run on this machine; no promise. What they mean: docs/benchmarks.md")
    return 0


async def _limited(benchmark: Awaitable[Result]) -> Result:
    async with asyncio.timeout(LIMIT_S):
        return await benchmark


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Ratios: threadway against the bare thing.")
    parser.add_argument("name", nargs="?", choices=BENCHMARKS, help="one of them; without it, all")
    parser.add_argument(
        "--turns",
        type=_size,
        default=SIZE,
        metavar="N",
        help=f"how large, 1 to {LARGEST}, default {SIZE}: "
        "conversations; a round's questions, its documents, a third of its messages",
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list instead of tables")
    return parser.parse_args()


def _size(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LARGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {LARGEST}")
    return int(text)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
