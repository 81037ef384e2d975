"""The service's database: one engine, two kinds of transaction, our own error when it is away.

SQLite (the default) is opened by several processes at once: WAL lets them read while one writes, every writing
transaction begins IMMEDIATE (a deferred one that turns into a writer fails at once when another wrote meanwhile), and
`synchronous=FULL` keeps an answered request through a power cut. Postgres locks rows instead, always in the order
thread, then run.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from gateway.assistants.errors import RecordsDown
from gateway.assistants.migrating import bring_up_to_date
from gateway.domain.errors import SettingsInvalid

BUSY_TIMEOUT_MS = 5_000
Tx = AsyncSession
"""One transaction. Rows read through it are written back when it ends well."""


class Database:
    """The open database of this process; lives on one event loop. Made by `open_database`."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writing_engine = engine.execution_options(threadway_writes=True)
        # SQLite has one writer, and its busy handler polls and is unfair: inside a process writers queue up in order.
        self._one_writer: AbstractAsyncContextManager[None] | asyncio.Lock = (
            asyncio.Lock() if engine.dialect.name == "sqlite" else nullcontext()
        )

    @property
    def dialect(self) -> str:
        """sqlite | postgresql."""
        return self._engine.dialect.name

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Tx]:
        """A transaction that only reads. Raises RecordsDown."""
        with _translated():
            async with AsyncSession(self._engine, autoflush=False, expire_on_commit=False) as tx, tx.begin():
                yield tx

    @asynccontextmanager
    async def write(self) -> AsyncIterator[Tx]:
        """A transaction that writes; committed when the block ends, rolled back when it raises. Do not nest.

        Raises RecordsDown; then nothing was written, except that a commit whose answer got lost may have landed.
        """
        with _translated():
            async with self._one_writer, AsyncSession(self._writing_engine, expire_on_commit=False) as tx, tx.begin():
                yield tx

    async def ping(self) -> None:
        """One round trip. Raises RecordsDown."""
        async with self.read() as tx:
            await tx.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Give the connections back; may be called twice."""
        await self._engine.dispose()


async def open_database(url: str, *, migrate: bool) -> Database:
    """Open the database at `url` (sqlite:///file or postgresql://…) and see that its tables are this version's.

    Safe to call from several processes at once: whoever comes first migrates, under a lock, the others wait. With
    `migrate` False nothing is changed. Raises SettingsInvalid for a URL or a schema this version cannot work with, and
    RecordsDown when the database is away (worth a retry).
    """
    parsed = _async_url(url)
    engine = _sqlite_engine(parsed) if parsed.get_backend_name() == "sqlite" else _postgres_engine(parsed)
    try:
        with _translated():
            await bring_up_to_date(engine, migrate=migrate)
    except BaseException:
        await engine.dispose()
        raise
    return Database(engine)


class _translated:
    """Turns the drivers' "away" into ours; what is a fault of our own code goes through as it is."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, (OperationalError, InterfaceError, PoolTimeout, OSError)):
            cause = getattr(error, "orig", None) or error
            # The driver's text may show SQL and with it parameters; its type and first line say enough.
            raise RecordsDown(f"{type(cause).__name__}: {str(cause).partition(chr(10))[0][:200]}") from error


def _async_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise SettingsInvalid(
            ["DATABASE_URL: not a database URL; use sqlite:///file or postgresql://host/name"]
        ) from None
    backend = parsed.drivername.partition("+")[0]
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise SettingsInvalid(["DATABASE_URL: SQLite needs a file, because several processes share the records"])
        return parsed.set(drivername="sqlite+aiosqlite")
    if backend in ("postgresql", "postgres"):
        query = dict(parsed.query)
        if "sslmode" in query:  # libpq's name, which every hoster prints; asyncpg calls it ssl
            query["ssl"] = query.pop("sslmode")
        return parsed.set(drivername="postgresql+asyncpg", query=query)
    raise SettingsInvalid([f"DATABASE_URL: {backend} is not supported; use sqlite:///file or postgresql://host/name"])


def _sqlite_engine(url: URL) -> AsyncEngine:
    engine = create_async_engine(url, pool_size=8, max_overflow=0, pool_timeout=10)

    @event.listens_for(engine.sync_engine, "connect")
    def on_connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # the driver begins no transactions by itself: on_begin does
        cursor = connection.cursor()
        for pragma in ("foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}", "synchronous=FULL"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def on_begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("threadway_writes")
        begin = "BEGIN IMMEDIATE" if writes else "BEGIN"
        # By the driver's own call: a SQLAlchemy cursor would cost three more trips to the driver's thread.
        driver: Any = connection.connection.dbapi_connection
        driver.run_async(lambda sqlite: sqlite.execute(begin))

    return engine


def _postgres_engine(url: URL) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=10,
        max_overflow=10,
        pool_timeout=10,
        pool_pre_ping=True,  # a restarted server costs one round trip, not one failed request per old connection
        connect_args={"timeout": 5, "command_timeout": 30},
    )
