"""The store's scripts against a plain Python model: every accepted message leaves the inbox once, and in order.

The machine repeats messages, sends refused ones again, edits and deletes them, lets leases end and waits pass, fills
Redis up, and lets stale holders write.
"""

from __future__ import annotations

import asyncio
import itertools
import operator
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import Phase as Stage
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from gateway.domain.adapter import Accepted
from gateway.domain.errors import LeaseLost, StoreDown
from gateway.domain.messages import Amendment, Command, ConversationKey, InboundMessage
from gateway.domain.turns import Phase, Turn
from gateway.store import SCRIPTS, Store, envelope_message, keys
from gateway.store.inbox import Ingested
from gateway.store.leases import Beat, NotYet
from tests.redis.model import Model, Waiting

T = TypeVar("T")
CAP = 5
MAX_BATCH = 3
LONG_S = 1000.0
"""Longer than any example takes: leases and waits end by the machine's own hand alone."""
COMMANDS = {"s": Command.STOP, "c": Command.NEW, "m": None}
_fresh = itertools.count()


PROGRESS = {"phase", "run", "ri", "sent"}
WORK = {"step", "adopt_a_run_of_fewer_messages", "extend", "reject", "renew", "park", "finish"}


def actions() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """What may happen next: the name of a method of the machine and its arguments; some are worth more than others."""
    which, yes_or_no = st.sampled_from([0, 0, 0, 0, 1]), st.booleans()
    names, several = st.integers(0, 24), st.integers(1, 3)
    rarely = st.sampled_from([False] * 7 + [True])
    plain = names.filter(lambda name: name % 5 > 1)  # see Waiting.named
    mail = st.lists(plain, max_size=2)

    def action(does: str, weight: int = 1, /, **arguments: st.SearchStrategy[Any]) -> list[st.SearchStrategy[Any]]:
        return weight * [st.tuples(st.just(does), st.fixed_dictionaries({"at": which, **arguments}))]

    return st.one_of(
        *action("send", 3, names=st.lists(names, min_size=1, max_size=3), burst=rarely),
        *action("send", 4, names=st.lists(plain, min_size=1, max_size=2)),
        *action("send", names=st.tuples(st.sampled_from([1, 6, 11]), st.sampled_from([0, 5, 10]))),
        *action("send_again", 2, number=names),
        *action("amend", 2, number=st.integers(0, 3), revision=st.sampled_from([None, None, 0, 1, 2, 3])),
        *action("acquire", 3, patient=yes_or_no),
        *action("step", 2, phase=st.sampled_from([Phase.RUNNING, Phase.REPLYING]), intent=st.sampled_from(["", "1"])),
        *action("adopt_a_run_of_fewer_messages", covered=st.integers(1, MAX_BATCH)),
        *action("extend", 3, most=st.sampled_from([1, 3, CAP, CAP]), begun=rarely.map(operator.not_), names=mail),
        *action("reject", limit=several, spared=st.integers(0, 3), names=mail),
        *action("renew", 2),
        *action("park", wait=yes_or_no, clean=yes_or_no, heard=yes_or_no),
        *action("finish", 3, through_stop=yes_or_no),
        *action("the_lease_ends"),
        *action("the_wait_is_over"),
        *action("a_day_passes", number=names),
        *action("redis_is_full", name=names, work=st.integers(0, 6)),
        *action("a_stale_holder_writes", which_one=st.integers(0, 50), through_stop=yes_or_no),
    )


class Protocol(RuleBasedStateMachine):
    """Two conversations of one installation."""

    def __init__(self, url: str, scripts: Path) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = self.do(_opened(url, scripts))
        self.raw: Any = redis.Redis.from_url(url, decode_responses=True)
        number = next(_fresh)
        self.models = [Model(ConversationKey(f"console:{number}-{n}")) for n in range(2)]
        self.values = itertools.count(1)

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def held(self, at: int) -> Model:
        """A conversation that somebody holds, `at` rather than the other one."""
        return self.models[at] if self.models[at].holder else self.models[1 - at]

    @rule(action=actions())
    def act(self, action: tuple[str, dict[str, Any]]) -> None:
        """One rule for all: with a rule each, Hypothesis leaves half of them out of an example, and few turns would get
        anywhere. What needs a holder, and finds none, makes one."""
        name, arguments = action
        if name in WORK and not any(model.holder for model in self.models):
            name, arguments = "acquire", {"at": arguments["at"], "patient": False}
        getattr(self, name)(**arguments)

    # -- the gateway ---------------------------------------------------------------------------------------------------
    def send(self, at: int, names: Sequence[int], burst: bool = False) -> None:
        model = self.models[at]
        for name in names:
            model.offered.append(25 * len(model.offered) + name)
            self.send_one(model, model.offered[-1], burst)

    def send_again(self, at: int, number: int) -> None:
        """A redelivery, or what was refused before."""
        model = self.models[at]
        if model.offered:
            self.send_one(model, model.offered[-1 - number % len(model.offered)], burst=False)

    def send_one(self, model: Model, name: int, burst: bool) -> None:
        done = self.ingest(model, name, burst)
        if name in model.known:
            assert done.outcome is Accepted.DUPLICATE
            model.settle(name)
        elif len(model.inbox) >= CAP:
            assert done.outcome is Accepted.FULL
        else:
            wake, nudge, mail = model.accept(name, burst=burst)
            model.settle(name)
            expected = Ingested(Accepted.STORED, model.seq, wake=wake, stop=nudge, mail=mail)
            assert done == expected

    def ingest(self, model: Model, name: int, burst: bool) -> Ingested:
        sent = Waiting.named(name, 0)
        message = InboundMessage(
            model.key,
            (str(name),),
            "hi",
            "7",
            command=COMMANDS[sent.kind],
            message_id=str(name),
            order=sent.order,
        )
        return self.do(self.store.inbox.ingest(message, cap=CAP, debounce_s=LONG_S if burst else 0.0))

    def amend(self, at: int, number: int, revision: int | None, full: bool = False) -> None:
        """One of those that wait, or one that nobody knows."""
        model = self.models[at]
        name = model.inbox[-1 - number].name if number < len(model.inbox) else -1
        if revision is None:
            if not full:  # then a deletion is carried out and not remembered
                model.remember(name, None, 0)
            assert self.do(self.store.inbox.amend(Amendment(model.key, str(name), None, 0))) == model.delete(name)
        else:
            self.edit(model, name, revision)

    def edit(self, model: Model, name: int, revision: int) -> None:
        amendment = Amendment(model.key, str(name), f"edit {revision}", revision)
        done = self.do(self.store.inbox.amend(amendment))
        model.remember(name, amendment.text, revision)
        assert done == model.edit(name, f"edit {revision}", revision)

    # -- workers -------------------------------------------------------------------------------------------------------
    def acquire(self, at: int, patient: bool = True) -> None:
        model = self.models[at]
        if not patient:
            self.the_lease_ends(at)
            self.the_wait_is_over(at)
        turn = self.do(self.store.leases.acquire(model.key, lease_s=LONG_S, max_batch=MAX_BATCH))
        if model.live or (not model.parked and not model.inbox):
            assert turn is None
            return
        if model.parked:
            assert isinstance(turn, NotYet)
            assert LONG_S - 100 < turn.in_s <= LONG_S
            return
        assert isinstance(turn, Turn)
        assert turn.lease.fence not in {lease.fence for lease in model.stale}
        model.take(turn.lease, MAX_BATCH)
        assert [(message.event_id, message.text) for message in turn.batch] == model.shown(0, model.batch)
        assert (turn.tries, turn.phase, turn.run or "") == (
            model.tries,
            model.fields["phase"],
            model.fields.get("run", ""),
        )
        assert (turn.sent, turn.run_intended) == (model.sent, "ri" in model.fields)
        assert turn.stop_requested == bool(model.mark)

    def step(self, at: int, phase: Phase, intent: str) -> None:
        self.write(self.held(at), {"phase": phase, "run": f"run_{next(self.values)}", "ri": intent})

    def adopt_a_run_of_fewer_messages(self, at: int, covered: int) -> None:
        model = self.held(at)
        if model.sent < covered < model.batch:
            self.write(model, {"n": str(covered), "run": f"run_{next(self.values)}"})
            model.batch = covered

    def write(self, model: Model, fields: dict[str, str]) -> None:
        assert self.do(self.store.turns.step(model.lease, fields, lease_s=LONG_S)) == bool(model.mark)
        model.fields = {name: value for name, value in (model.fields | fields).items() if value and name != "n"}
        model.live = True

    def extend(self, at: int, most: int, begun: bool, names: Sequence[int] = ()) -> None:
        model = self.held(at)
        self.send(self.models.index(model), names)
        if begun:
            self.write(model, {"run": f"run_{next(self.values)}"})
        for _ in range(2):  # an answer may get lost
            joined = self.do(self.store.turns.extend(model.lease, max_batch=most, lease_s=LONG_S))
            first, last = model.extend(most)
            assert [(message.event_id, message.text) for message in joined] == model.shown(first, last)
        model.live = True

    def reject(self, at: int, limit: int, spared: int, names: Sequence[int] = ()) -> None:
        model = self.held(at)
        self.send(self.models.index(model), names)
        behind = list(itertools.takewhile(lambda waiting: waiting.kind == "m", model.inbox[model.batch :]))[:limit]
        found = self.do(self.store.turns.behind(model.lease, limit))
        assert [envelope_message(envelope).event_id for envelope in found] == [str(waiting.name) for waiting in behind]
        doomed = [number for number in range(len(found)) if number != spared]
        assert self.do(self.store.turns.reject(model.lease, [found[number] for number in doomed])) == len(doomed)
        for number in doomed:
            model.inbox.remove(behind[number])
            model.gone.append(behind[number])

    def renew(self, at: int) -> None:
        model = self.held(at)
        beats = self.do(self.store.leases.renew([*model.stale[-1:], model.lease], lease_s=LONG_S))
        mail = len(model.inbox) > model.batch and model.inbox[model.batch].kind == "m"
        expected = Beat.OURS | (Beat.STOP if model.mark else Beat.LOST) | (Beat.MAIL if mail else Beat.LOST)
        assert beats.pop(model.lease) == expected
        assert all(beat == Beat.LOST for beat in beats.values())
        model.live = True

    def park(self, at: int, wait: bool, clean: bool, heard: bool) -> None:
        model = self.held(at)
        delay_s = LONG_S if wait else 0.0
        self.do(self.store.turns.park(model.lease, delay_s, {"failures": 1}, clean=clean, heard=heard))
        model.tries -= clean
        model.parked = wait and (not model.mark or heard or model.replying)
        model.put_down()

    def finish(self, at: int, through_stop: bool) -> None:
        self.end(self.held(at), through_stop)

    def end(self, model: Model, through_stop: bool) -> None:
        lease = model.lease
        model.finish(through_stop)
        assert self.do(self.store.turns.finish(lease, through_stop=through_stop)) == len(model.inbox)

    # -- what goes wrong -----------------------------------------------------------------------------------------------
    def the_lease_ends(self, at: int) -> None:
        """Its worker died, or sleeps: until somebody else takes the turn its fence is good."""
        model = self.models[at]
        if model.live:
            self.raw.hset(keys.state(model.key), "lease", 1)
            self.raw.zadd(self.due(model), {model.key: 1})
            model.live = False

    def the_wait_is_over(self, at: int) -> None:
        model = self.models[at]
        if model.parked:
            self.raw.hset(keys.state(model.key), "until", 1)
            self.raw.zadd(self.due(model), {model.key: 1})
            model.parked = False

    def a_day_passes(self, at: int, number: int) -> None:
        """A platform that sends a message again after so long gets it answered again."""
        model = self.models[at]
        for name in model.offered[-1 - number % CAP :][:1]:
            self.raw.delete(keys.dedupe(model.key, str(name)))
            model.known.discard(name)

    def redis_is_full(self, at: int, name: int, work: int) -> None:
        """Mail is refused, and work goes on."""
        model = self.models[at]
        self.raw.config_set("maxmemory", "1")
        try:
            with pytest.raises(StoreDown):
                self.ingest(model, -1 - name, burst=False)
            for waiting in model.inbox[model.batch :][:1]:
                if model.find(waiting.name, "m"):
                    with pytest.raises(StoreDown):
                        self.edit(model, waiting.name, 1_000_000)
            works: list[Callable[[], None]] = [
                lambda: self.amend(at, 0, None, full=True),
                lambda: self.acquire(at),
                lambda: self.extend(at, CAP, begun=True),
                lambda: self.reject(at, 1, 1),
                lambda: self.renew(at),
                lambda: self.park(at, wait=False, clean=True, heard=True),
                lambda: self.finish(at, through_stop=False),
            ]
            if work < 2 or self.held(at).holder:
                works[work]()
        finally:
            self.raw.config_set("maxmemory", "0")

    def a_stale_holder_writes(self, at: int, which_one: int, through_stop: bool) -> None:
        model = self.models[at]
        if not model.stale:
            return
        turns, lease = self.store.turns, model.stale[which_one % len(model.stale)]
        late: list[Callable[[], Coroutine[Any, Any, Any]]] = [
            lambda: turns.step(lease, {"run": "run_stale", "n": 9}, lease_s=LONG_S),
            lambda: turns.park(lease, 0),
            lambda: turns.extend(lease, max_batch=9, lease_s=LONG_S),
            lambda: turns.behind(lease, 9),
            lambda: turns.reject(lease, self.raw.lrange(keys.inbox(model.key), 0, -1)),
        ]
        for write in late:
            with pytest.raises(LeaseLost):
                self.do(write())
        assert self.do(turns.finish(lease, through_stop=through_stop, new_thread=True, keep_reply_s=9)) == 0

    # -- what always holds ---------------------------------------------------------------------------------------------
    @invariant()
    def nothing_is_lost_and_somebody_will_look(self) -> None:
        look = self.raw.pipeline(transaction=False).time()
        for model in self.models:
            look.lrange(keys.inbox(model.key), 0, -1).zscore(self.due(model), model.key).hgetall(keys.state(model.key))
        (seconds, micros), *places = look.execute()
        now = seconds * 1000 + micros // 1000
        for model, envelopes, due, state in zip(self.models, places[::3], places[1::3], places[2::3], strict=True):
            found = [(*envelope.split(" ", 2)[:2], envelope_message(envelope).text) for envelope in envelopes]
            assert found == [(str(waiting.seq), waiting.kind, waiting.text) for waiting in model.inbox]
            assert (due is not None) == bool(model.inbox), "mail without a due entry would wait for ever"
            if due is not None and not model.live and not model.parked:
                assert due <= now + 2000
            assert (int(state.get("lease", 0)) > now) == model.live
            assert model.live or (int(state.get("until", 0)) > now) == model.parked
            numbers = [int(state.get(name, 0)) for name in ("n", "tries", "stop")]
            assert numbers == [model.batch, model.tries, model.mark]
            assert {name: value for name, value in state.items() if name in PROGRESS} == model.fields
            marks = [waiting.seq for waiting in model.inbox if waiting.kind == "s"]
            assert model.mark in {0, *marks[-1:]}, "the last stop is the one that counts"

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
            self.acquire(at, patient=False)  # a burst that began during the turn has its wait after it
            self.end(model, through_stop=False)
        assert sorted(waiting.seq for waiting in model.gone) == list(range(1, model.seq + 1)), "every one, exactly once"
        assert set(self.raw.hkeys(keys.state(model.key))) <= {"seq", "fence"}, "nothing of the turns stays behind"
        assert not self.raw.exists(keys.last_reply(model.key), keys.threads(model.key)), "no stale holder's word"
        self.nothing_is_lost_and_somebody_will_look()

    def due(self, model: Model) -> str:
        return keys.due(keys.partition(model.key))


async def _opened(url: str, scripts: Path) -> Store:
    return Store(url, scripts=scripts)


def run_protocol(url: str, scripts: Path, **more: Any) -> None:
    """Compare the scripts of a folder with the model; raises what the machine finds."""
    run_state_machine_as_test(
        lambda: Protocol(url, scripts),  # type: ignore[arg-type]  # any factory will do, its documentation says
        settings=settings(
            max_examples=45,
            stateful_step_count=50,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Stage.reuse, Stage.generate],  # shrinking takes minutes, and fifty steps can be read
            **more,
        ),
    )


def test_every_accepted_message_leaves_the_inbox_once_and_in_order(redis_url: str) -> None:
    run_protocol(redis_url, SCRIPTS)
