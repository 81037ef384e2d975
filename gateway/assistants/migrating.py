"""Bring the tables to this version, by whoever opens the database first.

Several processes of one host, or of several, start together: SQLite is guarded by a file beside it, Postgres by an
advisory lock. Later versions of the tables are written by hand in migrations/versions and must leave what the version
before reads and writes, so that gateway and workers can be replaced one after the other.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.domain.errors import SettingsInvalid
from gateway.telemetry import log

REVISION = "0001"
"""The newest of migrations/versions. Numbers of four digits, so that older and newer can be told apart."""
MIGRATIONS = Path(__file__).parent / "migrations"
_ADVISORY_KEY = 0x7468726561647761  # "threadwa"


async def bring_up_to_date(engine: AsyncEngine, *, migrate: bool) -> None:
    """See that the tables are at this version's revision; change them only if `migrate`.

    May be called twice and by many at once. Raises SettingsInvalid when the tables are older (and `migrate` is False)
    or newer than this version.
    """
    async with _alone(engine) as connection:
        current = await connection.run_sync(_revision)
        if current == REVISION:
            return
        if current is not None and current > REVISION:
            found = f"the tables are of a newer version ({current}); this one knows up to {REVISION}"
            raise SettingsInvalid([f"DATABASE_URL: {found}"])
        if not migrate:
            found = f"the tables are at {current or 'nothing'}, this version needs {REVISION}"
            raise SettingsInvalid([f"DATABASE_URL: {found}; a start without THREADWAY_AUTO_MIGRATE=0 migrates it"])
        await connection.run_sync(_upgrade)
        log.info("records.migrated", before=current or "", after=REVISION)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _upgrade(connection: Connection) -> None:
    from alembic import command  # half a second to import, and needed once in a database's life
    from alembic.config import Config

    config = Config()
    # A percent sign in the path would be read as an interpolation.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, REVISION)


@asynccontextmanager
async def _alone(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One transaction while nobody else migrates."""
    writing = engine.execution_options(threadway_writes=True)
    if engine.dialect.name != "sqlite":
        async with writing.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_KEY})
            yield connection
        return
    path = Path(engine.url.database or "")
    taken = _file_taken(path)
    await asyncio.to_thread(taken.__enter__)
    try:
        async with writing.begin() as connection:
            yield connection
    finally:
        await asyncio.to_thread(taken.__exit__, None, None, None)


@contextmanager
def _file_taken(path: Path) -> Iterator[None]:
    """Hold the guard file of the database at `path`, which is made (readable by its owner only) if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    guard = os.open(path.with_name(path.name + ".migrating"), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)
        # These are people's chats: SQLite itself would make the file readable to the whole host.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        # Here and not on each connection: switching the journal is the one step that ignores the busy time-out. And at
        # every opening, because a restored backup comes in another mode.
        with sqlite3.connect(path, timeout=30) as connection:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
        yield
    finally:
        os.close(guard)
