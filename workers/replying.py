"""What a turn comes to: decided, rendered, and written down before the first part is posted."""

from __future__ import annotations

import asyncio
import json

from gateway.domain import crash
from gateway.domain.adapter import Adapter
from gateway.domain.errors import BackendRefused, ThreadGone
from gateway.domain.messages import Command
from gateway.domain.turns import Phase, Turn
from gateway.telemetry import log
from workers import phrases
from workers.asking import ask_backend
from workers.deps import Deps, Reply
from workers.progress import Progress

RENDER_INLINE_CHARS = 10_000


async def decide(progress: Progress, deps: Deps, adapter: Adapter) -> Reply:
    """What the user gets to read; never raises for a run that ended badly."""
    turn = progress.turn
    if turn.first.command is Command.LAST:
        return await _last_reply(turn, deps)
    if turn.first.command is Command.REFUSED:
        return Reply(phrases.refusal(turn.first.argument, turn.first.origin.person), "command_refused")
    if command := turn.first.command:
        return Reply(phrases.COMMANDS[command], f"command_{command}")
    try:
        return await ask_backend(progress, deps, adapter)
    except ThreadGone:  # with the run in it, and whatever it did: the next message begins anew
        log.warning("thread.gone", turn=turn.id, thread=turn.thread)
        crash.at("thread.lose")
        await progress.step({"thread": ""})
        return Reply(phrases.ENDINGS["failed"].format(turn=turn.id), "failed")
    except BackendRefused as refused:
        log.error("turn.refused", turn=turn.id, error=str(refused))
        crash.at("refused.bury")
        await progress.bury("run", str(refused))
        return Reply(phrases.ENDINGS["refused"].format(turn=turn.id), "refused")


async def _last_reply(turn: Turn, deps: Deps) -> Reply:
    """The last reply once more, part by part as it was; a button under an older one asks for that one."""
    crash.at("last.read")
    kept = await deps.store.conversations.last_reply(turn.conversation)
    wanted = turn.first.argument
    if kept is None or (wanted and wanted != kept[0]):
        return Reply(phrases.NOTHING_KEPT, "command_last")
    return Reply("", "command_last", parts=tuple(kept[1]))


async def fix(progress: Progress, adapter: Adapter, reply: Reply) -> None:
    """From here on the reply is decided: its parts are in the delivery ledger before the first one is posted."""
    turn = progress.turn
    turn.parts = list(reply.parts) or await _rendered(turn, adapter, reply)
    turn.outcome = reply.outcome
    turn.phase = Phase.REPLYING
    crash.at("reply.fix")
    await progress.step({"phase": Phase.REPLYING, "parts": json.dumps(turn.parts), "outcome": reply.outcome})


async def _rendered(turn: Turn, adapter: Adapter, reply: Reply) -> list[str]:
    if reply.outcome == "interrupted":
        return []  # the next turn answers
    text = f"{phrases.FORGOT}\n\n{reply.text}" if "forgot" in turn.notices else reply.text
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair can neither be stored nor sent
    # A nasty 100 kB takes a second to render; the loop has a thousand other turns to serve.
    parts = adapter.render(text) if len(text) < RENDER_INLINE_CHARS else await asyncio.to_thread(adapter.render, text)
    if not parts:  # nothing that can be seen: silence would look like a lost message
        parts = adapter.render(phrases.ENDINGS["empty"].format(turn=turn.id))
    return [part.to_json() for part in parts]
