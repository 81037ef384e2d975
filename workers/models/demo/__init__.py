"""The built-in offline model: hand-written rules that say so, for a first run without key and network.

It shows everything that a turn can do: memory of the thread, Markdown, long replies, tools one by one and in parallel,
slow answers. docs/demo-model.md lists what it understands. It is deterministic and keeps no state.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

from gateway.domain.pacing import Clock, SystemClock
from workers.models import ModelAnswer, ModelCall, ModelRequest, Usage
from workers.models.demo.functions import Function, example, functions_of
from workers.models.demo.phrasing import tool_said
from workers.models.demo.plan import Plan, Use, make_plan
from workers.models.demo.thread import Thread, read

__all__ = ["DemoModel"]

CHARS_PER_TOKEN = 4
"""The usual rule of thumb; the demo model has no tokens of its own."""
_WORD = re.compile(r"[\u4e00-\u9fff]\s*|[^\s\u4e00-\u9fff]+\s*|\s+")


class DemoModel:
    """Rules instead of a language model. Answers to any model name; never raises on any text."""

    name: ClassVar[str] = "demo"

    def __init__(self, clock: Clock | None = None) -> None:
        """`clock` is what "wait 10 seconds" waits on."""
        self._clock = clock or SystemClock()

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """See Model.answer. Returns at once unless the user asked it to wait; may be called any number of times."""
        answer, wait_s = _answer(request)
        if wait_s:
            await self._clock.sleep(wait_s)
        return answer

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | ModelAnswer]:
        """See Model.stream: the text word by word, then the answer."""
        answer = await self.answer(request)
        for word in _WORD.findall(answer.text):
            yield word
        yield answer

    async def close(self) -> None:
        """Nothing to give back."""


def _answer(request: ModelRequest) -> tuple[ModelAnswer, float]:
    """The answer, and the seconds to let pass before it is given."""
    thread = read(request.messages)
    functions = _allowed(request)
    plan = make_plan(thread, functions)
    told, open_calls = _carry_out(plan, thread)
    if not open_calls and not thread.outputs:
        open_calls = _forced(request, thread, functions)
    if open_calls:
        chosen = open_calls if request.parallel_tool_calls else open_calls[:1]
        calls = tuple(_call(use, place, request) for place, use in enumerate(chosen))
        spent = _tokens(sum(len(call.name) + len(call.arguments) for call in calls))
        return ModelAnswer("", calls, Usage(_prompt_tokens(request), spent), "tool_calls"), 0.0
    text = _formatted("\n\n".join(told), request.response_format)
    text, stop = _cut(text, request.max_completion_tokens)
    return ModelAnswer(text, (), Usage(_prompt_tokens(request), _tokens(len(text))), stop), plan.wait_s


def _carry_out(plan: Plan, thread: Thread) -> tuple[list[str], list[Use]]:
    """The plan's texts, and its calls that have no output yet."""
    outputs = list(thread.outputs)
    told: list[str] = []
    open_calls: list[Use] = []
    for step in plan.steps:
        if not isinstance(step, Use):
            told.append(step.text)
            continue
        output = next((o for o in outputs if o.name == step.tool and o.arguments == step.arguments), None)
        if output is None:
            open_calls.append(step)
        else:
            outputs.remove(output)
            told.append(step.tell(output.text))
    # Outputs are left over where a call was demanded by tool_choice and not planned.
    told += [tool_said(output.name, output.text, plan.language) for output in outputs]
    return told, open_calls


def _allowed(request: ModelRequest) -> dict[str, Function]:
    """The functions that `tool_choice` leaves."""
    functions = functions_of(request.tools)
    if request.tool_choice == "none":
        return {}
    wanted = _chosen(request.tool_choice)
    return {name: f for name, f in functions.items() if name == wanted} if wanted in functions else functions


def _chosen(tool_choice: Any) -> str:
    """The function that `tool_choice` demands by name, else ""."""
    function = tool_choice.get("function") if isinstance(tool_choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else ""


def _forced(request: ModelRequest, thread: Thread, functions: Mapping[str, Function]) -> list[Use]:
    """A call made up because `tool_choice` demands one; only in a run's first round, or it would never end."""
    if not functions or not (request.tool_choice == "required" or _chosen(request.tool_choice) in functions):
        return []
    function = next(iter(functions.values()))
    text = " ".join(thread.waiting)[:200]
    return [Use(function.name, example({**function.parameters, "type": "object"}, text), str)]


def _call(use: Use, place: int, request: ModelRequest) -> ModelCall:
    arguments = json.dumps(dict(use.arguments), ensure_ascii=False)
    # The same request gives the same id, and no two calls of a thread share one: the thread is longer each time.
    seed = f"{len(request.messages)}:{place}:{use.tool}:{arguments}"
    return ModelCall(f"call_{hashlib.sha256(seed.encode(errors='replace')).hexdigest()[:24]}", use.tool, arguments)


def _formatted(text: str, response_format: Any) -> str:
    """`text` as the JSON that `response_format` asks for."""
    kind = response_format.get("type") if isinstance(response_format, Mapping) else None
    if kind == "json_object":
        return json.dumps({"reply": text}, ensure_ascii=False)
    if kind == "json_schema":
        wanted = response_format.get("json_schema")
        schema = wanted.get("schema") if isinstance(wanted, Mapping) else None
        return json.dumps(example(schema or {"type": "object"}, text), ensure_ascii=False, default=str)
    return text


def _cut(text: str, max_tokens: int | None) -> tuple[str, str]:
    if max_tokens is None or _tokens(len(text)) <= max_tokens:
        return text, "stop"
    return text[: max(max_tokens, 0) * CHARS_PER_TOKEN], "length"


def _tokens(chars: int) -> int:
    return -(-chars // CHARS_PER_TOKEN)


def _prompt_tokens(request: ModelRequest) -> int:
    return sum(_tokens(len(message.content)) for message in request.messages)
