"""Send a reply's parts, in order, through the adapter and the delivery ledger: intent before, platform id after."""

from __future__ import annotations

from gateway.domain.adapter import Adapter, FindingPosted
from gateway.domain.errors import Ambiguous, ConversationMoved, DeliveryRefused, FormatRefused, RateLimited, Unreachable
from gateway.domain.messages import ConversationKey, Destination, OutboundPart
from gateway.domain.turns import Turn
from gateway.telemetry import PARTS, log
from workers import phrases
from workers.progress import Progress
from workers.wait import Pace, patiently

UNKNOWN = "?"
"""The ledger's entry for a part that was perhaps sent, on a platform that cannot be asked."""
SENDS = 3
"""Calls for one attempt at most: as it is, to where the conversation has moved, without its markup."""


def destination(turn: Turn) -> Destination:
    """Where the turn's reply goes: to the place of its newest message."""
    return Destination(turn.conversation, turn.last.reply_to)


async def post_reply(progress: Progress, adapter: Adapter, pace: Pace) -> None:
    """Post what the ledger does not know as posted. Safe to take up again after a crash at any point.

    A part is never blindly repeated: where an earlier attempt may have arrived, the platform is asked; where it cannot
    be asked the part counts as sent and a notice says so. Raises Retryable (the turn is parked), DeliveryRefused.
    """
    turn = progress.turn
    unsure = UNKNOWN in turn.posted.values()
    for number, raw in enumerate(turn.parts):
        if number in turn.posted:
            continue
        poster = _Poster(progress, adapter, number, OutboundPart.from_json(raw))
        platform_id = await patiently(lambda _, poster=poster: poster.attempt(), progress.hold, pace)  # type: ignore[misc]
        unsure = unsure or platform_id == UNKNOWN
        PARTS.labels(adapter.name, "unknown" if platform_id == UNKNOWN else "posted").inc()
        progress.trace("posted", part=number + 1, of=len(turn.parts), id=platform_id)
    if unsure and "unsure" not in turn.notices:
        await tell(progress, adapter, phrases.UNSURE, "unsure")


async def tell(progress: Progress, adapter: Adapter, phrase: str, notice: str) -> None:
    """Say one of our own sentences, at most once a turn: better not at all than twice. Raises as Adapter.post."""
    turn = progress.turn
    if notice in turn.notices:
        return
    turn.notices.add(notice)
    await progress.step({f"no:{notice}": 1})
    for part in adapter.render(phrase.format(turn=turn.id)):
        with progress.hold.acting():
            await adapter.post(destination(turn), part, f"{turn.key}/{notice}")


class _Poster:
    """One part on its way."""

    def __init__(self, progress: Progress, adapter: Adapter, number: int, part: OutboundPart) -> None:
        self._progress = progress
        self._adapter = adapter
        self._number = number
        self._part = part
        self._to = destination(progress.turn)
        self._key = f"{progress.turn.key}/{number}"

    async def attempt(self) -> str:
        """Post once, or find out that it was posted; the ledger knows it then. Raises Retryable, DeliveryRefused,
        LeaseLost."""
        with self._progress.hold.acting():
            platform_id = await self._sent_before() or await self._post_now()
            turn = self._progress.turn
            turn.posted[self._number] = platform_id
            await self._progress.step({f"mid:{self._number}": platform_id, "psend": ""})
            turn.part_intended = -1
        return platform_id

    async def _sent_before(self) -> str:
        turn = self._progress.turn
        if turn.part_intended != self._number:
            return ""
        try:
            if found := await self._find():
                log.info("part.found", turn=turn.id, part=self._number)
            return found or ""
        except DeliveryRefused:
            log.warning("part.unknown", turn=turn.id, part=self._number)
            return UNKNOWN

    async def _post_now(self) -> str:
        turn = self._progress.turn
        await self._progress.step({"psend": self._number})
        turn.part_intended = self._number  # after the write: until then nothing can have been sent
        try:
            return await self._send()
        except (RateLimited, Unreachable):  # surely not sent: the next attempt need not look
            turn.part_intended = -1
            await self._progress.step({"psend": ""})
            raise
        except Ambiguous as trouble:
            log.warning("part.ambiguous", turn=turn.id, part=self._number, error=str(trouble))
            raise

    async def _find(self) -> str | None:
        """The part's id if it is there, None if it surely is not. Raises DeliveryRefused where nobody can tell."""
        if not isinstance(self._adapter, FindingPosted):
            raise DeliveryRefused(f"{self._adapter.name} cannot be asked what it has")
        turn = self._progress.turn
        return await self._adapter.find_posted(self._to, self._key, turn.started_ms or turn.taken_ms)

    async def _send(self) -> str:
        for _ in range(SENDS):
            self._progress.hold.check()
            try:
                return await self._adapter.post(self._to, self._part, self._key)
            except FormatRefused as refused:
                if not self._part.markup:
                    raise
                log.warning("part.as_plain_text", turn=self._progress.turn.id, part=self._number, error=str(refused))
                PARTS.labels(self._adapter.name, "plain").inc()
                self._part = self._part.plain()
            except ConversationMoved as moved:
                log.info("conversation.moved", conversation=self._to.conversation, to=moved.moved_to)
                self._to = Destination(ConversationKey(moved.moved_to))
        raise DeliveryRefused("the conversation is moved on and on")
