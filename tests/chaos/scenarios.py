"""What people do in a case, one function for each kind of turn; each says what has to have come of it.

All are played to the end whoever dies in them, and must read so: what is expected is what a case without a death shows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from tests.chaos import mishaps
from tests.chaos.kept import soon
from tests.chaos.stage import Stage
from workers import phrases

LONG = 1600
"""Words: two parts on Slack, four on Telegram."""
UNKNOWN_CALL = "it is not known whether the tool did its work"


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is played, and with which settings."""

    play: Callable[[Stage], Awaitable[None]]
    while_running: str = "queue"


async def hello(stage: Stage) -> None:
    """The plain case."""
    async with stage.dying():
        await stage.place.say("hello")
    stage.expect("echo 1: hello", said="hello")


async def long(stage: Stage) -> None:
    """A reply of several parts."""
    async with stage.dying():
        await stage.place.say(f"long {LONG}")
    stage.expect(" ".join(f"word{n}" for n in range(LONG)), said=f"long {LONG}")


async def slowed(stage: Stage) -> None:
    """The platform refuses the first post for a second."""
    await stage.place.slow_down()
    await hello(stage)


async def tools(stage: Stage) -> None:
    """Two parallel calls. One that was begun by somebody who died is told as unknown, and never made again."""
    async with stage.dying():
        await stage.place.say("tools")
    await stage.place.kept.idle()
    stage.expect(said="tools")
    stage.expected.free = True
    (reply,) = await stage.place.heard()
    unknown = reply.count(UNKNOWN_CALL)
    for expression, output in (("12*12", "144"), ("2+3", "5")):
        made, told = stage.place.calls.count(expression), output in reply.split()
        assert made == 1 if told else made <= 1, f"{expression}: called {made} times, {reply}"
        unknown += told
    assert unknown == 2, f"neither an output nor unknown: {reply}"
    if not stage.arms:
        assert reply == "144 and 5"


async def stop(stage: Stage) -> None:
    """A run is stopped."""
    async with stage.dying():
        await stage.place.say("never")
        await stage.place.running("never")
        await stage.place.say("/stop")
    stage.expect(phrases.STOPPED, said="never")


async def patient(stage: Stage) -> None:
    """A run takes its time, and nobody interrupts it."""
    async with stage.dying():
        await stage.place.say("never")
        await stage.place.running("never")
    stage.place.backend.released = True
    stage.expect("at last", said="never")


async def stop_in_between(stage: Stage) -> None:
    """A run is stopped of which only the backend knows."""

    async def between() -> None:
        await stage.place.say("/stop")

    async with stage.dying(between):
        await stage.place.say("never")
        await stage.place.running("never")
    stage.expect(phrases.STOPPED, said="never")


async def steer(stage: Stage) -> None:
    """A message joins a run's turn."""
    async with stage.dying():
        await stage.place.say("never")
        await stage.place.running("never")
        await stage.place.say("hello")
    stage.expect("echo 2: hello")
    stage.expected.threads += ["never", "hello"]


async def steer_too_late(stage: Stage) -> None:
    """A message would join a turn whose run ends just before it is cancelled."""
    stage.place.backend.too_late = True
    async with stage.dying():
        await stage.place.say("never")
        await stage.place.running("never")
        await stage.place.say("hello")
    stage.expect("at last", said="never")
    stage.expect("echo 2: hello", said="hello")


async def reject(stage: Stage) -> None:
    """A message comes during a run and is turned away; or answered later, when who turned it away has died over it."""
    place = stage.place

    async def told() -> bool:
        return phrases.REJECTED in await place.heard()

    async with stage.dying():
        await place.say("never")
        await place.running("never")
        await place.say("hello")
    if not stage.arms:
        await soon(told)
    await place.kept.beats()
    place.backend.released = True
    await place.kept.idle()
    heard = await place.heard()
    answered = "echo 2: hello" in heard
    assert heard.count(phrases.REJECTED) <= 1
    assert answered or heard.count(phrases.REJECTED) == 1, "neither turned away nor answered"
    assert [text for text in heard if text != phrases.REJECTED] == ["at last", *(["echo 2: hello"] if answered else [])]
    stage.expected.free = True
    stage.expected.threads += ["never", *(["hello"] if answered else [])]


async def edited(stage: Stage) -> None:
    """A message is edited while it waits."""
    place = stage.place
    if not stage.gateways_die:
        sent = await place.say("helo")
        await place.change(sent, "hello")
        await place.kept.waits("hello")
        async with stage.dying():
            pass
    else:
        async with stage.dying(worker=False):
            sent = await place.say("helo")
            await place.change(sent, "hello")
        await place.kept.waits("hello")
        await place.crew.worker()
    stage.expect("echo 1: hello", said="hello")


async def last(stage: Stage) -> None:
    """The last reply is shown again."""
    async with stage.dying():
        await stage.place.say("hello")
        await stage.place.say("/last")
    stage.expect("echo 1: hello", said="hello")
    stage.expect("echo 1: hello")


SCENARIOS: Mapping[str, Scenario] = {
    **{
        act.__name__: Scenario(act)
        for act in (
            *(hello, long, slowed, tools, stop, stop_in_between, patient, edited, last),
            *mishaps.ALL,
        )
    },
    "steer": Scenario(steer, "steer"),
    "steer_too_late": Scenario(steer_too_late, "steer"),
    "reject": Scenario(reject, "reject"),
}
