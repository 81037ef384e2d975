"""The service over HTTP: one short function per operation of the API, mounted at /v1."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.assistants import schemas
from gateway.assistants.checking import check, parse_json
from gateway.assistants.errors import not_found
from gateway.assistants.front import Guard, answered, explained, read_body
from gateway.assistants.paging import Page
from gateway.assistants.repeats import Repeat
from gateway.assistants.service import Service
from gateway.assistants.views import Json

MAX_BODY_BYTES = 10 * 2**20
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KINDS = {
    "assistant_id": "assistant",
    "thread_id": "thread",
    "message_id": "message",
    "run_id": "run",
    "step_id": "run step",
}
B = TypeVar("B", bound=BaseModel)


class Call:
    """One request, its inputs checked as they are asked for; each accessor raises ApiError."""

    def __init__(self, service: Service, request: Request, max_body_bytes: int) -> None:
        self.service = service
        self._request = request
        self._max_body_bytes = max_body_bytes
        self.headers: dict[str, str] = {}
        """Further headers of the answer."""

    def id(self, name: str) -> str:
        """An id of the path. What cannot be one is not found, without asking the database."""
        value: str = self._request.path_params[name]
        if _ID.fullmatch(value) is None:
            raise not_found(_KINDS[name], value[:64])
        return value

    def name(self, name: str) -> str:
        """A free name of the path."""
        value: str = self._request.path_params[name]
        return value

    def query_id(self, name: str) -> str | None:
        """An id of the query string, None where there is none."""
        value = self._request.query_params.get(name)
        if value and _ID.fullmatch(value) is None:
            raise not_found(_KINDS.get(name, "object"), value[:64], param=name, status=400)
        return value or None

    def page(self) -> Page:
        """Which part of the list is wanted."""
        for cursor in ("after", "before"):
            self.query_id(cursor)
        return Page.from_query(self._request.query_params)

    async def body(self, model: type[B]) -> tuple[B, Repeat | None]:
        """The checked body, and what makes the request recognisable if it carries an Idempotency-Key."""
        raw = await read_body(self._request, self._max_body_bytes)
        wanted = check(model, parse_json(raw))
        key = self._request.headers.get("idempotency-key")
        return wanted, Repeat.of(self._request.url.path, key, raw) if key else None


async def create_assistant(call: Call) -> Json:
    return await call.service.assistants.create(*await call.body(schemas.CreateAssistant))


async def list_assistants(call: Call) -> Json:
    return await call.service.assistants.list(call.page())


async def retrieve_assistant(call: Call) -> Json:
    return await call.service.assistants.retrieve(call.id("assistant_id"))


async def modify_assistant(call: Call) -> Json:
    change, _ = await call.body(schemas.ModifyAssistant)
    return await call.service.assistants.modify(call.id("assistant_id"), change)


async def delete_assistant(call: Call) -> Json:
    return await call.service.assistants.delete(call.id("assistant_id"))


async def create_thread(call: Call) -> Json:
    return await call.service.threads.create(*await call.body(schemas.CreateThread))


async def retrieve_thread(call: Call) -> Json:
    return await call.service.threads.retrieve(call.id("thread_id"))


async def modify_thread(call: Call) -> Json:
    change, _ = await call.body(schemas.ModifyThread)
    return await call.service.threads.modify(call.id("thread_id"), change)


async def delete_thread(call: Call) -> Json:
    return await call.service.threads.delete(call.id("thread_id"))


async def create_message(call: Call) -> Json:
    return await call.service.messages.create(call.id("thread_id"), *await call.body(schemas.CreateMessage))


async def list_messages(call: Call) -> Json:
    return await call.service.messages.list(call.id("thread_id"), call.page(), call.query_id("run_id"))


async def retrieve_message(call: Call) -> Json:
    return await call.service.messages.retrieve(call.id("thread_id"), call.id("message_id"))


async def modify_message(call: Call) -> Json:
    change, _ = await call.body(schemas.ModifyMessage)
    return await call.service.messages.modify(call.id("thread_id"), call.id("message_id"), change)


async def delete_message(call: Call) -> Json:
    return await call.service.messages.delete(call.id("thread_id"), call.id("message_id"))


async def create_run(call: Call) -> Json:
    return await call.service.runs.create(call.id("thread_id"), *await call.body(schemas.CreateRun))


async def create_thread_and_run(call: Call) -> Json:
    return await call.service.runs.create_with_thread(*await call.body(schemas.CreateThreadAndRun))


async def list_runs(call: Call) -> Json:
    return await call.service.runs.list(call.id("thread_id"), call.page())


async def retrieve_run(call: Call) -> Json:
    seen = await call.service.runs.retrieve(call.id("thread_id"), call.id("run_id"))
    if seen.poll_after_ms is not None:
        call.headers["openai-poll-after-ms"] = str(seen.poll_after_ms)  # read by the SDK's create_and_poll
    return seen.body


async def modify_run(call: Call) -> Json:
    change, _ = await call.body(schemas.ModifyRun)
    return await call.service.runs.modify(call.id("thread_id"), call.id("run_id"), change)


async def cancel_run(call: Call) -> Json:
    return await call.service.runs.cancel(call.id("thread_id"), call.id("run_id"))


async def submit_tool_outputs(call: Call) -> Json:
    wanted = await call.body(schemas.SubmitToolOutputs)
    return await call.service.runs.submit(call.id("thread_id"), call.id("run_id"), *wanted)


async def list_steps(call: Call) -> Json:
    return await call.service.runs.list_steps(call.id("thread_id"), call.id("run_id"), call.page())


async def retrieve_step(call: Call) -> Json:
    return await call.service.runs.retrieve_step(call.id("thread_id"), call.id("run_id"), call.id("step_id"))


async def list_models(call: Call) -> Json:
    return call.service.models.list()


async def retrieve_model(call: Call) -> Json:
    return call.service.models.retrieve(call.name("model"))


Operation = Callable[[Call], Awaitable[Json]]
_RUN = "/threads/{thread_id}/runs/{run_id}"
OPERATIONS: tuple[tuple[str, str, Operation], ...] = (
    ("POST", "/assistants", create_assistant),
    ("GET", "/assistants", list_assistants),
    ("GET", "/assistants/{assistant_id}", retrieve_assistant),
    ("POST", "/assistants/{assistant_id}", modify_assistant),
    ("DELETE", "/assistants/{assistant_id}", delete_assistant),
    ("POST", "/threads", create_thread),
    ("POST", "/threads/runs", create_thread_and_run),
    ("GET", "/threads/{thread_id}", retrieve_thread),
    ("POST", "/threads/{thread_id}", modify_thread),
    ("DELETE", "/threads/{thread_id}", delete_thread),
    ("POST", "/threads/{thread_id}/messages", create_message),
    ("GET", "/threads/{thread_id}/messages", list_messages),
    ("GET", "/threads/{thread_id}/messages/{message_id}", retrieve_message),
    ("POST", "/threads/{thread_id}/messages/{message_id}", modify_message),
    ("DELETE", "/threads/{thread_id}/messages/{message_id}", delete_message),
    ("POST", "/threads/{thread_id}/runs", create_run),
    ("GET", "/threads/{thread_id}/runs", list_runs),
    ("GET", _RUN, retrieve_run),
    ("POST", _RUN, modify_run),
    ("POST", f"{_RUN}/cancel", cancel_run),
    ("POST", f"{_RUN}/submit_tool_outputs", submit_tool_outputs),
    ("GET", f"{_RUN}/steps", list_steps),
    ("GET", f"{_RUN}/steps/{{step_id}}", retrieve_step),
    ("GET", "/models", list_models),
    ("GET", "/models/{model:path}", retrieve_model),
)
"""Every operation this version serves; docs/assistants-api.md describes them, and a test compares."""


def app(
    service: Service,
    *,
    key: str,
    allowed_hosts: Collection[str] = ("127.0.0.1", "localhost", "::1"),
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Starlette:
    """The ASGI application to mount at /v1.

    `key`: the bearer key. `allowed_hosts`: names in Host and Origin, without port; "*" is any. The OpenAI-Beta header
    is accepted and not required. Every refusal, unknown routes included, has OpenAI's error envelope. Raises ValueError
    for an empty key.
    """
    if not key:
        raise ValueError("an empty key would let everybody in")
    routes = [
        Route(path, _endpoint(service, operation, max_body_bytes), methods=[method])
        for method, path, operation in OPERATIONS
    ]

    async def on_http_exception(request: Request, error: Exception) -> Response:
        return explained(request, error)

    application = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, key=key, allowed_hosts=allowed_hosts)],
        exception_handlers={HTTPException: on_http_exception},
    )
    application.router.redirect_slashes = False  # a redirected POST loses its body in many clients
    return application


def _endpoint(service: Service, operation: Operation, max_body_bytes: int) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        call = Call(service, request, max_body_bytes)
        try:
            return answered(await operation(call), call.headers)
        except Exception as error:  # the edge: explained() tells refusals from faults, and logs the latter once
            return explained(request, error)

    return endpoint
