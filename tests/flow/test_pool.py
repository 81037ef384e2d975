"""The pool in real Celery worker processes: rules A to E and every way to stop (see workers/pool/__init__.py)."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery

from tests.conftest import _server_binary

ROOT = Path(__file__).parents[2]
PATIENCE_S = 20


def redis_at(socket: Path | str, db: int) -> redis.Redis:
    retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 200)
    return redis.Redis(unix_socket_path=str(socket), db=db, retry=retry)


class Worker:
    """One worker process, its broker as a client sees it, and what it reports."""

    def __init__(
        self, folder: Path, reports: str, broker: str, dbs: tuple[int, int], *options: str, **env: str
    ) -> None:
        self.log = folder / "worker.log"
        self.redis = redis_at(reports, dbs[0])
        self.redis.flushdb()
        url = f"redis+socket://{broker}?virtual_host={dbs[1]}"
        self.broker = redis_at(broker, dbs[1])
        self.broker.flushdb()
        self.url = url
        self.celery = Celery(broker=url)
        self.seen: list[dict[str, Any]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tests.flow.pool_app", "worker", "-P", "custom", "-l", "INFO",
             "--without-gossip", "--without-mingle", *options],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "CELERY_CUSTOM_WORKER_POOL": "workers.pool:TurnPool",
                              "POOL_TEST_BROKER": url, "POOL_TEST_REPORTS": f"unix://{reports}?db={dbs[0]}"} | env,
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("wb"),
        )  # fmt: skip

    def reconnect(self) -> None:
        """Forget the client's connections: the broker they led to is gone. Kombu keeps its pools for the whole process,
        one for each distinct set of options."""
        self.celery = Celery(broker=self.url)
        self.celery.conf.broker_transport_options = {"connected": "again"}

    def send(self, task: str, *args: Any) -> str:
        return str(self.celery.send_task(task, args=args).id)

    def wait(self, what: str, count: int = 1) -> list[dict[str, Any]]:
        """Take reports until there are `count` of this kind; fail when none comes for a while."""
        while len(found := [line for line in self.seen if line["what"] == what]) < count:
            line: Any = self.redis.blpop(["reports"], timeout=PATIENCE_S)
            assert line, f"{len(found)} of {count} {what}; {Counter(s['what'] for s in self.seen)}\n{self.tail()}"
            self.seen.append(json.loads(line[1]))
        return found

    def read(self) -> Counter[str]:
        """All reports so far by kind, without waiting."""
        while line := self.redis.lpop("reports"):
            self.seen.append(json.loads(line))  # type: ignore[arg-type]
        return Counter(line["what"] for line in self.seen)

    def open_gate(self, name: str) -> None:
        self.redis.rpush("gates", name)

    def ask(self, method: str) -> Any:
        """One answer of remote control's `inspect`."""
        inspect = self.celery.control.inspect(timeout=PATIENCE_S, limit=1)
        (answer,) = getattr(inspect, method)().values()
        return answer

    def until(self, asked: Callable[[], Any], wanted: Any) -> None:
        """Ask until the answer is the wanted one. Each asking is a round trip through the worker: no sleep needed."""
        end = time.monotonic() + PATIENCE_S
        while (answer := asked()) != wanted:
            assert time.monotonic() < end, f"{answer!r}, not {wanted!r}\n{self.tail()}"

    def active(self) -> int:
        return len(self.ask("active"))

    def pool(self, *fields: str) -> list[Any]:
        info = self.ask("stats")["pool"]
        return [info[field] for field in fields]

    def stop(self, *signals: int) -> float:
        """Send the signals, wait for the end; seconds it took."""
        began = time.monotonic()
        for number in signals:
            self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        return time.monotonic() - began

    def tail(self) -> str:
        return self.log.read_text()[-4000:]

    def lines(self, event: str) -> list[dict[str, Any]]:
        """Log lines of one event."""
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.celery.close()
        self.redis.close()
        self.broker.close()


Start = Callable[..., Worker]


@pytest.fixture
def start(redis_socket: str, tmp_path: Path) -> Iterator[Start]:
    """Start a worker of the test's own; killed at the end whatever happens."""
    workers: list[Worker] = []

    def begin(*options: str, broker: str = redis_socket, **env: str) -> Worker:
        workers.append(Worker(tmp_path, redis_socket, broker, (1, 2), *options, **env))
        return workers[-1]

    yield begin
    for worker in workers:
        worker.close()


@pytest.fixture(scope="module")
def shared(redis_socket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """One worker with 20 slots for the tests that leave it as they found it."""
    worker = Worker(tmp_path_factory.mktemp("shared"), redis_socket, redis_socket, (3, 4), "-c", "20")
    worker.wait("ready")
    yield worker
    worker.close()


@pytest.fixture
def worker(shared: Worker) -> Iterator[Worker]:
    """The shared worker, checked to be idle again afterwards."""
    shared.seen.clear()
    yield shared
    shared.until(lambda: shared.pool("in-flight", "waiting", "max-concurrency"), [0, 0, 20])
    shared.until(shared.active, 0)


class Broker:
    """A Redis of the test's own that it may stop and kill; it keeps its data."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "b.sock"
        self._command = [_server_binary(), "--port", "0", "--unixsocket", str(self.socket), "--dir", str(folder),
                         "--save", "", "--appendonly", "yes", "--appendfsync", "always"]  # fmt: skip
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with redis_at(self.socket, 0) as client:
            client.ping()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def broker() -> Iterator[Broker]:
    with tempfile.TemporaryDirectory(prefix="tw-broker-") as folder:  # tmp_path is too long for a socket's name
        server = Broker(Path(folder))
        yield server
        server.kill()


@pytest.mark.parametrize("kind", ["exit", "interrupt", "own", "cancel", "child", "error"])
def test_whatever_ends_a_body_frees_its_slot(worker: Worker, kind: str) -> None:
    for _ in range(3):
        worker.send("escape", kind)
    worker.wait("escaping", 3)
    worker.until(worker.active, 0)
    logged = "ValueError('no')" if kind == "error" else "BodyExited"
    worker.until(lambda: worker.log.read_text().count(f"raised unexpected: {logged}") >= 3, True)
    worker.open_gate(f"after {kind}")
    worker.send("hold", f"after {kind}")
    worker.wait("ended")  # the loop lives


def test_limit_holds_and_grows_and_shrinks(worker: Worker) -> None:
    for number in range(60):
        worker.send("hold", f"limit {number}", number)
    worker.wait("begun", 20)
    assert (worker.pool("in-flight", "waiting"), worker.active(), worker.broker.llen("celery")) == ([20, 0], 20, 40)

    worker.celery.control.pool_grow(5)
    worker.wait("begun", 25)
    assert (worker.pool("in-flight"), worker.broker.llen("celery")) == ([25], 35)

    worker.celery.control.pool_shrink(10)
    worker.until(lambda: worker.pool("max-concurrency"), [15])
    for line in worker.wait("begun", 25)[:11]:
        worker.open_gate(f"limit {line['number']}")
    worker.wait("begun", 26)
    assert (worker.pool("in-flight"), worker.broker.llen("celery")) == ([15], 34)

    worker.celery.control.pool_grow(5)
    for number in range(60):
        worker.open_gate(f"limit {number}")
    worker.wait("ended", 60)


def test_what_the_broker_gives_out_beyond_the_limit_waits_and_goes_back(start: Start) -> None:
    worker = start("-c", "20", POOL_TEST_PREFETCH="2")
    for number in range(70):
        worker.send("hold", "never", number)
    worker.wait("begun", 20)
    worker.until(lambda: worker.pool("in-flight", "waiting"), [20, 40])
    assert (worker.active(), worker.broker.llen("celery")) == (20, 10)
    worker.stop(signal.SIGTERM)
    assert_handed_over(worker, 20)
    assert worker.broker.llen("celery") == 50  # nothing acknowledged that had not begun


def test_a_lost_connection_forgets_what_waits(start: Start, broker: Broker) -> None:
    worker = start("-c", "20", broker=str(broker.socket), POOL_TEST_PREFETCH="2")
    for number in range(40):
        worker.send("hold", "lost", number)
    worker.wait("begun", 20)
    worker.until(lambda: worker.pool("in-flight", "waiting"), [20, 20])
    worker.broker.client_kill_filter(_type="normal", skipme=True)
    worker.broker.client_kill_filter(_type="pubsub")
    worker.reconnect()
    worker.until(lambda: "Connected to" in worker.log.read_text().partition("Connection to broker lost")[2], True)
    worker.open_gate("lost")
    worker.wait("ended", 40)
    worker.send("hold", "lost", 40)  # behind whatever the broker gave out twice
    worker.wait("ended", 41)
    worker.until(worker.active, 0)
    assert sorted(line["number"] for line in worker.wait("begun", 41)) == list(range(41))


def test_shrink_keeps_a_slot(worker: Worker) -> None:
    (answer,) = worker.celery.control.pool_shrink(20, reply=True, limit=1, timeout=PATIENCE_S)
    assert "keeps at least one" in str(answer)


def test_terminate_cancels_one_body(worker: Worker) -> None:
    first, second = worker.send("hold", "terminate", 1), worker.send("hold", "terminate", 2)
    worker.wait("begun", 2)
    assert {request["id"] for request in worker.ask("active")} == {first, second}
    worker.celery.control.terminate(first)
    assert worker.wait("released")[0]["number"] == 1
    worker.until(lambda: [request["id"] for request in worker.ask("active")], [second])
    worker.until(lambda: worker.pool("in-flight"), [1])
    worker.open_gate("terminate")
    assert worker.wait("ended")[0]["number"] == 2


@pytest.mark.parametrize(
    ("task", "logged"), [("hold_briefly", "SoftTimeLimitExceeded"), ("hold_hard", "Hard time limit")]
)
def test_time_limits_cancel_the_body(worker: Worker, task: str, logged: str) -> None:
    worker.send(task, "never")
    worker.wait("released")
    worker.until(worker.active, 0)
    worker.until(lambda: logged in worker.log.read_text(), True)


def test_retry_counts(worker: Worker) -> None:
    worker.send("again")
    assert [line["retries"] for line in worker.wait("tried", 2)] == [0, 1]


def test_plain_function_runs_beside_the_loop(worker: Worker) -> None:
    worker.send("plain")
    assert worker.wait("plain")[0]["thread"].startswith("plain-task")


def test_each_of_300_keeps_its_own_context(start: Start) -> None:
    worker = start("-c", "300")
    for number in range(600):  # the second half begins where the first half ended
        worker.send("identity", "all", number)
    worker.wait("begun", 300)
    worker.open_gate("all")
    lines = worker.wait("identity", 600)
    assert [line for line in lines if not (line["clean"] and line["right"])] == []
    assert {line["number"] for line in lines} == set(range(600))
    assert {line["thread"] for line in lines} == {"turn-loop"}


def assert_handed_over(worker: Worker, count: int) -> None:
    """All bodies were told, after the hand-over and before the resources closed, all on the loop's thread."""
    told = worker.read()
    assert told["released"] == count, worker.tail()
    order = [line["what"] for line in worker.seen if line["what"] in ("handed_over", "released", "closed")]
    assert order == ["handed_over"] + ["released"] * count + ["closed"]
    assert {line["thread"] for line in worker.seen if line["what"] != "ready"} == {"turn-loop"}
    assert worker.lines("pool.notice.failed") == []


def test_sigterm_hands_over_a_thousand_within_two_seconds(start: Start) -> None:
    worker = start("-c", "1000")
    for number in range(1000):
        worker.send("hold", "never", number)
    worker.wait("begun", 1000)
    took_s = worker.stop(signal.SIGTERM)
    assert_handed_over(worker, 1000)
    assert worker.process.returncode == 0
    assert took_s <= 2


@pytest.mark.parametrize("signals", [[signal.SIGQUIT], [signal.SIGTERM, signal.SIGQUIT], [signal.SIGTERM] * 2])
def test_every_way_to_stop_hands_over(start: Start, signals: list[int]) -> None:
    worker = start("-c", "300")
    for number in range(310):
        worker.send("hold", "never", number)
    worker.wait("begun", 300)
    took_s = worker.stop(*signals)
    assert_handed_over(worker, 300)
    assert worker.broker.llen("celery") == 10
    assert took_s <= 2


@pytest.mark.parametrize(
    ("task", "event", "limit_s"), [("deaf", "pool.bodies.left", 4), ("block", "pool.loop.stuck", 5)]
)
def test_a_body_that_will_not_end_cannot_hold_up_the_stop(start: Start, task: str, event: str, limit_s: float) -> None:
    worker = start("-c", "5")
    worker.send(task)
    worker.wait("begun")
    assert worker.stop(signal.SIGTERM) <= limit_s
    assert len(worker.lines(event)) == 1


def test_failed_opening_is_one_line_and_takes_nothing(start: Start) -> None:
    worker = start("-c", "5", POOL_TEST_FAULT="the store is on fire")
    worker.send("hold", "never")
    assert worker.process.wait(PATIENCE_S) == 1
    log = worker.log.read_text()
    (line,) = [line for line in log.splitlines() if line.startswith("{")]
    assert "Traceback" not in log
    assert json.loads(line) | {"timestamp": ""} == {
        "event": "pool.start.failed",
        "error": "RuntimeError: the store is on fire",
        "level": "critical",
        "timestamp": "",
        "process": "pool_test",
    }
    assert worker.broker.llen("celery") == 1


def test_a_stalled_broker_does_not_stop_the_loop(start: Start, broker: Broker) -> None:
    worker = start("-c", "50", "-E", broker=str(broker.socket))
    for number in range(50):
        worker.send("hold", "stall", number)
    worker.wait("begun", 50)
    worker.until(worker.active, 50)
    broker.process.send_signal(signal.SIGSTOP)
    worker.open_gate("stall")
    worker.wait("ended", 50)  # each end publishes an event, which blocks; on the loop the first would stop all others
    broker.process.send_signal(signal.SIGCONT)
    worker.until(worker.active, 0)
    (worst_ms,) = worker.pool("worst-loop-lag-ms")
    assert worst_ms < 500


def test_a_killed_broker_loses_and_doubles_nothing(start: Start, broker: Broker) -> None:
    worker = start("-c", "20", broker=str(broker.socket))
    for number in range(40):
        worker.send("hold", "first" if number < 20 else "second", number)
    worker.wait("begun", 20)
    worker.until(worker.active, 20)
    broker.kill()
    worker.open_gate("first")
    worker.wait("ended", 20)
    broker.start()
    worker.wait("begun", 40)
    worker.open_gate("second")
    worker.wait("ended", 40)
    worker.reconnect()
    worker.send("hold", "second", 40)  # behind whatever the broker gave out twice
    assert sorted(line["number"] for line in worker.wait("begun", 41)) == list(range(41))
    worker.until(worker.active, 0)
