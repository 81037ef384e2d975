"""What a tool is: the protocol, what it may know about its call, and the memory it may use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from gateway.domain.messages import ConversationKey

DEFAULT_TIMEOUT_S = 30.0
"""How long one call of a tool may take unless `@tool(timeout_s=…)` says otherwise."""


class Memory(Protocol):
    """A conversation's own notes: small facts that outlive the thread. Bound to one conversation."""

    async def remember(self, key: str, value: str) -> None:
        """Store `value` under `key`, replacing what was there; may be called twice. Raises ToolFailed when the memory
        takes no more, StoreDown when Redis is away, LeaseLost when someone newer works on the conversation."""

    async def recall(self, key: str | None = None) -> dict[str, str]:
        """The fact under `key`, or all of them for None; {} where there is none. Raises StoreDown."""


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool may know about the call it serves. A parameter of this type is injected; the model never sees it."""

    conversation: ConversationKey
    author_id: str
    """The platform's id of the user whose message is being answered."""
    language: str
    """IETF language tag of that user, "" where the platform told none."""
    call_key: str
    """"<run>:<call>": the same for every repetition of this call; hand it on as an idempotency key."""
    memory: Memory


@runtime_checkable
class Tool(Protocol):
    """Something a run may call: a function of ours or of the user, or an object of a stranger's own making."""

    @property
    def name(self) -> str:
        """What the model calls it; matches [a-zA-Z0-9_-]{1,64} (OpenAI, Chat Completions: function.name)."""

    @property
    def description(self) -> str:
        """For the model: when to use it."""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """JSON Schema of the arguments, an object."""

    @property
    def timeout_s(self) -> float:
        """How long one call may take, seconds; kept by the caller, not by the tool."""

    @property
    def repeatable(self) -> bool:
        """Whether a call whose outcome a crash left unknown may simply be made again."""

    def check(self, arguments: str) -> Mapping[str, Any]:
        """Read the model's JSON text, which may be anything. Pure and quick.

        Raises ToolFailed, in words for the model, naming each argument that is wrong.
        """

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Do the work with what `check` returned; the result as text for the model.

        Raises ToolFailed in words for the model; any other exception counts as a defect and is told without its text.
        """
