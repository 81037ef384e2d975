"""How long turns waited for another worker: made-up logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.chaos.run.history import Blow, History, Outage, Said, read_log
from tests.chaos.run.recovery import DOUBTFUL, Recovery, percentile, recoveries


def said(at: float, pid: int, event: str, turn: str = "t1") -> Said:
    return Said(at, pid, event, {"turn": turn})


def test_from_the_kill_to_the_next_taker() -> None:
    log = [said(1, 7, "turn.taken"), said(2, 7, "turn.taken", "t2"), said(3, 7, "turn.finished", "t2")]
    log += [said(8.5, 9, "turn.taken"), said(9, 9, "turn.finished")]
    found = recoveries(log, [Blow(5, "kill worker", 7)], [])
    assert found == [Recovery("kill", "t1", 5, 3.5, in_outage=False)], "t2 had come to its end"


@pytest.mark.parametrize(
    ("kind", "counted"),
    [("term worker", "hand-over"), ("stop worker", "kill"), ("kill gateway", ""), ("kill redis", "")],
)
def test_each_kind_of_blow_counts_for_itself(kind: str, counted: str) -> None:
    log = [said(1, 7, "turn.taken"), said(6, 9, "turn.taken")]
    assert [r.kind for r in recoveries(log, [Blow(5, kind, 7)], [])] == ([counted] if counted else [])


def test_a_hand_over_that_is_put_off_is_counted_apart() -> None:
    log = [Said(1, 7, "turn.taken", {"turn": "t1", "conversation": "c"}), said(6, 9, "turn.taken")]
    for for_s, kind in ((0.0, "hand-over"), (1.35, DOUBTFUL)):
        over = Said(5.1, 7, "turn.handed_over", {"conversation": "c", "for_s": for_s})
        assert [r.kind for r in recoveries([*log, over], [Blow(5, "term worker", 7)], [])] == [kind]


def test_who_did_not_hold_the_turn_leaves_nothing_behind() -> None:
    log = [said(1, 7, "turn.taken"), said(2, 8, "turn.taken"), said(6, 9, "turn.taken")]
    assert recoveries(log, [Blow(5, "kill worker", 7)], []) == [], "8 had taken it over before"
    assert [r.took_s for r in recoveries(log, [Blow(5, "kill worker", 8)], [])] == [1]


def test_a_recovery_in_an_outage_is_counted_apart() -> None:
    log = [said(1, 7, "turn.taken"), said(8, 9, "turn.taken")]
    blow = [Blow(5, "kill worker", 7)]
    for outage, apart in ((Outage(6, 7), True), (Outage(4, 5.5), True), (Outage(1, 4), False), (Outage(9, 10), False)):
        assert [r.in_outage for r in recoveries(log, blow, [outage])] == [apart]


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([], 0.5) is None


def test_a_log_is_read_up_to_where_the_kill_cut_it(tmp_path: Path) -> None:
    line = {"event": "turn.taken", "turn": "t1", "timestamp": "2026-11-21T10:00:00.250000Z"}
    (tmp_path / "log").write_text(f"Traceback\n{json.dumps(line)}\n" + json.dumps(line)[:30])
    (only,) = read_log(tmp_path / "log", 7)
    assert (only.event, only.pid, only.at % 1, only.fields["turn"]) == ("turn.taken", 7, 0.25, "t1")


def test_what_went_on_while_a_turn_waited_is_told() -> None:
    history = History(log=[said(1, 7, "turn.taken"), said(6, 9, "turn.taken"), said(5, 9, "turn.taken", "t2")])
    history.log.append(Said(4, 9, "sweep.woke", {"turns": 1}))
    history.blows += [Blow(2, "kill worker", 7), Blow(20, "kill worker", 9)]
    assert [line.split()[:4] for line in history.waiting("t1", 2, 6)] == [
        ["1.000", "pid", "7", "turn.taken"],
        ["2.000", "===", "kill", "worker"],
        ["4.000", "pid", "9", "sweep.woke"],
        ["6.000", "pid", "9", "turn.taken"],
    ]
