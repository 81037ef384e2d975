"""Idempotency-Key: a POST that is sent twice makes one object.

The key is written in the transaction that makes the object: either both are there or neither, and of two requests
that arrive together the database lets one wait for the other. A refused request leaves no key behind.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from gateway.assistants.errors import ApiError
from gateway.assistants.records import Tx
from gateway.assistants.tables import RepeatRow

KEPT_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class Repeat:
    """One request's key and what it asked for, both as SHA-256."""

    key: str
    fingerprint: str

    @classmethod
    def of(cls, path: str, key: str, body: bytes) -> Repeat:
        """`key` counts per path. Raises ApiError when it is longer than 255 characters."""
        if len(key) > 255:
            raise ApiError("Invalid 'Idempotency-Key' header: at most 255 characters are allowed.")
        return cls(hashlib.sha256(f"{path}\n{key}".encode()).hexdigest(), hashlib.sha256(body).hexdigest())


async def claim(tx: Tx, repeat: Repeat | None, object_id: str, now_s: int) -> str | None:
    """Remember that this request makes `object_id`; or, if it was made before, the id it made then.

    Raises ApiError when the key was used for another body within the last 24 h.
    """
    if repeat is None:
        return None
    await tx.execute(delete(RepeatRow).where(RepeatRow.created_at < now_s - KEPT_S))
    values = {
        "key": repeat.key,
        "fingerprint": repeat.fingerprint,
        "object_id": object_id,
        "created_at": now_s,
    }
    dialect = postgresql if tx.get_bind().dialect.name == "postgresql" else sqlite
    # Not "look, then insert": on Postgres a second request would look before the first has committed.
    await tx.execute(dialect.insert(RepeatRow).values(values).on_conflict_do_nothing())
    kept = (await tx.scalars(select(RepeatRow).where(RepeatRow.key == repeat.key))).one()
    if kept.fingerprint != repeat.fingerprint:
        raise ApiError("The Idempotency-Key was used before with another request body.", code="idempotency_key_reused")
    return None if kept.object_id == object_id else kept.object_id
