"""THE story: one turn, from the lease to the posted reply.

collect → thread → run → wait ⇄ tools → reply → parts → post → finish. Every step that changes something outside is
written down before (intent) and after (result), so that any worker may take the turn up where another one died.
"""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress

from gateway.domain import crash
from gateway.domain.adapter import Adapter
from gateway.domain.errors import (
    DeliveryRefused,
    LeaseLost,
    Refused,
    Retryable,
    StoreDown,
    TokenRefused,
)
from gateway.domain.messages import Command, ConversationKey
from gateway.domain.turns import Phase, Turn, WhileRunning
from gateway.store import MailUnreadable
from gateway.store.leases import NotYet
from gateway.telemetry import TURN_SECONDS, TURNS, log
from workers import phrases
from workers.deps import Deps, Reply
from workers.post import UNKNOWN, post_reply, tell
from workers.progress import Progress
from workers.replying import decide, fix
from workers.steering import overtaken
from workers.working import working

MAX_TRIES = 5
TELL_AFTER_S = 60.0
"""A user who waits this long for a backend that is away is told so; at once, if it says that it will last longer."""
LONGEST_WAIT_S = 86_400.0
"""No wish of the other side keeps a conversation waiting for longer: some servers send nonsense."""
SOON_S = 3.0
"""What is due within this time is woken by us: the sweep would find it up to a second late."""
KEEP_REPLY_S = 26 * 3600.0
"""How long the last reply can be shown again."""


async def work(key: ConversationKey, deps: Deps) -> None:
    """Work through one conversation's mail until nothing waits, or others wait for the place.

    Safe to call twice and at any time: a second caller finds the lease held and returns. Whatever ends it early, mail
    and turn stay stored and the sweep wakes somebody. Raises StoreDown when nothing could be taken.
    """
    while not deps.keeper.leaving and (turn := await _take(key, deps)):
        try:
            crash.at("turn.hold")
            async with deps.keeper.holding(turn.lease) as hold:
                if turn.stop_requested:
                    hold.stop.set()
                progress = Progress(turn, hold, deps.store, deps.pace.clock, lease_s=deps.lease_s)
                if not await _one(progress, deps):
                    return
        except LeaseLost:
            log.info("turn.dropped", turn=turn.id, conversation=key)
            return
        except StoreDown as away:
            log.warning("turn.interrupted", turn=turn.id, conversation=key, why=str(away))
            return
        if deps.crowded():  # one who writes without end must not keep a place for ever
            deps.later(key, 0.0)
            return


async def _take(key: ConversationKey, deps: Deps) -> Turn | None:
    """The conversation's turn and lease. Mail that cannot be read is left to others for a while, then put aside."""
    try:
        crash.at("turn.take")
        turn = await deps.store.leases.acquire(key, lease_s=deps.lease_s, max_batch=deps.max_batch)
    except MailUnreadable as strange:
        await _put_aside(key, strange, deps)
        return None
    if isinstance(turn, NotYet):
        if turn.in_s <= SOON_S:
            deps.later(key, turn.in_s)
        return None
    return turn


async def _put_aside(key: ConversationKey, strange: MailUnreadable, deps: Deps) -> None:
    if strange.tries <= MAX_TRIES:
        delay_s = deps.pace.retry.delay(strange.tries, deps.pace.chance())
        log.warning("mail.unreadable", conversation=key, tries=strange.tries, why=str(strange))
        with suppress(LeaseLost):
            crash.at("unreadable.park")
            await deps.store.turns.park(strange.lease, delay_s, clean=False)
        return
    log.error("mail.put_aside", conversation=key, messages=len(strange.envelopes), why=str(strange))
    crash.at("unreadable.bury")
    await deps.store.dead_letters.bury_unreadable(strange)
    TURNS.labels("given_up").inc()
    crash.at("unreadable.finish")
    await deps.store.turns.finish(strange.lease)


async def _one(progress: Progress, deps: Deps) -> bool:
    """Bring one turn to its end, or park it. True when more mail waits."""
    turn = progress.turn
    adapter = deps.adapter(turn.conversation)
    log.info("turn.taken", turn=turn.id, conversation=turn.conversation, phase=turn.phase, messages=len(turn.batch))
    progress.trace("taken", phase=turn.phase, messages=len(turn.batch))
    try:
        if adapter is None:
            return await _leave_to_others(progress, deps)
        if turn.tries > (2 * MAX_TRIES if turn.outcome == "poison" else MAX_TRIES):
            if turn.phase is Phase.REPLYING:
                if turn.outcome != "poison":
                    with suppress(Retryable, Refused, TokenRefused):
                        await tell(progress, adapter, phrases.ENDINGS["poison"], "poison")
                return await _give_up(progress, "delivery", f"given up after {MAX_TRIES} tries")
            log.error("turn.given_up", turn=turn.id, stage="turn", reason=f"given up after {MAX_TRIES} tries")
            crash.at("poison.bury")
            await progress.bury("turn", f"given up after {MAX_TRIES} tries")
            await fix(progress, adapter, Reply(phrases.ENDINGS["poison"].format(turn=turn.id), "poison"))
        if turn.phase is not Phase.REPLYING:
            crash.at("turn.think")
            async with working(adapter, turn, deps.pace.clock):
                reply = await decide(progress, deps, adapter)
            await fix(progress, adapter, reply)
        await post_reply(progress, adapter, deps.pace, doubt=deps.doubt(adapter), dropped=_dropped(progress, deps))
        return await _finish(progress)
    except DeliveryRefused as refused:
        return await _give_up(progress, "delivery", str(refused))
    except StoreDown:
        raise
    except (Retryable, TokenRefused) as trouble:  # a refused token keeps its mail until somebody sets the right one
        assert adapter is not None  # nothing was asked of anybody else before
        await _wait_for_better_times(progress, adapter, deps, trouble)
        return False
    except LeaseLost:
        raise
    except Exception as error:  # the task wrapper of a turn: logged once, tried again, given up after the fifth time
        log.error("turn.failed", turn=turn.id, error=type(error).__name__, stack=stack_of(error))
        delay_s = deps.pace.retry.delay(turn.tries, deps.pace.chance())
        if turn.tries > MAX_TRIES:
            return await _give_up(progress, "turn", type(error).__name__)
        crash.at("failed.park")
        await progress.park(delay_s, clean=False)
        return False


def _dropped(progress: Progress, deps: Deps) -> Callable[[], Awaitable[bool]]:
    """Whether what is left of the reply has been overtaken by a newer message, and the settings drop it then."""
    interrupting = deps.while_running is WhileRunning.INTERRUPT and progress.turn.first.command is None

    async def dropped() -> bool:
        return interrupting and progress.hold.mail.is_set() and await overtaken(progress)

    return dropped


async def _finish(progress: Progress) -> bool:
    turn = progress.turn
    offered = turn.outcome in ("done", "incomplete") or UNKNOWN in turn.posted.values()
    crash.at("turn.finish")
    waiting = await progress.finish(
        through_stop=turn.outcome == "stopped",
        new_thread=turn.outcome == f"command_{Command.NEW}",
        keep_reply_s=KEEP_REPLY_S if offered else 0.0,
    )
    crash.at("turn.finished")
    took_s = max(0.0, (progress.now_ms - (turn.started_ms or turn.taken_ms)) / 1000)
    TURNS.labels(turn.outcome).inc()
    TURN_SECONDS.observe(took_s)
    log.info("turn.finished", turn=turn.id, outcome=turn.outcome, parts=len(turn.parts), took_s=round(took_s, 3))
    progress.trace("finished", outcome=turn.outcome, took_s=round(took_s, 3))
    return waiting > 0


async def _give_up(progress: Progress, stage: str, reason: str) -> bool:
    """Put the turn aside as a dead letter; the conversation goes on."""
    turn = progress.turn
    log.error("turn.given_up", turn=turn.id, stage=stage, reason=reason)
    crash.at("given_up.bury")
    await progress.bury(stage, reason)
    TURNS.labels("given_up").inc()
    progress.trace("given_up", stage=stage)
    crash.at("given_up.finish")
    return await progress.finish() > 0


async def _wait_for_better_times(
    progress: Progress, adapter: Adapter, deps: Deps, trouble: Retryable | TokenRefused
) -> None:
    """The other side is away: free the slot, keep the turn, and tell a user who has waited long, once."""
    turn = progress.turn
    since_ms = turn.failing_since_ms or progress.now_ms
    failing_s = (progress.now_ms - since_ms) / 1000
    wish_s = trouble.retry_after_s if isinstance(trouble, Retryable) else None
    delay_s = min(deps.pace.retry.delay(turn.failures, deps.pace.chance(), wish_s), LONGEST_WAIT_S)
    if failing_s + (wish_s or 0.0) >= TELL_AFTER_S and turn.phase is not Phase.REPLYING:
        try:
            await tell(progress, adapter, phrases.WAITING, "waiting")
        except (Retryable, Refused, TokenRefused) as silent:
            log.warning("turn.could_not_tell", turn=turn.id, error=type(silent).__name__)
    elif wish_s is None:
        delay_s = min(delay_s, max(0.5, TELL_AFTER_S - failing_s))
    log.warning(
        "turn.parked", turn=turn.id, for_s=round(delay_s, 2), error=type(trouble).__name__, why=str(trouble)[:200]
    )
    crash.at("trouble.park")
    await progress.park(delay_s, {"failing": since_ms, "failures": turn.failures + 1})


async def _leave_to_others(progress: Progress, deps: Deps) -> bool:
    """This worker does not have the platform (its token is not set here); the gateway that took the mail has it."""
    turn = progress.turn
    delay_s = deps.pace.retry.delay(turn.failures, deps.pace.chance())
    log.warning("turn.no_adapter", turn=turn.id, conversation=turn.conversation, for_s=round(delay_s, 2))
    crash.at("no_adapter.park")
    await progress.park(delay_s, {"failures": turn.failures + 1})
    return False


def stack_of(error: BaseException) -> str:
    """Where an exception came from, without its words: those may hold what people wrote."""
    return "".join(traceback.format_tb(error.__traceback__))
