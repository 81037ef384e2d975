"""Updates → the inbox, so that one flooded conversation never stops the whole bot.

getUpdates hands out at most 100 updates from the offset on, and nobody can see past them without confirming them: a
hundred of a conversation that is full would be all that a bot ever gets. So what a full conversation cannot take yet is
kept elsewhere, as durably (the port Spill), and handed in later in its order; the offset passes it meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog

from gateway.domain.adapter import Accept, Accepted, Mail
from gateway.domain.errors import Retryable, StoreDown
from gateway.domain.messages import ConversationKey
from gateway.telegram.normalise import BotIdentity
from gateway.telegram.updates import Malformed, read_update

log: structlog.stdlib.BoundLogger = structlog.get_logger("threadway")

MAX_KEPT = 2_000
"""Updates of one bot that are kept outside the inboxes. Beyond them the offset waits: the rest stays at Telegram."""


class Spill(Protocol):
    """Keeps updates by bot and update_id until they are dropped. Only the replica that polls uses it; all raise
    StoreDown and may be called twice."""

    async def keep(self, bot_id: int, update_id: int, update: str) -> None:
        """Store one update (JSON) as durably as the inbox stores a message."""

    async def kept(self, bot_id: int) -> Mapping[int, str]:
        """Everything that is kept, in any order."""

    async def drop(self, bot_id: int, update_id: int) -> None:
        """Forget one update."""


class Backlog:
    """Hands updates in, in order per conversation. Used by one poller, in one task."""

    def __init__(self, me: BotIdentity, accept: Accept, spill: Spill | None, settled: Callable[[Any], None]) -> None:
        """`settled` is told of each update once its mail is durable. Without a spill nothing can be kept."""
        self._me, self._accept, self._spill, self._settled = me, accept, spill, settled
        self._term_lasts: Callable[[], bool] = lambda: False
        self._kept: dict[int, Mail] = {}
        """By update_id, oldest first: what the spill holds. Nobody else writes there, so it is read once a term."""

    @property
    def waiting(self) -> bool:
        """Whether something is kept that has to be handed in soon."""
        return bool(self._kept)

    async def open(self, term_lasts: Callable[[], bool]) -> None:
        """Begin a term: learn what an earlier one left behind. Raises StoreDown."""
        self._term_lasts = term_lasts
        self._kept.clear()
        if self._spill is None:
            return
        for update_id, text in sorted((await self._spill.kept(self._me.id)).items()):
            mail = self._read(json.loads(text))
            if mail is None:
                await self._spill.drop(self._me.id, update_id)  # this version has no use for it
            else:
                self._kept[update_id] = mail

    async def replay(self) -> None:
        """Hand in what was kept, as far as there is room by now. Raises StoreDown."""
        full: set[ConversationKey] = set()
        before = len(self._kept)
        for update_id, mail in list(self._kept.items()):
            if mail.conversation in full:
                continue
            if await self._accept(mail) is Accepted.FULL:
                full.add(mail.conversation)
                continue
            assert self._spill is not None
            await self._spill.drop(self._me.id, update_id)  # a crash before this: the inbox knows it as a duplicate
            del self._kept[update_id]
        if before > len(self._kept):
            log.info("telegram.updates.replayed", bot=self._me.id, count=before - len(self._kept), left=len(self._kept))

    async def take(self, batch: Sequence[Any]) -> tuple[int | None, Retryable | None]:
        """Make a batch durable: (the offset that confirms what now is, why not everything is).

        A conversation that can be neither stored nor kept holds only itself back: the others' updates behind it are
        stored now, and known as duplicates when the same batch comes again. Redis away ends the batch at once.
        """
        offset: int | None = None
        behind = {mail.conversation for mail in self._kept.values()}
        stuck: set[ConversationKey] = set()
        for raw in batch:
            try:
                durable = await self._store(raw, behind, stuck)
            except StoreDown as down:
                return offset, down
            if durable and not stuck:
                offset = _next_offset(raw, offset)
        if stuck:
            return offset, Retryable("the inbox of a conversation is full")
        return offset, Retryable("updates without ids") if batch and offset is None else None

    async def _store(self, raw: Any, behind: set[ConversationKey], stuck: set[ConversationKey]) -> bool:
        """Hand one update in or keep it; False (and its conversation in `stuck`) when it has to come again."""
        mail = self._read(raw)
        if mail is None:
            return True
        key = mail.conversation
        if key in stuck:
            return False
        # behind a refused update of the same conversation nothing is stored, edits included: order holds
        if key in behind or await self._accept(mail) is Accepted.FULL:
            # Awake after a pause longer than the term, we would write what the next poller has read already, has handed
            # in by itself, and would find in some later term, when the inbox has forgotten that it knew it.
            if self._spill is None or len(self._kept) >= MAX_KEPT or not self._term_lasts():
                stuck.add(key)
                return False
            await self._spill.keep(self._me.id, raw["update_id"], json.dumps(raw))
            self._kept[raw["update_id"]] = mail
            if key not in behind:
                log.warning("telegram.conversation.full", conversation=key, kept=len(self._kept))
            behind.add(key)
        self._settled(raw)
        return True

    def _read(self, raw: Any) -> Mail | None:
        try:
            return read_update(raw, self._me)
        except Malformed as error:
            log.error("telegram.update.skipped", bot=self._me.id, reason=str(error))
            return None  # it will be no better next time


def _next_offset(raw: Any, before: int | None) -> int | None:
    """The offset that confirms `raw`; `before` where it has no id to confirm it by."""
    number = raw.get("update_id") if isinstance(raw, dict) else None
    return number + 1 if isinstance(number, int) else before
