"""Celery pool for coroutines: every task's tracer runs in a greenlet on the process's one event loop.

Celery's tracer is synchronous; it calls the task and wants a result. Here it runs inside a greenlet, and whenever the
coroutine in it waits, the greenlet steps aside and the loop goes on with others. So thousands of tasks are in flight in
one thread while Celery's requests, retries, signals, limits and remote control work as in any other pool.

Choose it with `CELERY_CUSTOM_WORKER_POOL=workers.pool:TurnPool` and `-P custom`; build the app with
`Celery(task_cls=AsyncTask)`. The app may carry:

    open_resources(stack: AsyncExitStack)   awaited on the loop before the first message is fetched; what it enters into
                                            the stack is closed on the loop, in the same asyncio task, at the end
    hand_over()                             awaited on the loop once, at stop, before any body is cancelled
    opening_s: float                        how long open_resources may take (30), math.inf if it waits for others
    grace_s: float                          how long hand-over and cancelled bodies may take together (1.5)

Five rules, each forced by a failure that we produced (docs/decisions has the evidence):

A  the coroutine is driven inside the tracer's greenlet, so that `self.request` and `current_task` hold across awaits
B  no BaseException leaves a body: Celery's own handling of one loses the slot for ever
C  the pool holds its limit itself: a task is accepted (acknowledged) only when it gets a slot
D  Celery's callbacks run on the consumer's thread: whoever calls them may block on the broker's socket
E  a body that is handed over returns a value; raising costs a traceback each, seconds for thousands
"""

from workers.pool.bridge import HANDED_OVER, AsyncTask, BodyExited
from workers.pool.loop import LoopThread
from workers.pool.turn_pool import TurnPool

__all__ = ["HANDED_OVER", "AsyncTask", "BodyExited", "LoopThread", "TurnPool"]
