"""Ask the backend: the run, the waiting, the tools, until the run has ended and reads as a reply."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from gateway.domain import crash
from gateway.domain.adapter import Adapter
from gateway.domain.errors import StaleRun
from gateway.domain.messages import RunId, ThreadId
from gateway.domain.turns import Turn, WhileRunning
from gateway.telemetry import log
from workers import phrases
from workers.actions import carry_out
from workers.backends import RunStatus, RunView, ToolCall, ToolOutput
from workers.deps import AssistantPlan, Deps, Reply
from workers.progress import Progress
from workers.starting import lost_run, the_run
from workers.steering import LARGEST_BATCH, overtaken, reject, steer
from workers.wait import Interruption, follow, patiently


async def ask_backend(progress: Progress, deps: Deps, adapter: Adapter) -> Reply:
    """Thread, run, wait, tools, until the run has ended.

    Safe to take up again after a crash at any point. Raises Retryable (the turn is parked), BackendRefused, ThreadGone
    when the thread went in the middle of the run, LeaseLost.
    """
    turn, hold, plan = progress.turn, progress.hold, deps.plan_for(progress.turn.conversation)
    if turn.run is None and hold.stop.is_set():
        return await _stop_before_the_run(progress, deps)
    view = await the_run(progress, deps, plan)
    heed = {Interruption.STOP} if deps.while_running is WhileRunning.QUEUE else {Interruption.STOP, Interruption.MAIL}
    while True:
        thread, run = turn.thread, turn.run
        assert thread is not None
        assert run is not None
        seen = Interruption.MAIL if turn.steering else await _follow(progress, deps, thread, view, heed)
        if isinstance(seen, RunView) and seen.status is RunStatus.NEEDS_ACTION and hold.stop.is_set():
            seen = Interruption.STOP
        if seen is Interruption.MAIL:
            after = await _mail(progress, deps, adapter, thread, run, heed)
            if after is None and hold.stop.is_set():
                return await _stop_before_the_run(progress, deps)
            if after is None or after.status is RunStatus.WORKING:
                view = after or await the_run(progress, deps, plan)
                continue
            interrupting = after.status.final and deps.while_running is WhileRunning.INTERRUPT
            if interrupting and after.status is not RunStatus.CANCELLED and await overtaken(progress):
                return Reply("", "interrupted")
            seen = after
        if isinstance(seen, Interruption):
            return await _cancel(progress, deps, thread, run, seen)
        if seen.status is not RunStatus.NEEDS_ACTION:
            progress.trace("run.ended", status=seen.status)
            return _ending(turn, seen)
        if turn.rounds >= plan.max_tool_rounds:
            await _cancel(progress, deps, thread, run, Interruption.TIMEOUT)
            return Reply(phrases.ENDINGS["rounds"].format(turn=turn.id), "rounds")
        view = await _act(progress, deps, plan, thread, seen)


async def _mail(
    progress: Progress, deps: Deps, adapter: Adapter, thread: ThreadId, run: RunId, heed: set[Interruption]
) -> RunView | None:
    """Newer messages have come in: turn them away, or let them join. None: they have joined, a new run is wanted."""
    # What can neither join nor be turned away is not heeded again: it would interrupt us before every look.
    if deps.while_running is WhileRunning.REJECT and not progress.turn.steering:
        if not await reject(progress, adapter):
            heed.discard(Interruption.MAIL)
        return RunView(run, RunStatus.WORKING)
    if len(progress.turn.batch) >= LARGEST_BATCH:
        heed.discard(Interruption.MAIL)
    return await steer(progress, deps, thread, run)


async def _follow(
    progress: Progress, deps: Deps, thread: ThreadId, view: RunView, heed: Collection[Interruption]
) -> RunView | Interruption:
    """Wait until the run wants something from us, or somebody wants something from the run."""
    turn = progress.turn

    async def looked(seen: RunView) -> None:
        turn.failing_since_ms = turn.failures = 0  # the next trouble is a new one
        progress.trace("looked")
        if turn.tries > 1 and seen.status is RunStatus.WORKING:
            turn.tries = 1  # it only waits: whatever killed its workers, it was not this turn
            crash.at("run.innocent")
            await progress.step({"tries": 1})

    left_s = deps.turn_timeout_s - (progress.now_ms - turn.started_ms) / 1000
    # Looks are paced anew by whoever takes a turn over: its run has probably ended meanwhile, and the user has waited.
    age_s = (progress.now_ms - max(turn.started_ms, turn.taken_ms)) / 1000
    crash.at("run.follow")
    return await follow(
        deps.backend,
        thread,
        view,
        progress.hold,
        deps.pace,
        age_s=age_s,
        left_s=left_s,
        looked=looked,
        heed=heed,
    )


async def _act(progress: Progress, deps: Deps, plan: AssistantPlan, thread: ThreadId, view: RunView) -> RunView:
    """Carry out the calls a run asks for and submit all outputs at once; a crash never runs a finished tool again."""
    turn = progress.turn
    outputs = await _unless_stopped(progress, deps, plan, view)
    if outputs is None:
        return view  # still asking; whoever waits for it sees the stop
    try:
        crash.at("outputs.submit")
        answered = await patiently(lambda _: deps.backend.answer(thread, view.id, outputs), progress.hold, deps.pace)
    except StaleRun:
        answered = RunView(view.id, RunStatus.WORKING)  # an earlier attempt had arrived, or the run has ended: look
    turn.rounds += 1
    spent = {f"{prefix}{call.id}": "" for call in view.calls for prefix in ("t:", "ti:")}
    for call in view.calls:
        turn.outputs.pop(call.id, None)
    turn.intended_calls.clear()
    turn.tries = 1
    crash.at("outputs.forget")
    await progress.step({"rounds": turn.rounds, "tries": 1, **spent})
    return answered


async def _unless_stopped(
    progress: Progress, deps: Deps, plan: AssistantPlan, view: RunView
) -> list[ToolOutput] | None:
    """The outputs of all calls, None when the user asks to stop meanwhile: nobody waits for a slow tool then."""
    tools = asyncio.ensure_future(_outputs(progress, deps, plan, view))
    stop = asyncio.ensure_future(progress.hold.stop.wait())
    try:
        await asyncio.wait((tools, stop), return_when=asyncio.FIRST_COMPLETED)
        return tools.result() if tools.done() else None
    finally:
        stop.cancel()
        tools.cancel()
        await asyncio.wait((tools,))
        if not tools.cancelled():
            tools.exception()  # seen: a stop makes no difference between a tool's end and its failure


async def _outputs(progress: Progress, deps: Deps, plan: AssistantPlan, view: RunView) -> list[ToolOutput]:
    turn = progress.turn

    async def before(call: ToolCall) -> None:
        progress.hold.check()
        crash.at("tool.intend")
        await progress.step({f"ti:{call.id}": 1})
        crash.at("tool.call")
        progress.trace("tool.called", tool=call.name)

    async def after(call: ToolCall, output: str) -> None:
        crash.at("tool.keep")
        await progress.step({f"t:{call.id}": output})
        turn.outputs[call.id] = output
        progress.trace("tool.answered", tool=call.name)

    with progress.hold.acting():
        crash.at("tools.call")
        return await carry_out(
            view.calls,
            plan.tools,
            lambda call: deps.context_for(turn, call),
            before=before,
            after=after,
            done=dict(turn.outputs),
            unknown=turn.intended_calls - turn.outputs.keys(),
        )


async def _stop_before_the_run(progress: Progress, deps: Deps) -> Reply:
    """The user asks to stop what was not begun, as far as we know: the worker before us may have died over it."""
    turn = progress.turn
    lost = await lost_run(progress, deps)
    if lost is not None and turn.thread is not None and not lost.status.final:
        return await _cancel(progress, deps, turn.thread, lost.id, Interruption.STOP)
    return Reply(phrases.STOPPED, "stopped")


async def _cancel(progress: Progress, deps: Deps, thread: ThreadId, run: RunId, why: Interruption) -> Reply:
    turn = progress.turn
    crash.at("run.cancel")
    await patiently(lambda _: deps.backend.cancel(thread, run), progress.hold, deps.pace)
    log.info("run.cancelled", turn=turn.id, run=run, why=why)
    progress.trace("run.cancelled", why=why)
    if why is Interruption.STOP:
        return Reply(phrases.STOPPED, "stopped")
    return Reply(phrases.ENDINGS["timeout"].format(turn=turn.id), "timeout")


def _ending(turn: Turn, view: RunView) -> Reply:
    """How a run's end reads: the reply, or one honest sentence (incomplete: the partial text first)."""

    def sentence(name: str) -> str:
        return phrases.ENDINGS[name].format(turn=turn.id)

    match view.status:
        case RunStatus.DONE:
            return Reply(view.reply, "done") if view.reply.strip() else Reply(sentence("empty"), "empty")
        case RunStatus.INCOMPLETE:
            note = sentence("filtered" if view.reason == "content_filter" else "incomplete")
            return Reply(f"{view.reply}\n\n{note}" if view.reply.strip() else note, "incomplete")
        case RunStatus.FAILED if view.reason == "rate_limit_exceeded":
            return Reply(sentence("rate_limited"), "failed")
        case _:
            return Reply(sentence(view.status), str(view.status))
