"""What a worker's sweep and its own alarms become: turns that begin here, or wake-ups."""

from __future__ import annotations

import asyncio

from gateway.domain.messages import ConversationKey
from gateway.queue import TURNS, make_celery
from gateway.settings import Settings
from tests.edge.work import bench
from workers.app import Worker

KEY = ConversationKey("console:ann")


def published(worker: Worker) -> int:
    """How many wake-ups for turns reached the broker; takes them out, the next test has the same one."""
    worker.waker.close()
    with worker.celery.connection_for_read() as connection:
        queue = connection.SimpleQueue(TURNS)
        count = int(queue.qsize())
        queue.clear()
        return count


async def test_a_worker_begins_no_more_than_it_has_room_for_and_wakes_others_for_the_rest(redis_url: str) -> None:
    worker = Worker(Settings(), make_celery("memory://room"), concurrency=1)
    async with bench(redis_url) as at:
        worker.deps = at.deps
        due = [await at.say("never", user) for user in ("ann", "bob", "eve")]
        for conversation in due:  # as a sweep names them, one after the other
            worker.found(conversation)
        await at.server.began.wait()
        assert (worker.turns.active, worker.turns.crowded, published(worker)) == (1, False, 2)
        await worker.end_background()


async def test_a_conversation_that_is_asked_for_again_and_again_has_one_alarm() -> None:
    worker = Worker(Settings(), make_celery("memory://alarms"), concurrency=1)
    for _ in range(1000):
        worker.wake_later(KEY, 0.05)
    worker.wake_later(KEY, 0.0)  # a nearer one counts
    assert len(asyncio.all_tasks()) == 3, "the test's own, and two alarms"
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
    assert published(worker) == 2
    worker.wake_later(KEY, 0.0)
    assert len(asyncio.all_tasks()) == 2, "the next one is a new one"
