"""The run loop of the embedded assistants service: claim a run, ask the model once, report what it said.

One claim is one model call. A run that needs tools goes back to its users as requires_action and is claimed anew when
they have submitted the outputs, so nothing about a run lives in this process between two model calls.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gateway.assistants.work import RunAnswer, RunDesk, RunSignal, RunWork, WorkCall
from gateway.domain.errors import BackendDown, BackendRefused, RateLimited, Retryable, ThreadwayError
from gateway.domain.pacing import Clock, RetryPolicy
from gateway.telemetry import log, redact
from workers.models import Model, ModelAnswer, ModelCall, ModelMessage, ModelRequest

ATTEMPTS = 12
"""With the default RetryPolicy about a minute and a half of trying: longer than a model server's restart."""
STILL_WAITING_S = 30.0
"""A run that waits longer for its model says so in the log, again after every such while."""
HAND_BACK_S = 1.0
"""At shutdown nobody waits longer than this for the records; past it the lease ends by itself."""


@dataclass(slots=True)
class _Claim:
    """One claimed run and the nonce under which every write about it goes out."""

    work: RunWork
    owner: str
    renewed_at: float
    """Clock.monotonic() just before the last renewal that succeeded: the lease surely holds `lease_s` from here."""

    @property
    def run_id(self) -> str:
        return self.work.run_id


class Executor:
    """Executes runs of the embedded service, any number at a time, on one event loop."""

    def __init__(
        self,
        desk: RunDesk,
        model: Model,
        *,
        lease_s: float,
        clock: Clock,
        retry: RetryPolicy | None = None,
        attempts: int = ATTEMPTS,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`lease_s`: how long a claim lasts without renewal; it is renewed every third of that. `attempts`: how often
        the model is called at most in one claim. `chance` in [0, 1) spreads the retries."""
        self._desk = desk
        self._model = model
        self._lease_s = lease_s
        self._clock = clock
        self._retry = retry or RetryPolicy()
        self._attempts = attempts
        self._chance = chance

    async def execute(self, run_id: str) -> None:
        """Bring a run one model call forward; return when it is reported, failed, settled, or somebody else's.

        Safe to call twice and at any time: only one caller gets the claim. When cancelled (shutdown) the run is handed
        back and is due again at once. Raises Retryable when the records stay away (at the claim, or for a whole lease
        at the end), and whatever a faulty model driver raises; in the latter case the run has been failed.
        """
        owner = secrets.token_hex(8)
        try:
            began = self._clock.monotonic()
            work = await self._desk.claim(run_id, owner, self._lease_s)
            if work is None:
                return  # held, waiting for outputs, final or unknown: a late or doubled wake-up
            await self._carry_through(_Claim(work, owner, began))
        except asyncio.CancelledError:
            await self._hand_back(run_id, owner)
            raise

    async def _carry_through(self, claim: _Claim) -> None:
        """Think under a renewed lease, then write down how it ended."""
        log.info("run.claimed", run=claim.run_id, thread=claim.work.thread_id, model=claim.work.model)
        thinking = asyncio.create_task(self._think(claim.work), name=f"run {claim.run_id}")
        try:
            signal = await self._keep(claim, thinking)
        finally:
            await _stop(thinking)
        if signal is RunSignal.LOST:
            log.warning("run.lost", run=claim.run_id)
            return
        if signal is RunSignal.CANCEL:
            await self._write(claim, lambda: self._desk.settle(claim.run_id, claim.owner))
            log.info("run.settled", run=claim.run_id)
            return
        await self._conclude(claim, thinking)

    async def _keep(self, claim: _Claim, thinking: asyncio.Task[RunAnswer]) -> RunSignal:
        """Renew the lease until the model is done (GO_ON), or until somebody wants the run stopped or took it."""
        started = told = self._clock.monotonic()
        while await self._pause(thinking):
            asked = self._clock.monotonic()
            try:
                signal = await self._desk.renew(claim.run_id, claim.owner, self._lease_s)
            except Retryable as error:
                # The records may be back before the lease ends, and every write names its owner: going on is harmless.
                log.warning("run.renewal_failed", run=claim.run_id, error=type(error).__name__)
                if asked - claim.renewed_at >= self._lease_s:
                    return RunSignal.LOST
                continue
            if signal is not RunSignal.GO_ON:
                return signal
            claim.renewed_at = asked
            if asked - told >= STILL_WAITING_S:
                told = asked
                log.info("run.still_waiting", run=claim.run_id, waited_s=round(asked - started, 1))
        return RunSignal.GO_ON

    async def _pause(self, thinking: asyncio.Task[RunAnswer]) -> bool:
        """Wait a third of the lease; False as soon as the model is done."""
        nap = asyncio.create_task(self._clock.sleep(self._lease_s / 3))
        try:
            await asyncio.wait({thinking, nap}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            nap.cancel()
        return not thinking.done()

    async def _think(self, work: RunWork) -> RunAnswer:
        """The model's answer, in order. Retries what is worth a retry while attempts and the run's time last."""
        request = to_request(work)
        attempt = 0
        while True:
            try:
                return to_answer(await self._model.answer(request), work)
            except Retryable as error:
                wait = self._retry.delay(attempt, self._chance(), error.retry_after_s)
                attempt += 1
                if attempt >= self._attempts or self._clock.now().timestamp() + wait >= work.expires_at:
                    raise
                log.warning(
                    "run.model_retry",
                    run=work.run_id,
                    error=type(error).__name__,
                    attempt=attempt,
                    wait_s=round(wait, 2),
                )
            await self._clock.sleep(wait)

    async def _conclude(self, claim: _Claim, thinking: asyncio.Task[RunAnswer]) -> None:
        """Report the answer, or fail the run with the reason its users may know."""
        error = thinking.exception()
        if error is None:
            answer = thinking.result()
            ours = await self._write(claim, lambda: self._desk.report(claim.run_id, claim.owner, answer))
            log.info(
                "run.reported" if ours else "run.lost",
                run=claim.run_id,
                stop_reason=answer.stop_reason,
                calls=len(answer.calls),
                prompt_tokens=answer.prompt_tokens,
                completion_tokens=answer.completion_tokens,
            )
            return
        code, message = explain(error)
        await self._write(claim, lambda: self._desk.fail(claim.run_id, claim.owner, code, message))
        if not isinstance(error, ThreadwayError):
            raise error  # a fault of a driver: the run is told, and the caller logs the stack
        log.warning("run.failed", run=claim.run_id, code=code, error=type(error).__name__, reason=message)

    async def _write(self, claim: _Claim, write: Callable[[], Awaitable[bool]]) -> bool:
        """One of the desk's closing writes, repeated (they are safe to repeat) while the lease holds."""
        attempt = 0
        while True:
            try:
                return await write()
            except Retryable as error:
                wait = self._retry.delay(attempt, self._chance(), error.retry_after_s)
                attempt += 1
                if self._clock.monotonic() + wait - claim.renewed_at >= self._lease_s:
                    raise
                log.warning("run.write_retry", run=claim.run_id, error=type(error).__name__, attempt=attempt)
            await self._clock.sleep(wait)

    async def _hand_back(self, run_id: str, owner: str) -> None:
        """Best effort: what cannot be handed back in time is taken over when its lease ends."""
        try:
            async with asyncio.timeout(HAND_BACK_S):
                await self._desk.hand_back(run_id, owner)
        except (TimeoutError, ThreadwayError) as error:
            log.warning("run.hand_back_failed", run=run_id, error=type(error).__name__)


async def _stop(task: asyncio.Task[RunAnswer]) -> None:
    """Cancel `task` and wait until it is gone, so that no model call outlives its claim."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()  # looked at, or asyncio complains about an error nobody wanted


def to_request(work: RunWork) -> ModelRequest:
    """The claimed run in the model's words."""
    return ModelRequest(
        model=work.model,
        messages=[
            ModelMessage(
                role=message.role,
                content=message.content,
                calls=tuple(ModelCall(call.id, call.name, call.arguments) for call in message.calls),
                call_id=message.call_id,
            )
            for message in work.messages
        ],
        tools=work.tools,
        tool_choice=work.tool_choice,
        parallel_tool_calls=work.parallel_tool_calls,
        temperature=work.temperature,
        top_p=work.top_p,
        max_completion_tokens=work.max_completion_tokens,
        response_format=work.response_format,
    )


def to_answer(answer: ModelAnswer, work: RunWork) -> RunAnswer:
    """The model's answer in the records' words, its calls put in order.

    Raises BackendDown when the model only called functions without a name: asking again mostly helps.
    """
    stop = answer.stop_reason if answer.stop_reason in ("length", "content_filter") else "stop"
    # A cut answer may hold half a call; carrying that out could do something else than the model meant.
    calls = in_order(answer.calls, work) if stop == "stop" else ()
    if answer.calls and not calls and stop == "stop" and not answer.text:
        raise BackendDown("the model called a function without a name")
    return RunAnswer(
        text=answer.text,
        calls=calls,
        prompt_tokens=answer.usage.prompt_tokens,
        completion_tokens=answer.usage.completion_tokens,
        stop_reason="tool_calls" if calls else stop,
    )


def in_order(calls: tuple[ModelCall, ...], work: RunWork) -> tuple[WorkCall, ...]:
    """`calls` with a name each, and ids that exist once in the whole thread.

    Some servers number their calls anew in every answer ("call_0"); outputs are kept by call id, so a repeated id would
    give the second call the first one's output.
    """
    taken = {call.id for message in work.messages for call in message.calls}
    ordered = []
    for call in calls:
        name = call.name.strip()
        if not name:
            continue
        call_id = call.id if call.id and call.id not in taken else f"call_{secrets.token_hex(12)}"
        taken.add(call_id)
        ordered.append(WorkCall(call_id, name, call.arguments.strip() or "{}"))
    return tuple(ordered)


def explain(error: BaseException) -> tuple[str, str]:
    """last_error's code and message for the run's users: our own words or a driver's, never a stack or a secret."""
    match error:
        case RateLimited():
            return "rate_limit_exceeded", "The model's server is over its rate limit; please try again later."
        case BackendRefused():
            return "server_error", redact(f"The model's server refused the request: {error}")[:500]
        case Retryable():
            return (
                "server_error",
                "The model's server could not be reached or failed; please try again later.",
            )
        case _:
            return "server_error", "The run failed because of an internal error."
