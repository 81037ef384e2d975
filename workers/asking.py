"""Ask the backend: the thread, the run, the waiting, the tools, until the run has ended and reads as a reply."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.domain.adapter import Adapter
from gateway.domain.errors import AssistantGone, Retryable, StaleRun, ThreadGone
from gateway.domain.messages import ConversationKey, ThreadId
from gateway.domain.turns import Phase, Turn
from gateway.store import Store
from gateway.telemetry import log
from workers import phrases
from workers.actions import carry_out
from workers.backends import Backend, RunStatus, RunView, ToolCall
from workers.definitions import Definitions
from workers.holding import Keeper
from workers.progress import Progress
from workers.tools import Tool, ToolContext
from workers.wait import Interruption, Pace, follow, patiently


@dataclass(frozen=True, slots=True)
class AssistantPlan:
    """What the turn needs to know of the assistant that a conversation is routed to."""

    name: str
    tools: Mapping[str, Tool]
    max_tool_rounds: int = 16


@dataclass(frozen=True, slots=True)
class Reply:
    """What a turn comes to: Markdown for the user, and how it ended in one word."""

    text: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Deps:
    """Everything a turn works with, built once per process by the composition root."""

    store: Store
    backend: Backend
    definitions: Definitions
    adapters: Mapping[str, Adapter]
    plan_for: Callable[[ConversationKey], AssistantPlan]
    context_for: Callable[[Turn, ToolCall], ToolContext]
    keeper: Keeper
    pace: Pace
    lease_s: float
    turn_timeout_s: float
    max_batch: int = 20


async def ask_backend(progress: Progress, deps: Deps) -> Reply:
    """Thread, run, wait, tools, until the run has ended.

    Safe to take up again after a crash at any point. Raises Retryable (the turn is parked), BackendRefused, ThreadGone
    when the thread went in the middle of the run, LeaseLost.
    """
    turn, hold, plan = progress.turn, progress.hold, deps.plan_for(progress.turn.conversation)
    if turn.run is None and hold.stop.is_set():
        return Reply(phrases.STOPPED, "stopped")
    view = await _run(progress, deps, plan)
    thread = turn.thread
    assert thread is not None

    def looked() -> None:
        turn.failing_since_ms = turn.failures = 0  # the next trouble is a new one
        progress.trace("looked")

    while True:
        age_s = (progress.now_ms - turn.started_ms) / 1000
        left_s = deps.turn_timeout_s - age_s
        seen = await follow(
            deps.backend,
            thread,
            view,
            hold,
            deps.pace,
            age_s=age_s,
            left_s=left_s,
            looked=looked,
        )
        if isinstance(seen, RunView) and seen.status is RunStatus.NEEDS_ACTION and hold.stop.is_set():
            seen = Interruption.STOP
        if isinstance(seen, Interruption):
            return await _cancel(progress, deps, thread, seen)
        if seen.status is not RunStatus.NEEDS_ACTION:
            progress.trace("run.ended", status=seen.status)
            return _ending(turn, seen)
        if turn.rounds >= plan.max_tool_rounds:
            await _cancel(progress, deps, thread, Interruption.TIMEOUT)
            return Reply(phrases.ENDINGS["rounds"].format(turn=turn.id), "rounds")
        view = await _act(progress, deps, plan, thread, seen)


async def _run(progress: Progress, deps: Deps, plan: AssistantPlan) -> RunView:
    """The turn's run: the stored one, one that an earlier attempt left at the backend, or a new one."""
    turn = progress.turn
    if turn.run is not None and turn.thread is not None:
        log.info("turn.resumed", turn=turn.id, run=turn.run)
        progress.trace("resumed", run=turn.run)
        return RunView(turn.run, RunStatus.WORKING)

    async def once() -> RunView:
        assistant = await deps.definitions.id_of(plan.name)
        with progress.hold.acting():
            return await _start(progress, deps, assistant)

    async def start(_: int) -> RunView:
        try:
            try:
                return await once()
            except AssistantGone:  # gone again below: the settings name its id, and the backend does not know that one
                await deps.definitions.forget(plan.name)
                return await once()
        except ThreadGone:
            log.warning("thread.gone", turn=turn.id, thread=turn.thread)
            turn.thread = None
            turn.notices.add("forgot")
            await progress.step({"thread": "", "no:forgot": 1})
            raise Retryable("the thread is gone; the next attempt opens a new one", retry_after_s=0.0) from None

    return await patiently(start, progress.hold, deps.pace)


async def _start(progress: Progress, deps: Deps, assistant: str) -> RunView:
    """Create the run, or find the one that an earlier attempt made. Our copy of the turn changes after the stored one:
    a write that failed must not look done to the next attempt."""
    turn = progress.turn
    thread = turn.thread or await _open_thread(progress, deps)
    look_first = turn.run_intended
    if not look_first:
        await progress.step({"ri": 1})
        turn.run_intended = True
    progress.hold.check()
    view = await deps.backend.start(thread, assistant, turn.batch, turn.key, look_first=look_first)
    started_ms = progress.now_ms
    await progress.step(
        {"phase": Phase.RUNNING, "run": view.id, "started": started_ms, "failing": "", "failures": "", "tries": 1}
    )
    turn.phase, turn.run, turn.started_ms = Phase.RUNNING, view.id, started_ms
    turn.failing_since_ms, turn.failures, turn.tries = 0, 0, 1
    log.info("run.created", turn=turn.id, run=view.id, thread=turn.thread)
    progress.trace("run.created", run=view.id, thread=turn.thread)
    return view


async def _open_thread(progress: Progress, deps: Deps) -> ThreadId:
    turn = progress.turn
    thread = await deps.backend.open_thread(turn.conversation, turn.key)
    await progress.step({"thread": thread})
    turn.thread = thread
    log.info("thread.opened", conversation=turn.conversation, thread=thread)
    return thread


async def _act(progress: Progress, deps: Deps, plan: AssistantPlan, thread: ThreadId, view: RunView) -> RunView:
    """Carry out the calls a run asks for and submit all outputs at once; a crash never runs a finished tool again."""
    turn = progress.turn
    unknown = turn.intended_calls - turn.outputs.keys()

    async def before(call: ToolCall) -> None:
        progress.hold.check()
        await progress.step({f"ti:{call.id}": 1})
        progress.trace("tool.called", tool=call.name)

    async def after(call: ToolCall, output: str) -> None:
        await progress.step({f"t:{call.id}": output})
        turn.outputs[call.id] = output
        progress.trace("tool.answered", tool=call.name)

    with progress.hold.acting():
        outputs = await carry_out(
            view.calls,
            plan.tools,
            lambda call: deps.context_for(turn, call),
            before=before,
            after=after,
            done=dict(turn.outputs),
            unknown=unknown,
        )
    try:
        answered = await patiently(lambda _: deps.backend.answer(thread, view.id, outputs), progress.hold, deps.pace)
    except StaleRun:
        answered = RunView(view.id, RunStatus.WORKING)  # an earlier attempt had arrived, or the run has ended: look
    turn.rounds += 1
    spent = {f"{prefix}{call.id}": "" for call in view.calls for prefix in ("t:", "ti:")}
    for call in view.calls:
        turn.outputs.pop(call.id, None)
    turn.intended_calls.clear()
    turn.tries = 1
    await progress.step({"rounds": turn.rounds, "tries": 1, **spent})
    return answered


async def _cancel(progress: Progress, deps: Deps, thread: ThreadId, why: Interruption) -> Reply:
    turn, run = progress.turn, progress.turn.run
    assert run is not None
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
