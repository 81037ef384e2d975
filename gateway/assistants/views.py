"""Rows as the API shows them: every key the schemas require, null where allowed, none besides."""

from __future__ import annotations

from typing import Any

from gateway.assistants.rules import Status
from gateway.assistants.tables import AssistantRow, MessageRow, RunRow, StepRow, ThreadRow

Json = dict[str, Any]


def assistant(row: AssistantRow) -> Json:
    """`AssistantObject`."""
    return {
        "id": row.id,
        "object": "assistant",
        "created_at": row.created_at,
        "name": row.name,
        "description": row.description,
        "model": row.model,
        "instructions": row.instructions,
        "tools": row.tools,
        "tool_resources": {},
        "metadata": row.labels,
        "temperature": 1.0 if row.temperature is None else row.temperature,
        "top_p": 1.0 if row.top_p is None else row.top_p,
        "response_format": row.response_format,
    }


def thread(row: ThreadRow) -> Json:
    """`ThreadObject`."""
    return {
        "id": row.id,
        "object": "thread",
        "created_at": row.created_at,
        "tool_resources": {},
        "metadata": row.labels,
    }


def message(row: MessageRow) -> Json:
    """`MessageObject`."""
    complete = row.status == "completed"
    return {
        "id": row.id,
        "object": "thread.message",
        "created_at": row.created_at,
        "thread_id": row.thread_id,
        "status": row.status,
        "incomplete_details": None if row.incomplete_reason is None else {"reason": row.incomplete_reason},
        "completed_at": row.ended_at if complete else None,
        "incomplete_at": None if complete else row.ended_at,
        "role": row.role,
        "content": row.content,
        "assistant_id": row.assistant_id,
        "run_id": row.run_id,
        "attachments": [],
        "metadata": row.labels,
    }


def run(row: RunRow, open_step: StepRow | None) -> Json:
    """`RunObject`. `open_step` is the step whose outputs are awaited, needed while the run requires action."""
    status = Status(row.status)
    incomplete = row.incomplete_reason
    return {
        "id": row.id,
        "object": "thread.run",
        "created_at": row.created_at,
        "thread_id": row.thread_id,
        "assistant_id": row.assistant_id,
        "status": status.value,
        "required_action": _required_action(open_step) if status is Status.REQUIRES_ACTION else None,
        "last_error": row.last_error,
        "expires_at": None if status.final else row.expires_at,
        "started_at": row.started_at,
        "cancelled_at": row.ended_at if status is Status.CANCELLED else None,
        "failed_at": row.ended_at if status is Status.FAILED else None,
        "completed_at": row.ended_at if status is Status.COMPLETED else None,
        "incomplete_details": None if incomplete is None else {"reason": incomplete},
        "model": row.model,
        "instructions": row.instructions,
        "tools": row.tools,
        "metadata": row.labels,
        "usage": _usage(row) if status.final else None,
        "temperature": 1.0 if row.temperature is None else row.temperature,
        "top_p": 1.0 if row.top_p is None else row.top_p,
        "max_prompt_tokens": row.max_prompt_tokens,
        "max_completion_tokens": row.max_completion_tokens,
        "truncation_strategy": row.truncation_strategy,
        "tool_choice": row.tool_choice,
        "parallel_tool_calls": row.parallel_tool_calls,
        "response_format": row.response_format,
    }


def step(row: StepRow) -> Json:
    """`RunStepObject`."""
    return {
        "id": row.id,
        "object": "thread.run.step",
        "created_at": row.created_at,
        "assistant_id": row.assistant_id,
        "thread_id": row.thread_id,
        "run_id": row.run_id,
        "type": "tool_calls" if row.message_id is None else "message_creation",
        "status": row.status,
        "step_details": _step_details(row),
        "last_error": row.last_error,
        "expired_at": row.ended_at if row.status == "expired" else None,
        "cancelled_at": row.ended_at if row.status == "cancelled" else None,
        "failed_at": row.ended_at if row.status == "failed" else None,
        "completed_at": row.ended_at if row.status == "completed" else None,
        "metadata": {},
        "usage": None if row.status == "in_progress" else _usage(row),
    }


def deleted(kind: str, id: str) -> Json:
    """What a DELETE answers; `kind` is assistant, thread or thread.message."""
    return {"id": id, "object": f"{kind}.deleted", "deleted": True}


def _required_action(step: StepRow | None) -> Json:
    calls = step.calls if step is not None else []
    return {
        "type": "submit_tool_outputs",
        "submit_tool_outputs": {
            "tool_calls": [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for call in calls
            ]
        },
    }


def _step_details(row: StepRow) -> Json:
    if row.message_id is not None:
        return {"type": "message_creation", "message_creation": {"message_id": row.message_id}}
    calls = [
        {
            "id": call["id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": call["arguments"], "output": call["output"]},
        }
        for call in row.calls
    ]
    return {"type": "tool_calls", "tool_calls": calls}


def _usage(row: RunRow | StepRow) -> Json:
    return {
        "prompt_tokens": row.prompt_tokens,
        "completion_tokens": row.completion_tokens,
        "total_tokens": row.prompt_tokens + row.completion_tokens,
    }
