"""Threads and the messages on them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select

from gateway.assistants import errors, repeats, views
from gateway.assistants.ids import new_id
from gateway.assistants.lifecycle import active_run, see_thread, take_thread
from gateway.assistants.paging import Page, envelope, listed
from gateway.assistants.prompt import text_of
from gateway.assistants.records import Database, Tx
from gateway.assistants.repeats import Repeat
from gateway.assistants.schemas import CreateMessage, CreateThread, ModifyMessage, ModifyThread
from gateway.assistants.tables import MessageRow, ThreadRow
from gateway.domain.pacing import Clock


class Threads:
    """Operations on threads. Each is one transaction and raises ApiError or RecordsDown."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, wanted: CreateThread, repeat: Repeat | None = None) -> views.Json:
        """Make one, with its first messages; called twice it makes two, unless `repeat` says it is the same request."""
        now_s = int(self._clock.now().timestamp())
        async with self._database.write() as tx:
            row = ThreadRow(id=new_id("thread_"), created_at=now_s, labels=wanted.metadata or {})
            if known := await repeats.claim(tx, repeat, row.id, now_s):
                return views.thread(await see_thread(tx, known))
            tx.add(row)
            await tx.flush()
            await add_messages(tx, row.id, wanted.messages or (), now_s)
        return views.thread(row)

    async def retrieve(self, thread_id: str) -> views.Json:
        """One."""
        async with self._database.read() as tx:
            return views.thread(await see_thread(tx, thread_id))

    async def modify(self, thread_id: str, change: ModifyThread) -> views.Json:
        """Replace its metadata, if the request has any."""
        async with self._database.write() as tx:
            row = await take_thread(tx, thread_id)
            if "metadata" in change.model_fields_set:
                row.labels = change.metadata or {}
        return views.thread(row)

    async def delete(self, thread_id: str) -> views.Json:
        """Delete it with its messages, runs and steps; the executor of an active run finds its lease lost."""
        async with self._database.write() as tx:
            await take_thread(tx, thread_id)
            await tx.execute(delete(ThreadRow).where(ThreadRow.id == thread_id))
        return views.deleted("thread", thread_id)


class Messages:
    """Operations on messages. Each is one transaction and raises ApiError or RecordsDown."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, thread_id: str, wanted: CreateMessage, repeat: Repeat | None = None) -> views.Json:
        """Append one. Refused while a run is active on the thread."""
        now = self._clock.now().timestamp()
        async with self._database.write() as tx:
            await take_thread(tx, thread_id)
            fresh = new_id("msg_")
            if known := await repeats.claim(tx, repeat, fresh, int(now)):
                return views.message(await _find(tx, thread_id, known))
            if (busy := await active_run(tx, thread_id, int(now * 1000))) is not None:
                raise errors.thread_busy_for_messages(thread_id, busy.id)
            (row,) = await add_messages(tx, thread_id, [wanted], int(now), first_id=fresh)
        return views.message(row)

    async def list(self, thread_id: str, page: Page, run_id: str | None = None) -> views.Json:
        """A page of them, newest first by default; with `run_id` only what that run wrote."""
        async with self._database.read() as tx:
            found = select(MessageRow).where(MessageRow.thread_id == thread_id)
            if run_id:
                found = found.where(MessageRow.run_id == run_id)
            rows, more = await listed(tx, found, MessageRow, "message", page)
            if not rows:
                await see_thread(tx, thread_id)  # empty, or not there?
        return envelope(rows, more, views.message)

    async def retrieve(self, thread_id: str, message_id: str) -> views.Json:
        """One."""
        async with self._database.read() as tx:
            return views.message(await _find(tx, thread_id, message_id))

    async def modify(self, thread_id: str, message_id: str, change: ModifyMessage) -> views.Json:
        """Replace its metadata, if the request has any."""
        async with self._database.write() as tx:
            row = await _find(tx, thread_id, message_id)
            if "metadata" in change.model_fields_set:
                row.labels = change.metadata or {}
        return views.message(row)

    async def delete(self, thread_id: str, message_id: str) -> views.Json:
        """Delete it; a run that read it already goes on."""
        async with self._database.write() as tx:
            await tx.delete(await _find(tx, thread_id, message_id))
        return views.deleted("thread.message", message_id)


async def add_messages(
    tx: Tx, thread_id: str, wanted: Sequence[CreateMessage], now_s: int, *, first_id: str | None = None
) -> Sequence[MessageRow]:
    """Append users' messages to the (taken) thread, in order."""
    rows: list[MessageRow] = []
    for message in wanted:
        content = message.parts()
        row = MessageRow(
            id=first_id if first_id and not rows else new_id("msg_"),
            created_at=now_s,
            thread_id=thread_id,
            role=message.role,
            content=content,
            chars=len(text_of(content)),
            status="completed",
            ended_at=now_s,
            labels=message.metadata or {},
        )
        rows.append(row)
        tx.add(row)
        await tx.flush()  # one by one: rows added together may get their places in another order
    return rows


async def _find(tx: Tx, thread_id: str, message_id: str) -> MessageRow:
    await see_thread(tx, thread_id)
    row = await tx.scalar(select(MessageRow).where(MessageRow.id == message_id, MessageRow.thread_id == thread_id))
    if row is None:
        raise errors.not_found("message", message_id)
    return row
