"""Celery as threadway uses it: data-free wake-ups on two queues; they may be lost, doubled or late, Redis is the truth.

Early ack, no results, JSON only, no prefetch: each of these was forced by a way in which late acks lose or double work
(docs/decisions/0002-early-ack.md).
"""

from __future__ import annotations

import contextlib
import queue
import threading

from celery import Celery
from celery import Task as CeleryTask

from gateway.domain.messages import ConversationKey
from gateway.telemetry import log

TURNS = "turns"
RUNS = "runs"
TURN_TASK = "threadway.turn"
RUN_TASK = "threadway.run"


def make_celery(broker_url: str, *, task_cls: type[CeleryTask] | None = None) -> Celery:
    """The Celery app, for publishing (gateway) or with its tasks registered by the composition root (workers)."""
    app = (
        Celery("threadway", broker=broker_url, task_cls=task_cls)
        if task_cls
        else Celery("threadway", broker=broker_url)
    )
    on_redis = broker_url.startswith(("redis", "rediss", "sentinel"))
    app.conf.update(
        # Celery itself reads CELERY_BROKER_URL, before what it is given: "unix://…", which is not its spelling.
        broker_read_url=broker_url,
        broker_write_url=broker_url,
        task_default_queue=TURNS,
        # With one wake-up unacknowledged, kombu's (5.7) Redis transport does not survive a broken connection: it goes
        # to restore it over the one that is gone, and the worker's consumer ends ("Unrecoverable error"). Early ack
        # leaves that window open; not to acknowledge at all closes it. RabbitMQ keeps acks: they are its flow control.
        task_queues={name: {"exchange": name, "routing_key": name, "no_ack": on_redis} for name in (TURNS, RUNS)},
        task_routes={TURN_TASK: {"queue": TURNS}, RUN_TASK: {"queue": RUNS}},
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        task_create_missing_queues=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=on_redis,
        worker_send_task_events=False,
        worker_enable_remote_control=True,
        worker_enable_prefetch_count_reduction=False,
        worker_cancel_long_running_tasks_on_connection_loss=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # a Redis that refuses for now (READONLY after a failover) ends no consumer
        broker_pool_acquire_timeout=5,
        broker_transport_options={
            "socket_timeout": 10,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 5,  # a broker that hangs is left after 11 s; kombu's own default makes it 51
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
        },
    )
    return app


class Waker:
    """Publishes wake-ups from one thread of its own: kombu blocks for as long as a stalled broker stalls, and the event
    loop must not. A full backlog drops the wake-up, which is harmless: the sweep finds what nobody was woken for.
    """

    def __init__(self, app: Celery, *, backlog: int = 10_000) -> None:
        self._app = app
        self._waiting: queue.Queue[tuple[str, str] | None] = queue.Queue(backlog)
        self._healthy = True
        self._thread = threading.Thread(target=self._publish, name="waker", daemon=True)
        self._thread.start()

    def wake_turn(self, conversation: ConversationKey) -> None:
        """Say that a conversation has mail. Returns at once, never raises."""
        self._put(TURN_TASK, conversation)

    def wake_run(self, run_id: str) -> None:
        """Say that a run of the embedded service is queued. Returns at once, never raises."""
        self._put(RUN_TASK, run_id)

    @property
    def healthy(self) -> bool:
        """Whether the last wake-up reached the broker."""
        return self._healthy

    def close(self) -> None:
        """Stop publishing; what is still waiting is left to the sweep. May be called twice."""
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait(None)
        self._thread.join(2)

    def _put(self, task: str, argument: str) -> None:
        try:
            self._waiting.put_nowait((task, argument))
        except queue.Full:
            log.warning("wake_up.dropped", task=task)

    def _publish(self) -> None:
        while (item := self._waiting.get()) is not None:
            task, argument = item
            try:
                self._app.send_task(task, (argument,), retry=False, ignore_result=True)
            except Exception as error:  # any broker, any transport; lost wake-ups are harmless and counted by the log
                if self._healthy:
                    log.warning("wake_up.failed", task=task, error=type(error).__name__)
                self._healthy = False
            else:
                self._healthy = True
