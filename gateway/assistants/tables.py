"""The service's tables. Their history is in migrations/; a test compares the two.

Every table is ordered by `seq`, not by `created_at`: the API's times are whole seconds and lists must be stable.
Times the API shows are Unix seconds; what leases need is Unix milliseconds (`_ms`).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Double, ForeignKey, Index, Integer, MetaData, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

ACTIVE_RUNS = "status IN ('queued', 'in_progress', 'requires_action', 'cancelling')"
"""The states that keep a thread busy, as SQL. Queries repeat this very text, so that SQLite sees that the partial
index below serves them: with bound parameters it could not know."""

_Json = JSON(none_as_null=True)
_BigInt = BigInteger().with_variant(Integer, "sqlite")  # SQLite gives row ids to INTEGER PRIMARY KEY only


class Base(DeclarativeBase):
    """Root of the tables; constraints have names, so that a migration can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 -- SQLAlchemy reads it off the class
        dict[str, Any]: _Json,
        list[dict[str, Any]]: _Json,
        Any: _Json,
        float: Double,
    }


class _Row(Base):
    """What every table begins with."""

    __abstract__ = True
    __table_args__: Any = ({"sqlite_autoincrement": True},)  # a deleted row's place is never given away again

    seq: Mapped[int] = mapped_column(_BigInt, primary_key=True, autoincrement=True, sort_order=-3)
    id: Mapped[str] = mapped_column(String(64), unique=True, sort_order=-2)
    created_at: Mapped[int] = mapped_column(BigInteger, sort_order=-1)


class AssistantRow(_Row):
    """A definition; runs copy what they need of it, so deleting one leaves its runs readable."""

    __tablename__ = "assistants"

    model: Mapped[str] = mapped_column(Text)
    name: Mapped[str | None] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    instructions: Mapped[str | None] = mapped_column(Text)
    tools: Mapped[list[dict[str, Any]]]
    labels: Mapped[dict[str, Any]] = mapped_column("metadata", _Json)
    temperature: Mapped[float | None]
    top_p: Mapped[float | None]
    response_format: Mapped[Any] = mapped_column(_Json, nullable=False)


class ThreadRow(_Row):
    """A conversation's record; deleting it deletes its messages, runs and steps."""

    __tablename__ = "threads"

    labels: Mapped[dict[str, Any]] = mapped_column("metadata", _Json)


class MessageRow(_Row):
    """One message; `content` is the list of parts as the API shows it."""

    __tablename__ = "messages"
    __table_args__ = (Index("ix_messages_thread", "thread_id", "seq"), {"sqlite_autoincrement": True})

    thread_id: Mapped[str] = mapped_column(ForeignKey("threads.id", ondelete="CASCADE"))
    role: Mapped[str] = mapped_column(String(16))
    content: Mapped[list[dict[str, Any]]]
    chars: Mapped[int]
    """Length of the text, so that a prompt can be cut to its budget without reading the texts."""
    status: Mapped[str] = mapped_column(String(16))
    incomplete_reason: Mapped[str | None] = mapped_column(String(32))
    ended_at: Mapped[int] = mapped_column(BigInteger)
    assistant_id: Mapped[str | None] = mapped_column(String(64))
    run_id: Mapped[str | None] = mapped_column(String(64), index=True)
    labels: Mapped[dict[str, Any]] = mapped_column("metadata", _Json)


class RunRow(_Row):
    """One execution on a thread. Its lease says which executor may write to it, and until when."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_thread", "thread_id", "seq"),
        Index(
            "uq_runs_one_active",
            "thread_id",
            unique=True,
            sqlite_where=text(ACTIVE_RUNS),
            postgresql_where=text(ACTIVE_RUNS),
        ),
        {"sqlite_autoincrement": True},
    )

    thread_id: Mapped[str] = mapped_column(ForeignKey("threads.id", ondelete="CASCADE"))
    assistant_id: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    expires_at: Mapped[int] = mapped_column(BigInteger)
    queued_at_ms: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[int | None] = mapped_column(BigInteger)
    ended_at: Mapped[int | None] = mapped_column(BigInteger)
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_until_ms: Mapped[int] = mapped_column(BigInteger)
    last_error: Mapped[Any] = mapped_column(_Json, nullable=True)
    incomplete_reason: Mapped[str | None] = mapped_column(String(32))
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]
    model: Mapped[str] = mapped_column(Text)
    instructions: Mapped[str] = mapped_column(Text)
    tools: Mapped[list[dict[str, Any]]]
    labels: Mapped[dict[str, Any]] = mapped_column("metadata", _Json)
    temperature: Mapped[float | None]
    top_p: Mapped[float | None]
    max_prompt_tokens: Mapped[int | None] = mapped_column(BigInteger)
    max_completion_tokens: Mapped[int | None] = mapped_column(BigInteger)
    truncation_strategy: Mapped[dict[str, Any]]
    tool_choice: Mapped[Any] = mapped_column(_Json, nullable=False)
    parallel_tool_calls: Mapped[bool]
    response_format: Mapped[Any] = mapped_column(_Json, nullable=False)


class StepRow(_Row):
    """One step of a run: a message it wrote (`message_id`), or calls it asked for with their outputs (`calls`)."""

    __tablename__ = "steps"
    __table_args__ = (Index("ix_steps_run", "run_id", "seq"), {"sqlite_autoincrement": True})

    thread_id: Mapped[str] = mapped_column(ForeignKey("threads.id", ondelete="CASCADE"), index=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    assistant_id: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16))
    message_id: Mapped[str | None] = mapped_column(String(64))
    calls: Mapped[list[dict[str, Any]]]
    """[{id, name, arguments, output or null}]; empty for a message step."""
    last_error: Mapped[Any] = mapped_column(_Json, nullable=True)
    ended_at: Mapped[int | None] = mapped_column(BigInteger)
    prompt_tokens: Mapped[int]
    completion_tokens: Mapped[int]


class RepeatRow(Base):
    """What a request with an Idempotency-Key made, so that its repetition finds it."""

    __tablename__ = "repeats"

    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    """SHA-256 of path and key."""
    fingerprint: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the body."""
    object_id: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[int] = mapped_column(BigInteger, index=True)
