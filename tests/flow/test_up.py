"""`threadway up`: ready, answering, ended and broken in every way that a machine offers."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.intake import Intake
from gateway.lab.client import LabClient
from gateway.listening import free_port
from gateway.queue import Waker, make_celery
from gateway.redis_server import RedisServer, live_url
from gateway.settings import load
from gateway.store import Store
from tests.flow.command_line import Command, Place, place
from tests.flow.conftest import Terminal
from tests.flow.processes import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(150), pytest.mark.slow]


@dataclass
class Up:
    """A running `threadway up` and its people."""

    place: Place
    command: Command
    page: str
    lab: LabClient
    terminal: Terminal

    async def restarted(self, name: str, before: int) -> None:
        """Return when a child that was killed is named in the log and there again."""
        await self.command.until(lambda: any(e["child"] == name for e in self.command.events("child.died")))
        await self.command.until(lambda: self.command.child(name) != before)


async def ask(lab: LabClient, text: str, words: str, **who: Any) -> None:
    """Say something in the Telegram pane and return when the answer to it has come."""
    await hear(lab, await lab.telegram_send(text, **who), words)


async def hear(lab: LabClient, sent: dict[str, Any], words: str, timeout_s: float = 40.0) -> None:
    """Return when a reply to what was sent holds `words`. After a crash others may come before it: a reply whose
    delivery nobody can know for sure is followed by a sentence that says so."""
    cursor = sent["cursor"]
    async with asyncio.timeout(timeout_s):
        while True:
            reply = await lab.wait_for_reply("telegram", sent["chat"], after=cursor, timeout_s=timeout_s)
            if words in reply["text"]:
                return
            cursor = reply["cursor"]


def port() -> dict[str, str]:
    return {"THREADWAY_PORT": str(free_port())}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    """One `up` for all tests that leave it working. Its proxies answer nobody: nothing of it may use them."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    proxies = {"HTTP_PROXY": nowhere, "https_proxy": nowhere}
    async with place(tmp_path_factory.mktemp("up"), **port(), **proxies) as here:
        command = await here.start("up")
        page = await command.ready()
        url = live_url(here.data_dir)
        assert url
        store = Store(url)
        waker = Waker(make_celery(load({}, here.folder).broker_url(url)))
        async with LabClient(page) as lab:
            yield Up(here, command, page, lab, Terminal(store, Intake(store, waker)))
        waker.close()
        await store.close()
        command.interrupt()
        await command.ended()
        print(command)


async def test_one_line_says_where_and_both_panes_answer(up: Up) -> None:
    assert up.command.out == f"threadway is ready: http://127.0.0.1:{up.place.env['THREADWAY_PORT']}/lab"
    await ask(up.lab, "What is 12 times 12?", "144")
    sent = await up.lab.slack_send("What is 12 times 12?")
    reply = await up.lab.wait_for_reply("slack", sent["channel"], after=sent["cursor"])
    assert "144" in reply["text"]
    said = up.command.events("up.starting")[0]
    assert (said["telegram"], said["model"]) == ("in the lab, no token needed", "demo (built in, works offline)")
    notices = [event["notice"] for event in up.command.events("settings.notice")]
    assert len(notices) == len(set(notices)) == 1, "each notice once, not by every process"


async def test_chat_attaches_to_it_and_starts_nothing(up: Up) -> None:
    before = up.place.processes().keys()
    chatting = await up.place.start("chat", "What is 12 times 12?")
    seen: set[int] = set()

    async def ended() -> bool:
        seen.update(up.place.processes())
        return chatting.code is not None

    await until(ended, 40)
    await chatting.ended()
    assert (chatting.code, chatting.err) == (0, [])
    assert "144" in chatting.out
    assert seen - before <= {chatting.pid}


async def test_doctor_and_a_second_worker_find_it(up: Up) -> None:
    worker = await up.place.start("worker", "-n", "second@%h", "-c", "5")
    await worker.until(lambda: worker.events("worker.ready"))
    doctor = await up.place.run("doctor")
    assert doctor.code == 0, doctor
    assert "2 at work" in doctor.out
    asking = (ask(up.lab, f"What is 144 + {n}?", str(144 + n), user=900_000_000 + n) for n in range(12))
    await asyncio.gather(*asking)  # whichever of the two takes a turn: both know the lab
    assert any(worker.events("turn.finished")), "the second one took some"
    worker.terminate()
    assert await worker.ended() == 0


async def test_a_second_one_says_what_is_taken(up: Up) -> None:
    same, other = await asyncio.gather(up.place.run("up"), up.place.run("up", THREADWAY_PORT=str(free_port())))
    assert (same.code, same.out, len(same.err)) == (1, "", 1)
    assert same.err[0].startswith("THREADWAY_PORT: port ")
    assert (other.code, other.out, len(other.err)) == (1, "", 1)
    assert other.err[0].startswith("THREADWAY_DATA_DIR: another `threadway up`")


async def test_a_killed_worker_is_started_again(up: Up) -> None:
    before = up.command.child("worker")
    os.kill(before, signal.SIGKILL)
    sent = await up.lab.telegram_send("What is 12 times 12?")
    await up.restarted("worker", before)
    await hear(up.lab, sent, "144")


async def test_a_killed_redis_is_started_again_with_all_it_knew(up: Up) -> None:
    await ask(up.lab, "My name is Ann.", "Ann")
    before = up.command.child("redis")
    os.kill(before, signal.SIGKILL)
    sent = await up.lab.telegram_send("What is my name?")
    await up.restarted("redis", before)
    await hear(up.lab, sent, "Ann")


async def test_a_killed_gateway_is_started_again(up: Up) -> None:
    before = up.command.child("gateway")
    os.kill(before, signal.SIGKILL)
    await up.terminal.say("ann", "What is 12 times 12?")
    await up.restarted("gateway", before)
    assert "144" in await up.terminal.hear("ann", 40)
    async with LabClient(up.page) as lab:  # its world was in the gateway; the new one works like the old
        await ask(lab, "What is 12 times 12?", "144")


async def test_ctrl_c_at_a_terminal_ends_everything(tmp_path: Path) -> None:
    async with place(tmp_path, **port()) as here:
        up = await here.start("up", terminal=True)
        page = await up.ready()
        async with LabClient(page) as lab:
            await ask(lab, "What is 12 times 12?", "144")
            up.interrupt()
            assert await up.ended() == 0, up
        await here.until_empty(0.5)
    assert up.out == f"threadway is ready: {page}", "nothing else on stdout"
    text = "\n".join(up.err)
    told = ("Telegram  in the lab", "demo", "starting Redis", "gateway is up", "worker is up", "ready after", "stopped")
    for words in told:
        assert words in text
    assert "Traceback" not in text
    assert "{" not in text, "a person gets words, not JSON"


async def test_sigterm_ends_everything(tmp_path: Path) -> None:
    async with place(tmp_path, **port()) as here:
        up = await here.start("up")
        await up.ready()
        up.terminate()
        assert await up.ended() == 0, up
        await here.until_empty(0.5)
    assert "Traceback" not in "\n".join(up.err)


async def test_sigterm_while_it_starts(tmp_path: Path) -> None:
    async with place(tmp_path, **port()) as here:
        up = await here.start("up")
        await up.until(lambda: up.events("child.started"))
        up.terminate()
        assert await up.ended() == 0, up
        await here.until_empty(0.5)
    assert up.out == ""
    assert "Traceback" not in "\n".join(up.err)


async def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    async with place(tmp_path, **port()) as here:
        up = await here.start("up")
        await up.ready()
        os.kill(up.child("gateway"), signal.SIGSTOP)  # deaf to SIGTERM
        up.interrupt()
        await up.until(lambda: up.events("up.stopping"))

        async def impatient() -> bool:
            if up.code is None:
                up.interrupt()
            return up.code is not None

        await until(impatient, 4.5)  # less than the gateway's grace
        assert up.code == 1
        await here.until_empty(0.5)


async def test_a_redis_that_dies_with_its_owner_is_followed_by_our_own(tmp_path: Path) -> None:
    async with place(tmp_path, **port()) as here:
        somebodys = RedisServer(here.data_dir)
        await somebodys.start()
        up = await here.start("up")
        async with LabClient(await up.ready()) as lab:
            await ask(lab, "My name is Ann.", "Ann")
            assert up.events("redis.attached")
            await somebodys.stop()
            await up.until(lambda: up.events("redis.started"))
            await ask(lab, "What is my name?", "Ann")
        up.terminate()
        assert await up.ended() == 0
        await here.until_empty(0.5)


async def test_nothing_outlives_a_killed_one(tmp_path: Path) -> None:
    async with place(tmp_path, **port()) as here:
        up = await here.start("up")
        async with LabClient(await up.ready()) as lab:
            await ask(lab, "What is 12 times 12?", "144")
            up.kill()
            await up.ended()
            await here.until_empty(12)
        again = await here.start("up")
        async with LabClient(await again.ready()) as lab:
            await ask(lab, "What is 12 times 12?", "144")  # what the killed one left does not hinder
        again.terminate()
        assert await again.ended() == 0
