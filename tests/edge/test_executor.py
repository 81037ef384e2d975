"""The executor against a desk in memory that keeps the documented rules, and a model that does what a test says."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import pytest

from gateway.assistants.paging import Page
from gateway.assistants.records import open_database
from gateway.assistants.schemas import CreateAssistant, CreateRun, CreateThread, SubmitToolOutputs
from gateway.assistants.service import Desk, Service
from gateway.assistants.work import RunAnswer, RunSignal, RunWork, WorkCall, WorkMessage
from gateway.domain.errors import BackendDown, BackendRefused, RateLimited, StoreDown, Unreachable
from gateway.domain.pacing import RetryPolicy, SystemClock
from workers.executor import Executor, to_answer
from workers.models import ModelAnswer, ModelCall, ModelRequest, Usage
from workers.models.demo import DemoModel

LEASE_S = 9.0
START = 1_800_000_000


class ManualClock:
    """Time that passes only in `advance`; sleepers wake in order."""

    def __init__(self) -> None:
        self.passed = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> datetime:
        return datetime.fromtimestamp(START + self.passed, UTC)

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        self._sleepers.append((self.passed + seconds, woken))
        await woken.wait()

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass in steps, and everybody do what they do meanwhile."""
        end = self.passed + seconds
        await settle()
        while True:
            due = sorted(until for until, woken in self._sleepers if until <= end and not woken.is_set())
            if not due:
                break
            self.passed = max(self.passed, due[0])
            for until, woken in self._sleepers:
                if until <= self.passed:
                    woken.set()
            await settle()
        self.passed = end


async def settle() -> None:
    """Let every task that can run do so until all wait for something."""
    for _ in range(30):
        await asyncio.sleep(0)


def work(**changes: object) -> RunWork:
    plain = RunWork(
        run_id="run_1",
        thread_id="thread_1",
        model="demo",
        messages=[WorkMessage("user", "hello")],
        tools=(),
        tool_choice=None,
        parallel_tool_calls=True,
        temperature=None,
        top_p=None,
        max_completion_tokens=None,
        response_format=None,
        expires_at=START + 600,
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


@dataclass
class MemoryDesk:
    """One run, with the rules of RunDesk; `down` makes the next so many calls fail like an absent database."""

    clock: ManualClock
    run: RunWork = field(default_factory=work)
    status: str = "queued"
    owner: str = ""
    until: float = 0.0
    answer: RunAnswer | None = None
    error: tuple[str, str] | None = None
    renewals: int = 0
    down: int = 0

    def _ours(self, owner: str) -> bool:
        if self.down:
            self.down -= 1
            raise StoreDown("away")
        return self.owner == owner and self.status in ("in_progress", "cancelling")

    async def claim(self, run_id: str, owner: str, lease_s: float) -> RunWork | None:
        held = self.owner not in ("", owner) and self.until > self.clock.monotonic()
        if run_id != self.run.run_id or held or self.status not in ("queued", "in_progress"):
            return None
        self.status, self.owner, self.until = "in_progress", owner, self.clock.monotonic() + lease_s
        return self.run

    async def renew(self, run_id: str, owner: str, lease_s: float) -> RunSignal:
        if not self._ours(owner):
            return RunSignal.LOST
        self.renewals += 1
        self.until = self.clock.monotonic() + lease_s
        return RunSignal.CANCEL if self.status == "cancelling" else RunSignal.GO_ON

    def _end(self, owner: str, status: str) -> bool:
        if not self._ours(owner):
            return False
        self.status, self.owner = status, ""
        return True

    async def report(self, run_id: str, owner: str, answer: RunAnswer) -> bool:
        ours = self._end(owner, "requires_action" if answer.calls else "completed")
        self.answer = answer if ours else self.answer
        return ours

    async def fail(self, run_id: str, owner: str, code: str, message: str) -> bool:
        ours = self._end(owner, "failed")
        self.error = (code, message) if ours else self.error
        return ours

    async def settle(self, run_id: str, owner: str) -> bool:
        return self._end(owner, "cancelled")

    async def hand_back(self, run_id: str, owner: str) -> bool:
        return self._end(owner, "queued")

    async def due(self, limit: int) -> Sequence[str]:
        return [self.run.run_id][:limit] if self.status == "queued" else []


class ScriptedModel:
    """Does the test's steps one after the other; the last one is repeated."""

    name: ClassVar[str] = "scripted"

    def __init__(self, *steps: Callable[[], Awaitable[ModelAnswer]]) -> None:
        self.steps = steps
        self.requests: list[ModelRequest] = []
        self.stopped = 0

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        self.requests.append(request)
        try:
            return await self.steps[min(len(self.requests), len(self.steps)) - 1]()
        except asyncio.CancelledError:
            self.stopped += 1
            raise

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | ModelAnswer]:
        yield await self.answer(request)

    async def close(self) -> None:
        pass


def says(text: str = "hi", *calls: ModelCall, stop: str = "stop") -> Callable[[], Awaitable[ModelAnswer]]:
    async def step() -> ModelAnswer:
        return ModelAnswer(text, calls, Usage(3, 2), stop)

    return step


def fails(error: Exception) -> Callable[[], Awaitable[ModelAnswer]]:
    async def step() -> ModelAnswer:
        raise error

    return step


async def never() -> ModelAnswer:
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def desk(clock: ManualClock) -> MemoryDesk:
    return MemoryDesk(clock)


def executor(desk: MemoryDesk, model: ScriptedModel, **changes: int) -> Executor:
    return Executor(desk, model, lease_s=LEASE_S, clock=desk.clock, retry=RetryPolicy(), chance=lambda: 1.0, **changes)


async def test_an_answer_is_reported_and_the_claim_ends(desk: MemoryDesk) -> None:
    model = ScriptedModel(says("hello back"))
    await executor(desk, model).execute("run_1")
    assert desk.status == "completed"
    assert desk.answer == RunAnswer("hello back", prompt_tokens=3, completion_tokens=2)
    assert model.requests[0].messages[0].content == "hello"


async def test_a_second_call_finds_the_claim_held(desk: MemoryDesk, clock: ManualClock) -> None:
    release = asyncio.Event()

    async def held() -> ModelAnswer:
        await release.wait()
        return ModelAnswer("once")

    model = ScriptedModel(held)
    first = asyncio.create_task(executor(desk, model).execute("run_1"))
    await settle()
    await executor(desk, model).execute("run_1")
    release.set()
    await first
    await executor(desk, model).execute("run_1")
    assert len(model.requests) == 1
    assert desk.status == "completed"


async def test_unknown_run_is_nobodys_business(desk: MemoryDesk) -> None:
    model = ScriptedModel(says())
    await executor(desk, model).execute("run_2")
    assert model.requests == []


async def test_the_lease_is_renewed_while_the_model_thinks(desk: MemoryDesk, clock: ManualClock) -> None:
    release = asyncio.Event()

    async def slow() -> ModelAnswer:
        await release.wait()
        return ModelAnswer("done")

    running = asyncio.create_task(executor(desk, ScriptedModel(slow)).execute("run_1"))
    await clock.advance(LEASE_S * 4)
    assert desk.renewals == 12
    assert desk.until > clock.monotonic()
    release.set()
    await running
    assert desk.status == "completed"


async def test_cancel_stops_the_model_and_settles(desk: MemoryDesk, clock: ManualClock) -> None:
    model = ScriptedModel(never)
    running = asyncio.create_task(executor(desk, model).execute("run_1"))
    await clock.advance(1)
    desk.status = "cancelling"
    await clock.advance(LEASE_S / 3)
    await running
    assert (desk.status, model.stopped) == ("cancelled", 1)


async def test_a_lost_run_is_dropped_without_a_word(desk: MemoryDesk, clock: ManualClock) -> None:
    model = ScriptedModel(never)
    running = asyncio.create_task(executor(desk, model).execute("run_1"))
    await clock.advance(1)
    desk.owner = "somebody newer"
    await clock.advance(LEASE_S / 3)
    await running
    assert (desk.status, desk.owner, model.stopped) == ("in_progress", "somebody newer", 1)
    assert desk.answer is None
    assert desk.error is None


async def test_a_late_answer_changes_nothing(desk: MemoryDesk, clock: ManualClock) -> None:
    async def outlived() -> ModelAnswer:
        desk.owner = "somebody newer"
        return ModelAnswer("late")

    await executor(desk, ScriptedModel(outlived)).execute("run_1")
    assert (desk.status, desk.answer) == ("in_progress", None)


async def test_shutdown_hands_the_run_back_and_goes_on_up(desk: MemoryDesk, clock: ManualClock) -> None:
    model = ScriptedModel(never)
    running = asyncio.create_task(executor(desk, model).execute("run_1"))
    await settle()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (desk.status, model.stopped) == ("queued", 1)
    await executor(desk, ScriptedModel(says("again"))).execute("run_1")
    assert desk.status == "completed"


async def test_shutdown_ends_even_when_the_records_are_away(desk: MemoryDesk, clock: ManualClock) -> None:
    running = asyncio.create_task(executor(desk, ScriptedModel(never)).execute("run_1"))
    await settle()
    desk.down = 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert desk.status == "in_progress"  # until its lease ends


@pytest.mark.parametrize("error", [Unreachable("x"), BackendDown("x"), RateLimited("x")])
async def test_a_passing_fault_is_retried(desk: MemoryDesk, clock: ManualClock, error: Exception) -> None:
    model = ScriptedModel(fails(error), fails(error), says("at last"))
    running = asyncio.create_task(executor(desk, model).execute("run_1"))
    await clock.advance(0.5 + 1.0)
    await running
    assert desk.answer is not None
    assert desk.answer.text == "at last"


async def test_the_wish_of_the_other_side_is_honoured(desk: MemoryDesk, clock: ManualClock) -> None:
    model = ScriptedModel(fails(RateLimited("x", retry_after_s=40)), says())
    running = asyncio.create_task(executor(desk, model).execute("run_1"))
    await clock.advance(39.9)
    assert len(model.requests) == 1
    await clock.advance(0.1)
    await running
    assert desk.status == "completed"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RateLimited("x"), "rate_limit_exceeded"),
        (Unreachable("x"), "server_error"),
        (BackendDown("secret sk-abcdefgh"), "server_error"),
    ],
)
async def test_attempts_run_out(desk: MemoryDesk, clock: ManualClock, error: Exception, code: str) -> None:
    model = ScriptedModel(fails(error))
    running = asyncio.create_task(executor(desk, model, attempts=3).execute("run_1"))
    await clock.advance(10)
    await running
    assert len(model.requests) == 3
    assert desk.status == "failed"
    assert desk.error is not None
    assert desk.error[0] == code
    assert "sk-" not in desk.error[1]


async def test_no_retry_past_the_end_of_the_run(desk: MemoryDesk, clock: ManualClock) -> None:
    desk.run = work(expires_at=START + 30)
    model = ScriptedModel(fails(RateLimited("x", retry_after_s=31)))
    await executor(desk, model).execute("run_1")
    assert desk.error is not None
    assert desk.error[0] == "rate_limit_exceeded"
    assert clock.monotonic() == 0


async def test_a_refusal_is_not_repeated_and_names_its_reason(desk: MemoryDesk) -> None:
    model = ScriptedModel(fails(BackendRefused("model 'x' does not exist, key sk-abcdefghijk")))
    await executor(desk, model).execute("run_1")
    assert len(model.requests) == 1
    assert desk.error == (
        "server_error",
        "The model's server refused the request: model 'x' does not exist, key ***",
    )


async def test_a_faulty_driver_fails_the_run_and_is_heard(desk: MemoryDesk) -> None:
    with pytest.raises(ZeroDivisionError):
        await executor(desk, ScriptedModel(fails(ZeroDivisionError("internal")))).execute("run_1")
    assert desk.error == ("server_error", "The run failed because of an internal error.")


async def test_a_report_outlives_a_short_absence_of_the_records(desk: MemoryDesk, clock: ManualClock) -> None:
    desk.down = 2
    model = ScriptedModel(says("kept"))
    running = asyncio.create_task(executor(desk, model).execute("run_1"))
    await clock.advance(2)
    await running
    assert desk.answer is not None
    assert (desk.answer.text, len(model.requests)) == ("kept", 1)


async def test_records_that_stay_away_are_told_to_the_caller(desk: MemoryDesk, clock: ManualClock) -> None:
    desk.down = 100
    running = asyncio.create_task(executor(desk, ScriptedModel(says())).execute("run_1"))
    await clock.advance(LEASE_S)
    with pytest.raises(StoreDown):
        await running
    assert desk.status == "in_progress"


async def test_a_renewal_may_fail_while_the_lease_lasts(desk: MemoryDesk, clock: ManualClock) -> None:
    release = asyncio.Event()

    async def slow() -> ModelAnswer:
        await release.wait()
        return ModelAnswer("done")

    running = asyncio.create_task(executor(desk, ScriptedModel(slow)).execute("run_1"))
    desk.down = 2
    await clock.advance(LEASE_S)
    assert desk.renewals == 1
    await clock.advance(LEASE_S)
    desk.down = 2  # the lease counts from the last renewal, not from the claim
    await clock.advance(LEASE_S)
    assert desk.renewals == 5
    release.set()
    await running
    assert desk.status == "completed"


async def test_no_renewal_for_a_whole_lease_means_lost(desk: MemoryDesk, clock: ManualClock) -> None:
    model = ScriptedModel(never)
    running = asyncio.create_task(executor(desk, model).execute("run_1"))
    await settle()
    desk.down = 3
    await clock.advance(LEASE_S)
    await running
    assert (desk.status, model.stopped, desk.down) == ("in_progress", 1, 0)


async def test_calls_are_reported_for_action(desk: MemoryDesk) -> None:
    calls = (ModelCall("a", "calculator", '{"expression":"1+1"}'), ModelCall("b", "clock", ""))
    await executor(desk, ScriptedModel(says("", *calls, stop="tool_calls"))).execute("run_1")
    assert desk.status == "requires_action"
    assert desk.answer is not None
    assert desk.answer.calls == (
        WorkCall("a", "calculator", '{"expression":"1+1"}'),
        WorkCall("b", "clock", "{}"),
    )


async def test_nameless_calls_are_asked_again_then_failed(desk: MemoryDesk, clock: ManualClock) -> None:
    model = ScriptedModel(says("", ModelCall("a", " ", "{}")), says("better"))
    running = asyncio.create_task(executor(desk, model).execute("run_1"))
    await clock.advance(1)
    await running
    assert desk.answer is not None
    assert desk.answer.text == "better"


def test_call_ids_become_unique_in_the_thread() -> None:
    earlier = [WorkMessage("assistant", calls=(WorkCall("call_0", "clock", "{}"),))]
    said = tuple(ModelCall(i, "clock", "{}") for i in ("call_0", "", "x", "x"))
    calls = to_answer(ModelAnswer(calls=said), work(messages=earlier)).calls
    ids = [call.id for call in calls]
    assert len(set(ids)) == 4
    assert "call_0" not in ids
    assert ids[2] == "x"
    assert all(ids)


def test_a_cut_answer_calls_nothing() -> None:
    cut = ModelAnswer("I will", (ModelCall("a", "pay", '{"amount": 1'),), stop_reason="length")
    answer = to_answer(cut, work())
    assert (answer.calls, answer.stop_reason, answer.text) == ((), "length", "I will")


def test_a_nameless_call_beside_text_is_left_out() -> None:
    answer = to_answer(ModelAnswer("text", (ModelCall("a", "", "{}"),), stop_reason="tool_calls"), work())
    assert (answer.calls, answer.stop_reason, answer.text) == ((), "stop", "text")


async def test_the_real_service_and_the_demo_model_use_two_tools_at_once(tmp_path: Path) -> None:
    parameters = {"type": "object", "properties": {"expression": {"type": "string"}, "zone": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": n, "parameters": parameters}} for n in ("calculator", "clock")]
    question = {"role": "user", "content": "What is 12 times 12, and what time is it in Tokyo?"}
    database = await open_database(f"sqlite:///{tmp_path}/records.db", migrate=True)
    service, desk = Service(database), Desk(database)
    executor = Executor(desk, DemoModel(), lease_s=LEASE_S, clock=SystemClock())
    try:
        assistant = await service.assistants.create(CreateAssistant.model_validate({"model": "demo", "tools": tools}))
        thread = await service.threads.create(CreateThread.model_validate({"messages": [question]}))
        run = await service.runs.create(thread["id"], CreateRun.model_validate({"assistant_id": assistant["id"]}))

        await executor.execute(run["id"])
        waiting = (await service.runs.retrieve(thread["id"], run["id"])).body
        calls = waiting["required_action"]["submit_tool_outputs"]["tool_calls"]
        assert [call["function"]["name"] for call in calls] == ["calculator", "clock"]
        await executor.execute(run["id"])  # a doubled wake-up: the run waits for outputs

        told = ("144", '{"zone":"Asia/Tokyo","time":"2026-11-22T00:23:12+09:00"}')
        outputs = [{"tool_call_id": call["id"], "output": text} for call, text in zip(calls, told, strict=True)]
        submitted = SubmitToolOutputs.model_validate({"tool_outputs": outputs})
        await service.runs.submit(thread["id"], run["id"], submitted)
        await executor.execute(run["id"])
        await executor.execute(run["id"])  # finished: nothing happens
        assert (await service.runs.retrieve(thread["id"], run["id"])).body["status"] == "completed"
        listed = await service.messages.list(thread["id"], Page())
        reply = listed["data"][0]["content"][0]["text"]["value"]
        assert "144" in reply
        assert "00:23" in reply
        assert len(listed["data"]) == 2
    finally:
        await database.close()
