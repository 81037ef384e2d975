"""A turn's thread and its run: each made once, however often the worker dies over it."""

from __future__ import annotations

from gateway.domain import crash
from gateway.domain.errors import Ambiguous, AssistantGone, Retryable, ThreadGone
from gateway.domain.messages import ThreadId
from gateway.domain.turns import Phase, Turn
from gateway.store.turns import Fields
from gateway.telemetry import log
from workers.backends import RunStatus, RunView, fingerprint
from workers.deps import AssistantPlan, Deps
from workers.progress import Progress
from workers.wait import patiently


async def the_run(progress: Progress, deps: Deps, plan: AssistantPlan) -> RunView:
    """The turn's run: the stored one, one that an earlier attempt left at the backend, or a new one.

    Raises Retryable, BackendRefused, LeaseLost.
    """
    turn = progress.turn
    if turn.run is not None and turn.thread is not None:
        log.info("turn.resumed", turn=turn.id, run=turn.run)
        progress.trace("resumed", run=turn.run)
        return RunView(turn.run, RunStatus.WORKING)

    async def start(_: int) -> RunView:
        try:
            try:
                return await _once(progress, deps, plan)
            except AssistantGone:  # gone again below: the settings name its id, and the backend does not know that one
                crash.at("assistant.forget")
                await deps.definitions.forget(plan.name)
                return await _once(progress, deps, plan)
        except ThreadGone:
            log.warning("thread.gone", turn=turn.id, thread=turn.thread)
            turn.thread, turn.sent = None, 0  # what an earlier run of this turn had brought went with it
            turn.notices.add("forgot")
            crash.at("thread.forget")
            await progress.step({"thread": "", "sent": "", "no:forgot": 1})
            raise Retryable("the thread is gone; the next attempt opens a new one", retry_after_s=0.0) from None

    crash.at("run.begin")
    return await patiently(start, progress.hold, deps.pace)


async def lost_run(progress: Progress, deps: Deps) -> RunView | None:
    """The run that an earlier attempt may have made without living to write it down. Raises as `the_run`."""
    turn = progress.turn
    thread = turn.thread
    if thread is None or not (turn.run_intended or turn.suspicious):
        return None
    crash.at("run.find")
    return await patiently(lambda _: deps.backend.find(thread, turn.run_key), progress.hold, deps.pace)


async def _once(progress: Progress, deps: Deps, plan: AssistantPlan) -> RunView:
    crash.at("assistant.find")
    assistant = await deps.definitions.id_of(plan.name)
    with progress.hold.acting():
        return await _start(progress, deps, assistant)


async def _start(progress: Progress, deps: Deps, assistant: str) -> RunView:
    """Create the run, or find the one that an earlier attempt made. Our copy of the turn changes after the stored one:
    a write that failed must not look done to the next attempt."""
    turn = progress.turn
    thread = turn.thread or await _open_thread(progress, deps)
    look_first = turn.run_intended or turn.suspicious
    if not turn.run_intended:
        crash.at("run.intend")
        await progress.step({"ri": 1})
        turn.run_intended = True
    progress.hold.check()
    try:
        crash.at("run.create")
        view = await deps.backend.start(
            thread, assistant, turn.fresh, turn.run_key, look_first=look_first, passed_over=turn.passed_over
        )
    except Ambiguous:
        progress.hold.unsettled = True
        raise
    progress.hold.unsettled = False
    started_ms = progress.now_ms
    count = turn.sent + _brought(turn, view)
    fields: Fields = {"phase": Phase.RUNNING, "run": view.id, "started": started_ms, "tries": 1}
    crash.at("run.keep")
    await progress.step({**fields, "failing": "", "failures": "", **({"n": count} if count < len(turn.batch) else {})})
    turn.phase, turn.run, turn.started_ms = Phase.RUNNING, view.id, started_ms
    turn.failing_since_ms, turn.failures, turn.tries = 0, 0, 1
    del turn.batch[count:]
    log.info("run.created", turn=turn.id, run=view.id, thread=turn.thread)
    progress.trace("run.created", run=view.id, thread=turn.thread)
    return view


def _brought(turn: Turn, view: RunView) -> int:
    """How many of the fresh messages the run has: one that was found may be older than what Redis remembers of the
    batch, and what it does not have must not be taken for answered."""
    if not view.brought:
        return len(turn.fresh)
    count = 0
    for message in turn.fresh:
        if fingerprint(message.event_id) not in view.brought:
            break
        count += 1
    return count or len(turn.fresh)


async def _open_thread(progress: Progress, deps: Deps) -> ThreadId:
    turn = progress.turn
    crash.at("thread.create")
    thread = await deps.backend.open_thread(turn.conversation, turn.key)
    crash.at("thread.keep")
    await progress.step({"thread": thread})
    turn.thread = thread
    log.info("thread.opened", conversation=turn.conversation, thread=thread)
    return thread
