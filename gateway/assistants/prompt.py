"""What the model is shown of a thread: instructions, the history within a budget, this run's own calls and outputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import or_, select

from gateway.assistants.records import Tx
from gateway.assistants.tables import MessageRow, RunRow, StepRow
from gateway.assistants.work import WorkCall, WorkMessage

AUTO_BUDGET_CHARS = 400_000
"""Roughly 100,000 tokens: under the context of the models people run today, and long enough for weeks of chat."""
CHARS_PER_TOKEN = 4
_SCAN_ROWS = 20_000
_HEAD_SHARE = 0.25


async def messages_for(tx: Tx, run: RunRow, steps: Sequence[StepRow]) -> tuple[WorkMessage, ...]:
    """Everything the model sees for the next answer of `run`, in order; `steps` are the run's, oldest first."""
    shown = [WorkMessage("system", run.instructions)] if run.instructions else []
    shown += [WorkMessage(row.role, text_of(row.content)) for row in await _history(tx, run)]
    return (*shown, *await _own_work(tx, run, steps))


def text_of(content: Sequence[dict[str, Any]]) -> str:
    """A message's parts as one text; an image is named, since not every model can be shown one."""
    return "\n".join(part["text"]["value"] if part["type"] == "text" else "[image]" for part in content)


def cut_middle(sizes: Sequence[int], budget: int) -> tuple[int, int]:
    """How many messages to keep at the start and at the end so that they fit `budget`; the middle goes.

    The end gets three quarters and whatever the start leaves; the last message is kept even if it alone is too long.
    Both counts together never pass the number of messages.
    """
    if sum(sizes) <= budget:
        return 0, len(sizes)
    head, used = 0, 0
    room = min(budget * _HEAD_SHARE, budget - sizes[-1])
    while head < len(sizes) - 1 and used + sizes[head] <= room:
        used += sizes[head]
        head += 1
    tail = 1
    used += sizes[-1]
    while tail < len(sizes) - head and used + sizes[-tail - 1] <= budget:
        used += sizes[-tail - 1]
        tail += 1
    return head, tail


async def _history(tx: Tx, run: RunRow) -> list[MessageRow]:
    """The thread's messages before this run, truncated as its strategy says; what the run itself wrote is left out."""
    before = select(MessageRow).where(
        MessageRow.thread_id == run.thread_id, or_(MessageRow.run_id.is_(None), MessageRow.run_id != run.id)
    )
    newest_first = before.order_by(MessageRow.seq.desc())
    if run.truncation_strategy["type"] == "last_messages":
        rows = await tx.scalars(newest_first.limit(run.truncation_strategy["last_messages"]))
        return list(rows)[::-1]
    sizes = (
        await tx.execute(
            newest_first.with_only_columns(MessageRow.seq, MessageRow.chars).limit(
                _SCAN_ROWS
            )  # a thread may be endless
        )
    ).all()[::-1]
    if not sizes:
        return []
    budget = AUTO_BUDGET_CHARS
    if run.max_prompt_tokens is not None:
        budget = min(budget, run.max_prompt_tokens * CHARS_PER_TOKEN)
    head, tail = cut_middle([row.chars for row in sizes], budget)
    ranges = [sizes[-tail:]] + ([sizes[:head]] if head else [])
    kept = or_(*(MessageRow.seq.between(part[0].seq, part[-1].seq) for part in ranges))
    return list(await tx.scalars(before.where(kept).order_by(MessageRow.seq)))


async def _own_work(tx: Tx, run: RunRow, steps: Sequence[StepRow]) -> list[WorkMessage]:
    """The run's steps as messages: what the model said and called, and the outputs it got."""
    if not steps:
        return []
    written = await tx.scalars(select(MessageRow).where(MessageRow.run_id == run.id))
    texts = {row.id: text_of(row.content) for row in written}
    work: list[WorkMessage] = []
    said = ""
    for step in steps:
        if step.message_id is not None:
            said = texts.get(step.message_id, "")  # text before calls: one answer of the model, so one message again
            continue
        calls = tuple(WorkCall(call["id"], call["name"], call["arguments"]) for call in step.calls)
        work.append(WorkMessage("assistant", said, calls))
        work += [WorkMessage("tool", call["output"] or "", call_id=call["id"]) for call in step.calls]
        said = ""
    return work
