"""The life of a run as pure rules: which state may follow which, and what time alone makes of a run.

    queued ─► in_progress ─► completed │ incomplete │ failed
      ▲            │
      └─ requires_action          any of the three ─► cancelling ─► cancelled
                                  any active state ─► expired

Source: the OpenAPI document of 2026-08-21 and what clients reported of the hosted service (docs/assistants-api.md).
Nothing here touches the database; rows are changed in memory and their transaction writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from gateway.assistants import errors
from gateway.assistants.tables import RunRow, StepRow


class Status(StrEnum):
    """A run's status as the API shows it."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    REQUIRES_ACTION = "requires_action"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    FAILED = "failed"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Whether the run has ended; until then it keeps its thread busy."""
        return not NEXT[self]


_S = Status
NEXT: Final[Mapping[Status, frozenset[Status]]] = {
    _S.QUEUED: frozenset({_S.IN_PROGRESS, _S.CANCELLING, _S.FAILED, _S.EXPIRED}),
    _S.IN_PROGRESS: frozenset({_S.REQUIRES_ACTION, _S.COMPLETED, _S.INCOMPLETE, _S.FAILED, _S.CANCELLING, _S.EXPIRED}),
    _S.REQUIRES_ACTION: frozenset({_S.QUEUED, _S.CANCELLING, _S.EXPIRED}),
    _S.CANCELLING: frozenset({_S.CANCELLED, _S.EXPIRED}),
    _S.CANCELLED: frozenset(),
    _S.FAILED: frozenset(),
    _S.COMPLETED: frozenset(),
    _S.INCOMPLETE: frozenset(),
    _S.EXPIRED: frozenset(),
}
"""Every step a run may take. A cancelled run never turns out completed: who pressed stop gets no answer any more."""

_STEP_ENDS: Final = {_S.CANCELLED: "cancelled", _S.FAILED: "failed", _S.EXPIRED: "expired"}


class IllegalStep(AssertionError):
    """A fault of this program: it asked for a step that `NEXT` does not have."""


def advance(run: RunRow, to: Status, now_ms: int) -> None:
    """Take one step and set what belongs to it: times, and the lease, which only `in_progress` and its cancelling hold.

    Raises IllegalStep.
    """
    current = Status(run.status)
    if to not in NEXT[current]:
        raise IllegalStep(f"run {run.id}: {current} -> {to}")
    run.status = to.value
    if to is Status.IN_PROGRESS and run.started_at is None:
        run.started_at = now_ms // 1000
    if to is Status.QUEUED:
        run.queued_at_ms = now_ms
    if to.final:
        run.ended_at = now_ms // 1000
    if to not in (Status.IN_PROGRESS, Status.CANCELLING):
        run.lease_owner, run.lease_until_ms = None, 0


def held(run: RunRow, now_ms: int) -> bool:
    """Whether an executor's lease on the run is alive."""
    return run.lease_owner is not None and run.lease_until_ms > now_ms


def over_by_time(run: RunRow, now_ms: int) -> Status | None:
    """The end that time alone brings to the run, None while there is none.

    Past `expires_at` every active run is expired, whoever looks at it first. A cancelling run that no executor holds
    has nobody left to stop: it is cancelled.
    """
    status = Status(run.status)
    if status.final:
        return None
    if now_ms >= run.expires_at * 1000:
        return Status.EXPIRED
    if status is Status.CANCELLING and not held(run, now_ms):
        return Status.CANCELLED
    return None


def end_step(step: StepRow, run_status: Status, now_ms: int, error: Mapping[str, str] | None = None) -> None:
    """Close an open step because its run ended."""
    step.status = _STEP_ENDS.get(run_status, "completed")
    step.ended_at = now_ms // 1000
    if error is not None:
        # A step's error knows no invalid_prompt (RunStepObject).
        code = "rate_limit_exceeded" if error["code"] == "rate_limit_exceeded" else "server_error"
        step.last_error = {"code": code, "message": error["message"]}


def check_cancellable(run: RunRow) -> None:
    """Raises ApiError unless the run may be cancelled: queued, in_progress and requires_action may."""
    if Status.CANCELLING not in NEXT[Status(run.status)]:
        raise errors.cannot_cancel(run.status)


def match_outputs(run: RunRow, step: StepRow | None, outputs: Sequence[tuple[str, str]]) -> list[dict[str, str | None]]:
    """The step's calls with their outputs filled in. Exactly one output per call, in any order; else ApiError."""
    if Status(run.status) is not Status.REQUIRES_ACTION or step is None:
        raise errors.outputs_unwanted(run.status)
    expected = [call["id"] for call in step.calls]
    got = [call_id for call_id, _ in outputs]
    if sorted(expected) != sorted(got):
        raise errors.outputs_mismatch(expected, got)
    by_id = dict(outputs)
    return [{**call, "output": by_id[call["id"]]} for call in step.calls]


def tokens_left(limit: int | None, used: int) -> int | None:
    """What is left of a token budget, never below 0; None where there is no limit."""
    return None if limit is None else max(limit - used, 0)


def poll_after_ms(run: RunRow, now_ms: int) -> int | None:
    """When a client should look at an active run again: sooner while it is young. None once it is final.

    The SDK's `create_and_poll` takes the first value it is given for the whole run, so even old runs get a short one.
    """
    if Status(run.status).final:
        return None
    return min(500, max(100, (now_ms - run.created_at * 1000) // 20))
