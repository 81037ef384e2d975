"""Function tools: what the model is told about a function, what it may send, and what comes back."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from gateway.domain.errors import SettingsInvalid, ToolFailed
from gateway.domain.messages import ConversationKey
from workers.tools import FunctionTool, Tool, ToolContext, load_tools, tool
from workers.tools.docstring import read_docstring
from workers.tools.threads import DaemonThreads

EXAMPLES = Path(__file__).parents[2] / "examples" / "tools"
BUILTIN = ("clock", "calculator", "remember", "recall")


class Notes:
    """A conversation's memory that lives as long as the test."""

    def __init__(self) -> None:
        self.facts: dict[str, str] = {}

    async def remember(self, key: str, value: str) -> None:
        self.facts[key] = value

    async def recall(self, key: str | None = None) -> dict[str, str]:
        return {k: v for k, v in self.facts.items() if key in (None, k)}


@pytest.fixture
def context() -> ToolContext:
    return ToolContext(ConversationKey("console:ada"), "ada", "en", "run_1:call_1", Notes())


async def run(subject: Tool, arguments: str, context: ToolContext) -> str:
    return await subject.call(subject.check(arguments), context)


@dataclass
class Item:
    name: str
    count: int = 1


class Address(BaseModel):
    """Where a parcel goes."""

    street: str
    zip: str


async def order(
    item: Item,
    address: Address,
    context: ToolContext,
    when: date | None = None,
    size: Literal["s", "m", "l"] = "m",
    tags: Annotated[list[str], Field(max_length=2)] = [],  # noqa: B006
) -> dict[str, Any]:
    """Order something.

    Takes a while.

    Args:
        item: What to order.
        address (Address): Where it goes;
            a post-office box will not do.
        size: T-shirt size.

    Returns:
        For the programmer only.
    """
    return {"item": item.name, "zip": address.zip, "when": when, "size": size, "tags": tags, "by": context.author_id}


# --- what the model is told


def test_the_schema_comes_from_types_and_docstring() -> None:
    made = FunctionTool(order)
    assert (made.name, made.description) == ("order", "Order something.\n\nTakes a while.")
    assert made.timeout_s == 30
    assert not made.repeatable
    parameters = made.parameters
    jsonschema.Draft202012Validator.check_schema(parameters)
    assert parameters["additionalProperties"] is False
    assert set(parameters["required"]) == {"item", "address"}
    assert set(parameters["properties"]) == {"item", "address", "when", "size", "tags"}, "the context is not shown"
    assert parameters["properties"]["address"]["description"] == "Where it goes; a post-office box will not do."
    assert parameters["properties"]["size"] == {
        "type": "string",
        "enum": ["s", "m", "l"],
        "default": "m",
        "description": "T-shirt size.",
    }
    assert "title" not in parameters
    assert all("title" not in p for p in parameters["properties"].values())


def test_a_function_without_parameters_has_an_object_schema() -> None:
    def ping() -> str:
        return "pong"

    assert FunctionTool(ping).parameters == {"type": "object", "properties": {}, "additionalProperties": False}


async def test_parameters_may_be_called_like_pydantics_own_attributes(context: ToolContext) -> None:
    def odd(json: str, copy: int, model_config: bool, _hidden: str = "x", self: int = 0) -> list[Any]:
        return [json, copy, model_config, _hidden, self]

    made = FunctionTool(odd)
    assert list(made.parameters["properties"]) == ["json", "copy", "model_config", "_hidden", "self"]
    sent = '{"json": "a", "copy": 1, "model_config": true, "_hidden": "b"}'
    assert json.loads(await run(made, sent, context)) == ["a", 1, True, "b", 0]


@pytest.mark.parametrize(
    "text",
    [
        "Find it.\n\nArgs:\n    key: The name,\n        in full.\n    other (int): Second.\n\nReturns:\n    Nothing.",
        "Find it.\n\n    Params:\n        key: The name,\n            in full.\n        other: Second.\n    Raises:",
        "Find it.\n\n:param str key: The name,\n    in full.\n:param other: Second.\n:returns: Nothing.",
    ],
)
def test_docstring_styles(text: str) -> None:
    docs = read_docstring(text)
    assert docs.description == "Find it."
    assert docs.parameters == {"key": "The name, in full.", "other": "Second."}


def test_docstrings_without_parameters() -> None:
    assert read_docstring(None).description == ""
    prose = "Note: this is prose.\nTimes: 12:30 and later."
    assert read_docstring(prose).description == prose


@settings(deadline=None)  # the machine may be busy
@given(st.text(alphabet="Args:\n param()*Returns x", max_size=200))
def test_any_docstring_is_read(text: str) -> None:
    docs = read_docstring(text)
    assert docs.description == docs.description.strip()


# --- what the model may send


async def test_arguments_become_the_functions_types(context: ToolContext) -> None:
    sent = '{"item": {"name": "cup", "count": "2"}, "address": {"street": "A", "zip": "1234"}, "when": "2026-11-21"}'
    assert json.loads(await run(FunctionTool(order), sent, context)) == {
        "item": "cup",
        "zip": "1234",
        "when": "2026-11-21",
        "size": "m",
        "tags": [],
        "by": "ada",
    }


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ("", 'The argument "item" is missing.'),
        ("{", "not valid JSON"),
        ("nonsense", "not valid JSON"),
        ("[1]", "one JSON object"),
        ('"text"', "one JSON object"),
        ("[" * 100_000, "not valid JSON"),
        ('{"item": "\ud800"}', "not valid JSON"),
        ('{"item": {"name": "x", "count": "many"}, "address": {"street": "", "zip": ""}}', '"item.count" is wrong'),
        ('{"item": {"name": "x"}, "address": {"street": ""}}', '"address.zip" is missing'),
        ('{"item": {"name": "x"}, "address": {"street": "", "zip": ""}, "colour": 1}', 'no argument "colour"'),
        ('{"item": {"name": "x"}, "address": {"street": "", "zip": ""}, "context": {}}', 'no argument "context"'),
        ('{"item": {"name": "x"}, "address": {"street": "", "zip": ""}, "argument_0": {}}', 'no argument "argument_0"'),
        ('{"item": {"name": "x"}, "address": {"street": "", "zip": ""}, "size": "xl"}', '"size" is wrong'),
        ('{"item": {"name": "x"}, "address": {"street": "", "zip": ""}, "tags": ["a", "b", "c"]}', '"tags" is wrong'),
        ('{"item": {"name": "x"}, "address": {"street": "", "zip": ""}, "when": "soon"}', '"when" is wrong'),
    ],
)
def test_wrong_arguments_are_named_and_nothing_else(sent: str, said: str) -> None:
    with pytest.raises(ToolFailed) as failed:
        FunctionTool(order).check(sent)
    told = str(failed.value)
    assert said in told
    assert "call it again" in told
    for internal in ("pydantic", "http", "Traceback", "/tools/", "many"):
        assert internal not in told


@settings(deadline=None)  # the machine may be busy
@given(st.text())
def test_any_text_is_taken_or_refused(sent: str) -> None:
    def echo(text: str = "") -> str:
        return text

    try:
        checked = FunctionTool(echo).check(sent)
    except ToolFailed:
        checked = {}
    assert set(checked) <= {"text"}


# --- what comes back


def _raise(error: BaseException) -> str:
    raise error


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is: äöü \n", "as it is: äöü \n"),
        (None, "null"),
        (True, "true"),
        (12, "12"),
        ({"a": [1, "ä"]}, '{"a":[1,"ä"]}'),
        (Item("cup"), '{"name":"cup","count":1}'),
        (Address(street="A", zip="1"), '{"street":"A","zip":"1"}'),
        (datetime(2026, 11, 21, tzinfo=UTC), '"2026-11-21T00:00:00Z"'),
        (Decimal("0.30"), '"0.30"'),
        ({1.5: float("inf")}, '{"1.5":"Infinity"}'),
        (b"\xff", '"_w=="'),
    ],
)
async def test_results_as_text(value: Any, text: str, context: ToolContext) -> None:
    def plain() -> Any:
        return value

    async def waiting() -> Any:
        return value

    assert await run(FunctionTool(plain), "{}", context) == text
    assert await run(FunctionTool(waiting), "{}", context) == text


async def test_a_plain_function_does_not_block_the_loop(context: ToolContext) -> None:
    go_on = threading.Event()

    def blocking() -> str:
        assert go_on.wait(10)
        return threading.current_thread().name

    call = asyncio.create_task(run(FunctionTool(blocking), "", context))
    await asyncio.sleep(0)
    go_on.set()  # reached only because the loop still turns
    assert await call == "threadway-tool"


async def test_context_variables_reach_the_thread(context: ToolContext) -> None:
    turn: contextvars.ContextVar[str] = contextvars.ContextVar("turn")
    turn.set("t1")

    def which() -> str:
        return turn.get()

    assert await run(FunctionTool(which), "", context) == "t1"


async def test_a_decorated_coroutine_function_runs_on_the_loop(context: ToolContext) -> None:
    async def where() -> str:
        return threading.current_thread().name

    @functools.wraps(where)
    def disguised() -> Any:
        return where()

    assert await run(FunctionTool(disguised), "", context) == threading.current_thread().name


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(), KeyboardInterrupt(), GeneratorExit()])
async def test_no_exception_of_a_thread_ends_the_loop_or_is_lost(error: BaseException) -> None:
    with pytest.raises(RuntimeError, match=type(error).__name__):
        await DaemonThreads(1).run(lambda: _raise(error))


async def test_threads_are_bounded_kept_and_daemons() -> None:
    threads = DaemonThreads(2)
    gate, entered = threading.Event(), threading.Semaphore(0)
    names: set[int] = set()
    daemons: list[bool] = []

    def work() -> None:
        entered.release()
        assert gate.wait(10)
        names.add(threading.get_ident())
        daemons.append(threading.current_thread().daemon)

    calls = [asyncio.create_task(threads.run(work)) for _ in range(8)]
    await asyncio.to_thread(entered.acquire)
    await asyncio.to_thread(entered.acquire)
    assert not await asyncio.to_thread(entered.acquire, timeout=0.05), "a third call is running"
    waiting = calls.pop()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.set()
    await asyncio.gather(*calls)
    assert len(names) == 2
    assert daemons == [True] * 7
    kept = DaemonThreads(9)
    assert len({await kept.run(threading.get_ident) for _ in range(9)}) == 1, "a free thread is used again"


# --- @tool and load_tools


def test_the_mark_keeps_the_function_and_carries_options() -> None:
    @tool(name="sum-up", timeout_s=2.5, repeatable=True)
    def add(a: int, b: int) -> int:
        return a + b

    @tool
    def bare() -> str:
        return "x"

    assert add(1, 2) == 3
    assert bare() == "x"
    made = FunctionTool(add)
    assert (made.name, made.timeout_s, made.repeatable) == ("sum-up", 2.5, True)
    assert FunctionTool(bare).name == "bare"
    assert isinstance(made, Tool)


def _untyped(order, note: str):  # type: ignore[no-untyped-def]
    return order


def _starred(*orders: int, **more: str) -> None: ...


def _positional(order: int, /) -> None: ...


def _callback(done: Callable[[], None]) -> None: ...


def _foreign(thread: threading.Thread) -> None: ...


def _unknown_type(order: Missing) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (_untyped, 'parameter "order" has no type'),
        (_starred, r'parameter "\*orders: .*int.*named parameters'),
        (_starred, r'parameter "\*\*more'),
        (_positional, 'parameter "order.*named parameters'),
        (_callback, 'parameter "done" has a type that JSON cannot express'),
        (_foreign, 'parameter "thread" has a type that JSON cannot express'),
        (_unknown_type, "Missing"),
        (tool(name="with space")(lambda: None), "with space"),
        (lambda: None, "<lambda>"),
        (tool(name="never", timeout_s=0)(lambda: None), "timeout_s"),
    ],
)
def test_what_cannot_be_a_tool_is_told_at_load_time(function: Callable[..., Any], said: str) -> None:
    with pytest.raises(SettingsInvalid, match=said):
        FunctionTool(function)


def test_built_in_tools_load_by_name() -> None:
    tools = load_tools([*BUILTIN, "clock"])
    assert list(tools) == list(BUILTIN)
    for made in tools.values():
        assert made.description
        assert all(p.get("description") for p in made.parameters["properties"].values())


@pytest.fixture
def examples_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "mytools", raising=False)


@pytest.mark.usefixtures("examples_on_path")
async def test_the_example_of_a_users_own_tools(context: ToolContext) -> None:
    tools = load_tools(["mytools:find_order", "mytools:open_ticket"])
    assert json.loads(await run(tools["find_order"], '{"number": 1001}', context)) == {
        "number": 1001,
        "state": "shipped",
        "total": 42.5,
    }
    with pytest.raises(ToolFailed, match="no order 7"):
        await run(tools["find_order"], '{"number": 7}', context)
    ticket = '{"subject": "Cup is broken", "urgency": "high"}'
    assert tools["open_ticket"].timeout_s == 10
    assert await run(tools["open_ticket"], ticket, context) == await run(tools["open_ticket"], ticket, context)


def test_a_ready_made_tool_object_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ready_tools.py").write_text(
        "from workers.tools import FunctionTool\nclass Shop:\n    def find(self, order: int) -> str: ...\n"
        "ready = FunctionTool(Shop().find)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    tools = load_tools(["ready_tools:ready"])
    assert list(tools) == ["find"]
    assert list(tools["find"].parameters["properties"]) == ["order"]


@pytest.mark.usefixtures("examples_on_path")
def test_every_wrong_name_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_tools.py").write_text("import no_such_package_here\n")
    (tmp_path / "raising_tools.py").write_text("raise RuntimeError('boom')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    wrong = {
        "clok": 'there is no tool "clok"; did you mean "clock"?',
        "teleport": "there are calculator, clock, recall, remember",
        "nowhere.at_all:x": 'there is no module "nowhere"',
        "mytools:find_ordr": 'no "find_ordr" in mytools; did you mean "find_order"?',
        "mytools:Order": "is a type; a tool is a function",
        "broken_tools:x": 'imports "no_such_package_here", which is not installed',
        "raising_tools:x": "importing 'raising_tools' failed: RuntimeError: boom",
        "workers.tools.builtin:clock": 'are both called "clock"',
    }
    with pytest.raises(SettingsInvalid) as invalid:
        load_tools(["clock", *wrong])
    assert len(invalid.value.errors) == len(wrong)
    for line, said in zip(invalid.value.errors, wrong.values(), strict=True):
        assert said in line
        assert "\n" not in line


# --- the built-in tools


async def test_clock(context: ToolContext) -> None:
    clock = load_tools(["clock"])["clock"]
    before = datetime.now(UTC) - timedelta(seconds=1)
    told = json.loads(await run(clock, '{"zone": "europe/berlin"}', context))
    time = datetime.fromisoformat(told["time"])
    assert before <= time <= datetime.now(UTC)
    assert told["zone"] == "Europe/Berlin"
    assert time.utcoffset() == time.astimezone(ZoneInfo("Europe/Berlin")).utcoffset()
    assert told["weekday"] == f"{time:%A}"
    assert json.loads(await run(clock, "", context))["zone"] == "UTC"


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("Berlin", "Did you mean Europe/Berlin?"),
        ("New York", "Did you mean America/New_York?"),
        ("Europe/Berlinn", "Europe/Berlin"),
        ("../../etc/passwd", "no such time zone"),
        ("", "no such time zone"),
        ("\x00" * 5000, "no such time zone"),
    ],
)
async def test_clock_refuses_unknown_zones_with_a_hint(zone: str, hint: str, context: ToolContext) -> None:
    with pytest.raises(ToolFailed, match=hint.replace("?", r"\?")):
        await run(load_tools(["clock"])["clock"], json.dumps({"zone": zone}), context)


async def test_calculator(context: ToolContext) -> None:
    made = load_tools(["calculator"])["calculator"]
    assert await run(made, '{"expression": "12 × 12"}', context) == "144"
    assert await run(made, '{"expression": 144}', context) == "144", "models forget the quotes"


async def test_remember_and_recall(context: ToolContext) -> None:
    tools = load_tools(["remember", "recall"])
    assert json.loads(await run(tools["recall"], "{}", context)) == {}
    assert "colour" in await run(tools["remember"], '{"key": " colour ", "value": "blue"}', context)
    await run(tools["remember"], '{"key": "city", "value": "Köln"}', context)
    assert json.loads(await run(tools["recall"], "{}", context)) == {"colour": "blue", "city": "Köln"}
    assert json.loads(await run(tools["recall"], '{"key": "city"}', context)) == {"city": "Köln"}
    assert json.loads(await run(tools["recall"], '{"key": null}', context)) == {"colour": "blue", "city": "Köln"}
    for wrong in ('{"key": "", "value": "x"}', json.dumps({"key": "k", "value": "x" * 4001})):
        with pytest.raises(ToolFailed):
            tools["remember"].check(wrong)
