"""The executor's side: claims under a lease, take-over, late reports, budgets, what the model is shown."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import select

from gateway.assistants.desk import Desk
from gateway.assistants.records import Database
from gateway.assistants.tables import RunRow
from gateway.assistants.work import RunAnswer, RunDesk, RunSignal, WorkCall
from tests.conformance.conftest import EXPIRY_S, Served

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning"),
]

TOOL = {"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object"}}}
CALL = WorkCall("call_1", "f", "{}")
LEASE_S = 10.0


class Bench:
    """One thread with an assistant, and short words for what the tests do to it."""

    def __init__(self, client: Any, thread_id: str, assistant_id: str) -> None:
        self.runs = client.beta.threads.runs
        self.messages = client.beta.threads.messages
        self.thread_id = thread_id
        self._assistant_id = assistant_id

    async def start(self, **options: Any) -> str:
        run = await self.runs.create(self.thread_id, assistant_id=self._assistant_id, **options)
        return str(run.id)

    async def see(self, run_id: str) -> Any:
        return await self.runs.retrieve(run_id, thread_id=self.thread_id)

    async def texts(self) -> list[str]:
        listed = await self.messages.list(self.thread_id, order="asc")
        return [message.content[0].text.value for message in listed.data]


@pytest_asyncio.fixture(loop_scope="module")
async def bench(client: Any) -> Bench:
    assistant = await client.beta.assistants.create(model="m", tools=[TOOL])
    thread = await client.beta.threads.create(messages=[{"role": "user", "content": "Hi"}])
    return Bench(client, thread.id, assistant.id)


async def test_the_desk_keeps_the_protocol(desk: Desk) -> None:
    assert_type: RunDesk = desk  # checked by mypy
    assert await assert_type.claim("run_unknown", "a", LEASE_S) is None
    assert await desk.renew("run_unknown", "a", LEASE_S) is RunSignal.LOST
    assert not await desk.report("run_unknown", "a", RunAnswer("x"))
    assert not await desk.settle("run_unknown", "a")
    assert not await desk.hand_back("run_unknown", "a")


async def test_a_run_is_claimed_by_one_owner_at_a_time(bench: Bench, desk: Desk, served: Served) -> None:
    run_id = await bench.start()
    claims = await asyncio.gather(*(desk.claim(run_id, f"owner-{n}", LEASE_S) for n in range(4)))
    (winner,) = [n for n, work in enumerate(claims) if work is not None]
    assert await desk.claim(run_id, f"owner-{winner}", LEASE_S) == claims[winner]
    served.clock.advance(LEASE_S - 0.1)
    assert await desk.claim(run_id, "late", LEASE_S) is None
    assert await desk.renew(run_id, f"owner-{winner}", LEASE_S) is RunSignal.GO_ON
    served.clock.advance(LEASE_S - 0.1)
    assert await desk.claim(run_id, "late", LEASE_S) is None


async def test_a_killed_executors_run_is_taken_over_and_its_late_report_refused(
    bench: Bench, desk: Desk, served: Served
) -> None:
    run_id = await bench.start()
    assert await desk.claim(run_id, "A", LEASE_S) is not None
    served.clock.advance(LEASE_S)
    assert run_id in await desk.due(1000)
    assert await desk.claim(run_id, "B", LEASE_S) is not None
    assert run_id not in await desk.due(1000)
    assert await desk.renew(run_id, "A", LEASE_S) is RunSignal.LOST
    assert not await desk.report(run_id, "A", RunAnswer("from A"))
    assert not await desk.fail(run_id, "A", "server_error", "from A")
    assert not await desk.hand_back(run_id, "A")
    assert await desk.report(run_id, "B", RunAnswer("from B"))
    assert not await desk.report(run_id, "B", RunAnswer("from B"))
    assert await bench.texts() == ["Hi", "from B"]
    assert (await bench.see(run_id)).status == "completed"


async def test_a_lapsed_lease_that_nobody_took_is_still_the_owners(bench: Bench, desk: Desk, served: Served) -> None:
    run_id = await bench.start()
    await desk.claim(run_id, "A", LEASE_S)
    served.clock.advance(LEASE_S * 3)
    assert await desk.renew(run_id, "A", LEASE_S) is RunSignal.GO_ON
    assert await desk.claim(run_id, "B", LEASE_S) is None
    assert await desk.report(run_id, "A", RunAnswer("done"))


async def test_a_handed_back_run_is_due_at_once(bench: Bench, desk: Desk, served: Served) -> None:
    run_id = await bench.start()
    await desk.claim(run_id, "A", LEASE_S)
    rung = served.woken.count(run_id)
    assert await desk.hand_back(run_id, "A")
    assert served.woken.count(run_id) == rung + 1
    assert run_id in await desk.due(1000)
    assert await desk.renew(run_id, "A", LEASE_S) is RunSignal.LOST
    assert await desk.claim(run_id, "B", LEASE_S) is not None


@pytest.mark.parametrize("how", ["report", "fail", "hand_back", "claim"])
async def test_who_works_on_a_cancelled_run_ends_it(bench: Bench, desk: Desk, how: str) -> None:
    run_id = await bench.start()
    await desk.claim(run_id, "A", LEASE_S)
    await bench.runs.cancel(run_id, thread_id=bench.thread_id)
    assert await desk.renew(run_id, "A", LEASE_S) is RunSignal.CANCEL
    assert await desk.claim(run_id, "B", LEASE_S) is None
    assert (await bench.see(run_id)).status == "cancelling"
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "report": lambda: desk.report(run_id, "A", RunAnswer("too late")),
        "fail": lambda: desk.fail(run_id, "A", "server_error", "too late"),
        "hand_back": lambda: desk.hand_back(run_id, "A"),
        "claim": lambda: desk.claim(run_id, "A", LEASE_S),
    }
    assert not await calls[how]()
    assert (await bench.see(run_id)).status == "cancelled"
    assert await bench.texts() == ["Hi"]
    assert await desk.renew(run_id, "A", LEASE_S) is RunSignal.LOST


async def test_an_overdue_run_is_cancelled_at_its_executor_and_expired(
    bench: Bench, desk: Desk, served: Served
) -> None:
    run_id = await bench.start()
    await desk.claim(run_id, "A", EXPIRY_S * 2)
    served.clock.advance(EXPIRY_S)
    assert await desk.renew(run_id, "A", LEASE_S) is RunSignal.CANCEL
    assert not await desk.report(run_id, "A", RunAnswer("too late"))
    assert (await bench.see(run_id)).status == "expired"
    assert await bench.texts() == ["Hi"]


async def test_due_ends_what_time_has_ended(bench: Bench, desk: Desk, served: Served, database: Database) -> None:
    run_id = await bench.start()
    served.clock.advance(EXPIRY_S)
    assert run_id not in await desk.due(1000)
    async with database.read() as tx:  # not through the API, which would end it by looking
        assert await tx.scalar(select(RunRow.status).where(RunRow.id == run_id)) == "expired"


async def test_due_names_no_more_than_asked(bench: Bench, desk: Desk, served: Served, client: Any) -> None:
    assistant = await client.beta.assistants.create(model="m")
    for _ in range(3):
        await client.beta.threads.create_and_run(assistant_id=assistant.id)
    served.clock.advance(1)
    assert len(await desk.due(2)) == 2


async def test_a_deleted_thread_takes_its_run_from_the_executor(bench: Bench, desk: Desk, client: Any) -> None:
    run_id = await bench.start()
    await desk.claim(run_id, "A", LEASE_S)
    await client.beta.threads.delete(bench.thread_id)
    assert await desk.renew(run_id, "A", LEASE_S) is RunSignal.LOST
    assert not await desk.report(run_id, "A", RunAnswer("x"))


@pytest.mark.parametrize(
    ("answer", "options", "run_reason", "message_reason"),
    [
        (RunAnswer("cut", stop_reason="length"), {}, "max_completion_tokens", "max_tokens"),
        (RunAnswer("cut", (CALL,), stop_reason="length"), {}, "max_completion_tokens", "max_tokens"),
        (RunAnswer("cut", stop_reason="content_filter"), {}, None, "content_filter"),
        (
            RunAnswer("", (CALL,), completion_tokens=256, stop_reason="tool_calls"),
            {"max_completion_tokens": 256},
            "max_completion_tokens",
            None,
        ),
        (
            RunAnswer("", (CALL,), prompt_tokens=999, stop_reason="tool_calls"),
            {"max_prompt_tokens": 300},
            "max_prompt_tokens",
            None,
        ),
    ],
)
async def test_cut_short_runs_are_incomplete(
    bench: Bench,
    desk: Desk,
    answer: RunAnswer,
    options: dict[str, int],
    run_reason: str | None,
    message_reason: str | None,
) -> None:
    run_id = await bench.start(**options)
    await desk.claim(run_id, "A", LEASE_S)
    assert await desk.report(run_id, "A", answer)
    run = await bench.see(run_id)
    assert run.status == "incomplete"
    assert (run.incomplete_details and run.incomplete_details.reason) == run_reason
    message = (await bench.messages.list(bench.thread_id, run_id=run_id)).data[0]
    assert (message.incomplete_details and message.incomplete_details.reason) == message_reason


async def test_calls_get_ids_of_their_own_and_one_if_only_one_is_wanted(bench: Bench, desk: Desk) -> None:
    run_id = await bench.start()
    for owner in ("A", "B"):
        await desk.claim(run_id, owner, LEASE_S)
        asked = (WorkCall("same", "f", "{}"), WorkCall("same", "f", "{}"), WorkCall("", "f", "\ud800\0"))
        assert await desk.report(run_id, owner, RunAnswer(calls=asked, prompt_tokens=-5, completion_tokens=10**12))
        waiting = (await bench.see(run_id)).required_action.submit_tool_outputs.tool_calls
        ids = [call.id for call in waiting]
        assert len(set(ids)) == 3
        assert ("same" in ids) == (owner == "A")
        assert waiting[2].function.arguments == "\ufffd\ufffd"
        outputs = [{"tool_call_id": id, "output": ""} for id in ids]
        await bench.runs.submit_tool_outputs(run_id, thread_id=bench.thread_id, tool_outputs=outputs)
    await bench.runs.cancel(run_id, thread_id=bench.thread_id)
    single = await bench.start(parallel_tool_calls=False)
    await desk.claim(single, "A", LEASE_S)
    assert await desk.report(single, "A", RunAnswer(calls=(WorkCall("a", "f", "{}"), WorkCall("b", "f", "{}"))))
    assert len((await bench.see(single)).required_action.submit_tool_outputs.tool_calls) == 1


async def test_the_model_is_shown_the_last_messages_if_so_wished(bench: Bench, desk: Desk) -> None:
    for text in ("one", "two", "three"):
        await bench.messages.create(bench.thread_id, role="user", content=text)
    run_id = await bench.start(truncation_strategy={"type": "last_messages", "last_messages": 2})
    work = await desk.claim(run_id, "A", LEASE_S)
    assert work is not None
    assert [(message.role, message.content) for message in work.messages] == [("user", "two"), ("user", "three")]
    assert work.tools == [TOOL]


async def test_a_long_thread_loses_its_middle(bench: Bench, desk: Desk) -> None:
    for number in range(8):
        await bench.messages.create(bench.thread_id, role="user", content=f"{number}" * 200)
    run_id = await bench.start(max_prompt_tokens=256)  # 1,024 characters
    work = await desk.claim(run_id, "A", LEASE_S)
    assert work is not None
    assert [message.content[0] for message in work.messages] == ["H", "0", "4", "5", "6", "7"]


async def test_images_are_named_to_the_model(bench: Bench, desk: Desk) -> None:
    parts = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
    await bench.messages.create(bench.thread_id, role="user", content=parts)
    work = await desk.claim(await bench.start(), "A", LEASE_S)
    assert work is not None
    assert work.messages[-1].content == "See\n[image]"


async def test_earlier_runs_are_history_and_calls_are_not(bench: Bench, desk: Desk) -> None:
    first = await bench.start()
    await desk.claim(first, "A", LEASE_S)
    await desk.report(first, "A", RunAnswer("First reply"))
    await bench.messages.create(bench.thread_id, role="user", content="And now?")
    work = await desk.claim(await bench.start(), "B", LEASE_S)
    assert work is not None
    assert [(message.role, message.content) for message in work.messages] == [
        ("user", "Hi"),
        ("assistant", "First reply"),
        ("user", "And now?"),
    ]


async def test_a_failure_carries_its_reason(bench: Bench, desk: Desk) -> None:
    for code, shown in (("rate_limit_exceeded", "rate_limit_exceeded"), ("nonsense", "server_error")):
        run_id = await bench.start()
        await desk.claim(run_id, "A", LEASE_S)
        assert await desk.fail(run_id, "A", code, "x" * 5000)
        error = (await bench.see(run_id)).last_error
        assert (error.code, len(error.message)) == (shown, 2000)
