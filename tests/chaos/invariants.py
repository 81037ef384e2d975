"""What has to hold at the end of every case: nothing lost, nothing doubled, nothing out of order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from tests.chaos.stage import Stage
from tests.flow.assistants_server import ACTIVE
from workers import phrases

STUB = "…"
_TURN = re.compile(r"\(turn \w*\)")
_UNSURE = _TURN.sub("", phrases.UNSURE.format(turn=""))


async def check(stage: Stage, *, mode: str) -> None:
    """Raise AssertionError unless everything holds; the conversation has to be idle."""
    _runs_are_one_for_each_turn(stage)
    heard = [_TURN.sub("", text) for text in await stage.place.heard()]
    if stage.expected.free:
        return
    expected = words([_TURN.sub("", text) for text in stage.expected.heard])
    doubts = len(stage.arms) + stage.place.doubts
    if stage.place.platform == "slack" or not doubts:
        assert words(heard) == expected, "on Slack everything is heard exactly once"
    elif mode == "edit":
        assert words([text for text in heard if text != STUB]) == expected, "an edited part is heard exactly once"
        assert heard.count(STUB) <= doubts, "a death leaves one placeholder at most"
    elif mode == "repeat":
        assert is_within(expected, words(heard)), "nothing is lost where parts are repeated"
        assert len(heard) <= len(stage.expected.heard) + PARTS_OF_A_REPLY + doubts
    else:
        notices = heard.count(_UNSURE)
        posted = words([text for text in heard if text != _UNSURE])
        assert is_within(posted, expected), "nothing is heard twice or out of order"
        assert notices <= max(1, doubts), "one notice for a turn, and perhaps one for a death over it"
        assert notices or posted == expected, "what is missing has a notice"


PARTS_OF_A_REPLY = 4


def _runs_are_one_for_each_turn(stage: Stage) -> None:
    backend = stage.place.backend
    keys = Counter(run.metadata.get("threadway_key") for run in backend.runs.values())
    assert all(count == 1 for count in keys.values()), f"two runs of one turn: {keys}"
    there = [m["text"] for thread in backend.threads.values() for m in thread if m["role"] == "user"]
    assert there == stage.expected.threads, "each message is in one run, in order"
    assert [r.id for r in backend.runs.values() if r.status in ACTIVE and r.thread in backend.threads] == []
    made = Counter(stage.place.calls)
    assert all(count == 1 for count in made.values()), f"a tool was called again: {made}"


def words(texts: Sequence[str]) -> list[str]:
    """All words, in order: how a reply is cut into parts is not what is looked at here."""
    return " ".join(texts).split()


def is_within(some: Sequence[str], all_of_them: Sequence[str]) -> bool:
    """Whether `some` is what is left of `all_of_them` when parts of it are left out."""
    rest = iter(all_of_them)
    return all(word in rest for word in some)
