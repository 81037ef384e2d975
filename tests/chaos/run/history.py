"""What was seen during a run, in the order of time: at the platforms, at the backend, in the workers' logs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.chaos.run.backend import names_in, words_wanted


@dataclass(slots=True)
class Message:
    """What a person wrote."""

    conversation: str
    """"<platform>:<chat>", as the lab names the chat."""
    name: str
    """q03x17: conversation 3, message 17."""
    sent_at: float
    acked_at: float | None = None
    """When the platform first got a 2xx for it. From then on it is ours."""
    tries: int = 0
    """How often the platform brought it to a gateway."""


@dataclass(slots=True)
class Post:
    """What the bot wrote, as it stands in the chat at the end."""

    conversation: str
    platform_id: str
    at: float
    text: str
    edits: int = 0


@dataclass(slots=True)
class Run:
    """One run at the backend, with what came with it."""

    run_id: str
    key: str
    """threadway's idempotency key for it."""
    conversation: str
    at: float
    messages: tuple[str, ...]
    """Names, in the order they were put into the thread."""
    words: int
    """How long its reply is."""
    status: str = ""
    thread: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """One line of a process's log."""

    at: float
    pid: int
    event: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Blow:
    """Something that was done to a process on purpose."""

    at: float
    kind: str
    """kill worker | term worker | stop worker | kill gateway | kill backend | kill redis | power cut | …"""
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Outage:
    """Redis was away."""

    began: float
    ended: float


@dataclass
class History:
    """Everything of one run."""

    messages: dict[str, Message] = field(default_factory=dict)
    posts: dict[tuple[str, str], Post] = field(default_factory=dict)
    """(conversation, platform id) → post; those that were deleted again are gone."""
    runs: list[Run] = field(default_factory=list)
    log: list[Said] = field(default_factory=list)
    blows: list[Blow] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    attempts: list[tuple[float, str, str]] = field(default_factory=list)
    """(time, message, what became of it): each delivery of an event to a gateway."""

    def of(self, conversation: str) -> list[str]:
        """One conversation's history as lines in the order of time, for whoever looks for the reason."""
        lines: list[tuple[float, str]] = []
        names = {m.name for m in self.messages.values() if m.conversation == conversation}
        lines += [(m.sent_at, f"person   sends {m.name}") for m in self.messages.values() if m.name in names]
        lines += [(at, f"platform {name}: {what}") for at, name, what in self.attempts if name in names]
        for run in self.runs:
            if run.conversation == conversation:
                lines.append((run.at, f"backend  {run.run_id} ({run.status}) key={run.key} brings {run.messages}"))
        for post in self.posts.values():
            if post.conversation == conversation:
                lines.append((post.at, f"platform has {post.platform_id}: {shortened(post.text)}"))
        lines += [(said.at, f"pid {said.pid} {said.event} {dict(said.fields)}") for said in self._about(conversation)]
        lines += [(blow.at, f"=== {blow.kind} {blow.pid or ''}") for blow in self.blows]
        return [f"{at:.3f} {line}" for at, line in sorted(lines)]

    def waiting(self, turn: str, began: float, ended: float) -> list[str]:
        """What went on while a turn waited for a worker: its own steps, all blows, who swept and came and went."""
        around = {"sweep.woke", "sweep.failed", "worker.ready", "worker.handed_over"}
        lines = [(blow.at, f"=== {blow.kind} {blow.pid or ''}") for blow in self.blows]
        for said in self.log:
            if said.fields.get("turn") == turn or said.event in around:
                lines.append((said.at, f"pid {said.pid} {said.event} {dict(said.fields)}"))
        return [f"{at:.3f} {line}" for at, line in sorted(lines) if began - 1 <= at <= ended + 1]

    def _about(self, conversation: str) -> Iterator[Said]:
        chat = conversation.partition(":")[2]
        turns: set[str] = set()
        for said in self.log:
            place = str(said.fields.get("conversation", ""))
            if chat in place.split(":"):
                if turn := said.fields.get("turn"):
                    turns.add(str(turn))
                yield said
            elif said.fields.get("turn") in turns:
                yield said


def shortened(text: str) -> str:
    """The ends of a long text."""
    words = text.split()
    return text if len(words) <= 8 else f"{' '.join(words[:4])} … {' '.join(words[-4:])}"


def read_log(path: Path, pid: int) -> Iterator[Said]:
    """Our events of a process's log; whatever else was written there is passed over."""
    for line in path.read_text(errors="replace").splitlines():
        if not line.startswith("{"):
            continue
        try:
            data = json.loads(line)
            at = datetime.fromisoformat(data.pop("timestamp")).timestamp()
        except (ValueError, KeyError):
            continue  # the last line of one that was killed
        yield Said(at, pid, str(data.pop("event", "")), data)


def read_journal(lines: Iterable[str], chats: Mapping[str, str]) -> list[Run]:
    """The backend's runs, by the time of their creation. `chats`: a chat's id → the conversation's name here."""
    conversations: dict[str, str] = {}
    runs: dict[str, Run] = {}
    for line in lines:
        record = json.loads(line)
        if "conversation" in record:
            parts = record["conversation"].split(":")
            conversations[record["thread"]] = next((chats[part] for part in parts if part in chats), "")
        if not (run := record.get("run")):
            continue
        if run["id"] not in runs:
            brought = tuple(name for text in record["brought"] for name in names_in(text))
            where = conversations[run["thread"]]
            key = run["metadata"].get("threadway_key", "")
            runs[run["id"]] = Run(run["id"], key, where, record["at"], brought, words_wanted(record["brought"]))
        runs[run["id"]].status, runs[run["id"]].thread = run["status"], run["thread"]
    return list(runs.values())
