"""A strict little Assistants server in a process of its own: what a message says decides how its run goes.

    hello          → completed, reply "echo 1: hello" (1 = number of the user's messages in the thread)
    fail | limit   → failed (server_error | rate_limit_exceeded)
    expire | cut   → expired | incomplete with a partial text
    slow 5 …       → completed after 5 s
    never          → in progress until cancelled
    tool 6*7       → asks for calculator("6*7"), replies with its output
    long 1200      → completed, 1200 words
    toolloop 1+1   → asks for calculator("1+1") again and again
    tools          → asks for calculator("12*12") and calculator("2+3") at once

Strict where the API is: one active run per thread, all outputs at once.
Control: POST /control {"down": true} makes every /v1 call answer 503; GET /control/log tells what happened.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

ACTIVE = ("queued", "in_progress", "requires_action", "cancelling")


@dataclass
class Run:
    id: str
    thread: str
    metadata: dict[str, str]
    text: str
    created: float
    status: str = "in_progress"
    calls: list[dict[str, Any]] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    reply: str = ""
    problem: dict[str, Any] = field(default_factory=dict)


class Server:
    def __init__(self) -> None:
        self.ids = itertools.count(1)
        self.assistants: dict[str, dict[str, Any]] = {}
        self.threads: dict[str, list[dict[str, Any]]] = {}
        self.opened: dict[str, str] = {}
        self.runs: dict[str, Run] = {}
        self.by_thread: dict[str, list[Run]] = {}
        self.down = False
        self.retry_after_s = 0
        self.unknown_assistants = False
        self.uncancellable = False
        self.refused_calls = 0
        self.delay_s = 0.0
        self.looks = 0
        self.refusals: list[str] = []
        self.began = asyncio.Event()

    def id(self, kind: str) -> str:
        return f"{kind}_{next(self.ids)}"

    # -- behaviour ---------------------------------------------------------------------------------------------------
    def begin(self, run: Run) -> None:
        self.began.set()
        word, _, rest = run.text.partition(" ")
        match word:
            case "fail":
                run.status, run.problem = "failed", {"last_error": {"code": "server_error", "message": "boom"}}
            case "limit":
                run.status, run.problem = "failed", {"last_error": {"code": "rate_limit_exceeded", "message": "slow"}}
            case "expire":
                run.status = "expired"
            case "cut":
                run.problem = {"incomplete_details": {"reason": "max_completion_tokens"}}
                self.say(run, "a partial answer", "incomplete")
            case "tool" | "tools" | "toolloop":
                expressions = [rest] if word != "tools" else ["12*12", "2+3"]
                run.calls = [
                    {
                        "id": self.id("call"),
                        "type": "function",
                        "function": {"name": "calculator", "arguments": json.dumps({"expression": e})},
                    }
                    for e in expressions
                ]
                run.status = "requires_action"

    def advance(self, run: Run) -> None:
        if run.status == "cancelling":
            run.status = "cancelled"
        if run.status != "in_progress":
            return
        word, _, rest = run.text.partition(" ")
        if word == "never":
            return
        wait = float(rest.split()[0]) if word == "slow" else self.delay_s
        if time.monotonic() - run.created >= wait:
            users = sum(m["role"] == "user" for m in self.threads[run.thread])
            text = " and ".join(run.outputs) if run.outputs else f"echo {users}: {run.text}"
            if word == "long":
                text = " ".join(f"word{n}" for n in range(int(rest)))
            self.say(run, text, "completed")

    def say(self, run: Run, text: str, status: str) -> None:
        run.status, run.reply = status, text
        self.threads[run.thread].append({"role": "assistant", "run_id": run.id, "text": text})

    # -- views -------------------------------------------------------------------------------------------------------
    def view(self, run: Run) -> dict[str, Any]:
        action = None
        if run.status == "requires_action":
            action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": run.calls}}
        return {
            "id": run.id, "object": "thread.run", "thread_id": run.thread, "assistant_id": "asst_1", "model": "fake",
            "status": run.status, "created_at": int(time.time()), "metadata": run.metadata, "required_action": action,
            "instructions": "", "tools": [], "last_error": None, "incomplete_details": None, "expires_at": None,
            "started_at": None, "cancelled_at": None, "failed_at": None, "completed_at": None, "usage": None,
            "parallel_tool_calls": True, **run.problem,
        }  # fmt: skip

    # -- operations --------------------------------------------------------------------------------------------------
    async def assistants_list(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": list(self.assistants.values()), "has_more": False})

    async def assistants_write(self, request: web.Request) -> web.Response:
        body = await request.json()
        name = request.match_info.get("id") or self.id("asst")
        self.assistants[name] = {"id": name, "object": "assistant", "created_at": 1, **body}
        return web.json_response(self.assistants[name])

    async def threads_create(self, request: web.Request) -> web.Response:
        body = await request.json()
        thread = self.id("thread")
        self.threads[thread] = []
        self.by_thread[thread] = []
        self.opened[thread] = body.get("metadata", {}).get("threadway_conversation", "")
        return web.json_response({"id": thread, "object": "thread", "created_at": 1, "metadata": body.get("metadata")})

    async def runs_create(self, request: web.Request) -> web.Response:
        thread = request.match_info["thread"]
        if thread not in self.threads:
            return refused(404, f"No thread found with id '{thread}'.")
        for run in self.by_thread[thread]:
            self.advance(run)
            if run.status in ACTIVE:
                self.refusals.append(run.id)
                return refused(400, f"Thread {thread} already has an active run {run.id}.")
        body = await request.json()
        if self.unknown_assistants:
            return refused(404, f"No assistant found with id '{body['assistant_id']}'.")
        texts = [message["content"] for message in body["additional_messages"]]
        self.threads[thread] += [{"role": "user", "text": text} for text in texts]
        run = Run(self.id("run"), thread, body.get("metadata", {}), texts[-1], time.monotonic())
        self.runs[run.id] = run
        self.by_thread[thread].append(run)
        self.begin(run)
        return web.json_response(self.view(run))

    async def runs_list(self, request: web.Request) -> web.Response:
        runs = self.by_thread.get(request.match_info["thread"], [])
        return web.json_response({"object": "list", "data": [self.view(r) for r in reversed(runs)], "has_more": False})

    async def run_get(self, request: web.Request) -> web.Response:
        run = self.runs.get(request.match_info["run"])
        if (thread := request.match_info["thread"]) not in self.threads:
            return refused(404, f"No thread found with id '{thread}'.")
        if run is None:
            return refused(404, "No run found with id.")
        self.looks += 1
        self.advance(run)
        return web.json_response(self.view(run))

    async def run_cancel(self, request: web.Request) -> web.Response:
        run = self.runs[request.match_info["run"]]
        if run.status not in ACTIVE or run.status == "cancelling" or self.uncancellable:
            return refused(400, f"Cannot cancel run with status '{run.status}'.")
        run.status = "cancelling"
        return web.json_response(self.view(run))

    async def run_submit(self, request: web.Request) -> web.Response:
        run = self.runs[request.match_info["run"]]
        if run.status != "requires_action":
            return refused(400, f'Runs in status "{run.status}" do not accept tool outputs.')
        outputs = {out["tool_call_id"]: out["output"] for out in (await request.json())["tool_outputs"]}
        wanted = [call["id"] for call in run.calls]
        if sorted(outputs) != sorted(wanted):
            return refused(400, f"Expected tool outputs for call_ids {wanted}, got {list(outputs)}")
        run.outputs = [outputs[name] for name in wanted]
        run.status = "in_progress"
        if run.text.startswith("toolloop"):
            self.begin(run)
        return web.json_response(self.view(run))

    async def messages_list(self, request: web.Request) -> web.Response:
        run = request.query.get("run_id")
        data = [
            {
                "id": f"msg_{n}",
                "role": m["role"],
                "content": [{"type": "text", "text": {"value": m["text"], "annotations": []}}],
            }
            for n, m in enumerate(self.threads[request.match_info["thread"]])
            if run is None or m.get("run_id") == run
        ]
        return web.json_response({"object": "list", "data": data, "has_more": False})

    async def control(self, request: web.Request) -> web.Response:
        for name, value in (await request.json()).items():
            setattr(self, name, value)
        return web.json_response({})

    async def log(self, _: web.Request) -> web.Response:
        runs = [
            {"id": r.id, "thread": r.thread, "key": r.metadata.get("threadway_key"), "status": r.status, "text": r.text}
            for r in self.runs.values()
        ]
        return web.json_response({"runs": runs, "threads": self.opened, "looks": self.looks, "refusals": self.refusals})


def refused(status: int, message: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
    return web.json_response({"error": error}, status=status)


def make(server: Server) -> web.Application:
    @web.middleware
    async def gate(request: web.Request, handler: Any) -> web.StreamResponse:
        if server.down and request.path.startswith("/v1"):
            server.refused_calls += 1
            answer = refused(503, "The server is overloaded.")
            if server.retry_after_s:
                answer.headers["Retry-After"] = str(server.retry_after_s)
            return answer
        handled: web.StreamResponse = await handler(request)
        return handled

    app = web.Application(middlewares=[gate])
    run = "/v1/threads/{thread}/runs/{run}"
    app.add_routes(
        [
            web.get("/v1/assistants", server.assistants_list),
            web.post("/v1/assistants", server.assistants_write),
            web.post("/v1/assistants/{id}", server.assistants_write),
            web.post("/v1/threads", server.threads_create),
            web.get("/v1/threads/{thread}/messages", server.messages_list),
            web.post("/v1/threads/{thread}/runs", server.runs_create),
            web.get("/v1/threads/{thread}/runs", server.runs_list),
            web.get(run, server.run_get),
            web.post(run + "/cancel", server.run_cancel),
            web.post(run + "/submit_tool_outputs", server.run_submit),
            web.post("/control", server.control),
            web.get("/control/log", server.log),
        ]
    )
    return app


async def main(port: int) -> None:
    runner = web.AppRunner(make(Server()), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
