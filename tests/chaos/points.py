"""Each crash point, and in which scenarios a process passes it. tests/unit/test_crash_points.py compares with the code.

A point without an entry, and an entry without a point, fail there; a scenario that never comes to its point fails in
tests/chaos/test_crash_points.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.lab.faults import Platform

BOTH: tuple[Platform, ...] = ("telegram", "slack")
TELEGRAM: tuple[Platform, ...] = ("telegram",)
SLACK: tuple[Platform, ...] = ("slack",)


@dataclass(frozen=True, slots=True)
class Passage:
    """One way to a point."""

    scenario: str
    """A function of tests/chaos/scenarios.py or mishaps.py."""
    on: tuple[Platform, ...] = BOTH
    nth: int = 1
    """Die at this passage of it."""
    after: str = ""
    """Where an earlier worker has to die, for the next one to come to the point at all."""
    mode: str = "notice"
    """`[delivery] telegram`"""
    webhook: bool = False
    """Telegram brings its updates."""


INTAKE = (Passage("hello"), Passage("hello", TELEGRAM, webhook=True))
HELLO = (Passage("hello"),)
TOOLS = (Passage("tools"),)
STEER = (Passage("steer"),)
POSTING = (
    Passage("long", nth=2),
    Passage("long", TELEGRAM, nth=2, mode="edit"),
    Passage("long", TELEGRAM, nth=2, mode="repeat"),
)

POINTS: Mapping[str, tuple[Passage, ...]] = {
    # the gateway dies
    "intake.store": INTAKE,
    "intake.judge": INTAKE,
    "intake.ingest": INTAKE,
    "intake.wake": INTAKE,
    "intake.acknowledge": INTAKE,
    "intake.nudge": (Passage("stop"),),
    "intake.amend": (Passage("edited"),),
    "intake.amended": (Passage("edited"),),
    # a worker dies
    "progress.step": (Passage("hello", nth=2), Passage("tools", nth=5)),
    "progress.write": (Passage("hello", nth=2), Passage("tools", nth=5)),
    "turn.take": HELLO,
    "turn.hold": HELLO,
    "turn.think": HELLO,
    "thread.create": HELLO,
    "thread.keep": HELLO,
    "thread.forget": (Passage("forgotten_thread"),),
    "thread.lose": (Passage("lost_thread"),),
    "assistant.find": HELLO,
    "assistant.forget": (Passage("forgotten_assistant"),),
    "run.begin": HELLO,
    "run.intend": HELLO,
    "run.create": HELLO,
    "run.keep": HELLO,
    "run.find": (Passage("stop_in_between", after="run.keep"),),
    "run.follow": HELLO,
    "run.innocent": (Passage("patient", after="run.follow"),),
    "run.cancel": (Passage("stop"),),
    "tools.call": TOOLS,
    "tool.intend": TOOLS,
    "tool.call": TOOLS,
    "tool.keep": TOOLS,
    "outputs.submit": TOOLS,
    "outputs.forget": TOOLS,
    "steer.look": STEER,
    "steer.intend": STEER,
    "steer.cancel": STEER,
    "steer.follow": STEER,
    "steer.join": STEER,
    "steer.too_late": (Passage("steer_too_late"),),
    "reject.look": (Passage("reject"),),
    "reject.remove": (Passage("reject"),),
    "reply.fix": HELLO,
    "part.wanted": POSTING,
    "part.begin": POSTING,
    "part.intend": POSTING,
    "part.post": POSTING,
    "part.keep": POSTING,
    "part.find": (Passage("long", SLACK, after="part.keep:2"),),
    "part.stub": (Passage("long", TELEGRAM, nth=2, mode="edit"),),
    "part.edit": (Passage("long", TELEGRAM, nth=2, mode="edit"),),
    "part.not_sent": (Passage("slowed"),),
    "notice.intend": (Passage("reject"),),
    "notice.post": (Passage("reject"),),
    "unsure.post": (
        Passage("hello", TELEGRAM, after="part.keep"),
        Passage("hello", TELEGRAM, after="part.post"),
    ),
    "unsure.keep": (
        Passage("hello", TELEGRAM, after="part.keep"),
        Passage("hello", TELEGRAM, after="part.post"),
    ),
    "last.read": (Passage("last"),),
    "turn.finish": HELLO,
    "turn.finished": HELLO,
    "refused.bury": (Passage("refused"),),
    "poison.bury": (Passage("poison"),),
    "given_up.bury": (Passage("blocked", TELEGRAM),),
    "given_up.finish": (Passage("blocked", TELEGRAM),),
    "failed.park": (Passage("odd"),),
    "trouble.park": (Passage("away"),),
    "no_adapter.park": (Passage("blind"),),
    "unreadable.park": (Passage("unreadable"),),
    "unreadable.bury": (Passage("never_readable"),),
    "unreadable.finish": (Passage("never_readable"),),
}

TWICE = ("run.create", "run.keep", "tool.call", "part.intend", "part.post", "part.keep", "turn.finish")
"""Points at which the next worker dies, too."""
