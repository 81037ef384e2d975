"""Send a reply's parts, in order, through the adapter and the delivery ledger: intent before, platform id after."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from gateway.domain import crash
from gateway.domain.adapter import Adapter, Doubt, Editing, FindingPosted
from gateway.domain.errors import Ambiguous, ConversationMoved, DeliveryRefused, FormatRefused, RateLimited, Unreachable
from gateway.domain.messages import Command, ConversationKey, Destination, Offer, OutboundPart
from gateway.domain.turns import Turn
from gateway.telemetry import PARTS, log
from workers import phrases
from workers.progress import Progress
from workers.wait import Pace, patiently

UNKNOWN = "?"
"""The ledger's entry for a part that was perhaps sent, on a platform that cannot be asked."""
STUB = "~"
"""In front of the id of a placeholder that is not edited to its text yet."""
PLACEHOLDER = OutboundPart("…")
ARRIVES_S = 2.0
"""How long a post whose answer was lost may still be on its way (behind a proxy that gave up on it): whoever asks the
platform at once hears no. Short enough to be waited out in place."""
SENDS = 3
"""Calls for one attempt at most: as it is, to where the conversation has moved, without its markup."""


async def _never() -> bool:
    return False


def destination(turn: Turn) -> Destination:
    """Where the turn's reply goes: to the place of its newest message."""
    return Destination(turn.conversation, turn.last.reply_to)


async def post_reply(
    progress: Progress,
    adapter: Adapter,
    pace: Pace,
    *,
    doubt: Doubt = Doubt.NOTICE,
    dropped: Callable[[], Awaitable[bool]] = _never,
) -> None:
    """Post what the ledger does not know as posted. Safe to take up again after a crash at any point.

    Where an earlier attempt may have arrived, the platform is asked; where it cannot be asked, `doubt` says what
    follows. As soon as `dropped` says so, the parts that are left are not posted. Raises Retryable (the turn is
    parked), DeliveryRefused.
    """
    turn = progress.turn
    for number, raw in enumerate(turn.parts):
        if is_posted(turn, number):
            continue
        crash.at("part.wanted")
        if number not in turn.posted and await dropped():  # a placeholder becomes its text all the same
            log.info("turn.interrupted_reply", turn=turn.id, part=number, of=len(turn.parts))
            break
        poster = _Poster(progress, adapter, number, OutboundPart.from_json(raw), doubt)
        crash.at("part.begin")
        platform_id = await patiently(lambda _, poster=poster: poster.attempt(), progress.hold, pace)  # type: ignore[misc]
        PARTS.labels(adapter.name, "unknown" if platform_id == UNKNOWN else "posted").inc()
        progress.trace("posted", part=number + 1, of=len(turn.parts), id=platform_id)
    if UNKNOWN in turn.posted.values():
        await _tell_unsure(progress, adapter)


def is_posted(turn: Turn, number: int) -> bool:
    """Whether a part is done with: posted, or given up as unknown."""
    return number in turn.posted and not turn.posted[number].startswith(STUB)


async def tell(
    progress: Progress,
    adapter: Adapter,
    phrase: str,
    notice: str,
    *,
    to: Destination | None = None,
) -> None:
    """Say one of our own sentences, at most once a turn: better not at all than twice. Raises as Adapter.post."""
    turn = progress.turn
    if notice in turn.notices:
        return
    crash.at("notice.intend")
    await progress.step({f"no:{notice}": 1})
    turn.notices.add(notice)
    for part in adapter.render(phrase.format(turn=turn.id)):
        with progress.hold.acting():
            crash.at("notice.post")
            await adapter.post(to or destination(turn), part, f"{turn.key}/{notice}")


async def _tell_unsure(progress: Progress, adapter: Adapter) -> None:
    """Say that a part may be missing: at least once, unlike other notices, or a part could go missing in silence."""
    turn = progress.turn
    if "unsure" in turn.notices:
        return
    again = Offer(phrases.SHOW_AGAIN, Command.LAST, turn.id)
    to = destination(turn)
    for part in adapter.render(phrases.UNSURE.format(turn=turn.id)):
        offering = OutboundPart(part.text, part.markup, (again,))
        for _ in range(SENDS):
            with progress.hold.acting():
                try:
                    crash.at("unsure.post")
                    await adapter.post(to, offering, f"{turn.key}/unsure")
                    break
                except ConversationMoved as moved:
                    to = Destination(ConversationKey(moved.moved_to))
        else:
            raise DeliveryRefused("the conversation is moved on and on")
    crash.at("unsure.keep")
    await progress.step({"no:unsure": 1})
    turn.notices.add("unsure")


class _Poster:
    """One part on its way."""

    def __init__(self, progress: Progress, adapter: Adapter, number: int, part: OutboundPart, doubt: Doubt) -> None:
        self._progress = progress
        self._adapter = adapter
        self._number = number
        self._part = part
        self._doubt = doubt
        self._to = destination(progress.turn)
        self._key = f"{progress.turn.key}/{number}"

    async def attempt(self) -> str:
        """Post once, or find out that it was posted; the ledger knows it then. Raises Retryable, DeliveryRefused,
        LeaseLost."""
        with self._progress.hold.acting():
            if self._doubt is Doubt.EDIT and isinstance(self._adapter, Editing):
                platform_id = await self._edited(self._adapter)
            else:
                platform_id = await self._sent_before() or await self._post_now(self._part)
            crash.at("part.keep")
            await self._keep(platform_id)
        return platform_id

    async def _keep(self, entry: str) -> None:
        """Write the platform's id into the ledger."""
        turn = self._progress.turn
        await self._progress.step({f"mid:{self._number}": entry, "psend": ""})
        turn.posted[self._number] = entry
        turn.part_intended = -1
        self._progress.hold.unsettled = False

    async def _sent_before(self) -> str:
        """The id of an earlier attempt that arrived, UNKNOWN where that cannot be known, "" where none was made."""
        turn = self._progress.turn
        intended = turn.part_intended == self._number
        if isinstance(self._adapter, FindingPosted):
            if not (intended or turn.suspicious):
                return ""
            try:
                crash.at("part.find")
                found = await self._adapter.find_posted(self._to, self._key, _since_ms(turn))
            except DeliveryRefused as refused:
                log.warning("part.not_told", turn=turn.id, part=self._number, why=str(refused))
            else:
                if found:
                    log.info("part.found", turn=turn.id, part=self._number)
                return found or ""
        if not intended or self._doubt is Doubt.REPEAT:
            return ""
        log.warning("part.unknown", turn=turn.id, part=self._number)
        return UNKNOWN

    async def _edited(self, adapter: Editing) -> str:
        """A placeholder, then the text by an edit, which may be repeated: the worst that is left is a placeholder."""
        gone = ""
        for _ in range(SENDS + 1):
            stub = self._progress.turn.posted.get(self._number, "").removeprefix(STUB)
            if stub == gone:
                stub = await self._post_now(PLACEHOLDER)
                crash.at("part.stub")
                await self._keep(STUB + stub)
            self._progress.hold.check()
            try:
                crash.at("part.edit")
                await adapter.edit(self._to, stub, self._part)
                return stub
            except FormatRefused as refused:
                self._without_markup(refused)
            except ConversationMoved as moved:
                self._follow(moved)
            except DeliveryRefused as refused:  # a reader deleted the placeholder: another one, or we might post twice
                if gone:
                    raise
                log.warning("part.stub_gone", turn=self._progress.turn.id, part=self._number, why=str(refused))
                gone = stub
        raise DeliveryRefused("the conversation is moved on and on")

    async def _post_now(self, part: OutboundPart) -> str:
        turn = self._progress.turn
        in_doubt = turn.part_intended == self._number  # an earlier attempt was not found, but may still arrive
        crash.at("part.intend")
        await self._progress.step({"psend": self._number})
        turn.part_intended = self._number  # after the write: until then nothing can have been sent
        try:
            return await self._send(part)
        except (RateLimited, Unreachable, DeliveryRefused):  # surely not sent: the next attempt need not look
            if not in_doubt:
                turn.part_intended = -1
                crash.at("part.not_sent")
                await self._progress.step({"psend": ""})
            raise
        except Ambiguous as trouble:
            log.warning("part.ambiguous", turn=turn.id, part=self._number, error=str(trouble))
            # Whoever cannot ask the platform gains nothing by waiting until there is an answer.
            if isinstance(self._adapter, FindingPosted):
                self._progress.hold.unsettled = True
                trouble.retry_after_s = max(trouble.retry_after_s or 0.0, ARRIVES_S)
            raise

    async def _send(self, part: OutboundPart) -> str:
        for _ in range(SENDS):
            self._progress.hold.check()
            try:
                crash.at("part.post")
                return await self._adapter.post(self._to, part, self._key)
            except FormatRefused as refused:
                if not part.markup:
                    raise
                self._without_markup(refused)
                part = part.plain()
            except ConversationMoved as moved:
                self._follow(moved)
        raise DeliveryRefused("the conversation is moved on and on")

    def _without_markup(self, refused: FormatRefused) -> None:
        if not self._part.markup:
            raise refused
        log.warning("part.as_plain_text", turn=self._progress.turn.id, part=self._number, error=str(refused))
        PARTS.labels(self._adapter.name, "plain").inc()
        self._part = self._part.plain()

    def _follow(self, moved: ConversationMoved) -> None:
        log.info("conversation.moved", conversation=self._to.conversation, to=moved.moved_to)
        self._to = Destination(ConversationKey(moved.moved_to))


def _since_ms(turn: Turn) -> int:
    """Before this no part of the turn can have been posted: the platform's own time of the message where it has one."""
    return turn.first.sent_ms or turn.started_ms or turn.taken_ms - 3_600_000
