"""The strict Assistants server on the test's own loop, with a few more ways to behave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.flow.assistants_server import ACTIVE, Run, Server, make, refused


class StrictServer(Server):
    """As its base; and runs need an assistant that exists, `never` ends when told to, `odd` answers nonsense."""

    def __init__(self) -> None:
        super().__init__()
        self.released = False
        """Runs of `never` may complete now."""
        self.too_late = False
        """A run that somebody wants to cancel has just completed."""
        self.url = ""

    def run_of(self, text: str) -> Run | None:
        """The run whose last message is `text`."""
        return next((run for run in self.runs.values() if run.text == text), None)

    def begin(self, run: Run) -> None:
        """See Server.begin."""
        super().begin(run)
        if run.text == "odd":
            run.status, run.calls = "requires_action", [{"id": "call_without_a_function"}]

    def advance(self, run: Run) -> None:
        """See Server.advance."""
        if run.text == "never" and run.status == "in_progress" and self.released:
            self.say(run, "at last", "completed")
        super().advance(run)

    async def runs_create(self, request: web.Request) -> web.Response:
        """See Server.runs_create."""
        if (assistant := (await request.json())["assistant_id"]) not in self.assistants:
            return refused(404, f"No assistant found with id '{assistant}'.")
        return await super().runs_create(request)

    async def run_cancel(self, request: web.Request) -> web.Response:
        """See Server.run_cancel."""
        run = self.runs[request.match_info["run"]]
        if self.too_late and run.status in ACTIVE:
            self.released = True
            self.advance(run)
        return await super().run_cancel(request)


@asynccontextmanager
async def serve_strictly() -> AsyncIterator[StrictServer]:
    """A server of its own on a free port; its `url` is what OPENAI_BASE_URL takes."""
    server = StrictServer()
    runner = web.AppRunner(make(server), access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}/v1"
        yield server
    finally:
        await runner.cleanup()
