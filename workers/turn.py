"""THE story: one turn, from the lease to the posted reply.

collect → thread → run → wait ⇄ tools → reply → parts → post → finish. Every step that changes something outside is
written down before (intent) and after (result), so that any worker may take the turn up where another one died.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.domain.adapter import Adapter
from gateway.domain.errors import (
    AssistantGone,
    BackendRefused,
    DeliveryRefused,
    LeaseLost,
    Retryable,
    StaleRun,
    StoreDown,
    ThreadGone,
    TokenRefused,
)
from gateway.domain.messages import Command, ConversationKey, ThreadId, adapter_of
from gateway.domain.turns import Phase, Turn
from gateway.store import Store
from gateway.telemetry import TURN_SECONDS, TURNS, log
from workers import phrases
from workers.actions import carry_out
from workers.backends import Backend, RunStatus, RunView, ToolCall
from workers.definitions import Definitions
from workers.holding import Keeper
from workers.post import post_reply, tell
from workers.progress import Progress
from workers.tools import Tool, ToolContext
from workers.wait import Interruption, Pace, follow, patiently
from workers.working import working

MAX_TRIES = 5
RENDER_INLINE_CHARS = 10_000
TELL_AFTER_S = 60.0
"""A user who waits this long for a backend that is away is told so."""


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


async def work(key: ConversationKey, deps: Deps) -> None:
    """Work through one conversation's mail until nothing waits.

    Safe to call twice and at any time: a second caller finds the lease held and returns. Whatever ends it early, mail
    and turn stay stored and the sweep wakes somebody. Raises StoreDown.
    """
    while turn := await deps.store.leases.acquire(key, lease_s=deps.lease_s, max_batch=deps.max_batch):
        try:
            async with deps.keeper.holding(turn.lease) as hold:
                if turn.stop_requested:
                    hold.stop.set()
                progress = Progress(turn, hold, deps.store, deps.pace.clock, lease_s=deps.lease_s)
                if not await _one(progress, deps):
                    return
        except LeaseLost:
            log.info("turn.dropped", turn=turn.id, conversation=key)
            return


async def _one(progress: Progress, deps: Deps) -> bool:
    """Bring one turn to its end, or park it. True when more mail waits."""
    turn = progress.turn
    adapter = deps.adapters.get(adapter_of(turn.conversation))
    log.info("turn.taken", turn=turn.id, conversation=turn.conversation, phase=turn.phase, messages=len(turn.batch))
    progress.trace("taken", phase=turn.phase, messages=len(turn.batch))
    try:
        if adapter is None:
            return await _give_up(progress, deps, "delivery", f"no adapter for {adapter_of(turn.conversation)}")
        if turn.tries > MAX_TRIES and turn.outcome != "poison":
            if turn.phase is Phase.REPLYING:
                return await _give_up(progress, deps, "delivery", f"given up after {MAX_TRIES} tries")
            await deps.store.dead_letters.bury(turn, "turn", f"given up after {MAX_TRIES} tries", progress.now_ms)
            await _fix_reply(progress, adapter, Reply(phrases.ENDINGS["poison"].format(turn=turn.id), "poison"))
        if turn.phase is not Phase.REPLYING:
            async with working(adapter, turn, deps.pace.clock):
                reply = await _reply(progress, deps)
            await _fix_reply(progress, adapter, reply)
        await post_reply(progress, adapter, deps.pace)
        return await _finish(progress)
    except DeliveryRefused as refused:
        return await _give_up(progress, deps, "delivery", str(refused))
    except StoreDown:
        raise
    except (Retryable, TokenRefused) as trouble:  # a refused token keeps its mail until somebody sets the right one
        assert adapter is not None  # nothing was asked of anybody else before
        await _wait_for_better_times(progress, adapter, deps, trouble)
        return False
    except LeaseLost:
        raise
    except Exception as error:  # the task wrapper of a turn: logged once, tried again, given up after the fifth time
        log.exception("turn.failed", turn=turn.id, error=type(error).__name__)
        delay_s = deps.pace.retry.delay(turn.tries, deps.pace.chance())
        if turn.tries > MAX_TRIES:
            return await _give_up(progress, deps, "turn", type(error).__name__)
        await progress.park(delay_s, clean=False)
        return False


async def _reply(progress: Progress, deps: Deps) -> Reply:
    """What the user gets to read; never raises for a run that ended badly."""
    turn = progress.turn
    if command := turn.first.command:
        return Reply(phrases.COMMANDS[command], f"command_{command}")
    try:
        return await _ask_backend(progress, deps)
    except BackendRefused as refused:
        log.error("turn.refused", turn=turn.id, error=str(refused))
        await deps.store.dead_letters.bury(turn, "run", str(refused), progress.now_ms)
        return Reply(phrases.ENDINGS["refused"].format(turn=turn.id), "refused")


async def _ask_backend(progress: Progress, deps: Deps) -> Reply:
    """Thread, run, wait, tools, until the run has ended."""
    turn, hold, plan = progress.turn, progress.hold, deps.plan_for(progress.turn.conversation)
    if turn.run is None and hold.stop.is_set():
        return Reply(phrases.STOPPED, "stopped")
    view = await _run(progress, deps, plan)
    thread = turn.thread
    assert thread is not None
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
            looked=lambda: progress.trace("looked"),
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

    async def start(_: int) -> RunView:
        thread = turn.thread or await _open_thread(progress, deps)
        look_first, turn.run_intended = turn.run_intended, True
        if not look_first:
            await progress.step({"ri": 1})
        try:
            assistant = await deps.definitions.id_of(plan.name)
            progress.hold.check()
            return await deps.backend.start(thread, assistant, turn.batch, turn.key, look_first=look_first)
        except ThreadGone:
            log.warning("thread.gone", turn=turn.id, thread=thread)
            turn.thread = None
            turn.notices.add("forgot")
            await progress.step({"thread": "", "no:forgot": 1})
            raise Retryable("the thread is gone; the next attempt opens a new one", retry_after_s=0.0) from None
        except AssistantGone:
            await deps.definitions.forget(plan.name)
            raise Retryable("the assistant is gone; the next attempt makes it again", retry_after_s=0.0) from None

    view = await patiently(start, progress.hold, deps.pace)
    turn.run, turn.started_ms = view.id, progress.now_ms
    turn.phase = Phase.RUNNING
    await progress.step(
        {"phase": Phase.RUNNING, "run": view.id, "started": turn.started_ms, "failing": "", "failures": ""}
    )
    log.info("run.created", turn=turn.id, run=view.id, thread=turn.thread)
    progress.trace("run.created", run=view.id, thread=turn.thread)
    return view


async def _open_thread(progress: Progress, deps: Deps) -> ThreadId:
    turn = progress.turn
    progress.hold.check()
    turn.thread = await deps.backend.open_thread(turn.conversation, turn.key)
    await progress.step({"thread": turn.thread})
    log.info("thread.opened", conversation=turn.conversation, thread=turn.thread)
    return turn.thread


async def _act(progress: Progress, deps: Deps, plan: AssistantPlan, thread: ThreadId, view: RunView) -> RunView:
    """Carry out the calls a run asks for and submit all outputs at once; a crash never runs a finished tool again."""
    turn = progress.turn
    unknown = turn.intended_calls - turn.outputs.keys()

    async def before(call: ToolCall) -> None:
        progress.hold.check()
        await progress.step({f"ti:{call.id}": 1})
        progress.trace("tool.called", tool=call.name)

    async def after(call: ToolCall, output: str) -> None:
        turn.outputs[call.id] = output
        await progress.step({f"t:{call.id}": output})
        progress.trace("tool.answered", tool=call.name)

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
    await progress.step({"rounds": turn.rounds, **spent})
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


async def _fix_reply(progress: Progress, adapter: Adapter, reply: Reply) -> None:
    """From here on the reply is decided: its parts are in the delivery ledger before the first one is posted."""
    turn = progress.turn
    text = f"{phrases.FORGOT}\n\n{reply.text}" if "forgot" in turn.notices else reply.text
    # A nasty 100 kB takes a second to render; the loop has a thousand other turns to serve.
    parts = adapter.render(text) if len(text) < RENDER_INLINE_CHARS else await asyncio.to_thread(adapter.render, text)
    turn.parts = [part.to_json() for part in parts]
    turn.outcome = reply.outcome
    turn.phase = Phase.REPLYING
    await progress.step({"phase": Phase.REPLYING, "parts": json.dumps(turn.parts), "outcome": reply.outcome})


async def _finish(progress: Progress) -> bool:
    turn = progress.turn
    waiting = await progress.finish(
        through_stop=turn.outcome == "stopped", new_thread=turn.outcome == f"command_{Command.NEW}"
    )
    took_s = max(0.0, (progress.now_ms - (turn.started_ms or turn.taken_ms)) / 1000)
    TURNS.labels(turn.outcome).inc()
    TURN_SECONDS.observe(took_s)
    log.info("turn.finished", turn=turn.id, outcome=turn.outcome, parts=len(turn.parts), took_s=round(took_s, 3))
    progress.trace("finished", outcome=turn.outcome, took_s=round(took_s, 3))
    return waiting > 0


async def _give_up(progress: Progress, deps: Deps, stage: str, reason: str) -> bool:
    """Put the turn aside as a dead letter; the conversation goes on."""
    turn = progress.turn
    log.error("turn.given_up", turn=turn.id, stage=stage, reason=reason)
    await deps.store.dead_letters.bury(turn, stage, reason, progress.now_ms)
    TURNS.labels("given_up").inc()
    progress.trace("given_up", stage=stage)
    return await progress.finish() > 0


async def _wait_for_better_times(
    progress: Progress, adapter: Adapter, deps: Deps, trouble: Retryable | TokenRefused
) -> None:
    """The other side is away: free the slot, keep the turn, and tell a user who has waited long, once."""
    turn = progress.turn
    since_ms = turn.failing_since_ms or progress.now_ms
    failing_s = (progress.now_ms - since_ms) / 1000
    wish_s = trouble.retry_after_s if isinstance(trouble, Retryable) else None
    delay_s = deps.pace.retry.delay(turn.failures, deps.pace.chance(), wish_s)
    if failing_s >= TELL_AFTER_S and turn.phase is not Phase.REPLYING:
        try:
            await tell(progress, adapter, phrases.WAITING, "waiting")
        except (Retryable, DeliveryRefused, TokenRefused) as silent:
            log.warning("turn.could_not_tell", turn=turn.id, error=type(silent).__name__)
    elif wish_s is None:
        delay_s = min(delay_s, max(0.5, TELL_AFTER_S - failing_s))
    log.warning(
        "turn.parked", turn=turn.id, for_s=round(delay_s, 2), error=type(trouble).__name__, why=str(trouble)[:200]
    )
    await progress.park(delay_s, {"failing": since_ms, "failures": turn.failures + 1})
