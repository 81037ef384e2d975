"""The benchmarks run, end by themselves and say what they measured; what comes out is not a test's business."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from bench.__main__ import BENCHMARKS
from tests.flow.processes import ROOT

ROWS = {"turns": 5, "fairness": 5, "intake": 4, "render": 4}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m bench` from the root, as `make bench` does."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=50
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_benchmark_measures_both_sides_of_each_row(name: str) -> None:
    ran = bench(name, "--turns", "3", "--json")
    assert ran.returncode == 0, ran.stderr
    [result] = json.loads(ran.stdout)
    assert (result["benchmark"], result["size"]) == (name, 3)
    assert result["bare"]
    assert len(result["rows"]) == ROWS[name]
    for row in result["rows"]:
        assert set(row) == {"what", "threadway", "bare", "difference", "ratio", "better"}
        assert row["better"] in ("lower", "higher")
        assert row["threadway"] >= 0
        assert row["bare"] > 0, f"{row['what']}: the bare side did nothing"
        assert row["difference"] == pytest.approx(row["threadway"] - row["bare"], abs=0.001)
        assert row["ratio"] == pytest.approx(row["threadway"] / row["bare"], rel=0.1, abs=0.01)


def test_one_benchmark_prints_a_table_and_a_warning() -> None:
    ran = bench("render", "--turns", "1")
    assert ran.returncode == 0, ran.stderr
    rows = [line for line in ran.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + ROWS["render"], "a head and a line for each row"
    assert "no promise" in ran.stdout


@pytest.mark.parametrize("arguments", [("nothing",), ("--turns", "0")])
def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    ran = bench(*arguments)
    assert ran.returncode == 2
    assert "usage: python -m bench" in ran.stderr
    assert not ran.stdout
