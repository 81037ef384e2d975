"""Lists: `limit`, `order`, `after`, `before`, in the order things were made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Select

from gateway.assistants.errors import ApiError, not_found
from gateway.assistants.records import Tx
from gateway.assistants.tables import AssistantRow, MessageRow, RunRow, StepRow

R = TypeVar("R", AssistantRow, MessageRow, RunRow, StepRow)


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted. `after` and `before` are ids and are not part of the answer themselves."""

    limit: int = 20
    newest_first: bool = True
    after: str | None = None
    before: str | None = None

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Page:
        """Read the query string. Raises ApiError; the range of `limit` is in the document's text (1 to 100)."""
        raw = query.get("limit", "20")
        try:
            limit = int(raw) if len(raw) < 10 else 10**9
        except ValueError:
            text = "Invalid type for 'limit': expected an integer, but got a string instead."
            raise ApiError(text, param="limit", code="invalid_type") from None
        if limit < 1:
            text = f"Invalid 'limit': integer below minimum value. Expected a value >= 1, but got {limit} instead."
            raise ApiError(text, param="limit", code="integer_below_min_value")
        if limit > 100:
            text = f"Invalid 'limit': integer above maximum value. Expected a value <= 100, but got {limit} instead."
            raise ApiError(text, param="limit", code="integer_above_max_value")
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            text = "Invalid value for 'order'. Supported values are: 'asc' and 'desc'."
            raise ApiError(text, param="order", code="invalid_value")
        return cls(limit, order == "desc", query.get("after") or None, query.get("before") or None)


async def listed(tx: Tx, found: Select[R], table: type[R], kind: str, page: Page) -> tuple[Sequence[R], bool]:
    """The wanted rows of `found` in order, and whether more follow in the direction of reading.

    `before` alone reads backwards: the page that ends just before that object. Raises ApiError for a cursor that is not
    in the list.
    """
    backwards = page.before is not None and page.after is None
    statement = found
    for name, cursor in (("after", page.after), ("before", page.before)):
        if cursor is None:
            continue
        at = await tx.scalar(found.with_only_columns(table.seq).where(table.id == cursor))
        if at is None:
            raise not_found(kind, cursor, param=name, status=400)
        below = page.newest_first == (name == "after")
        statement = statement.where(table.seq < at if below else table.seq > at)
    descending = page.newest_first != backwards
    statement = statement.order_by(table.seq.desc() if descending else table.seq.asc()).limit(page.limit + 1)
    rows = list(await tx.scalars(statement))
    more = len(rows) > page.limit
    rows = rows[: page.limit]
    return (rows[::-1] if backwards else rows), more


def envelope(rows: Sequence[R], more: bool, show: Callable[[R], dict[str, Any]]) -> dict[str, Any]:
    """The list object. An empty list has null cursors, as the hosted service answered (the schema says string)."""
    return {
        "object": "list",
        "data": [show(row) for row in rows],
        "first_id": rows[0].id if rows else None,
        "last_id": rows[-1].id if rows else None,
        "has_more": more,
    }
