"""Carry out what a run demands: check the arguments, call each tool with its time limit, mask and clip the output."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.domain.errors import LeaseLost, ToolFailed
from gateway.telemetry import TOOL_CALLS, log, redact
from workers.backends import ToolCall, ToolOutput
from workers.tools import Tool, ToolContext

MAX_OUTPUT_CHARS = 100_000
"""Longest output told to the model; more would fill its context and the backend's request (Assistants API: 512 kB)."""
_MARGIN_CHARS = 1_000
"""Longer than any token: so much more is searched for tokens than is shown."""
GRACE_S = 1.0
"""How long a cancelled tool may take to clean up before we go on without it, seconds."""

_TIMED_OUT = "The tool did not finish within {limit:g} s and was given up. Whether it had an effect is not known."
_CRASHED = "The tool failed because of an internal error. Calling it again in the same way will hardly help."
_OUTCOME_UNKNOWN = (
    "This call was started, but an interruption lost its result: it is not known whether the tool did its work. "
    "It was not repeated. Tell the user, and check before you call it again."
)


class Outcome(StrEnum):
    """How a call ended; the label of the metric."""

    OK = "ok"
    FAILED = "failed"
    """The tool said no, or broke."""
    TIMEOUT = "timeout"
    INVALID = "invalid"
    """The model's fault: wrong arguments, or a tool that does not exist."""
    UNKNOWN = "unknown"
    """Started before a crash and not repeated."""


@dataclass(frozen=True, slots=True)
class _Result:
    outcome: Outcome
    text: str
    error: str = ""
    """Type and place of an exception, for the log; never its text, which may hold anything."""


async def carry_out(
    calls: Sequence[ToolCall],
    tools: Mapping[str, Tool],
    context: Callable[[ToolCall], ToolContext],
    *,
    before: Callable[[ToolCall], Awaitable[None]],
    after: Callable[[ToolCall, str], Awaitable[None]],
    done: Mapping[str, str],
    unknown: Collection[str],
) -> list[ToolOutput]:
    """Run `calls` in parallel; exactly one output for each, in their order. Whatever a tool does becomes an output.

    before: awaited when a tool is about to be called (the intent is written there); not for a call that reaches none.
    after: awaited with each new output (the result is written there); not for calls in `done`.
    done: call id → stored output; such a call is not run again.
    unknown: ids of calls whose start is on record without a result. They are run again where the tool is repeatable;
    else the model is told that the outcome is unknown.

    What `before` or `after` raises, LeaseLost from a tool's memory and CancelledError cancel all other calls and are
    raised as they are. A plain function that runs in a thread cannot be cancelled; its result is dropped.
    """

    async def one(call: ToolCall) -> ToolOutput:
        if call.id in done:
            return ToolOutput(call.id, done[call.id])
        result = await _result(call, tools, context, before, started=call.id in unknown)
        await after(call, result.text)
        return ToolOutput(call.id, result.text)

    tasks = [asyncio.create_task(one(call)) for call in calls]
    try:
        # Not a TaskGroup: callers react to LeaseLost and CancelledError, and an ExceptionGroup would hide them.
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _result(
    call: ToolCall,
    tools: Mapping[str, Tool],
    context: Callable[[ToolCall], ToolContext],
    before: Callable[[ToolCall], Awaitable[None]],
    *,
    started: bool,
) -> _Result:
    began = asyncio.get_running_loop().time()
    tool = tools.get(call.name)
    if tool is None:
        names = ", ".join(sorted(tools)) or "none"
        result = _Result(Outcome.INVALID, f"There is no tool of that name. The tools are: {names}.")
    elif started and not tool.repeatable:
        result = _Result(Outcome.UNKNOWN, _OUTCOME_UNKNOWN)
    else:
        result = await _checked_call(tool, call, context, before)
    TOOL_CALLS.labels(result.outcome).inc()
    log.info(
        "tool.finished",
        tool=tool.name if tool else "",  # the model's own text stays out of the log
        call=call.id,
        outcome=str(result.outcome),
        error=result.error,
        took_s=round(asyncio.get_running_loop().time() - began, 3),
    )
    return _Result(result.outcome, _clip(result.text))


async def _checked_call(
    tool: Tool,
    call: ToolCall,
    context: Callable[[ToolCall], ToolContext],
    before: Callable[[ToolCall], Awaitable[None]],
) -> _Result:
    try:
        arguments = tool.check(call.arguments)
    except ToolFailed as wrong:
        return _Result(Outcome.INVALID, str(wrong))
    except Exception as error:  # a validator in the user's own types
        return _crashed(error)
    await before(call)
    return await _within(tool.timeout_s, _guarded(tool, arguments, context(call)))


async def _guarded(tool: Tool, arguments: Mapping[str, Any], context: ToolContext) -> _Result:
    """Call the tool; strangers' code may raise anything, and all but the loss of our lease is told to the model."""
    try:
        return _Result(Outcome.OK, await tool.call(arguments, context))
    except ToolFailed as failed:
        return _Result(Outcome.FAILED, str(failed) or _CRASHED)
    except LeaseLost:
        raise
    except (Exception, SystemExit) as error:  # SystemExit would end the event loop, and the worker with it
        return _crashed(error)


async def _within(limit_s: float, work: Coroutine[Any, Any, _Result]) -> _Result:
    """`work`'s result; a time-out at the limit even if it does not heed its cancellation.

    asyncio.timeout would wait for a tool that swallows CancelledError, for ever and with the conversation's lease.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=limit_s)
        if not task.done():
            return _Result(Outcome.TIMEOUT, _TIMED_OUT.format(limit=limit_s))
        if task.cancelled():  # by the tool itself: nobody cancelled us
            return _Result(Outcome.FAILED, _CRASHED, error="CancelledError")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=GRACE_S)
            task.add_done_callback(_look_away)


def _look_away(task: asyncio.Task[_Result]) -> None:
    """Take a late exception, lest asyncio prints it with its text when the task is collected."""
    if not task.cancelled():
        task.exception()


def _crashed(error: BaseException) -> _Result:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {frames[-1].name}:{frames[-1].lineno}" if frames else ""
    return _Result(Outcome.FAILED, _CRASHED, error=type(error).__name__ + place)


def _clip(text: str) -> str:
    """`text` as it may go to the model: no secrets of ours, no half characters, at most MAX_OUTPUT_CHARS long."""
    window = text[: MAX_OUTPUT_CHARS + _MARGIN_CHARS]
    shown = redact(window)
    if len(window) < len(text):
        shown = shown[:-_MARGIN_CHARS]  # the window may end in half a token, which nothing recognises
    shown = shown.encode("utf-8", "replace").decode()  # lone surrogates cannot be stored or sent
    if len(window) == len(text) and len(shown) <= MAX_OUTPUT_CHARS:
        return shown
    note = f"\n[Clipped: the output has {len(text)} characters, the end is missing.]"
    return shown[: MAX_OUTPUT_CHARS - len(note)] + note
