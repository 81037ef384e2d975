"""The strict Assistants server with a memory: killed and started again, it knows everything that it ever answered.

Each effect is appended to a journal before it is answered, with pauses before the effect and after it, so that kills of
either side fall between the two. It knows no idempotency keys. What a message asks for stands anywhere in its text:
`slow 0.8`, `tool 6*7`, `long 900`; `q03x17` is the message's own name. A run's reply is made of numbered words of its
own (r12w0 r12w1 …), so that whatever is missing, doubled or in the wrong place can be told by looking at the chat.

    python -m tests.chaos.run.backend <port> <journal> <seed>
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import re
import sys
import time
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.flow.assistants_server import ACTIVE, Run, Server, make

PAUSE_S = 0.03
"""Up to so long before the effect, and again between the journal and the answer."""
SHORT_WORDS = 6
_NAME = re.compile(r"\bq\d+x\d+\b")
_SLOW, _TOOL, _LONG = (re.compile(rf"\b{word} (\S+)") for word in ("slow", "tool", "long"))


def names_in(text: str) -> list[str]:
    """The names of the messages in a text."""
    return _NAME.findall(text)


def words_wanted(texts: list[str]) -> int:
    """How many words the reply to these messages has."""
    return max((int(n) for text in texts for n in _LONG.findall(text)), default=SHORT_WORDS)


def word(run_id: str, number: int) -> str:
    """A word of a run's reply: r12w0 for run_12."""
    return f"r{run_id.removeprefix('run_')}w{number}"


class Journalled(Server):
    """The server; `journal` is created where it is missing."""

    def __init__(self, journal: Path) -> None:
        super().__init__()
        self.brought: dict[str, list[str]] = {}
        """Run → the texts that came with it."""
        self._written: dict[str, int] = defaultdict(int)
        """Thread → how many of its messages the journal has."""
        self._known: dict[str, str] = {}
        """What the journal says of a run, an assistant."""
        self._read(journal)
        self._file = journal.open("ab", buffering=0)  # one write for each line: a kill leaves no half

    # -- behaviour ---------------------------------------------------------------------------------------------------
    def begin(self, run: Run) -> None:
        new = self.threads[run.thread][self._written[run.thread] :]
        texts = [m["text"] for m in new if m["role"] == "user"]
        self.brought[run.id] = texts
        wanted = [wish for text in texts for wish in _TOOL.findall(text)]
        if wanted:
            run.status = "requires_action"
            run.calls = [
                {
                    "id": self.id("call"),
                    "type": "function",
                    "function": {"name": "calculator", "arguments": json.dumps({"expression": expression})},
                }
                for expression in wanted
            ]

    def advance(self, run: Run) -> None:
        if run.status == "cancelling":
            run.status = "cancelled"
        wait_s = max((float(s) for text in self.brought[run.id] for s in _SLOW.findall(text)), default=0.0)
        if run.status == "in_progress" and time.monotonic() - run.created >= wait_s:
            count = words_wanted(self.brought[run.id])
            self.say(run, " ".join(word(run.id, n) for n in range(count)), "completed")

    # -- journal -----------------------------------------------------------------------------------------------------
    def write_down(self, thread: str | None, what: str) -> None:
        """Append what has changed: assistants and threads that are new, one thread's messages and last runs."""
        for name, assistant in self.assistants.items():
            if self._known.get(name) != (state := json.dumps(assistant)):
                self._known[name] = state
                self._append(what, assistant=assistant)
        for name in list(self.threads)[len(self._written) :]:
            self._written[name] = 0
            self._append(what, thread=name, conversation=self.opened[name])
        if thread is None or thread not in self.threads:
            return
        new = self.threads[thread][self._written[thread] :]
        for run in self.by_thread[thread][-2:]:  # an older one has ended long ago
            if self._known.get(run.id) != (state := json.dumps(asdict(run))):
                self._known[run.id] = state
                self._append(what, thread=thread, run=asdict(run), brought=self.brought[run.id], messages=new)
                self._written[thread] += len(new)
                new = []

    def _append(self, what: str, **record: Any) -> None:
        self._file.write(json.dumps({"at": time.time(), "what": what, **record}).encode() + b"\n")

    def _read(self, journal: Path) -> None:
        lines = journal.read_text().splitlines() if journal.exists() else []
        highest = 0
        for line in lines:
            record = json.loads(line)
            if assistant := record.get("assistant"):
                self.assistants[assistant["id"]] = assistant
                self._known[assistant["id"]] = json.dumps(assistant)
            thread = record.get("thread")
            if thread and "conversation" in record:
                self.threads[thread], self.by_thread[thread] = [], []
                self.opened[thread] = record["conversation"]
                self._written[thread] = 0
            if run := record.get("run"):
                self._take_run(Run(**run), record)
            ids = re.findall(r'"(?:asst|thread|run|call)_(\d+)"', line)
            highest = max(highest, *map(int, ids), 0)
        self.ids = itertools.count(highest + 1)

    def _take_run(self, run: Run, record: dict[str, Any]) -> None:
        runs = self.by_thread[run.thread]
        if run.id in self.runs:
            runs.remove(self.runs[run.id])
        runs.append(run)
        runs.sort(key=lambda one: one.created)
        self.runs[run.id] = run
        self.brought[run.id] = record["brought"]
        self.threads[run.thread] += record["messages"]
        self._written[run.thread] += len(record["messages"])
        self._known[run.id] = json.dumps(asdict(run))

    async def runs_list(self, request: web.Request) -> web.Response:
        """The newest first, a page at most, as the API does it: a long run has threads with a thousand runs."""
        runs = self.by_thread.get(request.match_info["thread"], [])
        newest = runs[: -1 - int(request.query.get("limit", "20")) : -1]
        return web.json_response({"object": "list", "data": [self.view(run) for run in newest], "has_more": False})

    async def log(self, _: web.Request) -> web.Response:
        """GET /control/log: which runs are still active."""
        return web.json_response({"active": [run.id for run in self.runs.values() if run.status in ACTIVE]})


def served(server: Journalled, chance: random.Random) -> web.Application:
    """The application with pauses and journal around every call."""

    @web.middleware
    async def journal(request: web.Request, handler: Any) -> web.StreamResponse:
        await asyncio.sleep(chance.uniform(0, PAUSE_S))
        answer: web.StreamResponse = await handler(request)
        server.write_down(request.match_info.get("thread"), f"{request.method} {request.path}")
        await asyncio.sleep(chance.uniform(0, PAUSE_S))
        return answer

    app = make(server)
    app.middlewares.append(journal)
    return app


async def main(port: int, journal: Path, seed: int) -> None:
    """Serve on 127.0.0.1 until killed; says "ready" on stdout."""
    app = served(Journalled(journal), random.Random(seed))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
