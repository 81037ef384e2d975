"""The tests of the store can fail: each script, broken on purpose in one line, is caught by a test.

A mutant whose old line is not in the script any more fails here: think of the new line's mutant.
"""

from __future__ import annotations

import asyncio
import inspect
import shutil
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from gateway.store import SCRIPTS, Store
from tests.redis.mutants import MUTANTS, Mutant
from tests.redis.test_protocol import run_protocol

pytestmark = pytest.mark.slow
PATIENCE_S = 20.0
"""For a test that waits in vain for what a broken script does not do."""
BY_A_TEST = [mutant for mutant in MUTANTS if mutant.caught_by]
BY_THE_MACHINE = [mutant for mutant in MUTANTS if not mutant.caught_by]


def broken(mutant: Mutant, folder: Path) -> Path:
    """A copy of our scripts with one of them broken."""
    copy = folder / "lua"
    shutil.copytree(SCRIPTS, copy)
    path = copy / f"{mutant.script}.lua"
    text = path.read_text()
    assert text.count(mutant.old) == 1, f"{mutant.script}.lua does not have this text exactly once: {mutant.old}"
    path.write_text(text.replace(mutant.old, mutant.new))
    return copy


async def load(raw: redis.asyncio.Redis, folder: Path, mutant: Mutant) -> None:
    """Raise where a mutant is no Lua any more: any test would catch that."""
    await raw.script_load((folder / f"{mutant.script}.lua").read_text())


@pytest.mark.parametrize("mutant", BY_A_TEST, ids=str)
async def test_a_broken_script_fails_its_test(
    mutant: Mutant, tmp_path: Path, redis_url: str, raw: redis.asyncio.Redis
) -> None:
    folder = broken(mutant, tmp_path)
    await load(raw, folder, mutant)
    store = Store(redis_url, scripts=folder)
    assert mutant.caught_by is not None
    rooms: dict[str, Any] = {"store": store, "raw": raw, "redis_url": redis_url}
    wanted = {name: rooms[name] for name in inspect.signature(mutant.caught_by).parameters}
    try:
        async with asyncio.timeout(PATIENCE_S):
            await mutant.caught_by(**wanted)
    except (Exception, pytest.fail.Exception):
        return
    finally:
        await store.close()
        await raw.config_set("maxmemory", "0")
    pytest.fail(f"{mutant.caught_by.__name__} did not notice: {mutant.why}")


@pytest.mark.parametrize("mutant", BY_THE_MACHINE, ids=str)
def test_a_broken_script_fails_the_model(mutant: Mutant, tmp_path: Path, redis_url: str) -> None:
    folder = broken(mutant, tmp_path)
    try:
        run_protocol(redis_url, folder, derandomize=True, database=None, report_multiple_bugs=False)
    except Exception:
        return
    pytest.fail(f"the state machine did not notice: {mutant.why}")


def test_every_script_is_broken_at_least_once() -> None:
    assert {mutant.script for mutant in MUTANTS} == {path.stem for path in SCRIPTS.glob("*.lua")}
    assert len(MUTANTS) >= 30
