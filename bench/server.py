"""The tests' strict Assistants server in a process of its own, with a log that tells when each run began."""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web

from tests.flow.assistants_server import Server, make


class TimedServer(Server):
    """The same server; only what its log says is more."""

    async def log(self, _: web.Request) -> web.Response:
        """GET /control/log: the number of looks, and when each conversation's run was created (monotonic seconds)."""
        began = {self.opened[run.thread]: run.created for run in self.runs.values()}
        return web.json_response({"looks": self.looks, "began": began})


async def main(port: int) -> None:
    """Serve on 127.0.0.1 until killed; says "ready" on stdout."""
    runner = web.AppRunner(make(TimedServer()), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
