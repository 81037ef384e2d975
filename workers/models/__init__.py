"""The plug between the embedded service's executor and a language model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One tool call of the model. `arguments` is JSON text as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ModelMessage:
    """One message of the conversation as a model is shown it (Chat Completions roles)."""

    role: str
    """system | user | assistant | tool"""
    content: str = ""
    calls: tuple[ModelCall, ...] = ()
    """Tool calls of an assistant message."""
    call_id: str = ""
    """The call that a tool message answers."""


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """Everything a model needs for one answer."""

    model: str
    messages: Sequence[ModelMessage]
    tools: Sequence[Mapping[str, Any]] = ()
    """Chat Completions tool objects: {"type": "function", "function": {name, description, parameters}}."""
    tool_choice: Any = None
    parallel_tool_calls: bool = True
    temperature: float | None = None
    top_p: float | None = None
    max_completion_tokens: int | None = None
    response_format: Any = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the model counted them."""

    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What a model said: text, or tool calls, or both."""

    text: str = ""
    calls: tuple[ModelCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    stop_reason: str = "stop"
    """stop | tool_calls | length | content_filter"""


class Model(Protocol):
    """One language model behind one wire protocol."""

    name: ClassVar[str]

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """One completion. Raises RateLimited, Unreachable, BackendDown (worth a retry) or BackendRefused (not)."""

    def stream(self, request: ModelRequest) -> AsyncIterator[str | ModelAnswer]:
        """Text pieces as they come, then the whole ModelAnswer as the last item."""

    async def close(self) -> None:
        """Give back connections."""
