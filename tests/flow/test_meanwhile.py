"""What people do while an answer is on its way, on both platforms: they write more, and they stop it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flow.processes import until
from tests.flow.talks import Stack, Talk, stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

TOOL = '''
import threading
from pathlib import Path

from workers.tools import tool


@tool(timeout_s=300)
def calculator(expression: str) -> str:
    """Never ends, whatever is asked."""
    Path(f"began-{expression}").touch()
    threading.Event().wait()
    return expression
'''


def policy(name: str) -> str:
    return f'[conversations]\nwhile_running = "{name}"\n'


async def test_queue_is_the_default_and_the_next_turn_takes_all_that_waits(tmp_path: Path, redis_url: str) -> None:
    async def scene(talk: Talk) -> None:
        await talk.say("slow 1")
        await talk.running()
        await talk.say("two")
        await talk.say("three")
        await talk.hears("echo 1: slow 1")
        await talk.hears("echo 3: three")
        assert [run["status"] for run in await talk.runs()] == ["completed", "completed"]
        assert await talk.read() == ["slow 1", "two", "three"]

    async with stack(tmp_path, redis_url) as at:
        await at.both(scene)
        await _a_text_that_was_cut_is_one_question(at.telegram())


async def _a_text_that_was_cut_is_one_question(talk: Talk) -> None:
    """Telegram's clients cut what is longer than 4096 units; the rest is waited for without a debounce as well."""
    await talk.say("word " * 819)
    await talk.say("and the rest")
    await talk.hears("echo 2: and the rest")
    assert len(await talk.runs()) == 1


async def test_steer_cancels_the_run_and_a_new_one_answers_both(tmp_path: Path, redis_url: str) -> None:
    async def scene(talk: Talk) -> None:
        await talk.say("never")
        await talk.running()
        await talk.say("and this")
        await talk.hears("echo 2: and this")
        assert [run["status"] for run in await talk.runs()] == ["cancelled", "completed"]
        assert await talk.read() == ["never", "and this"], "each message once"
        await talk.say("next")
        await talk.hears("echo 3: next")
        assert await talk.shown() == ["echo 2: and this", "echo 3: next"]

    async with stack(tmp_path, redis_url, policy("steer")) as at:
        await at.both(scene)


async def test_interrupt_drops_the_parts_that_are_not_posted_yet(tmp_path: Path, redis_url: str) -> None:
    async def scene(talk: Talk) -> None:
        await talk.say("never")
        await talk.running()
        await talk.say("long 4000")
        assert (await talk.hear())["text"].startswith("word0 "), "the first run was cancelled, the second one answers"
        await talk.say("wait")
        texts = [(await talk.hear())["text"]]
        while not texts[-1].startswith("echo"):
            texts.append((await talk.hear())["text"])
        assert texts[-1] == "echo 3: wait"
        assert len(texts) <= 3, "the part that was on its way, perhaps one more; of 4 (Slack) and 9 (Telegram)"
        assert await talk.read() == ["never", "long 4000", "wait"]
        assert [run["status"] for run in await talk.runs()] == ["cancelled", "completed", "completed"]
        await talk.say("next")
        await talk.hears("echo 4: next")

    async with stack(tmp_path, redis_url, policy("interrupt")) as at:
        await at.lab.fail_next("telegram", "sendMessage", "latency", count=3, latency_ms=800)
        await at.lab.fail_next("slack", "chat.postMessage", "latency", count=3, latency_ms=800)
        await at.both(scene)


async def test_reject_tells_and_does_not_take(tmp_path: Path, redis_url: str) -> None:
    async def scene(talk: Talk) -> None:
        await talk.say("never")
        await talk.running()
        await talk.say("and this")
        await talk.hears("did not take this one")
        await talk.say("/stop")
        await talk.hears("Stopped.")
        await talk.say("next")
        await talk.hears("echo 2: next")
        assert await talk.read() == ["never", "next"]
        assert len(await talk.shown()) == 3, "told once"

    async with stack(tmp_path, redis_url, policy("reject")) as at:
        await at.both(scene)


async def test_a_stop_is_heard_in_every_phase(tmp_path: Path, redis_url: str) -> None:
    """Before the run: tests/flow/test_waiting_mail.py."""
    (tmp_path / "mytools.py").write_text(TOOL)
    tools = '[[assistants]]\nname = "waiter"\ntools = ["mytools:calculator"]\n'
    async with stack(tmp_path, redis_url, tools) as at:
        await at.both(_stopped_while_it_thinks)
        await at.both(_stopped_while_a_tool_runs)
        await _stopped_while_the_worker_is_dead(at)


async def _stopped_while_it_thinks(talk: Talk) -> None:
    await talk.say("never")
    await talk.running()
    await _stop(talk)


async def _stopped_while_a_tool_runs(talk: Talk) -> None:
    expression = f"wait-{talk.platform}"
    await talk.say(f"tool {expression}")

    async def began() -> bool:
        return (talk.stack.fleet.tmp_path / f"began-{expression}").exists()

    await until(began)
    await _stop(talk)


async def _stopped_while_the_worker_is_dead(at: Stack) -> None:
    talks = [at.telegram(), at.slack()]
    for talk in talks:
        await talk.say("never")
        await talk.running()
    worker = at.workers.pop()
    worker.kill()
    await worker.wait()
    for talk in talks:
        await talk.say("/stop")
    await at.worker()
    for talk in talks:
        await _is_stopped(talk)


async def _stop(talk: Talk) -> None:
    await talk.say("/stop")
    await _is_stopped(talk)


async def _is_stopped(talk: Talk) -> None:
    """The run was cancelled, the chat says so once, and the conversation goes on."""
    await talk.hears("Stopped.")
    (run,) = await talk.runs()
    assert run["status"] in ("cancelling", "cancelled")
    await talk.say("next")
    await talk.hears("echo 2: next")
    assert await talk.shown() == ["Stopped.", "echo 2: next"]
