"""Carrying out a run's tool calls: one output each, intent before and result after, no leak and no hang."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from gateway.domain.errors import LeaseLost, StoreDown, ToolFailed
from gateway.domain.messages import ConversationKey
from workers.actions import MAX_OUTPUT_CHARS, carry_out
from workers.backends import ToolCall, ToolOutput
from workers.tools import FunctionTool, Tool, ToolContext, tool


class Notes:
    async def remember(self, key: str, value: str) -> None:
        raise LeaseLost

    async def recall(self, key: str | None = None) -> dict[str, str]:
        return {}


class Ledger:
    """What a turn would write: the order of intents and results."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.results: dict[str, str] = {}

    async def before(self, call: ToolCall) -> None:
        self.written.append(f"before {call.id}")

    async def after(self, call: ToolCall, output: str) -> None:
        self.written.append(f"after {call.id}")
        self.results[call.id] = output


def context(call: ToolCall) -> ToolContext:
    return ToolContext(ConversationKey("console:ada"), "ada", "en", f"run_1:{call.id}", Notes())


def toolbox(*functions: Callable[..., Any]) -> dict[str, Tool]:
    made = [FunctionTool(function) for function in functions]
    return {one.name: one for one in made}


def call(name: str, call_id: str = "c1", **arguments: Any) -> ToolCall:
    return ToolCall(call_id, name, json.dumps(arguments))


async def one(
    wanted: ToolCall, *functions: Callable[..., Any], done: Mapping[str, str] | None = None, unknown: bool = False
) -> tuple[str, Ledger]:
    ledger = Ledger()
    outputs = await carry_out(
        [wanted],
        toolbox(*functions),
        context,
        before=ledger.before,
        after=ledger.after,
        done=done or {},
        unknown={wanted.id} if unknown else set(),
    )
    assert [output.call_id for output in outputs] == [wanted.id]
    return outputs[0].output, ledger


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("threadway_tool_calls_total", {"outcome": outcome}) or 0.0


async def test_calls_run_side_by_side_and_answer_in_order() -> None:
    arrived: dict[str, asyncio.Event] = {"a": asyncio.Event(), "b": asyncio.Event()}

    async def meet(me: str, other: str) -> str:
        arrived[me].set()
        await arrived[other].wait()  # a serial execution would time out here
        return f"I am {me}"

    ledger = Ledger()
    outputs = await carry_out(
        [call("meet", "c1", me="a", other="b"), call("meet", "c2", me="b", other="a")],
        toolbox(meet),
        context,
        before=ledger.before,
        after=ledger.after,
        done={},
        unknown=(),
    )
    assert outputs == [ToolOutput("c1", "I am a"), ToolOutput("c2", "I am b")]
    assert ledger.results == {"c1": "I am a", "c2": "I am b"}
    assert sorted(ledger.written[:2]) == ["before c1", "before c2"]


async def test_no_calls_no_outputs() -> None:
    ledger = Ledger()
    none = await carry_out([], {}, context, before=ledger.before, after=ledger.after, done={}, unknown=())
    assert none == []


async def test_the_tool_runs_between_intent_and_result() -> None:
    ledger = Ledger()

    async def work(context: ToolContext) -> str:
        ledger.written.append(f"work {context.call_key}")
        return "x"

    await carry_out(
        [call("work")], toolbox(work), context, before=ledger.before, after=ledger.after, done={}, unknown=()
    )
    assert ledger.written == ["before c1", "work run_1:c1", "after c1"]


async def test_a_finished_call_is_not_run_again() -> None:
    def explode() -> str:
        raise AssertionError("called")

    output, ledger = await one(call("explode"), explode, done={"c1": "stored"})
    assert output == "stored"
    assert ledger.written == []


async def test_an_unknown_outcome_is_told_unless_the_tool_is_repeatable() -> None:
    runs: list[str] = []

    def pay() -> str:
        runs.append("pay")
        return "paid"

    @tool(repeatable=True)
    def look() -> str:
        runs.append("look")
        return "seen"

    before = counted("unknown")
    output, ledger = await one(call("pay"), pay, unknown=True)
    assert "not known" in output
    assert ledger.written == ["after c1"]
    assert counted("unknown") == before + 1
    output, ledger = await one(call("look"), look, unknown=True)
    assert output == "seen"
    assert ledger.written == ["before c1", "after c1"]
    assert runs == ["look"]


async def test_an_unknown_tool_lists_the_known_ones() -> None:
    def known() -> str:
        return ""

    before = counted("invalid")
    output, ledger = await one(call("kown"), known)
    assert output == "There is no tool of that name. The tools are: known."
    assert ledger.written == ["after c1"]
    assert counted("invalid") == before + 1


async def test_wrong_arguments_reach_the_model_and_not_the_tool() -> None:
    def double(number: int) -> int:
        raise AssertionError("called")

    before = counted("invalid")
    output, ledger = await one(ToolCall("c1", "double", '{"number": "many"'), double)
    assert "not valid JSON" in output
    assert ledger.written == ["after c1"]
    output, _ = await one(call("double", number="many"), double)
    assert '"number" is wrong' in output
    assert counted("invalid") == before + 2


async def test_the_tools_own_words_are_passed_on() -> None:
    def refuse() -> str:
        raise ToolFailed("The shop is closed.")

    before = counted("failed")
    output, _ = await one(call("refuse"), refuse)
    assert output == "The shop is closed."
    assert counted("failed") == before + 1


class _Secret(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [
        _Secret("password=hunter2"),
        TimeoutError("hunter2"),
        StopIteration("hunter2"),
        SystemExit("hunter2"),
        asyncio.CancelledError("hunter2"),
    ],
)
@pytest.mark.parametrize("plain", [True, False])
async def test_a_crash_is_told_without_its_text(error: BaseException, plain: bool) -> None:
    async def waiting() -> str:
        raise error

    def blocking() -> str:
        raise error

    work = blocking if plain else waiting
    before = counted("failed")
    with capture_logs() as events:
        output, ledger = await one(call(work.__name__), work)
    assert "internal error" in output
    assert "hunter2" not in output
    assert "hunter2" not in repr(events)
    assert events[0]["event"] == "tool.finished"
    assert events[0]["outcome"] == "failed"
    assert events[0]["error"]
    assert ledger.results == {"c1": output}
    assert counted("failed") == before + 1


async def test_a_crash_is_placed_for_the_log() -> None:
    def work() -> str:
        raise _Secret

    with capture_logs() as events:
        await one(call("work"), work)
    assert events[0]["error"].startswith("_Secret in work:")


async def test_a_result_that_is_no_json_is_a_crash() -> None:
    def work() -> Any:
        return threading.Lock()

    output, _ = await one(call("work"), work)
    assert "internal error" in output


async def test_the_time_limit_holds_for_coroutines_and_threads() -> None:
    never, release = asyncio.Event(), threading.Event()
    cancelled = asyncio.Event()

    @tool(timeout_s=0.05)
    async def waiting() -> str:
        try:
            await never.wait()
        finally:
            cancelled.set()
        return ""

    @tool(timeout_s=0.05)
    def blocking() -> str:
        release.wait(10)
        return ""

    before = counted("timeout")
    output, ledger = await one(call("waiting"), waiting)
    assert "did not finish within 0.05 s" in output
    assert ledger.results == {"c1": output}
    assert cancelled.is_set()
    output, _ = await one(call("blocking"), blocking)
    assert "did not finish within 0.05 s" in output
    assert counted("timeout") == before + 2
    release.set()


async def test_a_tool_that_ignores_its_cancellation_is_left_behind() -> None:
    release = asyncio.Event()

    @tool(timeout_s=0.05)
    async def stubborn() -> str:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        raise _Secret("hunter2")

    output, _ = await one(call("stubborn"), stubborn)
    assert "did not finish" in output
    release.set()


async def test_long_output_is_clipped_and_says_so() -> None:
    def talk() -> str:
        return "x" * (MAX_OUTPUT_CHARS + 1)

    output, _ = await one(call("talk"), talk)
    assert len(output) == MAX_OUTPUT_CHARS
    assert output.endswith(f"[Clipped: the output has {MAX_OUTPUT_CHARS + 1} characters, the end is missing.]")

    def fit() -> str:
        return "x" * MAX_OUTPUT_CHARS

    assert (await one(call("fit"), fit))[0] == "x" * MAX_OUTPUT_CHARS


async def test_tokens_are_masked_and_text_can_be_stored() -> None:
    token = "12345678:" + "A" * 35

    def leak() -> str:
        return f"https://api.telegram.org/bot{token}/getMe \ud800"

    output, ledger = await one(call("leak"), leak)
    assert token not in output
    assert output.encode()
    assert ledger.results["c1"] == output

    def many() -> str:
        return (token + " ") * MAX_OUTPUT_CHARS  # cut anywhere, the end would be half a token

    output, _ = await one(call("many"), many)
    assert "12345678" not in output
    assert "[Clipped" in output


@pytest.mark.parametrize("error", [LeaseLost(), asyncio.CancelledError(), StoreDown("away")])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_what_the_turn_raises_stops_the_others_and_comes_through(error: BaseException, moment: str) -> None:
    sibling_runs, sibling_cancelled = asyncio.Event(), asyncio.Event()

    async def sibling() -> str:
        sibling_runs.set()
        try:
            await asyncio.Event().wait()
        finally:
            sibling_cancelled.set()
        return ""

    async def quick() -> str:
        return ""

    class Failing(Ledger):
        async def before(self, call: ToolCall) -> None:
            if call.name == "quick" and moment == "before":
                await sibling_runs.wait()
                raise error

        async def after(self, call: ToolCall, output: str) -> None:
            await sibling_runs.wait()
            raise error

    ledger = Failing()
    with pytest.raises(type(error)) as raised:
        await carry_out(
            [call("sibling", "c1"), call("quick", "c2")],
            toolbox(sibling, quick),
            context,
            before=ledger.before,
            after=ledger.after,
            done={},
            unknown=(),
        )
    assert not isinstance(raised.value, BaseExceptionGroup)
    assert sibling_cancelled.is_set()


async def test_a_lost_lease_inside_a_tool_comes_through() -> None:
    async def note(context: ToolContext) -> str:
        await context.memory.remember("a", "b")
        return ""

    with pytest.raises(LeaseLost):
        await one(call("note"), note)


async def test_cancelling_the_turn_cancels_its_tools() -> None:
    running, cancelled = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):  # cleaning up takes a tool more than one step of the loop
                await asyncio.sleep(0)
            cancelled.set()
        return ""

    turn = asyncio.create_task(one(call("work"), work))
    await running.wait()
    turn.cancel()
    with pytest.raises(asyncio.CancelledError):
        await turn
    assert cancelled.is_set()


async def test_the_log_names_no_arguments_and_no_output() -> None:
    def echo(text: str) -> str:
        return text

    with capture_logs() as events:
        await one(call("echo", text="hunter2"), echo)
        await one(call("hunter2"), echo)
    assert [event["outcome"] for event in events] == ["ok", "invalid"]
    assert [event["tool"] for event in events] == ["echo", ""]
    assert "hunter2" not in repr(events)
