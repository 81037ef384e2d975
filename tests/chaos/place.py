"""What belongs to one case: a user in a chat, a backend, the processes in between, and what Redis keeps of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gateway.lab.client import LabClient
from gateway.lab.faults import Platform
from tests.chaos.counted import CALLS
from tests.chaos.crew import Crew
from tests.chaos.kept import Kept, soon
from tests.chaos.strict import StrictServer


class Place:
    """One conversation of one case, with everything around it."""

    def __init__(
        self,
        platform: Platform,
        number: int,
        folder: Path,
        lab: LabClient,
        backend: StrictServer,
        crew: Crew,
        kept: Kept,
    ) -> None:
        self.platform: Platform = platform
        self.lab, self.backend, self.crew, self.kept = lab, backend, crew, kept
        self._folder = folder
        # Not the same people in every place: nudges are heard in all databases of a Redis.
        self._user: Any = 910_000_000 + number if platform == "telegram" else f"U0GUEST{number}"
        self._chat = ""
        self.said: list[str] = []
        """Messages for the assistant, in order; no commands."""

    async def say(self, text: str) -> dict[str, Any]:
        """Somebody writes to the bot; returns when Redis has it. "/…" is a command."""
        if not text.startswith("/"):
            self.said.append(text)
        if self.platform == "telegram":
            sent = await self.lab.telegram_send(text, user=self._user)
            self._chat = sent["chat"]
        else:
            sent = await self.lab.slack_send(text.replace("/", "!", 1) if text[0] == "/" else text, user=self._user)
            self._chat = sent["channel"]
        self.kept.sent()
        await self.kept.arrived()
        return sent

    async def change(self, sent: dict[str, Any], text: str) -> None:
        """The author edits a message."""
        self.said[-1] = text
        if self.platform == "telegram":
            wish = {"chat": sent["chat"], "message": sent["id"], "text": text}
        else:
            wish = {"channel": sent["channel"], "ts": sent["ts"], "text": text}
        await self.lab.act(f"{self.platform}/edit", wish)

    async def block(self, blocked: bool) -> None:
        """The user blocks the bot, or lets it in again (Telegram)."""
        await self.lab.act("telegram/block", {"user": self._user, "blocked": blocked})

    async def slow_down(self) -> None:
        """The platform refuses the next post for a second."""
        method = "sendMessage" if self.platform == "telegram" else "chat.postMessage"
        await self.lab.fail_next(self.platform, method, "rate_429", count=1, retry_after=1)

    async def heard(self) -> list[str]:
        """What the bot has posted, oldest first."""
        messages = await self.lab.messages(self._chat, self.platform)
        return [_text_of(message) for message in messages if message["author"]["bot"]]

    async def running(self, text: str) -> None:
        """Return when the run of a message is there, and Redis knows of it or the worker that made it has died."""

        async def begun() -> bool:
            if self.backend.run_of(text) is None:
                return False
            return "run" in await self.kept.state() or any(p.ended.done() for p in self.crew.processes)

        await soon(begun)

    @property
    def calls(self) -> list[str]:
        """What the counted tool was asked to work out, once for each call."""
        path = self._folder / CALLS
        return path.read_text().split() if path.exists() else []

    @property
    def doubts(self) -> int:
        """How often a worker that lives could not tell what became of its post: on a busy machine the platform, or the
        worker itself, is slower than a small lease allows."""
        signs = ('"part.ambiguous"', '"part.unknown"', '"turn.dropped"')
        return sum(process.said.count(sign) for process in self.crew.processes for sign in signs)

    async def history(self) -> str:
        """What happened here, for whoever has to find out why."""
        runs = [f"{run.id} {run.status} {run.metadata} {run.text!r}" for run in self.backend.runs.values()]
        told = {
            "said": self.said,
            "heard": await self.heard() if self._chat else [],
            "runs": runs,
            "threads": self.backend.threads,
            "calls": self.calls,
            "state": await self.kept.state(),
            "unfinished": await self.kept.unfinished(),
        }
        lines = [f"--- {name}: {value}" for name, value in told.items()]
        for process in self.crew.processes:
            code = process.ended.result() if process.ended.done() else "alive"
            lines += [f"--- {process.name} pid {process.pid} ({code})", process.said[-5000:]]
        return "\n".join(lines)


def _text_of(message: dict[str, Any]) -> str:
    """What a reader sees: on Slack the blocks, where there are any; `text` is what notifications show."""
    blocks = [block for block in message.get("blocks") or () if block["type"] == "markdown"]
    return "\n".join(block["text"] for block in blocks) or str(message["text"])
