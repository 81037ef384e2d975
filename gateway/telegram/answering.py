"""Tell Telegram that a button press was heard, so that the button stops spinning."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from telegram import Bot
from telegram.error import TelegramError

log: structlog.stdlib.BoundLogger = structlog.get_logger("threadway")

_AT_ONCE = 100
"""More presses than this wait for no answer of ours: their buttons stop by themselves after a while."""


class Answering:
    """Answers in the background: neither a poll nor a webhook's 200 waits for it. Decoration, so it never raises."""

    def __init__(self, bot: Bot, call_timeout_s: float) -> None:
        self._bot, self._call_timeout_s = bot, call_timeout_s
        self._tasks: set[asyncio.Task[None]] = set()

    def settled(self, raw: Any) -> None:
        """An update whose mail is durable now; only a press of a button needs an answer. May be called twice."""
        query = raw.get("callback_query") if isinstance(raw, dict) else None
        if not isinstance(query, dict) or len(self._tasks) >= _AT_ONCE:
            return
        task = asyncio.create_task(self._answer(str(query.get("id", ""))))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, query_id: str) -> None:
        try:
            async with asyncio.timeout(self._call_timeout_s):
                await self._bot.answer_callback_query(query_id)
        except (TelegramError, TimeoutError) as error:  # too old, answered before, the platform away
            log.debug("telegram.press.unanswered", kind=type(error).__name__)

    async def close(self) -> None:
        """End what is under way. Safe to call twice."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
