"""What a history means: which promise was broken, where. Pure: histories may be made up.

Seen from outside only. A message is ours from the platform's first 2xx on. It is answered when exactly one run brought
it and each word of that run's reply stands in the chat once, in order.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from tests.chaos.run.backend import word
from tests.chaos.run.history import History, Message, Post, Run

_WORD = re.compile(r"\br(\d+)w(\d+)\b")
UNSURE = "unsure"
"""The notice that says that something may be missing."""
FORGOTTEN = "doubled run in a new thread"
"""Redis had forgotten the conversation's thread, and nobody can be asked for it."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One broken promise."""

    kind: str
    """lost | doubled | astray | doubled run (and FORGOTTEN) | reordered | wedged"""
    conversation: str
    what: str


@dataclass
class Verdict:
    """The figures of a history."""

    messages: int = 0
    acked: int = 0
    answered: int = 0
    runs: int = 0
    parts: int = 0
    breaches: list[Breach] = field(default_factory=list)
    told: int = 0
    """Telegram messages whose reply is not complete, but whose reader was told that something may be missing."""
    stubs: int = 0
    """Posts without anything in them: placeholders that nobody finished."""
    sayings: Counter[str] = field(default_factory=Counter)
    """Our own sentences in the chats, by name."""

    def count(self, kind: str, platform: str = "") -> int:
        """How many breaches of a kind there were."""
        return sum(b.kind == kind and b.conversation.startswith(platform) for b in self.breaches)

    @property
    def notices(self) -> int:
        """How often a reader was told that something may be missing."""
        return self.sayings[UNSURE]


@dataclass(slots=True)
class _Reply:
    """What stands in the chat of one run's reply."""

    order: list[int] = field(default_factory=list)
    """Numbers of its words, in the order they were posted."""
    first_post: int = -1
    """Its place among the conversation's posts."""

    def missing(self, run: Run) -> int:
        return run.words - len(set(self.order) & set(range(run.words)))


def judge(history: History, sayings: Mapping[str, str], *, probes: frozenset[str] = frozenset()) -> Verdict:
    """Look at a whole history. `sayings`: the beginning of each of our own sentences → its name. `probes`: the last
    message of each conversation, sent when all was well again: unanswered, it means that the conversation is wedged."""
    verdict = Verdict(messages=len(history.messages), runs=len(history.runs))
    verdict.acked = sum(m.acked_at is not None for m in history.messages.values())
    by_place: dict[str, list[Message]] = defaultdict(list)
    for message in history.messages.values():
        by_place[message.conversation].append(message)
    runs: dict[str, list[Run]] = defaultdict(list)
    for run in history.runs:
        runs[run.conversation].append(run)
    posts: dict[str, list[Post]] = defaultdict(list)
    for post in sorted(history.posts.values(), key=lambda p: p.at):
        posts[post.conversation].append(post)
    for conversation, messages in by_place.items():
        place = _Place(conversation, messages, runs[conversation], posts[conversation], sayings, probes)
        place.judge(verdict)
    for stray in runs.keys() - by_place.keys():
        verdict.breaches.append(Breach("lost", stray, f"runs of an unknown conversation: {len(runs[stray])}"))
    return verdict


@dataclass(slots=True)
class _Place:
    """One conversation."""

    name: str
    messages: list[Message]
    runs: list[Run]
    posts: list[Post]
    sayings: Mapping[str, str]
    probes: frozenset[str]

    def judge(self, verdict: Verdict) -> None:
        replies = self._replies(verdict)
        breaches = verdict.breaches
        breaches += self._doubled_runs()
        breaches += self._reordered(replies)
        by_name: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs:
            for name in run.messages:
                by_name[name].append(run)
        for message in self.messages:
            fate = self._fate(message, by_name[message.name], replies)
            verdict.answered += fate == "answered"
            verdict.told += fate == "told"
            if fate.startswith("lost") and message.acked_at is not None:
                kind = "wedged" if message.name in self.probes else "lost"
                breaches.append(Breach(kind, self.name, f"{message.name} {fate}"))

    def _replies(self, verdict: Verdict) -> dict[str, _Reply]:
        """Read the chat; what is doubled or astray is noted."""
        ours = {word(run.run_id, 0).partition("w")[0][1:]: run for run in self.runs}
        replies: dict[str, _Reply] = {run.run_id: _Reply() for run in self.runs}
        for place, post in enumerate(self.posts):
            found = _WORD.findall(post.text)
            if not found:
                if len(post.text.strip()) <= 2:
                    verdict.stubs += 1
                else:
                    verdict.sayings[self._saying(post)] += 1
                continue
            verdict.parts += 1
            again = 0
            for run_number, number in found:
                run = ours.get(run_number)
                if run is None:
                    verdict.breaches.append(Breach("astray", self.name, f"{post.platform_id}: words of another chat"))
                    break
                reply = replies[run.run_id]
                reply.first_post = place if reply.first_post < 0 else reply.first_post
                again += int(number) in reply.order
                reply.order.append(int(number))
            if again:
                what = f"{post.platform_id} repeats {again} of {len(found)} words of run {found[0][0]}"
                verdict.breaches.append(Breach("doubled", self.name, what))
        return replies

    def _told(self, run: Run) -> bool:
        """Whether a notice came with the reply to this run: after it was made, and before the next one was."""
        if not self.name.startswith("telegram"):
            return False
        until = min((later.at for later in self.runs if later.at > run.at), default=math.inf)
        return any(run.at <= post.at < until and self._saying(post) == UNSURE for post in self.posts)

    def _saying(self, post: Post) -> str:
        text = post.text.strip()
        return next((name for start, name in self.sayings.items() if text.startswith(start)), "other")

    def _fate(self, message: Message, brought: list[Run], replies: Mapping[str, _Reply]) -> str:
        if not brought:
            return "lost: no run brought it"
        missing = min(replies[run.run_id].missing(run) for run in brought)
        if not missing:
            return "answered"
        run = brought[-1]
        if self._told(run):
            return "told"
        return f"lost: {missing} of {run.words} words of {run.run_id} ({run.status}) are missing"

    def _doubled_runs(self) -> Iterator[Breach]:
        """A message that two runs brought, or a key that two runs have."""
        bringers: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs:
            for name in (*run.messages, f"key {run.key}"):
                bringers[name].append(run)
        for name, runs in bringers.items():
            if len(runs) > 1:
                kind = "doubled run" if len({run.thread for run in runs}) == 1 else FORGOTTEN
                yield Breach(kind, self.name, f"{name} in {', '.join(run.run_id for run in runs)}")

    def _reordered(self, replies: Mapping[str, _Reply]) -> Iterator[Breach]:
        """A message that came after one that was sent when it itself was ours already; replies, or their words, that
        do not follow each other."""
        known = {message.name: message for message in self.messages}
        latest: Message | None = None  # of all brought so far, the one that was sent last
        for name in (name for run in self.runs for name in dict.fromkeys(run.messages)):
            message = known.get(name)
            if message is None:
                continue
            if latest and message.acked_at is not None and message.acked_at < latest.sent_at:
                yield Breach("reordered", self.name, f"{name} was ours before {latest.name} was sent, and came later")
            if latest is None or message.sent_at > latest.sent_at:
                latest = message
        places = [replies[run.run_id].first_post for run in self.runs if replies[run.run_id].first_post >= 0]
        if places != sorted(places):
            yield Breach("reordered", self.name, "a reply stands before the one to an earlier run")
        for run in self.runs:
            order = list(dict.fromkeys(replies[run.run_id].order))
            if order != sorted(order):
                yield Breach("reordered", self.name, f"the words of {run.run_id} are out of order")
