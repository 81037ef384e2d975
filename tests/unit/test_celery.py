"""Celery as it is set up: each of these was forced by a way in which it loses or doubles work."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli import app
from gateway.queue import RUNS, TURNS, make_celery

REDIS, RABBIT = "redis://127.0.0.1:1/0", "amqp://guest:guest@127.0.0.1:1//"


@pytest.mark.parametrize("broker", [REDIS, RABBIT])
def test_wake_ups_are_acknowledged_early_and_leave_nothing_behind(broker: str) -> None:
    conf = make_celery(broker).conf
    assert (conf.task_acks_late, conf.task_acks_on_failure_or_timeout) == (False, True)
    assert (conf.result_backend, conf.task_ignore_result) == (None, True)
    assert (conf.task_serializer, conf.accept_content) == ("json", ["json"])
    assert conf.worker_prefetch_multiplier == 1
    assert conf.broker_connection_retry_on_startup
    assert conf.broker_connection_max_retries is None, "for ever"
    assert conf.broker_pool_acquire_timeout == 5
    assert not conf.worker_send_task_events


def test_a_socket_is_spelled_as_celery_wants_it_whatever_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery reads CELERY_BROKER_URL itself, before what it is given."""
    monkeypatch.setenv("CELERY_BROKER_URL", "unix:///tmp/nowhere.sock")
    celery = make_celery("redis+socket:///tmp/nowhere.sock")
    assert celery.connection_for_read().as_uri() == "redis+socket:///tmp/nowhere.sock"
    assert celery.connection_for_write().as_uri() == "redis+socket:///tmp/nowhere.sock"


def test_on_redis_nothing_is_fetched_ahead_and_nothing_is_kept_to_be_acknowledged() -> None:
    """An unacknowledged message ends the consumer when the connection breaks (tests/flow/test_broker.py)."""
    queues = make_celery(REDIS).amqp.queues
    assert {name: queue.no_ack for name, queue in queues.items()} == {TURNS: True, RUNS: True}
    assert make_celery(REDIS).conf.worker_disable_prefetch


def test_on_rabbitmq_acknowledgements_keep_the_flow_small() -> None:
    celery = make_celery(RABBIT)
    assert {name: queue.no_ack for name, queue in celery.amqp.queues.items()} == {TURNS: False, RUNS: False}
    assert not celery.conf.worker_disable_prefetch, "Celery knows it for Redis alone"


def test_the_worker_talks_to_no_other_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[list[str]] = []

    def instead_of_exec(program: str, arguments: list[str], env: Any) -> None:
        started.append(arguments)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execve", instead_of_exec)
    monkeypatch.setenv("REDIS_URL", REDIS)
    assert CliRunner().invoke(app, ["worker", "-c", "3", "-n", "one@host"]).exit_code == 0
    ((program, *arguments),) = started
    assert program == sys.executable
    assert {"--without-gossip", "--without-mingle", "workers.main"} <= set(arguments)
    assert arguments[arguments.index("-P") + 1] == "custom"
    assert arguments[arguments.index("-Q") + 1] == f"{TURNS},{RUNS}"
    assert arguments[-2:] == ["-n", "one@host"]
