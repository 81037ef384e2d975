"""The first tables: assistants, threads, messages, runs, steps, repeats."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG = sa.BigInteger()
_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ACTIVE = sa.text("status IN ('queued', 'in_progress', 'requires_action', 'cancelling')")


def _table(name: str, *columns: sa.schema.SchemaItem) -> None:
    op.create_table(
        name,
        sa.Column("seq", _SEQ, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("created_at", _BIG, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("seq", name=f"pk_{name}"),
        sa.UniqueConstraint("id", name=f"uq_{name}_id"),
        sqlite_autoincrement=True,
    )


def _of(table: str, parent: str, column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{parent}.id"], name=f"fk_{table}_{column}", ondelete="CASCADE")


def upgrade() -> None:
    _table(
        "assistants",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("name", sa.Text()),
        sa.Column("description", sa.Text()),
        sa.Column("instructions", sa.Text()),
        sa.Column("tools", sa.JSON(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("temperature", sa.Double()),
        sa.Column("top_p", sa.Double()),
        sa.Column("response_format", sa.JSON(), nullable=False),
    )
    _table("threads", sa.Column("metadata", sa.JSON(), nullable=False))
    _table(
        "messages",
        sa.Column("thread_id", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("content", sa.JSON(), nullable=False),
        sa.Column("chars", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("incomplete_reason", sa.String(32)),
        sa.Column("ended_at", _BIG, nullable=False),
        sa.Column("assistant_id", sa.String(64)),
        sa.Column("run_id", sa.String(64)),
        sa.Column("metadata", sa.JSON(), nullable=False),
        _of("messages", "threads", "thread_id"),
    )
    op.create_index("ix_messages_thread", "messages", ["thread_id", "seq"])
    op.create_index("ix_messages_run_id", "messages", ["run_id"])
    _runs()
    _table(
        "steps",
        sa.Column("thread_id", sa.String(64), nullable=False),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.Column("assistant_id", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("message_id", sa.String(64)),
        sa.Column("calls", sa.JSON(), nullable=False),
        sa.Column("last_error", sa.JSON()),
        sa.Column("ended_at", _BIG),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        _of("steps", "threads", "thread_id"),
        _of("steps", "runs", "run_id"),
    )
    op.create_index("ix_steps_run", "steps", ["run_id", "seq"])
    op.create_index("ix_steps_thread_id", "steps", ["thread_id"])
    op.create_table(
        "repeats",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("object_id", sa.String(64), nullable=False),
        sa.Column("created_at", _BIG, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_repeats"),
    )
    op.create_index("ix_repeats_created_at", "repeats", ["created_at"])


def _runs() -> None:
    _table(
        "runs",
        sa.Column("thread_id", sa.String(64), nullable=False),
        sa.Column("assistant_id", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("expires_at", _BIG, nullable=False),
        sa.Column("queued_at_ms", _BIG, nullable=False),
        sa.Column("started_at", _BIG),
        sa.Column("ended_at", _BIG),
        sa.Column("lease_owner", sa.String(128)),
        sa.Column("lease_until_ms", _BIG, nullable=False),
        sa.Column("last_error", sa.JSON()),
        sa.Column("incomplete_reason", sa.String(32)),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("instructions", sa.Text(), nullable=False),
        sa.Column("tools", sa.JSON(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("temperature", sa.Double()),
        sa.Column("top_p", sa.Double()),
        sa.Column("max_prompt_tokens", _BIG),
        sa.Column("max_completion_tokens", _BIG),
        sa.Column("truncation_strategy", sa.JSON(), nullable=False),
        sa.Column("tool_choice", sa.JSON(), nullable=False),
        sa.Column("parallel_tool_calls", sa.Boolean(), nullable=False),
        sa.Column("response_format", sa.JSON(), nullable=False),
        _of("runs", "threads", "thread_id"),
    )
    op.create_index("ix_runs_thread", "runs", ["thread_id", "seq"])
    op.create_index(
        "uq_runs_one_active", "runs", ["thread_id"], unique=True, sqlite_where=_ACTIVE, postgresql_where=_ACTIVE
    )


def downgrade() -> None:
    raise NotImplementedError("restore a backup instead: going back would drop what people wrote")
