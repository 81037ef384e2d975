"""Who may talk, through both platforms of the lab: a gateway with a door, a worker that tells strangers so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.door import REMEMBER_S
from gateway.lab.client import LabClient, Platform
from gateway.lab.identity import lab_environment
from gateway.lab.slack.world import TEAM_ID
from gateway.lab.telegram.world import GROUP_ID
from tests.flow.processes import Backend, Fleet, Process, free_port, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(150)]


@dataclass
class Guarded:
    """A gateway with a door, a worker, the lab, and an operator's command line."""

    fleet: Fleet
    gateway: Process
    lab: LabClient
    backend: Backend
    port: str

    async def operator(self, *arguments: str, code: int = 0) -> str:
        """`threadway pair …`: everything that it said."""
        lab = lab_environment("127.0.0.1", int(self.port))
        command = await self.fleet.start("pair", ["-m", "gateway", "pair", *arguments], COLUMNS="200", **lab)
        assert await command.wait() == code, command.lines
        await command.end()
        return "\n".join(command.lines)

    async def code(self) -> str:
        """A fresh code."""
        return str(json.loads(await self.operator("--json"))["code"])

    async def telegram(self, text: str, **where: Any) -> str:
        """Say it on Telegram, hear the answer."""
        sent = await self.lab.telegram_send(text, **where)
        return await self._answer("telegram", sent["chat"], sent)

    async def slack(self, text: str, **where: Any) -> str:
        """Say it on Slack, hear the answer."""
        sent = await self.lab.slack_send(text, **where)
        return await self._answer("slack", sent["channel"], sent)

    async def _answer(self, platform: Platform, chat: str, sent: dict[str, Any]) -> str:
        return str((await self.lab.wait_for_reply(platform, chat, after=sent["cursor"]))["text"])

    async def refused(self, person: str, why: str, times: int) -> None:
        """Return when the gateway has said so many times that it refused the person like this."""

        async def said() -> bool:
            events = [line for line in self.gateway.lines if '"access.refused"' in line and f'"{person}"' in line]
            return len([line for line in events if f'"{why}"' in line]) == times

        await until(said)

    async def bot_said(self, chat: str | int, platform: Platform) -> int:
        """How many messages of the bot stand in a chat."""
        return len([said for said in await self.lab.messages(chat, platform) if said["author"]["bot"]])

    async def runs(self) -> int:
        """How many runs and threads the backend was asked for."""
        log = await self.backend.log()
        return len(log["runs"]) + len(log["threads"])


@asynccontextmanager
async def guarded(fleet: Fleet, folder: Path, backend: Backend, mode: str, table: str) -> AsyncIterator[Guarded]:
    (folder / "threadway.toml").write_text(f"[access]\n{table}\n")
    port = str(free_port())
    fleet.env |= {"THREADWAY_LAB": "on", "THREADWAY_PORT": port, "THREADWAY_ACCESS": mode}
    (gateway, url), _ = await asyncio.gather(fleet.gateway(THREADWAY_PORT=port), fleet.worker("-c", "20"))
    async with LabClient(f"{url}/lab") as lab:
        yield Guarded(fleet, gateway, lab, backend, port)


async def test_pairing(fleet: Fleet, backend: Backend, tmp_path: Path) -> None:
    async with guarded(fleet, tmp_path, backend, "pairing", f'allow = ["telegram:chat:{GROUP_ID}"]') as at:
        await _doctor_says_who_may_talk(at)
        await _strangers_are_told_once(at)
        await _a_deep_link_pairs_on_telegram(at)
        await _a_code_pairs_on_slack(at)
        await _in_an_allowed_group_everybody_may_talk(at)
        await _who_is_revoked_is_out(at)


async def _doctor_says_who_may_talk(at: Guarded) -> None:
    lab = lab_environment("127.0.0.1", int(at.port))
    doctor = await at.fleet.start("doctor", ["-m", "gateway", "doctor", "--json"], **lab)
    await doctor.wait()
    await doctor.end()
    (access,) = [found for found in json.loads("\n".join(doctor.lines)) if found["part"] == "access"]
    assert access == {
        "part": "access",
        "state": "ok",
        "says": "telegram: pairing, slack: pairing; 1 named in [access], 0 paired",
    }


async def _strangers_are_told_once(at: Guarded) -> None:
    await at.lab.set_fault("telegram", duplicates=1.0)
    await at.lab.set_fault("slack", duplicates=1.0)
    told = await at.telegram("a secret")
    assert "do not know you" in told
    assert "telegram:user:100200301" in told
    assert "do not know you" in await at.slack("a secret")
    await at.lab.reset_faults()
    await at.lab.telegram_send("another secret")
    await at.lab.slack_send("another secret")
    await at.lab.slack_send("@Threadway a third secret", channel="#general")
    await at.refused("telegram:user:100200301", "silent", 1)
    await at.refused(f"slack:user:{TEAM_ID}:U0LABANN1", "silent", 2 + 1)  # a mention in a channel is two events
    assert (await at.bot_said("ann", "telegram"), await at.bot_said("ann", "slack")) == (1, 1)
    assert await at.bot_said("#general", "slack") == 0
    assert await at.runs() == 0
    assert "secret" not in "\n".join(at.gateway.lines)


async def _a_deep_link_pairs_on_telegram(at: Guarded) -> None:
    said = await at.operator()
    code, link, *_ = said.splitlines()
    assert link == f"https://t.me/threadway_lab_bot?start={code}"
    assert "paired" in await at.telegram(f"/start {code}"), "what Telegram sends when the link's button is pressed"
    assert await at.telegram("hello") == "echo 1: hello"
    assert await at.telegram("@threadway_lab_bot hello", chat="forum") == "echo 1: hello"
    assert "does not work" in await at.telegram(code, user="bob"), "it is used"
    assert "telegram:user:100200301" in await at.operator("list")


async def _a_code_pairs_on_slack(at: Guarded) -> None:
    assert "paired" in await at.slack(f"!start {await at.code()}")
    assert await at.slack("hello") == "echo 1: hello"
    assert await at.slack("@Threadway hello", channel="#general") == "echo 1: hello"
    assert "paired" in await at.slack((await at.code()).lower(), user="bob")
    paired = json.loads(await at.operator("list", "--json"))
    assert [(one["person"], one["name"]) for one in paired] == [
        (f"slack:user:{TEAM_ID}:U0LABBOB1", ""),
        (f"slack:user:{TEAM_ID}:U0LABANN1", ""),
        ("telegram:user:100200301", "Ann Lee"),
    ]


async def _in_an_allowed_group_everybody_may_talk(at: Guarded) -> None:
    assert await at.telegram("@threadway_lab_bot hello", user="eva", chat="group") == "echo 1: hello"
    assert "do not know you" in await at.telegram("hello", user="eva"), "but there only"


async def _who_is_revoked_is_out(at: Guarded) -> None:
    revoked = await at.operator("revoke", "telegram:user:100200301")
    assert "revoked telegram:user:100200301" in revoked.splitlines()
    assert '"access.revoked"' in revoked
    assert "is not paired" in await at.operator("revoke", "telegram:user:100200301", code=1)

    async def heard_no_more() -> bool:
        return "do not know you" in await at.telegram("still there?")

    async with asyncio.timeout(REMEMBER_S + 5):
        await until(heard_no_more)
    assert await at.slack("hello again") == "echo 2: hello again", "others are not touched"


async def test_an_allowlist_with_a_whole_workspace(fleet: Fleet, backend: Backend, tmp_path: Path) -> None:
    table = f'allow = ["slack:team:{TEAM_ID}", "telegram:user:100200302"]'
    async with guarded(fleet, tmp_path, backend, "allowlist", table) as at:
        assert await at.slack("hello") == "echo 1: hello"
        assert await at.slack("@Threadway hello", channel="#general", user="eva") == "echo 1: hello"
        assert await at.telegram("hello", user="bob") == "echo 1: hello"
        before = await at.runs()
        assert "may not talk with you" in await at.telegram(f"/start {await at.code()}")
        assert await at.telegram("@threadway_lab_bot hello", user="bob", chat="group") == "echo 1: hello"
        assert await at.runs() - before == 2, "one thread, one run: bob's"


async def test_wrong_usage_and_a_redis_that_is_away(fleet: Fleet) -> None:
    async def pair(*arguments: str) -> tuple[int, list[str]]:
        command = await fleet.start("pair", ["-m", "gateway", "pair", *arguments])
        code = await command.wait()
        await command.end()
        return code, command.lines

    assert (await pair("revoke"))[0] == 2
    assert (await pair("--json", "list"))[0] == 2
    assert await pair("list") == (0, ["nobody is paired"])
    assert await pair("list", "--json") == (0, ["[]"])
    fleet.env["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    for arguments in ((), ("list",), ("revoke", "telegram:user:1")):
        code, lines = await pair(*arguments)
        assert (code, len(lines)) == (1, 1), lines
