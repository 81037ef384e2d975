"""ingest, acquire, step, park, finish against a plain Python model: every accepted message is answered once, in order.

The machine repeats messages, sends refused ones again, lets leases end and waits pass, and lets stale holders write.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from gateway.domain.adapter import Accepted
from gateway.domain.errors import LeaseLost
from gateway.domain.messages import Command, ConversationKey, InboundMessage
from gateway.domain.turns import Lease, Phase
from gateway.store import Store
from gateway.store.leases import Beat

T = TypeVar("T")
CAP = 5
MAX_BATCH = 3
LONG_S = 1000.0
"""Longer than any example takes: leases and waits end by the machine's own hand alone."""
_fresh = itertools.count()


def kind_of(name: int) -> str:
    """A message keeps its kind when it is sent again."""
    return {0: "s", 1: "c"}.get(name % 5, "m")


@dataclass
class Model:
    """One conversation as it should be. Messages are numbered as they are accepted."""

    key: ConversationKey
    inbox: list[tuple[int, str]] = field(default_factory=list)
    known: set[int] = field(default_factory=set)
    seq: int = 0
    answered: list[tuple[int, str]] = field(default_factory=list)
    batch: int = 0
    """How many messages the turn at work has; 0 without one."""
    tries: int = 0
    fields: dict[str, str] = field(default_factory=dict)
    mark: int = 0
    """The number of the last stop that waits; 0 without one."""
    holder: Lease | None = None
    """Whose fence is good."""
    live: bool = False
    parked: bool = False
    stale: list[Lease] = field(default_factory=list)

    @property
    def replying(self) -> bool:
        return self.fields.get("phase") == Phase.REPLYING

    def put_down(self) -> None:
        assert self.holder is not None
        self.stale.append(self.holder)
        self.holder, self.live = None, False


class Protocol(RuleBasedStateMachine):
    """Two conversations of one installation."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = self.do(_open(url))
        self.raw: Any = redis.Redis.from_url(url, decode_responses=True)
        number = next(_fresh)
        self.models = [Model(ConversationKey(f"console:{number}-{n}")) for n in range(2)]
        self.values = itertools.count(1)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    which = st.sampled_from([0, 0, 0, 0, 1])
    names = st.integers(0, 24)

    # -- the gateway ---------------------------------------------------------------------------------------------------
    @rule(at=which, name=names)
    def send(self, at: int, name: int) -> None:
        model = self.models[at]
        kind = kind_of(name)
        command = {"s": Command.STOP, "c": Command.NEW}.get(kind)
        message = InboundMessage(model.key, (str(name),), "hi", "7", command=command)
        done = self.do(self.store.inbox.ingest(message, cap=CAP))
        if name in model.known:
            assert done.outcome is Accepted.DUPLICATE
            return
        if len(model.inbox) >= CAP:
            assert done.outcome is Accepted.FULL
            return
        waiting = len(model.inbox)
        model.seq += 1
        model.known.add(name)
        model.inbox.append((model.seq, kind))
        wake, nudge = not waiting, False
        if kind == "s" and waiting:
            model.mark = model.seq
            nudge = model.live
            wake = not model.live and not model.replying
            model.parked = model.parked and not wake
        assert (done.outcome, done.seq, done.wake, done.stop) == (Accepted.STORED, model.seq, wake, nudge)

    @rule(at=which, command=st.sampled_from([1, 6, 11]), stop=st.sampled_from([0, 5, 10]))
    def send_a_command_and_a_stop(self, at: int, command: int, stop: int) -> None:
        """Rare by chance, and the one way in which messages leave the inbox from its middle."""
        self.send(at, command)
        self.send(at, stop)

    # -- workers -------------------------------------------------------------------------------------------------------
    @rule(at=which)
    def acquire(self, at: int) -> None:
        model = self.models[at]
        turn = self.do(self.store.leases.acquire(model.key, lease_s=LONG_S, max_batch=MAX_BATCH))
        if model.live or model.parked or not model.inbox:
            assert turn is None
            return
        assert turn is not None
        if model.holder is not None:
            model.stale.append(model.holder)
        if model.batch:
            model.tries += 1
        else:
            plain = list(itertools.takewhile(lambda waiting: waiting[1] == "m", model.inbox[:MAX_BATCH]))
            model.batch, model.tries = len(plain) or 1, 1
            model.fields = {"phase": Phase.COLLECTED}
        assert turn.lease.fence not in {lease.fence for lease in model.stale}
        model.holder, model.live = turn.lease, True
        assert len(turn.batch) == model.batch
        assert (turn.tries, turn.phase, turn.run or "") == (
            model.tries,
            model.fields["phase"],
            model.fields.get("run", ""),
        )
        assert turn.stop_requested == bool(model.mark)

    @precondition(lambda self: self.models[0].holder or self.models[1].holder)
    @rule(at=which, phase=st.sampled_from([Phase.RUNNING, Phase.REPLYING]))
    def step(self, at: int, phase: Phase) -> None:
        model = self.models[at]
        if model.holder is None:
            return
        fields = {"phase": phase, "run": f"run_{next(self.values)}"}
        assert self.do(self.store.turns.step(model.holder, fields, lease_s=LONG_S)) == bool(model.mark)
        model.fields |= fields
        model.live = True

    @precondition(lambda self: self.models[0].holder or self.models[1].holder)
    @rule(at=which)
    def renew(self, at: int) -> None:
        model = self.models[at]
        if model.holder is None:
            return
        beats = self.do(self.store.leases.renew([model.holder, *model.stale[-1:]], lease_s=LONG_S))
        assert beats.pop(model.holder) is (Beat.STOP if model.mark else Beat.OURS)
        assert all(beat is Beat.LOST for beat in beats.values())
        model.live = True

    @precondition(lambda self: self.models[0].holder or self.models[1].holder)
    @rule(at=which, wait=st.booleans(), clean=st.booleans(), heard=st.booleans())
    def park(self, at: int, wait: bool, clean: bool, heard: bool) -> None:
        model = self.models[at]
        if model.holder is None:
            return
        delay_s = LONG_S if wait else 0.0
        self.do(self.store.turns.park(model.holder, delay_s, {"failures": 1}, clean=clean, heard=heard))
        model.tries -= clean
        model.parked = wait and (not model.mark or heard or model.replying)
        model.put_down()

    @precondition(lambda self: self.models[0].holder or self.models[1].holder)
    @rule(at=which, through_stop=st.booleans())
    def finish(self, at: int, through_stop: bool) -> None:
        model = self.models[at]
        if model.holder is None:
            return
        self.end(model, through_stop)

    def end(self, model: Model, through_stop: bool) -> None:
        assert model.holder is not None
        done, model.inbox = model.inbox[: model.batch], model.inbox[model.batch :]
        if through_stop and model.mark:
            stopped = [waiting for waiting in model.inbox if waiting[0] <= model.mark and waiting[1] != "c"]
            model.inbox = [waiting for waiting in model.inbox if waiting not in stopped]
            done, model.mark = done + stopped, 0
        if not model.inbox or model.inbox[0][0] > model.mark:
            model.mark = 0
        model.answered += done
        assert self.do(self.store.turns.finish(model.holder, through_stop=through_stop)) == len(model.inbox)
        model.batch, model.tries, model.fields = 0, 0, {}
        model.put_down()

    # -- what goes wrong -----------------------------------------------------------------------------------------------
    @rule(at=which)
    def the_lease_ends(self, at: int) -> None:
        """Its worker died, or sleeps: until somebody else takes the turn its fence is good."""
        model = self.models[at]
        if model.live:
            self.raw.hset(self.name(model, "s"), "lease", 1)
            self.raw.zadd(self.due(model), {model.key: 1})
            model.live = False

    @precondition(lambda self: self.models[0].parked or self.models[1].parked)
    @rule(at=which)
    def the_wait_is_over(self, at: int) -> None:
        model = self.models[at]
        if model.parked:
            self.raw.hset(self.name(model, "s"), "until", 1)
            self.raw.zadd(self.due(model), {model.key: 1})
            model.parked = False

    @precondition(lambda self: self.models[0].stale or self.models[1].stale)
    @rule(at=which, which_one=st.integers(0, 50), through_stop=st.booleans())
    def a_stale_holder_writes(self, at: int, which_one: int, through_stop: bool) -> None:
        model = self.models[at]
        if not model.stale:
            return
        lease = model.stale[which_one % len(model.stale)]
        with pytest.raises(LeaseLost):
            self.do(self.store.turns.step(lease, {"run": "run_stale", "n": 9}, lease_s=LONG_S))
        with pytest.raises(LeaseLost):
            self.do(self.store.turns.park(lease, 0))
        assert self.do(self.store.turns.finish(lease, through_stop=through_stop, new_thread=True)) == 0

    # -- what always holds ---------------------------------------------------------------------------------------------
    @invariant()
    def nothing_is_lost_and_somebody_will_look(self) -> None:
        for model in self.models:
            waiting = [envelope.split(" ", 2)[:2] for envelope in self.raw.lrange(self.name(model, "i"), 0, -1)]
            assert [(int(seq), kind) for seq, kind in waiting] == model.inbox
            due = self.raw.zscore(self.due(model), model.key)
            assert (due is not None) == bool(model.inbox), "mail without a due entry would wait for ever"
            if due is not None and not model.live and not model.parked:
                seconds, _ = self.raw.time()
                assert due <= (seconds + 2) * 1000
            for kind in "mcs":
                numbers = [seq for seq, of in model.answered if of == kind]
                assert numbers == sorted(set(numbers)), "once each, in order"

    def teardown(self) -> None:
        try:
            for model in self.models:
                self.drain(model)
        finally:
            self.do(self.store.close())
            self.raw.close()
            self.runner.close()

    def drain(self, model: Model) -> None:
        at = self.models.index(model)
        self.the_lease_ends(at)
        self.the_wait_is_over(at)
        for _ in range(len(model.inbox)):
            if not model.inbox:
                break
            self.acquire(at)
            self.end(model, through_stop=False)
        assert sorted(seq for seq, _ in model.answered) == list(range(1, model.seq + 1)), "every one, exactly once"
        assert set(self.raw.hkeys(self.name(model, "s"))) <= {"seq", "fence"}, "nothing of the turns stays behind"
        self.nothing_is_lost_and_somebody_will_look()

    def name(self, model: Model, room: str) -> str:
        from gateway.store import keys

        return keys.inbox(model.key) if room == "i" else keys.state(model.key)

    def due(self, model: Model) -> str:
        from gateway.store import keys

        return keys.due(keys.partition(model.key))


async def _open(url: str) -> Store:
    return Store(url)


def test_every_accepted_message_is_answered_once_and_in_order(redis_url: str) -> None:
    run_state_machine_as_test(
        lambda: Protocol(redis_url),  # type: ignore[arg-type]  # any factory will do, its documentation says
        settings=settings(
            max_examples=60,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Stage.reuse, Stage.generate],  # shrinking takes minutes, and fifty steps can be read
        ),
    )
