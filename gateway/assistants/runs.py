"""Runs and their steps, as the users of the API see them; executors come in by desk.py."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from gateway.assistants import errors, repeats, views
from gateway.assistants.definitions import find_assistant, stored_format
from gateway.assistants.fields import NamedChoice
from gateway.assistants.ids import new_id
from gateway.assistants.lifecycle import (
    active_run,
    open_step,
    see_run,
    see_thread,
    settle_by_time,
    settle_thread,
    take_run,
    take_thread,
)
from gateway.assistants.paging import Page, envelope, listed
from gateway.assistants.records import Database, Tx
from gateway.assistants.repeats import Repeat
from gateway.assistants.rules import (
    Status,
    advance,
    check_cancellable,
    end_step,
    match_outputs,
    over_by_time,
    poll_after_ms,
)
from gateway.assistants.schemas import (
    CreateRun,
    CreateThread,
    CreateThreadAndRun,
    ModifyRun,
    SubmitToolOutputs,
)
from gateway.assistants.tables import AssistantRow, RunRow, StepRow, ThreadRow
from gateway.assistants.threads import add_messages
from gateway.domain.pacing import Clock
from gateway.telemetry import log

Wake = Callable[[str], Awaitable[None]]
"""Tell the executors that a run is queued. May fail or be lost: whoever asks `RunDesk.due` finds the run anyway."""
WAKE_TIMEOUT_S = 1.0


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A run as the API shows it, and when to look again (None once it is final)."""

    body: views.Json
    poll_after_ms: int | None


class Runs:
    """Operations on runs. Each is one transaction and raises ApiError or RecordsDown."""

    def __init__(self, database: Database, clock: Clock, *, expiry_s: float, wake: Wake) -> None:
        self._database = database
        self._clock = clock
        self._expiry_s = expiry_s
        self._wake = wake

    async def create(self, thread_id: str, wanted: CreateRun, repeat: Repeat | None = None) -> views.Json:
        """Queue a run on the thread, after its additional messages. Refused while another one is active.

        Of two that come together exactly one succeeds. Called twice it is refused the second time, unless `repeat`
        says that it is the same request.
        """
        run_id, now_ms = new_id("run_"), self._now_ms()
        async with self._database.write() as tx:
            await take_thread(tx, thread_id)
            if known := await repeats.claim(tx, repeat, run_id, now_ms // 1000):
                return await _shown(tx, await see_run(tx, thread_id, known))
            if (busy := await active_run(tx, thread_id, now_ms)) is not None:
                raise errors.thread_busy_for_runs(thread_id, busy.id)
            assistant = await find_assistant(tx, wanted.assistant_id)
            await add_messages(tx, thread_id, wanted.additional_messages or (), now_ms // 1000)
            row = self._new_run(run_id, thread_id, assistant, wanted, now_ms)
            if wanted.additional_instructions:
                row.instructions = "\n\n".join(filter(None, (row.instructions, wanted.additional_instructions)))
            tx.add(row)
        await self._queued(row)
        return views.run(row, None)

    async def create_with_thread(self, wanted: CreateThreadAndRun, repeat: Repeat | None = None) -> views.Json:
        """Make a thread with its messages and queue a run on it."""
        run_id, now_ms = new_id("run_"), self._now_ms()
        now_s = now_ms // 1000
        async with self._database.write() as tx:
            if known := await repeats.claim(tx, repeat, run_id, now_s):
                earlier = await tx.scalar(select(RunRow).where(RunRow.id == known))
                if earlier is None:
                    raise errors.not_found("run", known)
                return await _shown(tx, earlier)
            assistant = await find_assistant(tx, wanted.assistant_id)
            first = wanted.thread or CreateThread()
            thread = ThreadRow(id=new_id("thread_"), created_at=now_s, labels=first.metadata or {})
            tx.add(thread)
            await tx.flush()
            await add_messages(tx, thread.id, first.messages or (), now_s)
            row = self._new_run(run_id, thread.id, assistant, wanted, now_ms)
            tx.add(row)
        await self._queued(row)
        return views.run(row, None)

    async def list(self, thread_id: str, page: Page) -> views.Json:
        """A page of the thread's runs, newest first by default."""
        await settle_thread(self._database, thread_id, self._now_ms())
        async with self._database.read() as tx:
            await see_thread(tx, thread_id)
            found = select(RunRow).where(RunRow.thread_id == thread_id)
            rows, more = await listed(tx, found, RunRow, "run", page)
            waiting = next((row for row in rows if row.status == Status.REQUIRES_ACTION), None)
            step = await open_step(tx, waiting.id) if waiting is not None else None
        return envelope(rows, more, lambda row: views.run(row, step))

    async def retrieve(self, thread_id: str, run_id: str) -> SeenRun:
        """One, with what time has made of it."""
        now_ms = self._now_ms()
        async with self._database.read() as tx:
            row = await see_run(tx, thread_id, run_id)
            body = await _shown(tx, row)
        # Polls are the most frequent request of all: they write only when there is something to end.
        if over_by_time(row, now_ms) is not None:
            await settle_thread(self._database, thread_id, now_ms)
            async with self._database.read() as tx:
                row = await see_run(tx, thread_id, run_id)
                body = await _shown(tx, row)
        return SeenRun(body, poll_after_ms(row, now_ms))

    async def modify(self, thread_id: str, run_id: str, change: ModifyRun) -> views.Json:
        """Replace its metadata, if the request has any."""
        async with self._database.write() as tx:
            row = await take_run(tx, thread_id, run_id)
            await settle_by_time(tx, row, self._now_ms())
            if "metadata" in change.model_fields_set:
                row.labels = change.metadata or {}
            return await _shown(tx, row)

    async def cancel(self, thread_id: str, run_id: str) -> views.Json:
        """Ask the run to stop: it is cancelling, and cancelled once its executor (if any) has let go.

        Not idempotent, as hosted: the second call is refused with the status it finds.
        """
        now_ms = self._now_ms()
        async with self._database.write() as tx:
            row = await take_run(tx, thread_id, run_id)
            await settle_by_time(tx, row, now_ms)
            check_cancellable(row)
            advance(row, Status.CANCELLING, now_ms)
        log.info("run.cancel_asked", run=run_id, thread=thread_id)
        return views.run(row, None)

    async def submit(
        self, thread_id: str, run_id: str, given: SubmitToolOutputs, repeat: Repeat | None = None
    ) -> views.Json:
        """Take the outputs of all open calls at once; the run is queued again."""
        now_ms = self._now_ms()
        outputs = [(one.tool_call_id, one.output or "") for one in given.tool_outputs]
        async with self._database.write() as tx:
            row = await take_run(tx, thread_id, run_id)
            fresh = new_id("submit_")
            if await repeats.claim(tx, repeat, fresh, now_ms // 1000):
                return await _shown(tx, row)
            await settle_by_time(tx, row, now_ms)
            step = await open_step(tx, run_id)
            calls = match_outputs(row, step, outputs)
            assert step is not None
            step.calls = list(calls)
            end_step(step, Status.COMPLETED, now_ms)
            advance(row, Status.QUEUED, now_ms)
        await self._queued(row)
        return views.run(row, None)

    async def list_steps(self, thread_id: str, run_id: str, page: Page) -> views.Json:
        """A page of the run's steps, newest first by default."""
        await settle_thread(self._database, thread_id, self._now_ms())
        async with self._database.read() as tx:
            await see_run(tx, thread_id, run_id)
            found = select(StepRow).where(StepRow.run_id == run_id)
            rows, more = await listed(tx, found, StepRow, "run step", page)
        return envelope(rows, more, views.step)

    async def retrieve_step(self, thread_id: str, run_id: str, step_id: str) -> views.Json:
        """One step."""
        await settle_thread(self._database, thread_id, self._now_ms())
        async with self._database.read() as tx:
            await see_run(tx, thread_id, run_id)
            row = await tx.scalar(select(StepRow).where(StepRow.id == step_id, StepRow.run_id == run_id))
            if row is None:
                raise errors.not_found("run step", step_id)
            return views.step(row)

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)

    async def _queued(self, row: RunRow) -> None:
        log.info("run.queued", run=row.id, thread=row.thread_id)
        await wake_quietly(self._wake, row.id)

    def _new_run(
        self,
        run_id: str,
        thread_id: str,
        assistant: AssistantRow,
        wanted: CreateRun | CreateThreadAndRun,
        now_ms: int,
    ) -> RunRow:
        tools = assistant.tools if wanted.tools is None else [tool.stored() for tool in wanted.tools]
        choice: Any = wanted.tool_choice or "auto"
        if isinstance(choice, NamedChoice):
            if choice.function.name not in {tool["function"]["name"] for tool in tools}:
                text = f"Tool choice '{choice.function.name[:64]}' not found in 'tools' parameter."
                raise errors.ApiError(text, param="tool_choice", code="invalid_value")
            choice = choice.model_dump()
        instructions = assistant.instructions if wanted.instructions is None else wanted.instructions
        truncation = wanted.truncation_strategy
        return RunRow(
            id=run_id,
            created_at=now_ms // 1000,
            thread_id=thread_id,
            assistant_id=assistant.id,
            status=Status.QUEUED.value,
            expires_at=now_ms // 1000 + math.ceil(self._expiry_s),
            queued_at_ms=now_ms,
            lease_until_ms=0,
            prompt_tokens=0,
            completion_tokens=0,
            model=wanted.model or assistant.model,
            instructions=instructions or "",
            tools=tools,
            labels=wanted.metadata or {},
            temperature=assistant.temperature if wanted.temperature is None else wanted.temperature,
            top_p=assistant.top_p if wanted.top_p is None else wanted.top_p,
            max_prompt_tokens=wanted.max_prompt_tokens,
            max_completion_tokens=wanted.max_completion_tokens,
            truncation_strategy=truncation.stored() if truncation else {"type": "auto", "last_messages": None},
            tool_choice=choice,
            parallel_tool_calls=wanted.parallel_tool_calls is not False,
            response_format=stored_format(wanted.response_format or assistant.response_format),
        )


async def wake_quietly(wake: Wake, run_id: str) -> None:
    """Wake the executors; whatever goes wrong is logged, for the run is safe and will be found as due."""
    try:
        async with asyncio.timeout(WAKE_TIMEOUT_S):
            await wake(run_id)
    except Exception as error:  # a broker may fail in any way; none may fail a run that is stored
        log.warning("run.wake_failed", run=run_id, error=type(error).__name__)


async def _shown(tx: Tx, row: RunRow) -> views.Json:
    waiting = row.status == Status.REQUIRES_ACTION
    return views.run(row, await open_step(tx, row.id) if waiting else None)
