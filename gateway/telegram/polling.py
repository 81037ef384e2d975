"""Our own getUpdates loop: store the batch first, confirm it afterwards.

The library's Updater moves the offset as soon as an update is in memory; a killed process would lose what waited there.
Asking with offset N+1 is what confirms update N (Bot API, getUpdates), so the offset moves only past what is stored.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import structlog
from telegram import Bot
from telegram.error import Conflict, TelegramError

from gateway.domain.errors import Retryable, TokenRefused
from gateway.domain.pacing import Clock, RetryPolicy
from gateway.telegram.backlog import Backlog
from gateway.telegram.failures import translate
from gateway.telegram.normalise import BotIdentity
from gateway.telegram.updates import ALLOWED_UPDATES

log: structlog.stdlib.BoundLogger = structlog.get_logger("threadway")

OFFSET_LIFE_S = 6 * 24 * 3600.0
"""Age at which an offset is forgotten: "if there are no new updates for at least a week, then identifier of the next
update will be chosen randomly" (Bot API, Update). An old offset above the new ids would confirm them unseen."""
_ANSWER_S = 10.0
"""What a getUpdates call may take beyond the time it was asked to wait for news."""
_LOOK_AGAIN_S = 1
"""How long to wait for news while updates are kept for a full conversation: room for them appears without any news."""


class Term(Protocol):
    """A stretch of time in which this replica alone may poll."""

    def valid(self) -> bool:
        """Whether it still lasts."""

    async def lost(self) -> None:
        """Return when it has ended (lease lost, Redis away too long)."""


class Leader(Protocol):
    """Chooses one of the replicas; one poller per token, a second one gets 409."""

    def term(self, name: str) -> AbstractAsyncContextManager[Term]:
        """Entering waits until this replica holds the lease `name`; leaving gives it back. Raises only Retryable."""


class Offsets(Protocol):
    """Remembers how far a bot's updates are stored. Both raise StoreDown."""

    async def get(self, bot_id: int) -> int | None:
        """The offset to ask from; None where none was set within OFFSET_LIFE_S."""

    async def set(self, bot_id: int, offset: int) -> None:
        """Store the offset, to be forgotten after OFFSET_LIFE_S."""


class Poller:
    """Polls while its term lasts. Delivery is at least once: what was stored before a crash may come again."""

    def __init__(
        self,
        bot: Bot,
        me: BotIdentity,
        offsets: Offsets,
        backlog: Backlog,
        *,
        clock: Clock,
        wait_s: int,
        retry: RetryPolicy,
    ) -> None:
        self._bot, self._me, self._offsets, self._backlog = bot, me, offsets, backlog
        self._clock, self._wait_s, self._retry = clock, wait_s, retry
        self._offset: int | None = None
        self._offset_at = 0.0
        self._attempt = 0
        self.reachable = False
        """Whether the last exchange brought what there was into the inbox."""

    async def run(self, term: Term) -> None:
        """Poll until `term` ends. Raises TokenRefused; everything else is retried with backoff, for ever."""
        polling = asyncio.ensure_future(self._poll(term))
        ending = asyncio.ensure_future(term.lost())
        try:
            await asyncio.wait({polling, ending}, return_when=asyncio.FIRST_COMPLETED)
            if polling.done():
                polling.result()
        finally:
            # cutting a poll short is safe at any await: what is stored but not confirmed comes again
            polling.cancel()
            ending.cancel()
            await asyncio.gather(polling, ending, return_exceptions=True)
            self.reachable = False

    async def _poll(self, term: Term) -> None:
        opened = False
        refused: Exception | None
        while term.valid():
            try:
                if not opened:
                    self._remember(await self._offsets.get(self._me.id))
                    await self._backlog.open(term.valid)
                    await self._bot.delete_webhook(drop_pending_updates=False)  # while one is set getUpdates gets 409
                    opened = self.reachable = True  # a first poll without news would say so only after `wait_s`
                await self._backlog.replay()
                refused = await self._take(await self._fetch())
            except (TelegramError, Retryable) as error:
                refused = error
            if refused is None and not self.reachable:
                log.info("telegram.poll.reachable", bot=self._me.id, tries=self._attempt + 1)
            self.reachable = refused is None
            if refused is None:
                self._attempt = 0
            else:
                await self._stand_back(refused)

    async def _stand_back(self, reason: Exception) -> None:
        """Log why nothing comes in, wait. Raises TokenRefused."""
        cause = translate(reason) if isinstance(reason, TelegramError) else reason
        if isinstance(cause, TokenRefused):
            raise cause from reason
        wish = cause.retry_after_s if isinstance(cause, Retryable) else None
        wait_s = self._retry.delay(self._attempt, random.random(), wish)  # noqa: S311 - spreads load, guards nothing
        self._attempt += 1
        event = "telegram.poll.conflict" if isinstance(reason, Conflict) else "telegram.poll.failed"
        log.warning(event, bot=self._me.id, reason=str(cause), kind=type(cause).__name__, wait_s=round(wait_s, 2))
        await self._clock.sleep(wait_s)

    async def _fetch(self) -> Sequence[Any]:
        """The next updates as Telegram sent them, waiting up to `wait_s` for the first.

        Not Bot.get_updates: it parses the batch as a whole, so one update it cannot read would block all later
        ones, and it logs the batch with the texts in it. "get_Updates" becomes "getUpdates" on the wire; the plain
        name would make the library warn that it has a method for that.
        """
        if self._clock.monotonic() - self._offset_at > OFFSET_LIFE_S:
            self._offset = None
        wait_s = min(self._wait_s, _LOOK_AGAIN_S) if self._backlog.waiting else self._wait_s
        asked = {"timeout": wait_s, "allowed_updates": json.dumps(ALLOWED_UPDATES)}
        if self._offset is not None:
            asked["offset"] = self._offset
        batch = await self._bot.do_api_request("get_Updates", api_kwargs=asked, read_timeout=wait_s + _ANSWER_S)
        return batch if isinstance(batch, list) else []

    async def _take(self, batch: Sequence[Any]) -> Retryable | None:
        """Make the batch durable and move the offset past what is; the reason if something is not."""
        confirmed, trouble = await self._backlog.take(batch)
        if confirmed is not None:
            self._remember(confirmed)
            await self._offsets.set(self._me.id, confirmed)
        return trouble

    def _remember(self, offset: int | None) -> None:
        self._offset, self._offset_at = offset, self._clock.monotonic()
