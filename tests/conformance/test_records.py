"""The service's database: opened by many at once, migrated once, honest when it is away."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from gateway.assistants import routes
from gateway.assistants.errors import RecordsDown
from gateway.assistants.migrating import MIGRATIONS, REVISION
from gateway.assistants.records import Database, open_database
from gateway.assistants.service import Service
from gateway.assistants.tables import ACTIVE_RUNS, Base, ThreadRow
from gateway.domain.errors import SettingsInvalid
from gateway.domain.pacing import SystemClock

AWAY = "postgresql+asyncpg://nobody:secret@127.0.0.1:1/records"
OPEN_IN_A_PROCESS = """
import asyncio, sys
from gateway.assistants.migrating import MIGRATIONS, REVISION
from gateway.assistants.records import open_database
async def main():
    database = await open_database(sys.argv[1], migrate=True)
    await database.ping()
    await database.close()
asyncio.run(main())
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/100%/records.sqlite3"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = await open_database(url, migrate=True)
    yield database
    await database.close()


def a_thread(id: str) -> ThreadRow:
    return ThreadRow(id=id, created_at=1, labels={})


def schema_differences(connection: Connection) -> object:
    return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), Base.metadata)


async def test_the_migrations_make_the_tables_of_the_code(database: Database) -> None:
    async with database.read() as tx:
        assert await (await tx.connection()).run_sync(schema_differences) == []


def test_the_revision_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == REVISION


async def test_the_busy_thread_rule_is_in_the_database_and_serves_the_queries(database: Database) -> None:
    async with database.read() as tx:
        plan = await tx.execute(text(f"EXPLAIN QUERY PLAN SELECT id FROM runs WHERE {ACTIVE_RUNS} AND thread_id = 'x'"))
        assert "uq_runs_one_active" in str(plan.all())
        made = await tx.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'uq_runs_one_active'"))
        assert made is not None
        assert made.startswith("CREATE UNIQUE INDEX")
        assert made.endswith(f"WHERE {ACTIVE_RUNS}")


async def test_several_processes_open_a_new_database_at_once(url: str) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = (sys.executable, "-c", OPEN_IN_A_PROCESS, url)
    processes = [await asyncio.create_subprocess_exec(*command, env=environ, stderr=PIPE) for _ in range(2)]
    database = await open_database(url, migrate=True)
    await database.close()
    for process in processes:
        _, complaint = await process.communicate()
        assert process.returncode == 0, complaint.decode()


async def test_writers_wait_for_each_other(database: Database, url: str) -> None:
    other = await open_database(url, migrate=False)  # as another process: its own connections and its own queue

    async def add(through: Database) -> None:
        async with through.write() as tx:
            count = await tx.scalar(select(func.count()).select_from(ThreadRow))
            tx.add(a_thread(f"thread_{count}"))  # two that counted the same would break the unique rule

    await asyncio.gather(*(add(where) for _ in range(25) for where in (database, other)))
    async with other.read() as tx:
        assert await tx.scalar(select(func.count()).select_from(ThreadRow)) == 50
    await other.close()


async def test_what_raises_writes_nothing(database: Database) -> None:
    async def fail() -> None:
        async with database.write() as tx:
            tx.add(a_thread("thread_1"))
            await tx.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with database.read() as tx:
        assert await tx.scalar(select(func.count()).select_from(ThreadRow)) == 0


async def test_only_the_owner_can_read_the_file(database: Database, tmp_path: Path) -> None:
    for file in (tmp_path / "100%").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_without_migrating_an_old_database_is_left_alone(url: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"the tables are at nothing, .*THREADWAY_AUTO_MIGRATE"):
        await open_database(url, migrate=False)


async def test_a_newer_database_is_left_alone(database: Database, url: str) -> None:
    async with database.write() as tx:
        await tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for migrate in (True, False):
        with pytest.raises(SettingsInvalid, match="newer version"):
            await open_database(url, migrate=migrate)


@pytest.mark.parametrize("bad", ["", "records.db", "sqlite://", "sqlite:///:memory:", "mysql://root:secret@h/db"])
async def test_other_databases_are_refused_without_showing_the_url(bad: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"^DATABASE_URL: ") as refusal:
        await open_database(bad, migrate=True)
    assert "secret" not in str(refusal.value)


async def test_a_database_that_is_away_is_said_to_be_away() -> None:
    with pytest.raises(RecordsDown) as away:
        await open_database("postgres://nobody:secret@127.0.0.1:1/records?sslmode=disable", migrate=True)
    assert "secret" not in str(away.value)
    database = Database(create_async_engine(AWAY))
    with pytest.raises(RecordsDown):
        await database.ping()
    app = routes.app(Service(database), key="key", allowed_hosts=["test"])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers={"authorization": "Bearer key"}
    ) as http:
        answer = await http.post("threads", json={})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["error"]["type"] == "server_error"
    await database.close()


class BrokenClock(SystemClock):
    """A fault of our own: it works while the service is built, and then no more."""

    reads = 0

    def now(self) -> datetime:
        """Once."""
        self.reads += 1
        if self.reads > 1:
            raise RuntimeError("the inside of the clock")
        return super().now()


async def test_a_fault_of_ours_shows_nothing_of_the_inside(database: Database) -> None:
    transport = httpx.ASGITransport(routes.app(Service(database, clock=BrokenClock()), key="key", allowed_hosts=["*"]))
    headers = {"authorization": "Bearer key"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as http:
        answer = await http.post("threads", json={})
    assert answer.status_code == 500
    assert answer.json()["error"]["type"] == "server_error"
    assert "clock" not in answer.text


def test_an_empty_key_is_no_key() -> None:
    service = Service(Database(create_async_engine(AWAY)))
    with pytest.raises(ValueError, match="empty key"):
        routes.app(service, key="")
