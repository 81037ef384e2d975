"""Messages that come in while a run is active, where they do not simply wait: they join it, or are turned away."""

from __future__ import annotations

from gateway.domain import crash
from gateway.domain.adapter import Adapter
from gateway.domain.errors import Refused, Retryable, TokenRefused
from gateway.domain.messages import Destination, RunId, ThreadId
from gateway.domain.turns import Phase
from gateway.store.envelopes import envelope_message
from gateway.telemetry import log
from workers import phrases
from workers.backends import RunStatus, RunView
from workers.deps import Deps
from workers.post import tell
from workers.progress import Progress
from workers.wait import follow, patiently

LARGEST_BATCH = 100
"""A turn that has grown to this is steered no more: whoever writes without end would never get an answer."""
JOINING = 50
"""How many join at a time: a run names what it brings in its metadata, whose values are short (512 characters)."""
CANCELLING_S = 20.0
"""How long to wait for a cancelled run to end; after that the new one's creation clears it away."""


async def steer(progress: Progress, deps: Deps, thread: ThreadId, run: RunId) -> RunView | None:
    """Cancel the run and let the newer messages join the turn.

    None: they have joined, the turn has no run now. A view: the run ended by itself before it could be cancelled, or
    nothing waited; all goes on as if nothing had come. Safe to take up again after a crash. Raises as `ask_backend`.
    """
    turn, hold = progress.turn, progress.hold
    hold.mail.clear()
    if not turn.steering:
        if len(turn.batch) >= LARGEST_BATCH or not await overtaken(progress):
            return RunView(run, RunStatus.WORKING)
        crash.at("steer.intend")
        await progress.step({"steer": 1})
        turn.steering = True
    crash.at("steer.cancel")
    await patiently(lambda _: deps.backend.cancel(thread, run), hold, deps.pace)
    view = RunView(run, RunStatus.WORKING)
    crash.at("steer.follow")
    seen = await follow(
        deps.backend, thread, view, hold, deps.pace, age_s=0.0, left_s=CANCELLING_S, looked=_nothing, heed=()
    )
    if isinstance(seen, RunView) and seen.status in (RunStatus.DONE, RunStatus.INCOMPLETE):
        crash.at("steer.too_late")
        await progress.step({"steer": ""})
        turn.steering = False
        return seen
    crash.at("steer.join")
    joined = await progress.extend(min(LARGEST_BATCH, len(turn.batch) + JOINING))
    if not joined:  # what waited was deleted meanwhile, and the run is cancelled: the turn says so when it has ended
        turn.steering = False  # not written down: whoever takes the turn up may as well cancel once more
        return seen if isinstance(seen, RunView) else view
    turn.sent = len(turn.batch)
    turn.batch += joined
    turn.run, turn.run_intended, turn.steering, turn.phase = None, False, False, Phase.COLLECTED
    turn.rounds = turn.started_ms = 0
    turn.outputs.clear()
    turn.intended_calls.clear()
    log.info("turn.steered", turn=turn.id, run=run, messages=len(joined))
    progress.trace("steered", run=run, messages=len(joined))
    return None


async def _nothing(_: RunView) -> None:
    """A look is nothing to write down while a run is being cancelled."""


async def overtaken(progress: Progress) -> bool:
    """Whether newer messages wait that may join the turn: what a nudge told may be over, its message deleted.

    Raises LeaseLost, StoreDown.
    """
    crash.at("steer.look")
    return bool(await progress.behind(1))


async def reject(progress: Progress, adapter: Adapter) -> bool:
    """Turn away what came in, and say so; False when it stays. Whoever dies in between leaves it in the inbox: it is
    answered after all."""
    turn = progress.turn
    progress.hold.mail.clear()
    crash.at("reject.look")
    envelopes = await progress.behind(LARGEST_BATCH)
    if not envelopes:
        return True  # deleted meanwhile
    try:
        last = envelope_message(envelopes[-1])
    except (ValueError, KeyError, TypeError):
        return False  # of another version: its workers know what to do with it
    notice = f"rejected:{last.event_id}"
    if notice in turn.notices:
        return False  # by a worker that died over it, perhaps before it was told: it is answered after all
    to = Destination(turn.conversation, last.reply_to)
    try:
        await tell(progress, adapter, phrases.REJECTED, notice, to=to)
    except (Retryable, Refused, TokenRefused) as silent:  # not told, so not turned away
        log.warning("turn.could_not_tell", turn=turn.id, error=type(silent).__name__)
        return False
    crash.at("reject.remove")
    count = await progress.reject(envelopes)
    log.info("turn.rejected", turn=turn.id, messages=count)
    progress.trace("rejected", messages=count)
    return True
