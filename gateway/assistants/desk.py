"""Where executors get runs and hand in what the model said: the service's side of work.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import and_, or_, select, text

from gateway.assistants.checking import storable
from gateway.assistants.ids import new_id
from gateway.assistants.lifecycle import end_run, settle_by_time, take_run_alone
from gateway.assistants.prompt import messages_for
from gateway.assistants.records import Database, Tx
from gateway.assistants.rules import Status, advance, held, over_by_time, tokens_left
from gateway.assistants.runs import Wake, wake_quietly
from gateway.assistants.tables import ACTIVE_RUNS, MessageRow, RunRow, StepRow
from gateway.assistants.work import RunAnswer, RunSignal, RunWork, WorkCall
from gateway.domain.pacing import Clock, SystemClock
from gateway.telemetry import log

QUEUED_GRACE_MS = 500
"""How long a queued run's own wake-up has before `due` names it too."""
ERROR_CODES = ("server_error", "rate_limit_exceeded", "invalid_prompt")
_MAX_ERROR_CHARS = 2_000
_MAX_TOKENS = 2**31 - 1


class Desk:
    """Implements `RunDesk`; every method is one transaction and raises RecordsDown when the database is away.

    Leases are compared with this host's clock: hosts that share a database keep their clocks within a second or two.
    A wrong clock costs at most a doubled model call, never a doubled answer: each write checks the owner.
    """

    def __init__(self, database: Database, *, clock: Clock | None = None, wake: Wake | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()
        self._wake = wake

    async def claim(self, run_id: str, owner: str, lease_s: float) -> RunWork | None:
        """See RunDesk.claim."""
        async with self._database.write() as tx:
            row, now_ms = await take_run_alone(tx, run_id), self._now_ms()
            if row is None or await settle_by_time(tx, row, now_ms):
                return None
            if held(row, now_ms) and row.lease_owner != owner:
                return None
            if row.status == Status.CANCELLING:
                await end_run(tx, row, Status.CANCELLED, now_ms)
                return None
            if row.status == Status.QUEUED:
                advance(row, Status.IN_PROGRESS, now_ms)
            elif row.status != Status.IN_PROGRESS:
                return None
            elif row.lease_owner not in (None, owner):
                log.warning("run.taken_over", run=run_id, thread=row.thread_id)
            row.lease_owner = owner
            row.lease_until_ms = now_ms + int(lease_s * 1000)
            return await _work(tx, row)

    async def renew(self, run_id: str, owner: str, lease_s: float) -> RunSignal:
        """See RunDesk.renew."""
        async with self._database.write() as tx:
            row, now_ms = await take_run_alone(tx, run_id), self._now_ms()
            if row is None or row.lease_owner != owner:
                return RunSignal.LOST
            if row.status == Status.CANCELLING or over_by_time(row, now_ms) is not None:
                return RunSignal.CANCEL
            row.lease_until_ms = now_ms + int(lease_s * 1000)
            return RunSignal.GO_ON

    async def report(self, run_id: str, owner: str, answer: RunAnswer) -> bool:
        """See RunDesk.report. Text that comes with calls becomes a message of its own, before the calls' step.

        A run whose token budget is used up is incomplete instead of asking for more calls.
        """
        async with self._database.write() as tx:
            row, now_ms = await self._working(tx, run_id, owner)
            if row is None:
                return False
            row.prompt_tokens = _added(row.prompt_tokens, answer.prompt_tokens)
            row.completion_tokens = _added(row.completion_tokens, answer.completion_tokens)
            cut_short = _cut_short(row, answer)
            asks = bool(answer.calls) and not cut_short
            if answer.text or not asks:
                await _write_message(tx, row, answer, now_ms, usage=not asks)
            if asks:
                await _ask(tx, row, answer, now_ms)
            elif cut_short:
                row.incomplete_reason = None if cut_short == "content_filter" else cut_short
                await end_run(tx, row, Status.INCOMPLETE, now_ms)
            else:
                await end_run(tx, row, Status.COMPLETED, now_ms)
            return True

    async def fail(self, run_id: str, owner: str, code: str, message: str) -> bool:
        """See RunDesk.fail. An unknown code counts as server_error; the message is shown to users of the API."""
        async with self._database.write() as tx:
            row, now_ms = await self._working(tx, run_id, owner)
            if row is None:
                return False
            error = {
                "code": code if code in ERROR_CODES else "server_error",
                "message": storable(message)[:_MAX_ERROR_CHARS],
            }
            await end_run(tx, row, Status.FAILED, now_ms, error)
            return True

    async def settle(self, run_id: str, owner: str) -> bool:
        """See RunDesk.settle. False when there is nothing to settle, or when another executor holds the run."""
        async with self._database.write() as tx:
            row, now_ms = await take_run_alone(tx, run_id), self._now_ms()
            if row is None:
                return False
            if await settle_by_time(tx, row, now_ms):
                return True
            if row.status != Status.CANCELLING or row.lease_owner != owner:
                return False
            await end_run(tx, row, Status.CANCELLED, now_ms)
            return True

    async def hand_back(self, run_id: str, owner: str) -> bool:
        """See RunDesk.hand_back. The run stays in_progress, without a lease; whoever claims it asks the model anew."""
        async with self._database.write() as tx:
            row, _ = await self._working(tx, run_id, owner)
            if row is None:
                return False
            row.lease_owner, row.lease_until_ms = None, 0
        log.info("run.handed_back", run=run_id)
        if self._wake is not None:
            await wake_quietly(self._wake, run_id)
        return True

    async def due(self, limit: int) -> Sequence[str]:
        """See RunDesk.due. Runs that are over by time are ended here and not named."""
        now_ms = self._now_ms()
        over = or_(
            RunRow.expires_at <= now_ms // 1000,
            and_(RunRow.status == "cancelling", RunRow.lease_until_ms <= now_ms),
        )
        waiting = or_(
            and_(RunRow.status == "queued", RunRow.queued_at_ms <= now_ms - QUEUED_GRACE_MS),
            and_(RunRow.status == "in_progress", RunRow.lease_until_ms <= now_ms),
        )
        active = select(RunRow.id).where(text(ACTIVE_RUNS)).order_by(RunRow.seq).limit(limit)
        async with self._database.read() as tx:
            ended = (await tx.scalars(active.where(over))).all()
        for run_id in ended:
            async with self._database.write() as tx:
                if (row := await take_run_alone(tx, run_id)) is not None:
                    await settle_by_time(tx, row, now_ms)
        async with self._database.read() as tx:
            return (await tx.scalars(active.where(waiting))).all()

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)

    async def _working(self, tx: Tx, run_id: str, owner: str) -> tuple[RunRow | None, int]:
        """The run if `owner` still works on it; one that was cancelled or ran out of time meanwhile is ended here."""
        row, now_ms = await take_run_alone(tx, run_id), self._now_ms()
        if row is None or row.lease_owner != owner:
            log.info("run.late_report_refused", run=run_id)
            return None, now_ms
        if await settle_by_time(tx, row, now_ms):
            return None, now_ms
        if row.status == Status.CANCELLING:
            await end_run(tx, row, Status.CANCELLED, now_ms)
            return None, now_ms
        return row, now_ms


async def _work(tx: Tx, row: RunRow) -> RunWork:
    steps = (await tx.scalars(select(StepRow).where(StepRow.run_id == row.id).order_by(StepRow.seq))).all()
    called = any(step.message_id is None for step in steps)
    choice: Any = row.tool_choice
    if choice not in ("auto", "none") and called:
        choice = "auto"  # a forced call was made; forcing it again after each output would never end
    return RunWork(
        run_id=row.id,
        thread_id=row.thread_id,
        model=row.model,
        messages=await messages_for(tx, row, steps),
        tools=[_chat_tool(tool) for tool in row.tools],
        tool_choice=choice if row.tools else None,
        parallel_tool_calls=row.parallel_tool_calls,
        temperature=row.temperature,
        top_p=row.top_p,
        max_completion_tokens=tokens_left(row.max_completion_tokens, row.completion_tokens),
        response_format=None if row.response_format == "auto" else row.response_format,
        expires_at=row.expires_at,
    )


def _chat_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """As Chat Completions takes it; `strict: false` is left out, since many servers do not know the key."""
    function = {key: value for key, value in tool["function"].items() if key != "strict" or value}
    return {"type": "function", "function": function}


def _cut_short(row: RunRow, answer: RunAnswer) -> str:
    """Why the run ends incomplete, "" if it does not. Calls of a cut answer are dropped: they may be cut too."""
    if answer.stop_reason == "length":
        return "max_completion_tokens"
    if answer.stop_reason == "content_filter":
        return "content_filter"
    if answer.calls and tokens_left(row.max_completion_tokens, row.completion_tokens) == 0:
        return "max_completion_tokens"
    if answer.calls and tokens_left(row.max_prompt_tokens, row.prompt_tokens) == 0:
        return "max_prompt_tokens"
    return ""


async def _write_message(tx: Tx, row: RunRow, answer: RunAnswer, now_ms: int, *, usage: bool) -> None:
    words, now_s = storable(answer.text), now_ms // 1000
    reason = {"length": "max_tokens", "content_filter": "content_filter"}.get(answer.stop_reason)
    message = MessageRow(
        id=new_id("msg_"),
        created_at=now_s,
        thread_id=row.thread_id,
        role="assistant",
        content=[{"type": "text", "text": {"value": words, "annotations": []}}],
        chars=len(words),
        status="incomplete" if reason else "completed",
        incomplete_reason=reason,
        ended_at=now_s,
        assistant_id=row.assistant_id,
        run_id=row.id,
        labels={},
    )
    step = _new_step(row, answer if usage else RunAnswer(), now_s)
    step.message_id, step.status, step.ended_at = message.id, "completed", now_s
    tx.add_all([message, step])
    await tx.flush()  # before the calls' step, whose place is after this one


async def _ask(tx: Tx, row: RunRow, answer: RunAnswer, now_ms: int) -> None:
    calls = answer.calls if row.parallel_tool_calls else answer.calls[:1]
    used = {
        call["id"] for step in await tx.scalars(select(StepRow).where(StepRow.run_id == row.id)) for call in step.calls
    }
    step = _new_step(row, answer, now_ms // 1000)
    step.calls = [_stored_call(call, used) for call in calls]
    tx.add(step)
    advance(row, Status.REQUIRES_ACTION, now_ms)
    log.info("run.requires_action", run=row.id, thread=row.thread_id, calls=len(calls))


def _stored_call(call: WorkCall, used: set[str]) -> dict[str, Any]:
    """A call under an id that is its own within the run. The model's is kept if it can be: some servers take no other
    form back."""
    call_id = storable(call.id)
    if not call_id or len(call_id) > 128 or call_id in used:
        call_id = new_id("call_")
    used.add(call_id)
    return {"id": call_id, "name": storable(call.name), "arguments": storable(call.arguments), "output": None}


def _new_step(row: RunRow, answer: RunAnswer, now_s: int) -> StepRow:
    return StepRow(
        id=new_id("step_"),
        created_at=now_s,
        thread_id=row.thread_id,
        run_id=row.id,
        assistant_id=row.assistant_id,
        status="in_progress",
        calls=[],
        prompt_tokens=_added(0, answer.prompt_tokens),
        completion_tokens=_added(0, answer.completion_tokens),
    )


def _added(total: int, more: int) -> int:
    """A token count that a column of 32 bits holds, whatever a server reports."""
    return min(total + max(more, 0), _MAX_TOKENS)
