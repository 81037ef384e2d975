"""Runs the versions on the connection that gateway.assistants.migrating hands over; nothing else starts it."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
