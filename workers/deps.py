"""What a turn works with, and what it comes to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.domain.adapter import Adapter, Doubt
from gateway.domain.messages import ConversationKey, adapter_of
from gateway.domain.turns import Turn, WhileRunning
from gateway.store import Store
from workers.backends import Backend, ToolCall
from workers.definitions import Definitions
from workers.holding import Keeper
from workers.tools import Tool, ToolContext
from workers.wait import Pace


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
    parts: tuple[str, ...] = ()
    """Parts (OutboundPart JSON) that are rendered already; `text` is not used then."""


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
    while_running: WhileRunning = WhileRunning.QUEUE
    doubts: Mapping[str, Doubt] = field(default_factory=dict)
    """Adapter name → what follows a post whose outcome nobody knows; a notice where none is named."""
    later: Callable[[ConversationKey, float], None] = lambda key, in_s: None
    """Wake a conversation in so many seconds: a courtesy, the sweep would find it as well."""
    crowded: Callable[[], bool] = lambda: False
    """Whether other conversations wait for a place in this process."""

    def adapter(self, key: ConversationKey) -> Adapter | None:
        """The platform of a conversation, None where this worker does not have it."""
        return self.adapters.get(adapter_of(key))

    def doubt(self, adapter: Adapter) -> Doubt:
        """What follows a post of `adapter` whose outcome nobody knows."""
        return self.doubts.get(adapter.name, Doubt.NOTICE)
