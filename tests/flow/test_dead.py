"""Operators and dead letters, with real processes: listed, shown, replayed until they are answered, dropped."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.lab.client import LabClient
from tests.flow.conftest import Terminal
from tests.flow.processes import Backend, Fleet, free_port, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


async def dead(fleet: Fleet, *arguments: str) -> tuple[int, str]:
    """`threadway dead …`: its exit code, and everything that it said."""
    command = await fleet.start("dead", ["-m", "gateway", "dead", *arguments], COLUMNS="200")
    code = await command.wait()
    await command.end()
    return code, "\n".join(command.lines)


async def letters(fleet: Fleet) -> list[dict[str, Any]]:
    """What `threadway dead list --json` says."""
    code, said = await dead(fleet, "list", "--json")
    assert code == 0, said
    return list(json.loads(said))


async def until_dead(fleet: Fleet, terminal: Terminal, count: int) -> list[dict[str, Any]]:
    """The list, once so many are in it."""

    async def there() -> bool:
        return len(await terminal.store.dead_letters.all()) == count

    await until(there)
    return await letters(fleet)


async def test_a_reply_that_could_not_be_delivered_is_posted_when_it_is_replayed(
    fleet: Fleet, backend: Backend, terminal: Terminal
) -> None:
    user, port = 910_000_009, str(free_port())
    fleet.env |= {"THREADWAY_LAB": "on", "THREADWAY_PORT": port}
    (_, url), _ = await asyncio.gather(fleet.gateway(THREADWAY_PORT=port), fleet.worker("-c", "20"))
    async with LabClient(f"{url}/lab") as lab:
        sent = await lab.telegram_send("slow 1 a secret", user=user)
        await lab.act("telegram/block", {"user": user, "blocked": True})
        (letter,) = await until_dead(fleet, terminal, 1)
        assert (letter["stage"], letter["messages"], letter["outcome"]) == ("delivery", 1, "done")
        code, listed = await dead(fleet, "list")
        assert (code, letter["id"] in listed, "secret" in listed) == (0, True, False)
        code, shown = await dead(fleet, "show", letter["id"])
        assert code == 0
        assert "slow 1 a secret" in shown
        assert "part 1 of 1, not posted:\necho 1: slow 1 a secret" in shown
        await lab.act("telegram/block", {"user": user, "blocked": False})
        assert await dead(fleet, "replay", letter["id"]) == (0, f"replayed {letter['id']}")
        reply = await lab.wait_for_reply("telegram", sent["chat"], after=sent["cursor"])
        assert reply["text"] == "echo 1: slow 1 a secret"
        assert len((await backend.log())["runs"]) == 1, "the answer was there"
        code, said = await dead(fleet, "replay", letter["id"])
        assert (code, "no such dead letter" in said) == (1, True)
        again = await lab.telegram_send("hello", user=user)
        reply = await lab.wait_for_reply("telegram", again["chat"], after=reply["cursor"])
        assert reply["text"] == "echo 2: hello", "it was posted once, and the conversation goes on"


async def test_a_message_that_the_backend_refused_is_answered_when_it_is_replayed(
    fleet: Fleet, backend: Backend, terminal: Terminal
) -> None:
    await backend.control(unknown_assistants=True)
    await fleet.worker("-c", "20")
    assert "not set up correctly" in await terminal.ask("ann", "hello")
    assert "not set up correctly" in await terminal.ask("bob", "hi")
    assert [letter["stage"] for letter in await until_dead(fleet, terminal, 2)] == ["run", "run"]
    await backend.control(unknown_assistants=False)
    code, said = await dead(fleet, "list", "--json", "--conversation", "console:ann")
    (letter,) = json.loads(said)
    assert (code, letter["conversation"]) == (0, "console:ann")
    assert await dead(fleet, "replay", letter["id"]) == (0, f"replayed {letter['id']}")
    assert await terminal.hear("ann") == "echo 1: hello"
    await terminal.settled("ann")
    assert await terminal.ask("ann", "again") == "echo 2: again"
    (other,) = await letters(fleet)
    assert await dead(fleet, "drop", "--all") == (0, f"dropped {other['id']}")
    assert await dead(fleet, "list") == (0, "no dead letters")
    assert await terminal.store.mailbox.take("bob", 0.01) is None


async def test_wrong_usage_and_a_redis_that_is_away(fleet: Fleet) -> None:
    assert (await dead(fleet, "replay"))[0] == 2
    assert (await dead(fleet, "drop", "--all", "an-id"))[0] == 2
    assert (await dead(fleet, "show", "nothing-turn"))[0] == 1
    fleet.env["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    code, said = await dead(fleet, "list")
    assert (code, len(said.splitlines())) == (1, 1), said
