"""Read Chat Completions answers, whole and streamed, as leniently as servers differ.

The SDK builds its objects without checking them, so a field may hold anything a server cares to send.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gateway.domain.errors import BackendDown, BackendRefused
from workers.models import ModelAnswer, ModelCall, Usage

_STOPS = {
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
}


def to_answer(completion: Any) -> ModelAnswer:
    """A whole completion. Raises BackendRefused for what is none, BackendDown for one that says nothing at all."""
    if not hasattr(completion, "choices"):  # the SDK hands out anything that is not JSON as a str
        raise BackendRefused("the server's answer is no completion; is OPENAI_BASE_URL the root of the API?")
    choice = _first(completion.choices)
    message = getattr(choice, "message", None)
    if message is None:
        raise BackendDown("the server's answer has no choices")
    calls = [call for call in _list(getattr(message, "tool_calls", None)) if getattr(call, "function", None)]
    return ModelAnswer(
        # A refusal is what the user is to read. Reasoning (`reasoning_content` of several servers) is not.
        text=_text(getattr(message, "content", None)) or _text(getattr(message, "refusal", None)),
        calls=tuple(
            ModelCall(_text(call.id), _text(call.function.name), _text(call.function.arguments)) for call in calls
        ),
        usage=_usage(getattr(completion, "usage", None)),
        stop_reason=_stop(getattr(choice, "finish_reason", None), bool(calls)),
    )


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""


class StreamedAnswer:
    """An answer that comes in chunks: `add` each, then ask for the `whole`."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._calls: dict[int, _Call] = {}
        self._finish: Any = None
        self._usage = Usage()

    def add(self, chunk: Any) -> str:
        """Take in one chunk; the text it brought, "" if none."""
        if usage := getattr(chunk, "usage", None):
            self._usage = _usage(usage)  # the last chunk, whose choices are empty
        choice = _first(getattr(chunk, "choices", None))
        if choice is None:
            return ""
        self._finish = getattr(choice, "finish_reason", None) or self._finish
        delta = getattr(choice, "delta", None)
        for part in _list(getattr(delta, "tool_calls", None)):
            self._add_call(part)
        piece = _text(getattr(delta, "content", None)) or _text(getattr(delta, "refusal", None))
        self._text.append(piece)
        return piece

    def _add_call(self, part: Any) -> None:
        index, call_id = getattr(part, "index", None), _text(getattr(part, "id", None))
        if not isinstance(index, int):
            # Some servers send whole calls without an index: an id opens a call, the rest belongs to the newest.
            index = max(self._calls, default=-1) + bool(call_id or not self._calls)
        call = self._calls.setdefault(index, _Call())
        function = getattr(part, "function", None)
        call.id = call_id or call.id
        call.name += _text(getattr(function, "name", None))
        call.arguments += _text(getattr(function, "arguments", None))

    def whole(self) -> ModelAnswer:
        """The answer. Raises BackendDown if the stream ended before its finish_reason: a cut connection looks so."""
        if self._finish is None:
            raise BackendDown("the server's stream ended early")
        calls = [self._calls[index] for index in sorted(self._calls)]
        return ModelAnswer(
            text="".join(self._text),
            calls=tuple(ModelCall(call.id, call.name, call.arguments) for call in calls),
            usage=self._usage,
            stop_reason=_stop(self._finish, bool(calls)),
        )


def _stop(finish: Any, calls: bool) -> str:
    """The stop reason; servers that say "stop" beside calls (several do) mean tool_calls."""
    reason = _STOPS.get(finish, "stop") if isinstance(finish, str) else "stop"
    if reason in ("stop", "tool_calls"):
        return "tool_calls" if calls else "stop"
    return reason


def _usage(usage: Any) -> Usage:
    prompt, completion = getattr(usage, "prompt_tokens", 0), getattr(usage, "completion_tokens", 0)
    return Usage(
        prompt if isinstance(prompt, int) else 0,
        completion if isinstance(completion, int) else 0,
    )


def _text(value: Any) -> str:
    """Text of a field that holds a string, or the parts some servers send instead."""
    if isinstance(value, list):
        return "".join(part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str))
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None
