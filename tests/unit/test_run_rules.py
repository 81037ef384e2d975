"""The life of a run as pure rules: every path through it keeps what the API promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.assistants.errors import ApiError
from gateway.assistants.prompt import cut_middle
from gateway.assistants.rules import (
    NEXT,
    IllegalStep,
    Status,
    advance,
    check_cancellable,
    end_step,
    held,
    match_outputs,
    over_by_time,
    poll_after_ms,
    tokens_left,
)
from gateway.assistants.tables import ACTIVE_RUNS, RunRow, StepRow
from gateway.assistants.views import run as shown_run

CREATED_MS = 1_790_000_000_000
FINAL = {Status.CANCELLED, Status.FAILED, Status.COMPLETED, Status.INCOMPLETE, Status.EXPIRED}


def a_run(status: Status = Status.QUEUED, *, owner: str | None = None, until_ms: int = 0) -> RunRow:
    return RunRow(
        id="run_1",
        thread_id="thread_1",
        assistant_id="asst_1",
        status=status.value,
        created_at=CREATED_MS // 1000,
        expires_at=CREATED_MS // 1000 + 600,
        queued_at_ms=CREATED_MS,
        lease_owner=owner,
        lease_until_ms=until_ms,
        prompt_tokens=3,
        completion_tokens=4,
    )


def a_step(*ids: str) -> StepRow:
    calls = [{"id": id, "name": "f", "arguments": "{}", "output": None} for id in ids]
    return StepRow(id="step_1", run_id="run_1", status="in_progress", calls=calls)


def test_active_in_sql_is_active_in_the_rules() -> None:
    named = {status for status in Status if f"'{status}'" in ACTIVE_RUNS}
    assert named == {status for status in Status if not status.final} == set(Status) - FINAL


@given(st.lists(st.tuples(st.sampled_from(Status), st.integers(1, 5_000)), max_size=12))
def test_no_path_leaves_the_rules(path: list[tuple[Status, int]]) -> None:
    run, now_ms, queued = a_run(), CREATED_MS, 1
    for to, later_ms in path:
        before, now_ms = Status(run.status), now_ms + later_ms
        if to not in NEXT[before]:
            with pytest.raises(IllegalStep):
                advance(run, to, now_ms)
            assert run.status == before
            continue
        if to is Status.REQUIRES_ACTION:
            run.lease_owner, run.lease_until_ms = "owner", now_ms + 1000
        advance(run, to, now_ms)
        queued += to is Status.QUEUED
        assert run.status == to
        assert (run.ended_at is not None) == to.final
        if to not in (Status.IN_PROGRESS, Status.CANCELLING):
            assert not held(run, now_ms)
        assert over_by_time(run, run.expires_at * 1000) == (None if to.final else Status.EXPIRED)
    view = shown_run(run, a_step())
    stamped = {name for name in ("cancelled", "failed", "completed") if view[f"{name}_at"] is not None}
    assert stamped == {run.status} & {"cancelled", "failed", "completed"}
    assert (view["usage"] is None) == (view["expires_at"] is not None) == (not Status(run.status).final)
    assert (run.queued_at_ms > CREATED_MS) == (queued > 1)


def test_started_at_is_the_first_start() -> None:
    run = a_run()
    for number, to in enumerate([Status.IN_PROGRESS, Status.REQUIRES_ACTION, Status.QUEUED, Status.IN_PROGRESS]):
        advance(run, to, CREATED_MS + number * 10_000)
    assert run.started_at == CREATED_MS // 1000


@pytest.mark.parametrize("status", Status)
def test_only_three_states_can_be_cancelled(status: Status) -> None:
    if status in (Status.QUEUED, Status.IN_PROGRESS, Status.REQUIRES_ACTION):
        check_cancellable(a_run(status))
    else:
        with pytest.raises(ApiError, match=f"^Cannot cancel run with status '{status}'.$"):
            check_cancellable(a_run(status))


def test_a_cancelling_run_ends_with_its_lease() -> None:
    run = a_run(Status.CANCELLING, owner="owner", until_ms=CREATED_MS + 1000)
    assert over_by_time(run, CREATED_MS + 999) is None
    assert over_by_time(run, CREATED_MS + 1000) is Status.CANCELLED
    assert over_by_time(run, CREATED_MS + 600_000) is Status.EXPIRED


def test_expiry_is_to_the_second() -> None:
    assert over_by_time(a_run(), CREATED_MS + 599_999) is None
    assert over_by_time(a_run(), CREATED_MS + 600_000) is Status.EXPIRED


@given(st.permutations(["call_a", "call_b", "call_c"]))
def test_outputs_are_matched_in_any_order(order: list[str]) -> None:
    given_outputs = [(id, f"of {id}") for id in order]
    calls = match_outputs(a_run(Status.REQUIRES_ACTION), a_step("call_a", "call_b", "call_c"), given_outputs)
    assert [(call["id"], call["output"]) for call in calls] == [
        (id, f"of {id}") for id in ("call_a", "call_b", "call_c")
    ]


@given(st.lists(st.sampled_from(["call_a", "call_b", "call_x"]), max_size=4))
def test_other_outputs_are_refused(ids: list[str]) -> None:
    outputs = [(id, "") for id in ids]
    if sorted(ids) == ["call_a", "call_b"]:
        assert match_outputs(a_run(Status.REQUIRES_ACTION), a_step("call_a", "call_b"), outputs)
        return
    with pytest.raises(ApiError) as refusal:
        match_outputs(a_run(Status.REQUIRES_ACTION), a_step("call_a", "call_b"), outputs)
    assert refusal.value.message == f"Expected tool outputs for call_ids ['call_a', 'call_b'], got {ids!r}"


@pytest.mark.parametrize("code", ["server_error", "rate_limit_exceeded", "invalid_prompt"])
def test_a_steps_error_has_a_code_that_steps_know(code: str) -> None:
    step = a_step("call_a")
    end_step(step, Status.FAILED, CREATED_MS, {"code": code, "message": "m"})
    assert step.status == "failed"
    assert step.last_error["code"] in ("server_error", "rate_limit_exceeded")


@given(st.integers(0, 10**9))
def test_clients_are_asked_to_look_again_soon(age_ms: int) -> None:
    asked = poll_after_ms(a_run(Status.IN_PROGRESS), CREATED_MS + age_ms)
    assert asked is not None
    assert 100 <= asked <= 500
    assert poll_after_ms(a_run(Status.COMPLETED), CREATED_MS + age_ms) is None


def test_token_budgets() -> None:
    assert [tokens_left(None, 5), tokens_left(300, 5), tokens_left(300, 301)] == [None, 295, 0]


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60), st.integers(0, 3_000))
def test_the_middle_is_cut_to_the_budget(sizes: list[int], budget: int) -> None:
    head, tail = cut_middle(sizes, budget)
    assert head >= 0
    assert tail >= 1
    assert head + tail <= len(sizes)
    kept = sum(sizes[:head]) + sum(sizes[-tail:])
    assert kept <= budget or (head, tail) == (0, 1)
    if sum(sizes) <= budget:
        assert head + tail == len(sizes)
    elif head + tail < len(sizes):
        assert kept + sizes[-tail - 1] > budget  # nothing more of the recent part would have fitted
