"""A worker dies while Telegram has, or has not, got its message: what the chat shows in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.flow.talks import Stack, Talk, stack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(90)]

UNSURE = "cannot see whether everything above arrived"


@asynccontextmanager
async def delivering(folder: Path, redis_url: str, doubt: str) -> AsyncIterator[Stack]:
    async with stack(folder, redis_url, f'[delivery]\ntelegram = "{doubt}"\n') as at:
        yield at


async def killed_when(talk: Talk, happens: Awaitable[Any]) -> None:
    """The talk's person says hello; the worker is killed the moment that `happens`, and another one is started."""
    seen = asyncio.ensure_future(happens)
    await talk.say("hello")
    await asyncio.wait_for(seen, 20)
    await talk.stack.replace_worker()


async def finished(talk: Talk) -> list[str]:
    """What the chat shows when nothing is at work any more."""
    await talk.stored(0)
    return await talk.shown()


async def posted(talk: Talk) -> None:
    """The bot posts something."""
    await _fed(talk, "message")


async def edited(talk: Talk) -> None:
    """The bot edits something."""
    await _fed(talk, "edit")


async def _fed(talk: Talk, kind: str) -> None:
    cursor = (await talk.stack.lab.state())["cursor"]
    fits = {"type": kind, "platform": talk.platform, "chat": talk.chat}
    await talk.stack.lab.wait_for(
        lambda change: fits.items() <= change.items() and change["message"]["author"]["bot"], after=cursor
    )


async def test_a_notice_offers_the_reply_again(tmp_path: Path, redis_url: str) -> None:
    async with delivering(tmp_path, redis_url, "notice") as at:
        await at.lab.fail_next("telegram", "sendMessage", "cut_after")
        there = at.telegram()
        await killed_when(there, posted(there))
        reply, told = await finished(there)
        assert (reply, UNSURE in told) == ("echo 1: hello", True)

        await at.lab.fail_next("telegram", "sendMessage", "cut_before")
        missing = at.telegram()
        await missing.say("hello")
        notice = await missing.hear()
        assert UNSURE in notice["text"]
        ((button,),) = notice["buttons"]
        assert button["text"] == "Show again"
        await missing.stored(0)
        pressed = await at.lab.telegram_press(notice["id"], button["data"], user=missing.user)
        await missing.hears("echo 1: hello")
        await at.lab.wait_for(
            lambda change: change.get("type") == "answered" and change["query"] == pressed["query"],
            after=pressed["cursor"],
        )
        await missing.say("/last")
        await missing.hears("echo 1: hello")
        assert len(await finished(missing)) == 3
        assert len(await missing.runs()) == 1, "nobody thought twice"


async def test_on_slack_the_platform_is_asked(tmp_path: Path, redis_url: str) -> None:
    async with delivering(tmp_path, redis_url, "notice") as at:
        await at.lab.fail_next("slack", "chat.postMessage", "cut_after")
        there = at.slack()
        await killed_when(there, posted(there))
        assert await finished(there) == ["echo 1: hello"]

        await at.lab.fail_next("slack", "chat.postMessage", "cut_before")
        missing = at.slack()
        await missing.say("hello")
        await missing.hears("echo 1: hello")
        assert await finished(missing) == ["echo 1: hello"]


async def test_edit_leaves_a_stray_placeholder_at_worst(tmp_path: Path, redis_url: str) -> None:
    async with delivering(tmp_path, redis_url, "edit") as at:
        await at.lab.fail_next("telegram", "sendMessage", "cut_after")
        placed = at.telegram()
        await killed_when(placed, posted(placed))
        assert await finished(placed) == ["…", "echo 1: hello"]

        await at.lab.fail_next("telegram", "editMessageText", "cut_after")
        written = at.telegram()
        await killed_when(written, edited(written))
        assert await finished(written) == ["echo 1: hello"]


async def test_repeat_posts_again(tmp_path: Path, redis_url: str) -> None:
    async with delivering(tmp_path, redis_url, "repeat") as at:
        await at.lab.fail_next("telegram", "sendMessage", "cut_after")
        there = at.telegram()
        await killed_when(there, posted(there))
        assert await finished(there) == ["echo 1: hello", "echo 1: hello"]

        await at.lab.fail_next("telegram", "sendMessage", "cut_before")
        missing = at.telegram()
        await missing.say("hello")
        await missing.hears("echo 1: hello")
        assert await finished(missing) == ["echo 1: hello"]
