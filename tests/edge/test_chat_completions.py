"""The Chat Completions driver against a server on 127.0.0.1 that checks every request against OpenAI's document."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from aiohttp import web
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from gateway.domain.errors import BackendDown, BackendRefused, RateLimited, Unreachable
from workers.models import Model, ModelAnswer, ModelCall, ModelMessage, ModelRequest, Usage
from workers.models.chat_completions import ChatCompletionsModel

KEY = "sk-invented-key-of-nobody"
DOCUMENT = json.loads((Path(__file__).parent.parent / "fixtures/specs/chat.openapi.json").read_text())
KNOWN = {
    *("messages", "model", "temperature", "top_p", "response_format", "tools", "tool_choice", "parallel_tool_calls"),
    *("max_completion_tokens", "max_tokens", "stream", "stream_options"),
}
CALCULATOR = {
    "type": "function",
    "function": {"name": "calculator", "description": "adds", "parameters": {"type": "object", "properties": {}}},
}
HELLO = ModelRequest("gpt", [ModelMessage("system", "be brief"), ModelMessage("user", "hello")])

Reply = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


def validator() -> jsonschema.Draft202012Validator:
    resource = Resource.from_contents(DOCUMENT, default_specification=DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("urn:chat", resource)
    schema = {"$ref": "urn:chat#/components/schemas/CreateChatCompletionRequest"}
    return jsonschema.Draft202012Validator(schema, registry=registry)


class Server:
    """A strict /v1/chat/completions; `replies` are used up in order, the last one stays."""

    def __init__(self) -> None:
        self.replies: list[Reply] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""
        self._validator = validator()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        faults = [error.message for error in self._validator.iter_errors(body)]
        faults += [f"unknown key {key}" for key in body.keys() - KNOWN]
        faults += [
            f"{key} without tools"
            for key in ("tool_choice", "parallel_tool_calls")
            if key in body and "tools" not in body
        ]
        if faults:
            return refusal(500, "; ".join(faults), code="the_test_is_wrong")
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        return await reply(request, body)


def refusal(status: int, message: str, *, headers: dict[str, str] | None = None, **fields: Any) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}
    return web.json_response({"error": error}, status=status, headers=headers)


def refuses(status: int, message: str = "no", *, headers: dict[str, str] | None = None, **fields: Any) -> Reply:
    async def reply(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        return refusal(status, message, headers=headers, **fields)

    return reply


def completes(message: dict[str, Any], finish: Any = "stop", **extra: Any) -> Reply:
    async def reply(_: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, "logprobs": None}
        return web.json_response(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "created": 1,
                "model": body["model"],
                "choices": [choice],
                "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
                **extra,
            }
        )

    return reply


def streams(*deltas: dict[str, Any], finish: str | None = "stop", cut: bool = False) -> Reply:
    async def reply(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        assert body["stream"] is True
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)

        async def send(choices: list[dict[str, Any]], **extra: Any) -> None:
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
            await response.write(f"data: {json.dumps(chunk | extra)}\n\n".encode())

        for delta in deltas:
            await send([{"index": 0, "delta": delta, "finish_reason": None}])
        if cut:
            assert request.transport is not None
            request.transport.close()
            return response
        if finish:
            await send([{"index": 0, "delta": {}, "finish_reason": finish}])
            await send([], usage={"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10})
            await response.write(b"data: [DONE]\n\n")
        return response

    return reply


async def hangs_up(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    try:
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    async with serving(server.handle) as url:
        server.url = f"{url}/v1"
        yield server


@pytest.fixture
async def model(server: Server) -> AsyncIterator[ChatCompletionsModel]:
    model = ChatCompletionsModel(
        base_url=server.url,
        api_key=KEY,
        timeout_s=5,
        models={"gpt-4*": "qwen3", "gpt-*": "other"},
        default_model="standard",
    )
    yield model
    await model.close()


def call(call_id: str, name: str, arguments: str, **extra: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}, **extra}


async def collected(model: Model, request: ModelRequest) -> tuple[list[str], ModelAnswer]:
    *pieces, answer = [piece async for piece in model.stream(request)]
    assert isinstance(answer, ModelAnswer)
    return [str(piece) for piece in pieces], answer


async def test_text(server: Server, model: ChatCompletionsModel) -> None:
    server.replies = [completes({"content": "hi", "refusal": None, "reasoning_content": "the user greets"})]
    answer = await model.answer(HELLO)
    assert answer == ModelAnswer("hi", (), Usage(7, 3), "stop")
    assert server.bodies == [
        {
            "model": "gpt",
            "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}],
        }
    ]
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


async def test_everything_that_is_set_arrives(server: Server, model: ChatCompletionsModel) -> None:
    server.replies = [completes({"content": "{}"})]
    request = ModelRequest(
        model="gpt",
        messages=[
            ModelMessage("user", "1+1, 2+2"),
            ModelMessage("assistant", "", (ModelCall("a", "calculator", "{}"), ModelCall("b", "calculator", "{}"))),
            ModelMessage("tool", "2", call_id="a"),
            ModelMessage("tool", "4", call_id="b"),
        ],
        tools=[CALCULATOR],
        tool_choice={"type": "function", "function": {"name": "calculator"}},
        parallel_tool_calls=False,
        temperature=0.0,
        top_p=0.5,
        max_completion_tokens=99,
        response_format={"type": "json_object"},
    )
    await model.answer(request)
    [body] = server.bodies
    assert body["messages"][1] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [call("a", "calculator", "{}"), call("b", "calculator", "{}")],
    }
    assert body["messages"][3] == {"role": "tool", "tool_call_id": "b", "content": "4"}
    assert (body["temperature"], body["top_p"], body["max_completion_tokens"]) == (0.0, 0.5, 99)
    assert body["parallel_tool_calls"] is False
    assert body["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(
    ("asked", "sent"), [("gpt-4o", "qwen3"), ("gpt-5", "other"), ("llama", "llama"), ("", "standard")]
)
async def test_model_names_are_mapped(server: Server, model: ChatCompletionsModel, asked: str, sent: str) -> None:
    server.replies = [completes({"content": "hi"})]
    await model.answer(ModelRequest(asked, HELLO.messages))
    assert server.bodies[0]["model"] == sent


async def test_without_a_key_none_is_sent(server: Server) -> None:
    server.replies = [completes({"content": "hi"})]
    model = ChatCompletionsModel(base_url=server.url, api_key=None)
    await model.answer(HELLO)
    await model.close()
    assert "authorization" not in server.headers[0]


async def test_parallel_calls(server: Server, model: ChatCompletionsModel) -> None:
    calls = [call("a", "calculator", '{"x":1}'), call("b", "calculator", "not json")]
    server.replies = [completes({"content": None, "tool_calls": calls}, "tool_calls")]
    answer = await model.answer(ModelRequest("gpt", HELLO.messages, [CALCULATOR]))
    assert answer.calls == (ModelCall("a", "calculator", '{"x":1}'), ModelCall("b", "calculator", "not json"))
    assert (answer.text, answer.stop_reason) == ("", "tool_calls")
    assert server.bodies[0]["parallel_tool_calls"] is True


@pytest.mark.parametrize(
    ("message", "finish", "expected"),
    [
        ({"content": "cut"}, "length", ModelAnswer("cut", (), Usage(7, 3), "length")),
        ({"content": None, "refusal": "I will not"}, "stop", ModelAnswer("I will not", (), Usage(7, 3))),
        ({"content": ""}, "content_filter", ModelAnswer("", (), Usage(7, 3), "content_filter")),
        ({"content": "x", "tool_calls": []}, "tool_calls", ModelAnswer("x", (), Usage(7, 3), "stop")),
        ({"content": "x", "tool_calls": None}, None, ModelAnswer("x", (), Usage(7, 3), "stop")),
        ({"content": [{"type": "text", "text": "parts"}]}, "stop", ModelAnswer("parts", (), Usage(7, 3))),
        (
            {"content": "", "tool_calls": [call("", "clock", "{}")]},
            "stop",
            ModelAnswer("", (ModelCall("", "clock", "{}"),), Usage(7, 3), "tool_calls"),
        ),
    ],
)
async def test_answers_of_many_servers(
    server: Server, model: ChatCompletionsModel, message: dict[str, Any], finish: Any, expected: ModelAnswer
) -> None:
    server.replies = [completes(message, finish)]
    assert await model.answer(HELLO) == expected


async def test_usage_may_be_missing(server: Server, model: ChatCompletionsModel) -> None:
    server.replies = [completes({"content": "hi"}, usage=None)]
    assert (await model.answer(HELLO)).usage == Usage()


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "9", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "soon"}, None),
    ],
)
async def test_rate_limit(
    server: Server, model: ChatCompletionsModel, headers: dict[str, str], wait_s: float | None
) -> None:
    server.replies = [refuses(429, code="rate_limit_exceeded", headers=headers)]
    with pytest.raises(RateLimited) as caught:
        await model.answer(HELLO)
    assert caught.value.retry_after_s == wait_s
    assert len(server.bodies) == 1  # the SDK repeats nothing by itself


async def test_a_date_to_wait_for(server: Server, model: ChatCompletionsModel) -> None:
    server.replies = [refuses(429, headers={"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})]
    with pytest.raises(RateLimited) as caught:
        await model.answer(HELLO)
    assert caught.value.retry_after_s == 0.0


async def test_an_empty_purse_is_no_rate_limit(server: Server, model: ChatCompletionsModel) -> None:
    server.replies = [refuses(429, "You exceeded your current quota", code="insufficient_quota")]
    with pytest.raises(BackendRefused, match="quota"):
        await model.answer(HELLO)


@pytest.mark.parametrize("status", [500, 502, 503, 529, 408])
async def test_a_server_that_errs(server: Server, model: ChatCompletionsModel, status: int) -> None:
    server.replies = [refuses(status)]
    with pytest.raises(BackendDown):
        await model.answer(HELLO)
    assert len(server.bodies) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_server_that_says_no(server: Server, model: ChatCompletionsModel, status: int) -> None:
    server.replies = [refuses(status, f"Incorrect API key provided: {KEY}. Bearer {KEY}")]
    with pytest.raises(BackendRefused, match=f"{status}: Incorrect API key provided") as caught:
        await model.answer(HELLO)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("body", ['{"error": "no such model x"}', '{"detail": "no such model x"}', "no such model x"])
async def test_reasons_come_in_many_shapes(server: Server, model: ChatCompletionsModel, body: str) -> None:
    async def reply(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=404, text=body, content_type="application/json")

    server.replies = [reply]
    with pytest.raises(BackendRefused, match="404: no such model x"):
        await model.answer(HELLO)


async def test_any_key_is_kept_out_of_messages(server: Server) -> None:
    server.replies = [refuses(401, "bad key 0123456789abcdef given")]
    model = ChatCompletionsModel(base_url=server.url, api_key="0123456789abcdef")
    with pytest.raises(BackendRefused, match=r"401: bad key \*\*\* given"):
        await model.answer(HELLO)
    await model.close()


async def test_a_redirect_is_refused(server: Server, model: ChatCompletionsModel) -> None:
    async def elsewhere(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=301, headers={"location": "http://127.0.0.1:9/"})

    server.replies = [elsewhere]
    with pytest.raises(BackendRefused, match="301"):
        await model.answer(HELLO)


async def test_a_web_page_is_no_completion(server: Server, model: ChatCompletionsModel) -> None:
    async def page(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text="<html>welcome</html>", content_type="text/html")

    server.replies = [page]
    with pytest.raises(BackendRefused, match="OPENAI_BASE_URL"):
        await model.answer(HELLO)
    with pytest.raises((BackendRefused, BackendDown)):
        await collected(model, HELLO)


async def test_broken_json_is_a_server_that_errs(server: Server, model: ChatCompletionsModel) -> None:
    async def broken(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        return web.Response(text='{"choices": [', content_type="application/json")

    server.replies = [broken]
    with pytest.raises(BackendDown):
        await model.answer(HELLO)


@pytest.mark.parametrize("choices", [[], None, [{"index": 0}]])
async def test_an_answer_without_choices(server: Server, model: ChatCompletionsModel, choices: Any) -> None:
    server.replies = [completes({"content": "x"}, choices=choices)]
    with pytest.raises(BackendDown):
        await model.answer(HELLO)


async def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        model = ChatCompletionsModel(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1", api_key=KEY)
        with pytest.raises(Unreachable):
            await model.answer(HELLO)
        await model.close()


async def test_a_connection_that_is_cut(server: Server, model: ChatCompletionsModel) -> None:
    server.replies = [hangs_up]
    with pytest.raises(BackendDown):
        await model.answer(HELLO)


async def test_a_silent_server_is_given_up(server: Server) -> None:
    gone = asyncio.Event()

    async def silent(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        await gone.wait()
        return web.Response()

    server.replies = [silent]
    model = ChatCompletionsModel(base_url=server.url, api_key=KEY, timeout_s=0.2)
    with pytest.raises(BackendDown):
        await model.answer(HELLO)
    gone.set()
    await model.close()


async def test_cancelling_ends_the_request(server: Server, model: ChatCompletionsModel) -> None:
    arrived, left = asyncio.Event(), asyncio.Event()

    async def silent(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        arrived.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()  # the server's handler is cancelled when the client goes
        raise AssertionError("unreachable")

    server.replies = [silent]
    asking = asyncio.create_task(model.answer(HELLO))
    await arrived.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    async with asyncio.timeout(5):
        await left.wait()


async def test_an_old_servers_name_for_the_limit_is_found_and_kept(server: Server, model: ChatCompletionsModel) -> None:
    message = "Unrecognized request argument supplied: max_completion_tokens"
    server.replies = [refuses(400, message), completes({"content": "hi"})]
    request = ModelRequest("gpt", HELLO.messages, max_completion_tokens=50)
    await model.answer(request)
    await model.answer(request)
    assert [body.get("max_tokens") for body in server.bodies] == [None, 50, 50]
    assert "max_completion_tokens" not in server.bodies[1]


async def test_refused_parameters_are_left_out_one_by_one(server: Server, model: ChatCompletionsModel) -> None:
    server.replies = [
        refuses(400, "no", param="temperature", code="unsupported_value"),
        refuses(400, "no", param="parallel_tool_calls", code="unsupported_parameter"),
        completes({"content": "hi"}),
    ]
    await model.answer(ModelRequest("gpt", HELLO.messages, [CALCULATOR], temperature=0.1, top_p=0.9))
    assert [("temperature" in body, "parallel_tool_calls" in body) for body in server.bodies] == [
        (True, True),
        (False, True),
        (False, False),
    ]
    assert server.bodies[2]["top_p"] == 0.9


async def test_a_refusal_of_what_was_not_sent_is_final(server: Server, model: ChatCompletionsModel) -> None:
    server.replies = [refuses(400, "no temperature please", param="temperature")]
    with pytest.raises(BackendRefused):
        await model.answer(HELLO)
    assert len(server.bodies) == 1


async def test_a_parameter_in_passing_is_not_left_out(server: Server, model: ChatCompletionsModel) -> None:
    server.replies = [refuses(400, "messages too long for top_p", param="messages")]
    with pytest.raises(BackendRefused):
        await model.answer(ModelRequest("gpt", HELLO.messages, top_p=0.5))
    assert len(server.bodies) == 1


async def test_streamed_text(server: Server, model: ChatCompletionsModel) -> None:
    server.replies = [
        streams(
            {"role": "assistant", "content": ""}, {"reasoning_content": "hm"}, {"content": "he"}, {"content": "llo"}
        )
    ]
    pieces, answer = await collected(model, HELLO)
    assert pieces == ["he", "llo"]
    assert answer == ModelAnswer("hello", (), Usage(7, 3), "stop")


async def test_streamed_calls_are_put_together_by_index(server: Server, model: ChatCompletionsModel) -> None:
    def part(index: int, arguments: str, **start: Any) -> dict[str, Any]:
        name = {"name": start.pop("name")} if "name" in start else {}
        return {"tool_calls": [{"index": index, "function": {"arguments": arguments, **name}, **start}]}

    server.replies = [
        streams(
            part(0, "", id="a", type="function", name="calculator"),
            part(0, '{"x"'),
            part(1, "", id="b", type="function", name="clock"),
            part(1, "{}"),
            part(0, ":1}"),
            finish="tool_calls",
        )
    ]
    pieces, answer = await collected(model, ModelRequest("gpt", HELLO.messages, [CALCULATOR]))
    assert pieces == []
    assert answer.calls == (ModelCall("a", "calculator", '{"x":1}'), ModelCall("b", "clock", "{}"))
    assert answer.stop_reason == "tool_calls"


async def test_streamed_calls_without_an_index(server: Server, model: ChatCompletionsModel) -> None:
    calls = [call("a", "calculator", "{}"), call("b", "clock", "{}")]
    server.replies = [streams({"tool_calls": calls})]
    _, answer = await collected(model, HELLO)
    assert answer.calls == (ModelCall("a", "calculator", "{}"), ModelCall("b", "clock", "{}"))


@pytest.mark.parametrize("reply", [streams({"content": "he"}, cut=True), streams({"content": "he"}, finish=None)])
async def test_a_cut_stream_is_no_answer(server: Server, model: ChatCompletionsModel, reply: Reply) -> None:
    server.replies = [reply]
    with pytest.raises(BackendDown):
        await collected(model, HELLO)


async def test_an_error_inside_the_stream(server: Server, model: ChatCompletionsModel) -> None:
    async def reply(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"error": {"message": "overloaded", "type": "server_error", "code": null}}\n\n')
        return response

    server.replies = [reply]
    with pytest.raises(BackendDown):
        await collected(model, HELLO)


async def test_a_streams_refusal_is_an_error_like_any_other(server: Server, model: ChatCompletionsModel) -> None:
    server.replies = [
        refuses(400, "unknown field stream_options"),
        streams({"content": "hi"}),
    ]
    _, answer = await collected(model, HELLO)
    assert answer.text == "hi"
    server.replies = [refuses(429)]
    with pytest.raises(RateLimited):
        await collected(model, HELLO)


async def test_a_proxy_is_used_and_the_environments_is_not(monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    seen: list[str] = []

    async def forward(request: web.Request) -> web.StreamResponse:
        seen.append(str(request.url))
        return await server.handle(request)

    server.replies = [completes({"content": "hi"})]
    async with serving(forward) as proxy:
        model = ChatCompletionsModel(base_url="http://model.invalid/v1", api_key=KEY, proxy=proxy)
        assert (await model.answer(HELLO)).text == "hi"
        await model.close()
    assert seen == ["http://model.invalid/v1/chat/completions"]
    direct = ChatCompletionsModel(base_url=server.url, api_key=KEY)
    assert (await direct.answer(HELLO)).text == "hi"
    await direct.close()
