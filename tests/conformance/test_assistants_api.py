"""The embedded Assistants service as its users see it: the official SDK over HTTP, every answer judged."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from openai import BadRequestError, NotFoundError

from gateway.assistants.desk import Desk
from gateway.assistants.work import RunAnswer, WorkCall
from tests.conformance.conftest import EXPIRY_S, KEY, HandClock, Served
from tests.conformance.openapi import golden

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
]

Sdk = Any
"""AsyncOpenAI; with its unions of every kind of content and step, each look into an answer would need a cast."""

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALLS = (WorkCall("call_a", "get_weather", '{"city":"Oslo"}'), WorkCall("call_b", "get_weather", '{"city": not json'))


@pytest_asyncio.fixture(loop_scope="module")
async def assistant(client: Sdk) -> Any:
    return await client.beta.assistants.create(
        model="scripted", name="Helper", instructions="Be brief.", tools=[WEATHER]
    )


@pytest_asyncio.fixture(loop_scope="module")
async def thread(client: Sdk) -> Any:
    return await client.beta.threads.create(messages=[{"role": "user", "content": "Hi"}])


async def start(client: Sdk, thread: Any, assistant: Any, **options: Any) -> Any:
    return await client.beta.threads.runs.create(thread.id, assistant_id=assistant.id, **options)


def said(refusal: BadRequestError) -> str:
    """The message of the envelope."""
    assert isinstance(refusal.body, dict)
    return str(refusal.body["message"])


async def see(client: Sdk, run: Any) -> Any:
    return await client.beta.threads.runs.retrieve(run.id, thread_id=run.thread_id)


async def bring_to(status: str, client: Sdk, desk: Desk, run: Any, clock: HandClock) -> None:
    """Take a queued run to `status` as executors and users do."""
    if status == "queued":
        return
    if status == "expired":
        clock.advance(EXPIRY_S)
        return
    assert await desk.claim(run.id, "owner", 30) is not None
    if status == "requires_action":
        assert await desk.report(run.id, "owner", RunAnswer(calls=CALLS, stop_reason="tool_calls"))
    elif status == "completed":
        assert await desk.report(run.id, "owner", RunAnswer("Hello"))
    elif status == "incomplete":
        assert await desk.report(run.id, "owner", RunAnswer("Hel", stop_reason="length"))
    elif status == "failed":
        assert await desk.fail(run.id, "owner", "server_error", "Sorry, something went wrong.")
    elif status in ("cancelling", "cancelled"):
        await client.beta.threads.runs.cancel(run.id, thread_id=run.thread_id)
        if status == "cancelled":
            assert await desk.settle(run.id, "owner")


# --- assistants, threads, messages --------------------------------------------------------------------------------


async def test_assistants_are_made_read_changed_listed_and_deleted(client: Sdk) -> None:
    made = await client.beta.assistants.create(model="m", name="One", tools=[WEATHER], metadata={"k": "v"})
    assert re.fullmatch(r"asst_[0-9A-Za-z]{24}", made.id)
    changed = await client.beta.assistants.update(made.id, instructions="New", metadata={}, tools=[])
    assert (changed.name, changed.instructions, changed.metadata, changed.tools) == ("One", "New", {}, [])
    assert await client.beta.assistants.retrieve(made.id) == changed
    assert (await client.beta.assistants.list(limit=1)).data == [changed]
    assert (await client.beta.assistants.delete(made.id)).deleted
    with pytest.raises(NotFoundError):
        await client.beta.assistants.retrieve(made.id)


async def test_threads_keep_their_messages_in_order(client: Sdk) -> None:
    thread = await client.beta.threads.create(
        messages=[{"role": "user", "content": str(n)} for n in range(5)], metadata={"chat": "tg:1"}
    )
    await client.beta.threads.messages.create(thread.id, role="assistant", content="5", metadata={"n": "5"})
    listed = await client.beta.threads.messages.list(thread.id, order="asc")
    assert [message.content[0].text.value for message in listed.data] == ["0", "1", "2", "3", "4", "5"]
    assert (await client.beta.threads.update(thread.id, metadata={"chat": "sl:2"})).metadata == {"chat": "sl:2"}
    assert (await client.beta.threads.retrieve(thread.id)).metadata == {"chat": "sl:2"}
    assert (await client.beta.threads.delete(thread.id)).deleted
    with pytest.raises(NotFoundError, match=f"No thread found with id '{thread.id}'"):
        await client.beta.threads.messages.list(thread.id)


async def test_messages_take_parts_and_only_their_metadata_changes(client: Sdk, thread: Any) -> None:
    parts = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]
    made = await client.beta.threads.messages.create(thread.id, role="user", content=parts)
    assert [part.type for part in made.content] == ["text", "image_url"]
    changed = await client.beta.threads.messages.update(made.id, thread_id=thread.id, metadata={"a": "b"})
    assert changed == await client.beta.threads.messages.retrieve(made.id, thread_id=thread.id)
    assert (await client.beta.threads.messages.delete(made.id, thread_id=thread.id)).deleted
    with pytest.raises(NotFoundError, match=f"No message found with id '{made.id}'"):
        await client.beta.threads.messages.retrieve(made.id, thread_id=thread.id)


async def test_what_utf8_and_databases_cannot_hold_is_replaced(http: httpx.AsyncClient, thread: Any) -> None:
    raw = rb'{"role":"user","content":"a\u0000b\ud800c\ud83d\ude00"}'
    made = await http.post(f"threads/{thread.id}/messages", content=raw)
    assert made.json()["content"][0]["text"]["value"] == "a\ufffdb\ufffdc\U0001f600"


async def test_lists_are_walked_both_ways(client: Sdk) -> None:
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": str(n)} for n in range(7)])
    messages = client.beta.threads.messages
    ids = [message.id async for message in messages.list(thread.id, limit=3, order="asc")]
    assert len(ids) == len(set(ids)) == 7
    newest_first = [message.id async for message in messages.list(thread.id, limit=2)]
    assert newest_first == ids[::-1]
    page = await messages.list(thread.id, order="asc", limit=2, before=ids[4])
    assert [message.id for message in page.data] == ids[2:4]
    assert page.has_more
    page = await messages.list(thread.id, order="asc", after=ids[1], before=ids[4])
    assert [message.id for message in page.data] == ids[2:4]
    assert not page.has_more
    with pytest.raises(BadRequestError, match="No message found with id 'msg_x'"):
        await messages.list(thread.id, after="msg_x")


# --- runs ---------------------------------------------------------------------------------------------------------


async def test_a_run_from_creation_to_reply(
    client: Sdk, served: Served, desk: Desk, thread: Any, assistant: Any
) -> None:
    run = await start(
        client,
        thread,
        assistant,
        additional_instructions="In Norwegian.",
        additional_messages=[{"role": "user", "content": "How are you?", "metadata": {"event": "7"}}],
        metadata={"turn": "t1"},
        temperature=0.5,
        max_completion_tokens=300,
    )
    assert (run.status, run.expires_at - run.created_at, run.usage) == ("queued", EXPIRY_S, None)
    assert served.woken[-1] == run.id
    work = await desk.claim(run.id, "owner", 10)
    assert work is not None
    assert [(message.role, message.content) for message in work.messages] == [
        ("system", "Be brief.\n\nIn Norwegian."),
        ("user", "Hi"),
        ("user", "How are you?"),
    ]
    assert work.tools == [WEATHER]
    assert (work.temperature, work.top_p, work.max_completion_tokens) == (0.5, None, 300)
    assert (await see(client, run)).status == "in_progress"
    assert await desk.report(run.id, "owner", RunAnswer("Bra!", prompt_tokens=20, completion_tokens=5))
    done = await see(client, run)
    assert done.status == "completed"
    assert done.usage.total_tokens == 25
    assert done.expires_at is None
    listed = await client.beta.threads.messages.list(thread.id, run_id=run.id)
    assert [message.content[0].text.value for message in listed.data] == ["Bra!"]
    assert listed.data[0].assistant_id == assistant.id
    steps = await client.beta.threads.runs.steps.list(run.id, thread_id=thread.id)
    assert steps.data[0].step_details.message_creation.message_id == listed.data[0].id
    one = await client.beta.threads.runs.steps.retrieve(steps.data[0].id, thread_id=thread.id, run_id=run.id)
    assert one.usage.total_tokens == 25


async def test_two_parallel_calls_then_the_reply(
    client: Sdk, served: Served, desk: Desk, thread: Any, assistant: Any
) -> None:
    run = await start(client, thread, assistant, tool_choice="required")
    await desk.claim(run.id, "one", 10)
    asked = RunAnswer("Let me see.", CALLS, prompt_tokens=10, completion_tokens=4, stop_reason="tool_calls")
    assert await desk.report(run.id, "one", asked)
    waiting = await see(client, run)
    demanded = waiting.required_action.submit_tool_outputs.tool_calls
    assert [(call.id, call.function.arguments) for call in demanded] == [(c.id, c.arguments) for c in CALLS]
    (step, _) = (await client.beta.threads.runs.steps.list(run.id, thread_id=thread.id)).data
    assert (step.status, step.usage, step.step_details.tool_calls[0].function.output) == ("in_progress", None, None)
    outputs = [{"tool_call_id": "call_b", "output": "no such city"}, {"tool_call_id": "call_a", "output": "12 C"}]
    again = await client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=outputs)
    assert (again.status, again.required_action) == ("queued", None)
    assert served.woken.count(run.id) == 2
    work = await desk.claim(run.id, "two", 10)
    assert work is not None
    assert [(m.role, m.content, m.call_id) for m in work.messages[-3:]] == [
        ("assistant", "Let me see.", ""),
        ("tool", "12 C", "call_a"),
        ("tool", "no such city", "call_b"),
    ]
    assert work.messages[-3].calls == CALLS
    assert work.tool_choice == "auto"
    assert await desk.report(run.id, "two", RunAnswer("12 C in Oslo.", prompt_tokens=30, completion_tokens=6))
    done = await see(client, run)
    assert (done.status, done.usage.total_tokens) == ("completed", 50)
    steps = await client.beta.threads.runs.steps.list(run.id, thread_id=thread.id, order="asc")
    assert [step.type for step in steps.data] == ["message_creation", "tool_calls", "message_creation"]
    assert sum(step.usage.total_tokens for step in steps.data) == 50
    assert (steps.data[1].status, steps.data[1].step_details.tool_calls[1].function.output) == (
        "completed",
        "no such city",
    )


async def test_a_thread_and_its_run_in_one_call(client: Sdk, desk: Desk, assistant: Any) -> None:
    run = await client.beta.threads.create_and_run(
        assistant_id=assistant.id,
        thread={"messages": [{"role": "user", "content": "Hi"}], "metadata": {"a": "b"}},
        instructions="Only this.",
        tools=[],
        tool_choice="none",
    )
    assert (await client.beta.threads.retrieve(run.thread_id)).metadata == {"a": "b"}
    work = await desk.claim(run.id, "owner", 10)
    assert work is not None
    assert [message.content for message in work.messages] == ["Only this.", "Hi"]
    assert (work.tools, work.tool_choice) == ([], None)


async def test_the_sdks_own_poller_is_told_when_to_look(client: Sdk, desk: Desk, thread: Any, assistant: Any) -> None:
    run = await start(client, thread, assistant)
    await desk.claim(run.id, "owner", 10)
    raw = await client.beta.threads.runs.with_raw_response.retrieve(run.id, thread_id=thread.id)
    assert 100 <= int(raw.headers["openai-poll-after-ms"]) <= 500
    await desk.report(run.id, "owner", RunAnswer("Hello"))
    polled = await client.beta.threads.runs.poll(run.id, thread_id=thread.id)
    assert polled.status == "completed"
    raw = await client.beta.threads.runs.with_raw_response.retrieve(run.id, thread_id=thread.id)
    assert "openai-poll-after-ms" not in raw.headers


async def test_of_two_runs_that_are_asked_for_together_one_is_made(client: Sdk, thread: Any, assistant: Any) -> None:
    results = await asyncio.gather(*(start(client, thread, assistant) for _ in range(5)), return_exceptions=True)
    made = [result for result in results if not isinstance(result, BaseException)]
    assert len(made) == 1
    for refusal in results:
        if isinstance(refusal, BadRequestError):
            assert said(refusal) == f"Thread {thread.id} already has an active run {made[0].id}."
    assert sum(isinstance(result, BadRequestError) for result in results) == 4


async def test_a_broker_that_is_away_does_not_fail_the_request(
    client: Sdk, served: Served, desk: Desk, thread: Any, assistant: Any
) -> None:
    served.broker_down = True
    try:
        run = await start(client, thread, assistant)
    finally:
        served.broker_down = False
    assert run.id not in await desk.due(1000)  # its own wake-up has half a second
    served.clock.advance(0.6)
    assert run.id in await desk.due(1000)


@pytest.mark.parametrize("status", ["queued", "in_progress", "requires_action"])
async def test_active_runs_can_be_cancelled(
    client: Sdk, served: Served, desk: Desk, thread: Any, assistant: Any, status: str
) -> None:
    run = await start(client, thread, assistant)
    await bring_to(status, client, desk, run, served.clock)
    asked = await client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
    assert (asked.status, asked.required_action) == ("cancelling", None)
    if status == "in_progress":  # its executor is told, and lets go
        assert (await see(client, run)).status == "cancelling"
        assert await desk.renew(run.id, "owner", 10) == "cancel"
        assert await desk.settle(run.id, "owner")
    ended = await see(client, run)
    assert ended.status == "cancelled"
    assert ended.cancelled_at is not None
    for step in (await client.beta.threads.runs.steps.list(run.id, thread_id=thread.id)).data:
        assert step.status == "cancelled"
    await client.beta.threads.messages.create(thread.id, role="user", content="free again")


@pytest.mark.parametrize("status", ["cancelling", "cancelled", "completed", "incomplete", "failed", "expired"])
async def test_other_runs_cannot_be_cancelled(
    client: Sdk, served: Served, desk: Desk, thread: Any, assistant: Any, status: str
) -> None:
    run = await start(client, thread, assistant)
    await bring_to(status, client, desk, run, served.clock)
    with pytest.raises(BadRequestError) as refusal:
        await client.beta.threads.runs.cancel(run.id, thread_id=thread.id)
    assert said(refusal.value) == f"Cannot cancel run with status '{status}'."


@pytest.mark.parametrize("status", ["queued", "in_progress", "requires_action", "cancelling"])
async def test_time_ends_active_runs_and_frees_the_thread(
    client: Sdk, served: Served, desk: Desk, thread: Any, assistant: Any, status: str
) -> None:
    run = await start(client, thread, assistant)
    await bring_to(status, client, desk, run, served.clock)
    served.clock.advance(EXPIRY_S)
    again = await start(client, thread, assistant)  # nobody has looked at the old one yet
    assert (await see(client, run)).status == "expired"
    assert (await see(client, again)).status == "queued"
    for step in (await client.beta.threads.runs.steps.list(run.id, thread_id=thread.id)).data:
        assert step.status == "expired"


async def test_expired_runs_are_seen_as_such_in_every_view(
    client: Sdk, served: Served, desk: Desk, thread: Any, assistant: Any
) -> None:
    run = await start(client, thread, assistant)
    await bring_to("requires_action", client, desk, run, served.clock)
    waiting = (await client.beta.threads.runs.list(thread.id)).data[0]
    assert len(waiting.required_action.submit_tool_outputs.tool_calls) == 2
    served.clock.advance(EXPIRY_S)
    (listed,) = (await client.beta.threads.runs.list(thread.id)).data
    assert (listed.status, listed.required_action, listed.expires_at) == ("expired", None, None)
    with pytest.raises(BadRequestError, match=r'Runs in status "expired" do not accept tool outputs\.'):
        await client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=[])


@pytest.mark.parametrize("status", ["queued", "in_progress", "requires_action", "cancelling"])
async def test_a_busy_thread_takes_no_message_and_no_run(
    client: Sdk, served: Served, desk: Desk, thread: Any, assistant: Any, status: str
) -> None:
    run = await start(client, thread, assistant)
    await bring_to(status, client, desk, run, served.clock)
    with pytest.raises(BadRequestError) as message:
        await client.beta.threads.messages.create(thread.id, role="user", content="too early")
    assert message.value.body == {
        "message": f"Can't add messages to {thread.id} while a run {run.id} is active.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    with pytest.raises(
        BadRequestError, match=f"^Error code: 400.*Thread {thread.id} already has an active run {run.id}"
    ):
        await start(client, thread, assistant, additional_messages=[{"role": "user", "content": "lost?"}])
    assert len((await client.beta.threads.messages.list(thread.id)).data) == 1


@pytest.mark.parametrize("given", [["call_a"], ["call_a", "call_b", "call_c"], ["call_a", "call_a"], []])
async def test_outputs_must_match_the_calls(
    client: Sdk, served: Served, desk: Desk, thread: Any, assistant: Any, given: list[str]
) -> None:
    run = await start(client, thread, assistant)
    await bring_to("requires_action", client, desk, run, served.clock)
    with pytest.raises(BadRequestError) as refusal:
        await client.beta.threads.runs.submit_tool_outputs(
            run.id, thread_id=thread.id, tool_outputs=[{"tool_call_id": name, "output": ""} for name in given]
        )
    assert said(refusal.value) == f"Expected tool outputs for call_ids ['call_a', 'call_b'], got {given!r}"
    assert (await see(client, run)).status == "requires_action"


@pytest.mark.parametrize("status", ["queued", "in_progress", "cancelling", "cancelled", "completed", "failed"])
async def test_outputs_are_taken_only_when_asked_for(
    client: Sdk, served: Served, desk: Desk, thread: Any, assistant: Any, status: str
) -> None:
    run = await start(client, thread, assistant)
    await bring_to(status, client, desk, run, served.clock)
    with pytest.raises(BadRequestError) as refusal:
        await client.beta.threads.runs.submit_tool_outputs(run.id, thread_id=thread.id, tool_outputs=[])
    assert said(refusal.value) == f'Runs in status "{status}" do not accept tool outputs.'


async def test_failed_and_changed_runs(client: Sdk, served: Served, desk: Desk, thread: Any, assistant: Any) -> None:
    run = await start(client, thread, assistant)
    await bring_to("failed", client, desk, run, served.clock)
    changed = await client.beta.threads.runs.update(run.id, thread_id=thread.id, metadata={"seen": "yes"})
    assert changed.metadata == {"seen": "yes"}
    assert (changed.last_error.code, changed.last_error.message) == ("server_error", "Sorry, something went wrong.")


STATUSES = [name.removeprefix("run_") for name in golden()["objects"] if name.startswith("run_")]


@pytest.mark.parametrize("status", STATUSES)
async def test_runs_look_like_the_golden_ones(
    client: Sdk, http: httpx.AsyncClient, served: Served, desk: Desk, thread: Any, assistant: Any, status: str
) -> None:
    """Same keys, null in the same places, the same kinds of values."""
    run = await start(client, thread, assistant)
    if status == "expired":  # the golden one had been started
        await desk.claim(run.id, "owner", 30)
    await bring_to(status, client, desk, run, served.clock)
    body = (await http.get(f"threads/{thread.id}/runs/{run.id}")).json()
    model = golden()["objects"][f"run_{status}"]["value"]
    assert list(body) == list(model)
    assert {key for key in body if body[key] is None} == {key for key in model if model[key] is None}
    same = ("object", "status", "instructions", "tools", "temperature", "tool_choice", "truncation_strategy")
    assert {key: body[key] for key in same} == {key: model[key] for key in same}


# --- the door -----------------------------------------------------------------------------------------------------


async def test_unknown_keys_are_refused(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url, trust_env=False) as http:
        without = await http.get("assistants")
        wrong = await http.get("assistants", headers={"authorization": "Bearer sk-0123456789abcdefwxyz"})
        basic = await http.get("nowhere", headers={"authorization": f"Basic {KEY}"})
    assert [answer.status_code for answer in (without, wrong, basic)] == [401, 401, 401]
    error = wrong.json()["error"]
    assert error["message"].startswith("Incorrect API key provided: sk-...wxyz. ")
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, "invalid_api_key")


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"host": "127.0.0.1.evil.example:80"},
    ],
)
async def test_foreign_hosts_and_origins_are_refused(http: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await http.get("assistants", headers=headers)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] in ("foreign_host", "foreign_origin")


async def test_own_origin_and_any_beta_header_are_welcome(http: httpx.AsyncClient, served: Served) -> None:
    headers = {"origin": f"http://localhost:{served.port}", "openai-beta": "assistants=v2"}
    assert (await http.get("assistants", headers=headers)).status_code == 200


async def test_too_large_bodies_are_refused_announced_or_not(http: httpx.AsyncClient) -> None:
    async def endless() -> Any:
        for _ in range(30):
            yield b" " * 100_000

    for content in (b" " * 2_000_001, endless()):
        answer = await http.post("threads", content=content)
        assert answer.status_code == 413
        assert "too large" in answer.json()["error"]["message"]


@pytest.mark.parametrize("raw", [b"{", b"[1]", b"nul", b"\xff", b'{"metadata": NaN}', b"[" * 50_000, b"1" * 5000])
async def test_what_is_not_a_json_object_is_refused(http: httpx.AsyncClient, raw: bytes) -> None:
    assert (await http.post("threads", content=raw)).status_code == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "nowhere", 404),
        ("PUT", "assistants", 405),
        ("GET", "threads/%00", 404),
        ("GET", "threads/a%20b/messages", 404),
        ("GET", "assistants/", 404),
        ("GET", "threads", 405),
    ],
)
async def test_unknown_routes_have_the_envelope(http: httpx.AsyncClient, method: str, path: str, status: int) -> None:
    answer = await http.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "kind", "id"),
    [
        ("assistants/asst_x", "assistant", "asst_x"),
        ("threads/thread_x", "thread", "thread_x"),
        ("threads/thread_x/runs", "thread", "thread_x"),
        ("threads/thread_x/runs/run_x", "thread", "thread_x"),
        ("threads/{}/runs/run_x", "run", "run_x"),
        ("threads/{}/runs/run_x/steps", "run", "run_x"),
        ("threads/{}/messages/msg_x", "message", "msg_x"),
        ("models/gpt-x", "model", "gpt-x"),
    ],
)
async def test_what_is_not_there(http: httpx.AsyncClient, thread: Any, path: str, kind: str, id: str) -> None:
    answer = await http.get(path.format(thread.id))
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == f"No {kind} found with id '{id}'."


BAD_BODIES: list[tuple[str, dict[str, Any], str | None, str | None, str]] = [
    # path, body, param, code, part of the message
    ("assistants", {}, "model", "missing_required_parameter", "Missing required parameter: 'model'."),
    ("assistants", {"model": 3}, "model", "invalid_type", "expected a string, but got an integer instead."),
    ("assistants", {"model": "m", "modle": 1}, "modle", "unknown_parameter", "Unknown parameter: 'modle'."),
    ("assistants", {"model": "m", "name": "x" * 257}, "name", "string_above_max_length", "with length 257 instead."),
    ("assistants", {"model": "m", "temperature": 3}, "temperature", "decimal_above_max_value", "<= 2.0"),
    ("assistants", {"model": "m", "tools": [WEATHER] * 129}, "tools", "array_above_max_length", "length 129 instead."),
    ("assistants", {"model": "m", "tools": [{"type": "file_search"}]}, "tools[0]", "unsupported_value", "file_search"),
    ("assistants", {"model": "m", "tools": [{"type": "x"}]}, "tools[0].type", "invalid_value", "'x'"),
    (
        "assistants",
        {"model": "m", "tools": [{"type": "function", "function": {"name": "a b"}}]},
        "tools[0].function.name",
        "invalid_value",
        "does not match pattern",
    ),
    ("assistants", {"model": "m", "response_format": "json"}, "response_format", "invalid_value", "'auto'"),
    (
        "assistants",
        {"model": "m", "tool_resources": {"file_search": {"vector_store_ids": ["vs_1"]}}},
        "tool_resources",
        "unsupported_value",
        "not supported yet",
    ),
    (
        "threads",
        {"metadata": {str(n): "" for n in range(17)}},
        "metadata",
        "object_above_max_properties",
        golden()["errors"]["metadata_count"]["body"]["error"]["message"],
    ),
    (
        "threads",
        {"metadata": {"k": "x" * 513}},
        "metadata.k",
        "string_above_max_length",
        "too long. Expected a string with maximum length 512, but got a string with length 513 instead.",
    ),
    ("threads", {"metadata": {"k" * 65: ""}}, "metadata", "invalid_value", "maximum length 64"),
    ("threads", {"metadata": {"k": 1}}, "metadata.k", "invalid_type", "expected a string"),
    ("threads", {"metadata": []}, "metadata", "invalid_type", "expected an object, but got an array instead."),
    ("threads", {"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter", "Missing"),
    (
        "threads",
        {"messages": [{"role": "tool", "content": ""}]},
        "messages[0].role",
        "invalid_value",
        "Invalid value: 'tool'. Supported values are: 'user' or 'assistant'.",
    ),
    ("threads", {"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "invalid_type", "an integer"),
    ("threads", {"messages": [{"role": "user", "content": []}]}, "messages[0].content", "array_below_min_length", ""),
    (
        "threads",
        {"messages": [{"role": "user", "content": [{"type": "text", "text": {"value": "x"}}]}]},
        "messages[0].content[0].text",
        "invalid_type",
        "expected a string, but got an object instead.",
    ),
    (
        "threads/{}/messages",
        {"role": "user", "content": "x" * 256_001},
        "content",
        "string_above_max_length",
        "maximum length 256000",
    ),
    (
        "threads/{}/messages",
        {"role": "user", "content": "", "attachments": [{"file_id": "f", "tools": []}]},
        "attachments",
        "unsupported_value",
        "Attaching files to messages is not supported yet",
    ),
    (
        "threads/{}/messages",
        {"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": "f"}}]},
        "content[0]",
        "unsupported_value",
        "image_file",
    ),
    ("threads/{}/runs", {}, "assistant_id", "missing_required_parameter", "Missing"),
    ("threads/{}/runs", {"assistant_id": "a", "stream": True}, "stream", "unsupported_value", "stream=true"),
    ("threads/{}/runs", {"assistant_id": "a", "max_prompt_tokens": 9}, "max_prompt_tokens", None, ">= 256, but got 9"),
    (
        "threads/{}/runs",
        {"assistant_id": "a", "truncation_strategy": {"type": "last_messages"}},
        "truncation_strategy",
        "missing_required_parameter",
        "last_messages",
    ),
    ("threads/{}/runs", {"assistant_id": "a", "parallel_tool_calls": 1}, "parallel_tool_calls", "invalid_type", ""),
    ("threads/{}/runs", {"assistant_id": "a", "thread": {}}, "thread", "unknown_parameter", "Unknown"),
    ("threads/runs", {"assistant_id": "a", "additional_messages": []}, "additional_messages", None, "Unknown"),
]


@pytest.mark.parametrize(("path", "body", "param", "code", "text"), BAD_BODIES)
async def test_bad_bodies_are_refused_with_place_and_reason(
    http: httpx.AsyncClient,
    thread: Any,
    path: str,
    body: dict[str, Any],
    param: str | None,
    code: str | None,
    text: str,
) -> None:
    answer = await http.post(path.format(thread.id), json=body)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["param"] == param, error
    assert code is None or error["code"] == code
    assert text in error["message"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=101", "limit=x", "order=up", "after=msg%00", "limit=" + "9" * 5000]
)
async def test_bad_queries_are_refused(http: httpx.AsyncClient, query: str) -> None:
    answer = await http.get(f"assistants?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == query.partition("=")[0]


async def test_a_named_choice_must_be_among_the_tools(client: Sdk, desk: Desk, thread: Any, assistant: Any) -> None:
    choice = {"type": "function", "function": {"name": "get_weather"}}
    with pytest.raises(BadRequestError, match="Tool choice 'nope' not found"):
        await start(client, thread, assistant, tool_choice={"type": "function", "function": {"name": "nope"}})
    run = await start(client, thread, assistant, tool_choice=choice)
    work = await desk.claim(run.id, "owner", 10)
    assert work is not None
    assert work.tool_choice == choice


Post = Callable[[str, dict[str, Any], str], Awaitable[httpx.Response]]


@pytest.fixture
def post(http: httpx.AsyncClient) -> Post:
    async def send(path: str, body: dict[str, Any], key: str) -> httpx.Response:
        return await http.post(path, json=body, headers={"idempotency-key": key})

    return send


async def test_a_repeated_post_makes_one_object(
    client: Sdk, desk: Desk, served: Served, post: Post, thread: Any, assistant: Any
) -> None:
    run_body = {"assistant_id": assistant.id, "additional_messages": [{"role": "user", "content": "once"}]}
    for path, body in (
        ("assistants", {"model": "m"}),
        ("threads", {"messages": []}),
        ("threads/runs", {"assistant_id": assistant.id}),
        (f"threads/{thread.id}/messages", {"role": "user", "content": "first"}),
        (f"threads/{thread.id}/runs", run_body),
    ):
        answers = await asyncio.gather(*(post(path, body, f"{thread.id} {path}") for _ in range(3)))
        assert len({answer.json()["id"] for answer in answers}) == 1, path
        other = await post(path, {**body, "metadata": {"other": "body"}}, f"{thread.id} {path}")
        assert other.json()["error"]["code"] == "idempotency_key_reused"
    texts = [m.content[0].text.value for m in (await client.beta.threads.messages.list(thread.id, order="asc")).data]
    assert texts == ["Hi", "first", "once"]
    run = (await client.beta.threads.runs.list(thread.id)).data[0]
    await bring_to("requires_action", client, desk, run, served.clock)
    outputs = {"tool_outputs": [{"tool_call_id": call.id, "output": ""} for call in CALLS]}
    path = f"threads/{thread.id}/runs/{run.id}/submit_tool_outputs"
    assert [(await post(path, outputs, "s")).json()["status"] for _ in range(2)] == ["queued", "queued"]


async def test_a_refused_request_leaves_no_key_and_keys_end_after_a_day(
    client: Sdk, served: Served, post: Post, thread: Any
) -> None:
    path, body = f"threads/{thread.id}/runs", {"assistant_id": "asst_missing"}
    assert [(await post(path, body, "k")).status_code for _ in range(2)] == [404, 404]
    first = (await post("threads", {}, f"day {thread.id}")).json()["id"]
    served.clock.advance(24 * 3600 - 1)
    assert (await post("threads", {}, f"day {thread.id}")).json()["id"] == first
    served.clock.advance(2)
    assert (await post("threads", {}, f"day {thread.id}")).json()["id"] != first


async def test_models_are_listed_without_wildcards(client: Sdk) -> None:
    assert [model.id async for model in client.models.list()] == ["small", "scripted", "scripted-small"]
    assert (await client.models.retrieve("scripted")).owned_by == "threadway"
