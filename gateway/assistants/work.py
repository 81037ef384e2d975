"""What the service hands to the executor and gets back: the contract between records (gateway) and run loop (workers).

The service owns every rule of the run's state machine; the executor only thinks (asks the model) and reports. A run is
worked on under a lease kept in SQL, so a killed executor strands nothing: another one claims the run when it ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class WorkCall:
    """One function call of the model; `arguments` is JSON text as the model wrote it, perhaps invalid."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class WorkMessage:
    """One message as the model is to see it, in order (Chat Completions roles system, user, assistant, tool)."""

    role: str
    content: str = ""
    calls: tuple[WorkCall, ...] = ()
    call_id: str = ""


@dataclass(frozen=True, slots=True)
class RunWork:
    """A claimed run: everything the executor needs for its next model call. Built freshly at each claim."""

    run_id: str
    thread_id: str
    model: str
    messages: Sequence[WorkMessage]
    """Instructions first, then the thread's messages, then this run's own tool calls with their submitted outputs."""
    tools: Sequence[Mapping[str, Any]]
    """Function tools as Chat Completions objects."""
    tool_choice: Any
    parallel_tool_calls: bool
    temperature: float | None
    top_p: float | None
    max_completion_tokens: int | None
    """What is left of the run's budget; None is unlimited."""
    response_format: Any
    expires_at: int
    """Unix seconds."""


class RunSignal(StrEnum):
    """What renewing the lease tells the executor."""

    GO_ON = "go_on"
    CANCEL = "cancel"
    """The run was cancelled or expired: stop at the next await and call `settle`."""
    LOST = "lost"
    """Another executor holds the run, or it is final: drop it, write nothing."""


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """What the model said: a message, or function calls (with perhaps some text)."""

    text: str = ""
    calls: tuple[WorkCall, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0
    stop_reason: str = "stop"
    """stop | tool_calls | length | content_filter"""


class RunDesk(Protocol):
    """The service's side towards executors. Every method is one transaction; `owner` is the executor's nonce for this
    claim and is checked in each, so a stale executor changes nothing (its calls return False or LOST)."""

    async def claim(self, run_id: str, owner: str, lease_s: float) -> RunWork | None:
        """Take a queued run, or one whose executor's lease ended: status in_progress, lease set.

        None when it is held by another owner, waits for tool outputs, is final, or does not exist. An expired run is
        marked so. A run found cancelling is settled as cancelled. The same owner again gets the same answer.
        """

    async def renew(self, run_id: str, owner: str, lease_s: float) -> RunSignal:
        """Prolong the lease and learn what the users of the API did meanwhile."""

    async def report(self, run_id: str, owner: str, answer: RunAnswer) -> bool:
        """Write the model's answer: a completed message (run completed, or incomplete on length / content_filter), or
        a requires_action step. False when the claim is no longer ours. Ends the claim. Safe to call twice."""

    async def fail(self, run_id: str, owner: str, code: str, message: str) -> bool:
        """End the run as failed; `code` is server_error, rate_limit_exceeded or invalid_prompt."""

    async def settle(self, run_id: str, owner: str) -> bool:
        """End a run seen as CANCEL: cancelling → cancelled, past its time → expired."""

    async def hand_back(self, run_id: str, owner: str) -> bool:
        """Give up the claim unfinished (shutdown): the run is due again at once."""

    async def due(self, limit: int) -> Sequence[str]:
        """Ids of runs that somebody should claim now: queued for longer than half a second, or in_progress / cancelling
        with an ended lease. Also marks as expired what passed its expires_at."""
