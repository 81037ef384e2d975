"""What the store's scripts do, in plain Python: the model that tests/redis/test_protocol.py compares them with."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace

from gateway.domain.messages import ConversationKey
from gateway.domain.turns import Lease, Phase


@dataclass(frozen=True)
class Waiting:
    """One accepted message."""

    seq: int
    name: int
    kind: str
    order: int
    text: str = "hi"
    revision: int = 0

    @classmethod
    def named(cls, name: int, seq: int) -> Waiting:
        """A message keeps its kind and the platform's number (or has none) when it is sent again."""
        return cls(seq, name, {0: "s", 1: "c"}.get(name % 5, "m"), name * 5 % 7)


@dataclass
class Model:
    """One conversation as it should be. Messages are numbered as they are accepted."""

    key: ConversationKey
    inbox: list[Waiting] = field(default_factory=list)
    known: set[int] = field(default_factory=set)
    offered: list[int] = field(default_factory=list)
    """Every name that was ever sent."""
    seq: int = 0
    gone: list[Waiting] = field(default_factory=list)
    """Answered, deleted or rejected."""
    batch: int = 0
    """How many messages the turn at work has; 0 without one."""
    tries: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    mark: int = 0
    """The number of the last waiting stop with something before it; 0 without one."""
    holder: Lease | None = None
    """Whose fence is good."""
    live: bool = False
    parked: bool = False
    """Its time has not come: put down, or a burst is being collected."""
    amended: dict[int, tuple[str | None, int]] = field(default_factory=dict)
    """Newest edit or deletion (None) by name and its revision, for a message that comes after it."""
    hush: bool = False
    """A burst began while the turn is at work: what waits when it ends waits for the rest of it."""
    stale: list[Lease] = field(default_factory=list)

    @property
    def replying(self) -> bool:
        return self.fields.get("phase") == Phase.REPLYING

    @property
    def lease(self) -> Lease:
        assert self.holder is not None
        return self.holder

    @property
    def sent(self) -> int:
        return int(self.fields.get("sent", 0))

    def shown(self, first: int, last: int) -> list[tuple[str, str]]:
        """What readers see of some waiting messages."""
        return [(str(waiting.name), waiting.text) for waiting in self.inbox[first:last]]

    # -- the gateway ---------------------------------------------------------------------------------------------------
    def accept(self, name: int, *, burst: bool) -> tuple[bool, bool, bool]:
        """Whether to wake somebody, to nudge the holder for a stop, to nudge the holder for mail."""
        self.seq += 1
        self.known.add(name)
        new = Waiting.named(name, self.seq)
        idle = not self.inbox
        self.hush = bool(self.batch) and new.kind == "m" and (self.hush or burst)
        behind = self.inbox[self.batch :]
        overtaken = list(itertools.takewhile(lambda waiting: waiting.order > new.order > 0, reversed(behind)))
        at = len(self.inbox) - len(overtaken)
        self.inbox.insert(at, new)
        stops = [waiting.seq for waiting in self.inbox if waiting.kind == "s" and waiting in [new, *overtaken]]
        if stops and (at > 0 or stops[-1] != new.seq):
            self.mark = stops[-1]
        if new.kind == "s" and at > 0 and not self.live and not self.replying:
            self.parked = False
            return True, False, False
        if self.live:
            return False, new.kind == "s", new.kind == "m"
        self.parked = self.parked or (idle and burst)
        return idle, False, False

    def find(self, name: int, kinds: str) -> Waiting | None:
        """The first such message behind the turn at work."""
        fitting = (waiting for waiting in self.inbox[self.batch :] if waiting.name == name and waiting.kind in kinds)
        return next(fitting, None)

    def remember(self, name: int, text: str | None, revision: int) -> None:
        """An amendment came, whether its message is there or not."""
        if name not in self.amended or self.amended[name][1] < revision:
            self.amended[name] = (text, revision)

    def settle(self, name: int) -> None:
        """The message came, for the first time or again: what overtook it is done now."""
        text, revision = self.amended.get(name, ("", -1))
        if text is None:
            self.delete(name)
        elif revision >= 0:
            self.edit(name, text, revision)

    def edit(self, name: int, text: str, revision: int) -> bool:
        found = self.find(name, "m")
        if found is None or found.revision > revision:
            return False
        if found.revision < revision:
            self.inbox[self.inbox.index(found)] = replace(found, text=text, revision=revision)
        return True

    def delete(self, name: int) -> bool:
        found = self.find(name, "mc")
        if found is None:
            return False
        self.inbox.remove(found)
        self.gone.append(found)
        self.parked = self.parked and bool(self.inbox)
        return True

    # -- workers -------------------------------------------------------------------------------------------------------
    def take(self, lease: Lease, max_batch: int) -> None:
        if self.holder is not None:
            self.stale.append(self.holder)
        if self.batch:
            self.tries += 1
        else:
            plain = list(itertools.takewhile(lambda waiting: waiting.kind == "m", self.inbox[:max_batch]))
            self.batch, self.tries = len(plain) or 1, 1
            self.fields = {"phase": Phase.COLLECTED}
        self.holder, self.live = lease, True

    def extend(self, most: int) -> tuple[int, int]:
        """The places of what joins the turn, or has joined it before."""
        begun = "ri" in self.fields or "run" in self.fields
        if not begun:
            return (self.sent, self.batch) if "sent" in self.fields else (0, 0)
        behind = itertools.takewhile(
            lambda waiting: waiting.kind == "m", self.inbox[self.batch : max(most, self.batch)]
        )
        joining = len(list(behind)) if self.inbox[0].kind == "m" else 0
        if not joining:
            return 0, 0
        self.fields = {"phase": Phase.COLLECTED, "sent": str(self.batch)}
        self.batch, self.tries = self.batch + joining, 1
        return self.sent, self.batch

    def finish(self, through_stop: bool) -> None:
        self.gone += self.inbox[: self.batch]
        self.inbox = self.inbox[self.batch :]
        covered = [waiting.seq for waiting in self.inbox].index(self.mark) + 1 if self.stop_waits else 0
        if through_stop:
            before = self.inbox[:covered]
            self.gone += [waiting for waiting in before if waiting.kind != "c"]
            self.inbox = [waiting for waiting in before if waiting.kind == "c"] + self.inbox[covered:]
        if through_stop or not covered:
            self.mark = 0
        self.batch, self.tries, self.fields = 0, 0, {}
        self.put_down()
        self.parked, self.hush = self.hush and bool(self.inbox), False

    @property
    def stop_waits(self) -> bool:
        return self.mark in [waiting.seq for waiting in self.inbox]

    def put_down(self) -> None:
        self.stale.append(self.lease)
        self.holder, self.live = None, False
