"""The plug between a turn and whatever runs the assistant: Assistants-compatible servers, Responses, agents."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

from gateway.domain.messages import ConversationKey, InboundMessage, RunId, ThreadId


class RunStatus(StrEnum):
    """What a look at a run tells, in our words; each backend maps its own statuses to these."""

    WORKING = "working"
    NEEDS_ACTION = "needs_action"
    DONE = "done"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        """Whether the run has ended."""
        return self not in (RunStatus.WORKING, RunStatus.NEEDS_ACTION)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One function call that a run asks for. `arguments` is the model's JSON text and may be invalid."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What we return for one call."""

    call_id: str
    output: str


@dataclass(frozen=True, slots=True)
class RunView:
    """One snapshot of a run."""

    id: RunId
    status: RunStatus
    calls: tuple[ToolCall, ...] = ()
    """The open calls, when NEEDS_ACTION."""
    reply: str = ""
    """Markdown, when DONE; the partial text when INCOMPLETE."""
    reason: str = ""
    """Machine-readable cause of FAILED or INCOMPLETE, e.g. "rate_limit_exceeded"; for logs and the short sentence."""
    look_after_s: float = 0.0
    """The backend's wish for the next look, 0 where it has none."""
    brought: tuple[str, ...] = ()
    """Fingerprints of the messages that it brought into the thread, where the view is of a run that was found."""


def fingerprint(event_id: str) -> str:
    """A message's short name in a run's metadata, whose values are short (Assistants API: 512 characters)."""
    return hashlib.sha256(event_id.encode()).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A function tool as the backend is told about it."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    """JSON Schema of the arguments."""


@dataclass(frozen=True, slots=True)
class AssistantSpec:
    """An assistant as threadway.toml defines it, or the name of one that already exists (`assistant_id`)."""

    name: str
    model: str = ""
    instructions: str = ""
    functions: tuple[ToolSpec, ...] = ()
    hosted: tuple[str, ...] = ()
    """Tools that the backend itself runs: file_search, code_interpreter."""
    assistant_id: str = ""


class Backend(Protocol):
    """One kind of server that runs assistants. Every method is one attempt; retrying and waiting is the turn's.

    Raises: RateLimited; Unreachable (surely not done); Ambiguous (perhaps done); BackendDown (5xx on a read);
    BackendRefused (no, and it stays no); StaleRun (the run is elsewhere).
    """

    name: ClassVar[str]

    async def ensure_assistant(self, spec: AssistantSpec, fingerprint: str) -> str:
        """The backend's id for `spec`: found by our metadata, created where missing, updated where `fingerprint`
        differs. Called under a lease, once per definition; may be called again."""

    async def open_thread(self, conversation: ConversationKey, key: str) -> ThreadId:
        """Create the remote thread. A repeated call may leave an empty orphan behind, which is harmless."""

    async def start(
        self,
        thread: ThreadId,
        assistant: str,
        messages: Sequence[InboundMessage],
        key: str,
        *,
        look_first: bool,
        passed_over: RunId | None = None,
    ) -> RunView:
        """Add the messages and create a run, in one call. With `look_first` (an earlier attempt may have landed) the
        run carrying `key` is looked for and adopted, unless it is `passed_over` ("": whichever it is) and ended without
        a reply. A foreign active run on the thread is cancelled and the call raises Retryable."""

    async def find(self, thread: ThreadId, key: str) -> RunView | None:
        """The newest run carrying `key`, None where there is none. Changes nothing."""

    async def look(self, thread: ThreadId, run: RunId) -> RunView:
        """One snapshot. Never waits."""

    async def answer(self, thread: ThreadId, run: RunId, outputs: Sequence[ToolOutput]) -> RunView:
        """Submit all pending outputs at once. Raises StaleRun if the run is not waiting for them."""

    async def cancel(self, thread: ThreadId, run: RunId) -> None:
        """Ask to stop; a finished, stopping or unknown run is fine."""

    async def close(self) -> None:
        """Give back connections."""


@runtime_checkable
class Watching(Protocol):
    """A backend that can stream a run (optional)."""

    def watch(self, thread: ThreadId, run: RunId) -> AsyncIterator[RunView]:
        """Views as they come; ends silently on a cut, after which the caller looks."""
