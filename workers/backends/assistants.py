"""Any Assistants-compatible server by base_url, our own embedded service included, through the official SDK.

Facts: OpenAPI document of 2026-08-21 (`/threads/{id}/runs` …); error texts as the hosted API sent them, see
docs/assistants-api.md. The SDK's own retries are off: it would send a creating POST twice without any key.
"""

from __future__ import annotations

import asyncio
import json
import re
import warnings
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, ClassVar, cast

import aiohttp
import httpx2
import openai
import structlog
from openai import AsyncOpenAI, DefaultAioHttpClient

from gateway.domain.errors import (
    Ambiguous,
    AssistantGone,
    BackendDown,
    BackendRefused,
    RateLimited,
    StaleRun,
    ThreadGone,
    Unreachable,
)
from gateway.domain.messages import ConversationKey, InboundMessage, RunId, ThreadId
from gateway.domain.pacing import Clock, SystemClock
from workers.backends import AssistantSpec, RunStatus, RunView, ToolCall, ToolOutput, fingerprint
from workers.sdk_errors import never_connected, retry_after, server_words

log = structlog.get_logger("threadway")

KEY = "threadway_key"
NAME = "threadway_assistant"
FINGERPRINT = "threadway_fingerprint"
EVENTS = "threadway_events"
LISTING_S = 20.0
"""Time for going through all assistants of a backend; it has a lease of its own."""
_BEGAN: ContextVar[float | None] = ContextVar("began", default=None)
"""When a call that creates something was begun (monotonic); None for all others."""
_ACTIVE = {"queued", "in_progress", "requires_action", "cancelling"}
_STATUS = {
    "queued": RunStatus.WORKING,
    "in_progress": RunStatus.WORKING,
    "cancelling": RunStatus.WORKING,
    "requires_action": RunStatus.NEEDS_ACTION,
    "completed": RunStatus.DONE,
    "incomplete": RunStatus.INCOMPLETE,
    "failed": RunStatus.FAILED,
    "cancelled": RunStatus.CANCELLED,
    "expired": RunStatus.EXPIRED,
}


class AssistantsBackend:
    """The protocol of `client.beta.assistants` and `client.beta.threads`."""

    name: ClassVar[str] = "assistants"

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        call_timeout_s: float = 4.0,
        calls: int = 64,
        proxy: str | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        # Turns in flight and HTTP calls in flight are different numbers: 64 sockets serve thousands of polling turns.
        self._gate = asyncio.Semaphore(calls)
        self._timeout_s = call_timeout_s
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key,
            max_retries=0,
            timeout=call_timeout_s,
            http_client=DefaultAioHttpClient(
                trust_env=False, proxy=proxy, event_hooks={"request": [self._leaves_in_time]}
            ),
        )
        # The SDK imports each resource at first use, 0.4 s of CPU: now, not in somebody's first turn.
        _ = self._client.beta.threads.runs.with_raw_response, self._client.beta.threads.messages.with_raw_response

    async def ensure_assistant(self, spec: AssistantSpec, fingerprint: str) -> str:
        """See Backend.ensure_assistant."""
        if spec.assistant_id:
            return spec.assistant_id
        wanted: dict[str, Any] = {
            "model": spec.model,
            "name": spec.name,
            "instructions": spec.instructions,
            "tools": _tools(spec),
            "metadata": {NAME: spec.name, FINGERPRINT: fingerprint},
        }
        async with self._calling(creating=True, limit_s=LISTING_S):
            async for found in self._client.beta.assistants.list(limit=100):
                metadata = cast("dict[str, str]", found.metadata or {})
                if metadata.get(NAME) != spec.name:
                    continue
                if metadata.get(FINGERPRINT) != fingerprint:
                    await self._client.beta.assistants.update(found.id, **wanted)
                return found.id
            return (await self._client.beta.assistants.create(**wanted)).id

    async def open_thread(self, conversation: ConversationKey, key: str) -> ThreadId:
        """See Backend.open_thread."""
        async with self._calling(creating=True):
            thread = await self._client.beta.threads.create(
                metadata={"threadway_conversation": conversation}, extra_headers={"Idempotency-Key": f"thread:{key}"}
            )
        return ThreadId(thread.id)

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
        """See Backend.start."""
        if look_first and (ours := await self._adoptable(thread, key, passed_over)):
            return ours
        # A server that keeps keys would answer a replay with the very run that it is to replace.
        attempt = f"run:{key}" if passed_over is None else f"run:{key}:after:{passed_over}"
        try:
            async with self._calling(creating=True):
                run = await self._client.beta.threads.runs.create(
                    thread,
                    assistant_id=assistant,
                    additional_messages=[
                        {"role": "user", "content": _content(message), "metadata": {"event": message.event_id[:512]}}
                        for message in messages
                    ],
                    metadata={KEY: key[:512], EVENTS: " ".join(fingerprint(m.event_id) for m in messages)[:512]},
                    extra_headers={"Idempotency-Key": attempt},
                )
        except BackendRefused as refused:
            if "already has an active run" not in str(refused):
                raise
            return await self._adopt_or_clear(thread, key, passed_over)
        return RunView(RunId(run.id), RunStatus.WORKING)  # the next look tells the rest, reasons and calls included

    async def find(self, thread: ThreadId, key: str) -> RunView | None:
        """See Backend.find. Ours is among the newest: a thread has one active run, and ours was its last."""
        async with self._calling():
            page = await self._client.beta.threads.runs.list(thread, limit=20, order="desc")
        for run in page.data:
            metadata = cast("dict[str, str]", run.metadata or {})
            if metadata.get(KEY) == key[:512]:
                events = metadata.get(EVENTS, "")
                brought = tuple(events.split()) if len(events) < 512 else ()  # cut off, perhaps: nobody knows them all
                return RunView(RunId(run.id), _STATUS.get(run.status, RunStatus.WORKING), brought=brought)
        return None

    async def _adoptable(self, thread: ThreadId, key: str, passed_over: RunId | None) -> RunView | None:
        """The run of an earlier attempt, to be looked at next; not the one that a replay is to replace."""
        ours = await self.find(thread, key)
        if ours is None or (passed_over in ("", ours.id) and ours.status.final and ours.status is not RunStatus.DONE):
            return None
        return RunView(ours.id, RunStatus.WORKING, brought=ours.brought)

    async def _adopt_or_clear(self, thread: ThreadId, key: str, passed_over: RunId | None) -> RunView:
        """The thread is locked by an active run: ours is adopted, a foreign one is cancelled; nobody waits for it."""
        if ours := await self._adoptable(thread, key, passed_over):
            return ours
        async with self._calling():
            page = await self._client.beta.threads.runs.list(thread, limit=20, order="desc")
        for run in page.data:
            if run.status in _ACTIVE:
                log.warning("backend.foreign_run", thread=thread, run=run.id, status=run.status)
                await self.cancel(thread, RunId(run.id))
        raise BackendDown("a foreign run was active on the thread", retry_after_s=0.5)

    async def look(self, thread: ThreadId, run: RunId) -> RunView:
        """See Backend.look. Parses the few fields it needs: full parsing costs more than the request."""
        async with self._calling():
            raw = await self._client.beta.threads.runs.with_raw_response.retrieve(run, thread_id=thread)
        data = _object(raw.content)
        status = _STATUS.get(data.get("status", ""), RunStatus.WORKING)
        view = _view(run, status, data, raw.headers.get("openai-poll-after-ms"))
        if status in (RunStatus.DONE, RunStatus.INCOMPLETE):
            return RunView(run, status, reply=await self._reply(thread, run), reason=view.reason)
        return view

    async def _reply(self, thread: ThreadId, run: RunId) -> str:
        async with self._calling():
            raw = await self._client.beta.threads.messages.with_raw_response.list(
                thread, run_id=run, order="asc", limit=100
            )
        texts = [
            part["text"]["value"]
            for message in _object(raw.content).get("data", [])
            if message.get("role") == "assistant"
            for part in message.get("content", [])
            if part.get("type") == "text"
        ]
        return "\n\n".join(text for text in texts if text)

    async def answer(self, thread: ThreadId, run: RunId, outputs: Sequence[ToolOutput]) -> RunView:
        """See Backend.answer."""
        try:
            async with self._calling(creating=True):
                await self._client.beta.threads.runs.submit_tool_outputs(
                    run,
                    thread_id=thread,
                    tool_outputs=[{"tool_call_id": out.call_id, "output": out.output} for out in outputs],
                )
        except ThreadGone:
            raise
        except BackendRefused as refused:
            if "do not accept tool outputs" in str(refused) or "Expected tool outputs" in str(refused):
                raise StaleRun(str(run)) from refused
            raise
        return RunView(run, RunStatus.WORKING)

    async def cancel(self, thread: ThreadId, run: RunId) -> None:
        """See Backend.cancel. `Cannot cancel run with status …` means that it has ended or is about to."""
        try:
            async with self._calling():
                await self._client.beta.threads.runs.cancel(run, thread_id=thread)
        except BackendRefused as refused:
            log.debug("backend.cancel_refused", run=run, why=type(refused).__name__)

    async def close(self) -> None:
        """See Backend.close."""
        await self._client.close()

    async def _leaves_in_time(self, _: object) -> None:
        """Called by the HTTP client just before it sends. A process that was paused since its last look at the lease
        (SIGSTOP, a frozen container) wakes up here when somebody else has the turn, and may have created the run."""
        began = _BEGAN.get()
        if began is not None and self._clock.monotonic() - began >= self._timeout_s:
            raise aiohttp.ConnectionTimeoutError("begun too long ago: nothing was sent")

    @asynccontextmanager
    async def _calling(self, *, creating: bool = False, limit_s: float | None = None) -> AsyncIterator[None]:
        """One attempt within the gate; the SDK's exceptions become ours.

        The SDK's own time-outs are for each read: an answer that trickles would outlive the lease.
        """
        _BEGAN.set(self._clock.monotonic() if creating and limit_s is None else None)
        async with self._gate:
            try:
                async with asyncio.timeout(limit_s or self._timeout_s):
                    yield
            except openai.APIError as error:
                raise _translated(error, creating=creating) from error
            except (httpx2.HTTPError, aiohttp.ClientError, OSError, ValueError) as error:  # leaks from the transport
                if never_connected(error):
                    raise Unreachable("the backend cannot be reached") from error
                raise (Ambiguous if creating else BackendDown)(type(error).__name__) from error


# The SDK calls this protocol deprecated at every call; we know, it is what we are for.
warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"workers\.backends\.assistants")
warnings.filterwarnings("ignore", message="The Assistants API is deprecated", category=DeprecationWarning)


def _translated(error: openai.APIError, *, creating: bool) -> Exception:
    """What an SDK exception means for us: not done, perhaps done, or refused for good."""
    perhaps = Ambiguous if creating else BackendDown
    if not isinstance(error, openai.APIStatusError):
        if never_connected(error):
            return Unreachable("the backend cannot be reached")
        return perhaps("the backend did not answer")
    status, text = error.status_code, server_words(error, "")
    wish_s = retry_after(error.response.headers)
    if status == 429 and error.code != "insufficient_quota":
        return RateLimited(text, retry_after_s=wish_s)
    if status in (408, 409) or status >= 500:
        return perhaps(f"HTTP {status}: {text}", retry_after_s=wish_s)
    if status == 404 and re.search(r"no thread found", text, re.I):
        return ThreadGone(text)
    if status == 404 and re.search(r"no assistant found", text, re.I):
        return AssistantGone(text)
    return BackendRefused(f"HTTP {status}: {text}")


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError as error:
        raise BackendDown("the backend's answer is not JSON") from error
    if not isinstance(data, dict):
        raise BackendDown("the backend's answer is not an object")
    return data


def _view(run: RunId, status: RunStatus, data: dict[str, Any], poll_after_ms: str | None) -> RunView:
    action = (data.get("required_action") or {}).get("submit_tool_outputs") or {}
    calls = tuple(
        ToolCall(call["id"], call["function"]["name"], call["function"].get("arguments") or "")
        for call in action.get("tool_calls", [])
    )
    problem = data.get("last_error") or data.get("incomplete_details") or {}
    return RunView(
        run,
        status,
        calls=calls,
        reason=str(problem.get("code") or problem.get("reason") or ""),
        look_after_s=float(poll_after_ms) / 1000 if poll_after_ms and poll_after_ms.isdigit() else 0.0,
    )


def _tools(spec: AssistantSpec) -> list[dict[str, Any]]:
    functions: list[dict[str, Any]] = [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)},
        }
        for tool in spec.functions
    ]
    return functions + [{"type": hosted} for hosted in spec.hosted]


def _content(message: InboundMessage) -> str:
    """What the model reads. A message is never empty: the API refuses that."""
    notes = [
        f"[the user attached: {a.kind} {a.name}".rstrip() + ", which cannot be read yet]" for a in message.attachments
    ]
    return "\n".join(part for part in (message.text, *notes) if part) or "[an empty message]"
