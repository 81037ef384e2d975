"""Scenarios in which more goes wrong than a death: backends that forget, users who block, mail that nobody can read."""

from __future__ import annotations

from tests.chaos.kept import soon
from tests.chaos.stage import Stage
from workers import phrases


def ending(name: str) -> str:
    """One of our own sentences, without the turn's id."""
    return phrases.ENDINGS[name].format(turn="")


async def forgotten_thread(stage: Stage) -> None:
    """The backend has lost the thread between two messages."""
    async with stage.dying():
        await stage.place.say("hello")
        await stage.place.kept.idle()
        stage.place.backend.threads.clear()
        await stage.place.say("again")
    stage.expect("echo 1: hello")
    stage.expect(f"{phrases.FORGOT}\n\necho 1: again", said="again")


async def lost_thread(stage: Stage) -> None:
    """The backend loses the thread in the middle of a run."""
    async with stage.dying():
        await stage.place.say("never")
        await stage.place.running("never")
        stage.place.backend.threads.clear()
    stage.expect(ending("failed"))


async def forgotten_assistant(stage: Stage) -> None:
    """The backend has lost the assistant between two messages."""
    async with stage.dying():
        await stage.place.say("hello")
        await stage.place.kept.idle()
        stage.place.backend.assistants.clear()
        await stage.place.say("again")
    stage.expect("echo 1: hello", said="hello")
    stage.expect("echo 2: again", said="again")


async def refused(stage: Stage) -> None:
    """The backend refuses the run for good."""
    stage.place.backend.unknown_assistants = True
    async with stage.dying():
        await stage.place.say("hello")
    await stage.place.kept.idle()
    stage.place.backend.unknown_assistants = False
    stage.expect(ending("refused"))
    assert await stage.place.kept.dead() == 1


async def poison(stage: Stage) -> None:
    """A turn that ended five workers is put aside."""
    await stage.place.say("hello")
    await stage.place.kept.taken_before(6)
    async with stage.dying():
        pass
    stage.expect(ending("poison"))
    await stage.place.kept.idle()
    assert await stage.place.kept.dead() >= 1


async def blocked(stage: Stage) -> None:
    """The user has blocked the bot before the reply is there."""
    await stage.place.say("hello")
    await stage.place.block(True)
    async with stage.dying():
        pass
    await stage.place.kept.idle()
    await stage.place.block(False)
    stage.expect(said="hello")
    assert await stage.place.kept.dead() >= 1


async def odd(stage: Stage) -> None:
    """The backend says something that nobody expected, once."""

    async def between() -> None:
        run = stage.place.backend.run_of("odd")
        assert run is not None
        run.status, run.calls = "in_progress", []

    async with stage.dying(between):
        await stage.place.say("odd")
        await stage.place.running("odd")
    stage.expect("echo 1: odd", said="odd")


async def away(stage: Stage) -> None:
    """The backend is away, and says for how long."""
    backend = stage.place.backend
    backend.down, backend.retry_after_s = True, 4

    async def between() -> None:
        await soon(lambda: _refusing(stage))
        backend.down = False

    async with stage.dying(between):
        await stage.place.say("hello")
    stage.expect("echo 1: hello", said="hello")


async def _refusing(stage: Stage) -> bool:
    return stage.place.backend.refused_calls > 0


async def blind(stage: Stage) -> None:
    """A worker takes the turn that does not have the platform."""
    async with stage.dying(blind=True):
        await stage.place.say("hello")
    stage.expect("echo 1: hello", said="hello")


async def unreadable(stage: Stage) -> None:
    """A worker of another version takes the turn and cannot read its mail."""
    await stage.place.say("hello")
    mend = await stage.place.kept.garble()

    async with stage.dying(mend):
        pass
    stage.expect("echo 1: hello", said="hello")


async def never_readable(stage: Stage) -> None:
    """Mail that nobody can read is put aside after five tries."""
    await stage.place.say("hello")
    await stage.place.kept.garble()
    await stage.place.kept.taken_before(6)
    async with stage.dying():
        pass
    await stage.place.kept.idle()
    assert await stage.place.kept.dead() >= 1


ALL = (
    *(forgotten_thread, lost_thread, forgotten_assistant, refused, poison, blocked, odd, away, blind),
    *(unreadable, never_readable),
)
