"""Rows of threads and runs, taken in one order, and the end of a run with everything that hangs on it.

Whoever writes takes the thread's row first, then the run's: one order everywhere, so that on Postgres no two writers
wait for each other. SQLite lets one transaction write at a time, so there is nothing to take and no query to spend.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select, text

from gateway.assistants import errors
from gateway.assistants.records import Database, Tx
from gateway.assistants.rules import Status, advance, end_step, over_by_time
from gateway.assistants.tables import ACTIVE_RUNS, RunRow, StepRow, ThreadRow
from gateway.telemetry import log


async def take_thread(tx: Tx, thread_id: str) -> ThreadRow:
    """The thread, held until the transaction ends. Raises ApiError 404."""
    # key_share: rows that refer to the thread can still be inserted, by an executor that reports meanwhile.
    row = await tx.scalar(select(ThreadRow).where(ThreadRow.id == thread_id).with_for_update(key_share=True))
    if row is None:
        raise errors.not_found("thread", thread_id)
    return row


async def see_thread(tx: Tx, thread_id: str) -> ThreadRow:
    """The thread, for reading. Raises ApiError 404."""
    row = await tx.scalar(select(ThreadRow).where(ThreadRow.id == thread_id))
    if row is None:
        raise errors.not_found("thread", thread_id)
    return row


async def take_run(tx: Tx, thread_id: str, run_id: str) -> RunRow:
    """The thread's run, held until the transaction ends. Raises ApiError 404 for either."""
    if _takes_rows(tx):
        await take_thread(tx, thread_id)
    return await see_run(tx, thread_id, run_id, held=True)


async def take_run_alone(tx: Tx, run_id: str) -> RunRow | None:
    """The run, whose thread the caller does not know, held until the transaction ends; None when it is gone."""
    found = select(RunRow).where(RunRow.id == run_id)
    if _takes_rows(tx):
        thread_id = await tx.scalar(found.with_only_columns(RunRow.thread_id))
        await tx.execute(select(ThreadRow.seq).where(ThreadRow.id == thread_id).with_for_update(key_share=True))
    return await tx.scalar(found.with_for_update())


async def see_run(tx: Tx, thread_id: str, run_id: str, *, held: bool = False) -> RunRow:
    """The thread's run. Raises ApiError 404 for either."""
    found = select(RunRow).where(RunRow.id == run_id, RunRow.thread_id == thread_id)
    row = await tx.scalar(found.with_for_update() if held else found)
    if row is None:
        await see_thread(tx, thread_id)  # which of the two is missing?
        raise errors.not_found("run", run_id)
    return row


async def active_run(tx: Tx, thread_id: str, now_ms: int) -> RunRow | None:
    """The run that keeps the (taken) thread busy. One that time has ended is ended here and does not count."""
    row = await tx.scalar(select(RunRow).where(RunRow.thread_id == thread_id, text(ACTIVE_RUNS)).with_for_update())
    if row is None or await settle_by_time(tx, row, now_ms):
        return None
    return row


async def open_step(tx: Tx, run_id: str) -> StepRow | None:
    """The run's step that waits for outputs."""
    return await tx.scalar(select(StepRow).where(StepRow.run_id == run_id, StepRow.status == "in_progress"))


async def end_run(tx: Tx, run: RunRow, to: Status, now_ms: int, error: Mapping[str, str] | None = None) -> None:
    """End the (taken) run as `to`, and its open step with it."""
    # Only a run that waits for outputs, or was cancelled while it did, has an open step.
    may_wait = run.status in (Status.REQUIRES_ACTION, Status.CANCELLING)
    if may_wait and (step := await open_step(tx, run.id)) is not None:
        end_step(step, to, now_ms, error)
    if error is not None:
        run.last_error = dict(error)
    advance(run, to, now_ms)
    log.info(
        "run.ended",
        run=run.id,
        thread=run.thread_id,
        status=to.value,
        took_s=round(now_ms / 1000 - run.created_at, 1),
        prompt_tokens=run.prompt_tokens,
        completion_tokens=run.completion_tokens,
    )


async def settle_by_time(tx: Tx, run: RunRow, now_ms: int) -> bool:
    """End the (taken) run if time alone has ended it; whether it did."""
    if (end := over_by_time(run, now_ms)) is None:
        return False
    await end_run(tx, run, end, now_ms)
    return True


def _takes_rows(tx: Tx) -> bool:
    return tx.get_bind().dialect.name != "sqlite"


async def settle_thread(database: Database, thread_id: str, now_ms: int) -> None:
    """Before a read: end the thread's run if its time is over. Costs one query while nothing is to be done."""
    async with database.read() as tx:
        row = await tx.scalar(select(RunRow).where(RunRow.thread_id == thread_id, text(ACTIVE_RUNS)))
    if row is None or over_by_time(row, now_ms) is None:
        return
    async with database.write() as tx:
        await take_thread(tx, thread_id)
        await active_run(tx, thread_id, now_ms)
