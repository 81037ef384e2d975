"""Assistants: create, list, retrieve, modify, delete."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from gateway.assistants import errors, repeats, views
from gateway.assistants.fields import Format
from gateway.assistants.ids import new_id
from gateway.assistants.paging import Page, envelope, listed
from gateway.assistants.records import Database, Tx
from gateway.assistants.repeats import Repeat
from gateway.assistants.schemas import CreateAssistant, ModifyAssistant
from gateway.assistants.tables import AssistantRow
from gateway.domain.pacing import Clock


class Assistants:
    """Operations on assistant definitions. Each is one transaction and raises ApiError or RecordsDown."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(self, wanted: CreateAssistant, repeat: Repeat | None = None) -> views.Json:
        """Make one; called twice it makes two, unless `repeat` says that it is the same request."""
        now_s = int(self._clock.now().timestamp())
        row = AssistantRow(
            id=new_id("asst_"),
            created_at=now_s,
            model=wanted.model,
            name=wanted.name,
            description=wanted.description,
            instructions=wanted.instructions,
            tools=[tool.stored() for tool in wanted.tools or []],
            labels=wanted.metadata or {},
            temperature=wanted.temperature,
            top_p=wanted.top_p,
            response_format=stored_format(wanted.response_format),
        )
        async with self._database.write() as tx:
            if known := await repeats.claim(tx, repeat, row.id, now_s):
                return views.assistant(await find_assistant(tx, known))
            tx.add(row)
        return views.assistant(row)

    async def list(self, page: Page) -> views.Json:
        """A page of them, newest first by default."""
        async with self._database.read() as tx:
            rows, more = await listed(tx, select(AssistantRow), AssistantRow, "assistant", page)
        return envelope(rows, more, views.assistant)

    async def retrieve(self, assistant_id: str) -> views.Json:
        """One."""
        async with self._database.read() as tx:
            return views.assistant(await find_assistant(tx, assistant_id))

    async def modify(self, assistant_id: str, change: ModifyAssistant) -> views.Json:
        """Change what the request names; metadata is replaced as a whole. Runs keep what they had."""
        async with self._database.write() as tx:
            row = await find_assistant(tx, assistant_id)
            named = change.model_fields_set
            for field in ("name", "description", "instructions", "temperature", "top_p"):
                if field in named:
                    setattr(row, field, getattr(change, field))
            if change.model is not None:
                row.model = change.model
            if "tools" in named:
                row.tools = [tool.stored() for tool in change.tools or []]
            if "metadata" in named:
                row.labels = change.metadata or {}
            if "response_format" in named:
                row.response_format = stored_format(change.response_format)
        return views.assistant(row)

    async def delete(self, assistant_id: str) -> views.Json:
        """Delete the definition; its runs stay, and one that is active goes on."""
        async with self._database.write() as tx:
            await tx.delete(await find_assistant(tx, assistant_id))
        return views.deleted("assistant", assistant_id)


async def find_assistant(tx: Tx, assistant_id: str) -> AssistantRow:
    """The definition. Raises ApiError 404."""
    row = await tx.scalar(select(AssistantRow).where(AssistantRow.id == assistant_id))
    if row is None:
        raise errors.not_found("assistant", assistant_id)
    return row


def stored_format(wanted: Format | str | None) -> Any:
    """A response format as it is stored and shown; "auto" where none was given."""
    if isinstance(wanted, Format):
        return wanted.model_dump(by_alias=True, exclude_none=True)
    return wanted or "auto"
