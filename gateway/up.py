"""Everything on one machine in one process tree: Redis, gateway, worker, and the lab when no platform is set up."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from gateway.announce import Announcer
from gateway.children import ChildFailed, environment
from gateway.domain.pacing import SystemClock
from gateway.fleet import Fleet
from gateway.listening import listen, trouble, url_of
from gateway.redis_server import ServerFailed, ServerMissing
from gateway.settings import Settings, load

_SAME_S = 0.5
"""Signals this close together are one wish: a terminal and a wrapper like make or timeout often both send one."""


async def up(settings: Settings) -> int:
    """Run everything until Ctrl-C, SIGTERM or SIGHUP; the exit code.

    stdout gets one line, when a message would be answered. Raises SettingsInvalid where the lab's settings do not hold.
    """
    try:
        listen(settings.host, settings.port).close()
    except OSError as error:
        return _fail(trouble(error, settings.host, settings.port))
    lab = settings.lab_on(in_up=True)
    changes: dict[str, str] = {"THREADWAY_LOG_LEVEL": settings.log_level}
    if lab:
        from gateway.lab.identity import lab_environment

        changes |= lab_environment(settings.host, settings.port)
    fleet = Fleet(load(environment(changes)), SystemClock(), gateway=changes, worker=changes)
    page = f"{url_of(settings.host, settings.port)}/{'lab' if lab else ''}"
    with ExitStack() as held:
        try:
            if lab:
                held.enter_context(_only_lab(settings.data_dir))
        except LabTaken as taken:
            return _fail(str(taken))
        except OSError as error:
            why = f"{settings.data_dir} cannot be used ({error.strerror})"
            return _fail(f"THREADWAY_DATA_DIR: {why}; set another one")
        return await _run(fleet, Announcer(settings, lab=lab), page)


async def _run(fleet: Fleet, announcer: Announcer, page: str) -> int:
    asked = Asked()
    announcer.starting()
    running = asyncio.create_task(_bring_up(fleet, announcer, page))
    asking = asyncio.create_task(asked.once.wait())
    await asyncio.wait((running, asking), return_when=asyncio.FIRST_COMPLETED)
    if asking.done():
        announcer.stopping()
        running.cancel()
    asking.cancel()
    code = hurried = 0
    try:
        await running
    except asyncio.CancelledError:
        pass
    except (ChildFailed, ServerMissing, ServerFailed) as failed:
        code = _fail(str(failed), failed.code if isinstance(failed, ChildFailed) else 1)
    finally:
        hurried = await _end(fleet, announcer, asked)
    return max(code, hurried)


async def _bring_up(fleet: Fleet, announcer: Announcer, page: str) -> None:
    """Start, say where to go, and keep everything running; returns never."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await fleet.start()
    if fleet.settings.redis_url is None:
        announcer.is_up("Redis")
    await fleet.until_ready(announcer.is_up)
    print(f"threadway is ready: {page}", flush=True)  # noqa: T201  the contract's one line
    announcer.ready(loop.time() - began)
    await fleet.unless_failed(asyncio.Event().wait())


async def _end(fleet: Fleet, announcer: Announcer, asked: Asked) -> int:
    """Stop everything in order; somebody who asks twice does not wait for the order: 1."""
    stopping = asyncio.create_task(fleet.stop())
    asking = asyncio.create_task(asked.twice.wait())
    await asyncio.wait((stopping, asking), return_when=asyncio.FIRST_COMPLETED)
    hurried = not stopping.done()
    if hurried:
        fleet.hurry()
    asking.cancel()
    await stopping
    asked.no_more()
    announcer.stopped()
    return int(hurried)


class Asked:
    """Signals that ask us to end: Ctrl-C, SIGTERM, a terminal that was closed."""

    def __init__(self) -> None:
        """Takes the signals over, for as long as the loop runs."""
        self.once, self.twice = asyncio.Event(), asyncio.Event()
        self._first_s = 0.0
        self._numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup: the terminal may go, we stay
            self._numbers.append(signal.SIGHUP)
        for number in self._numbers:
            asyncio.get_running_loop().add_signal_handler(number, self._ask)

    def no_more(self) -> None:
        """Nothing is left to end: a third Ctrl-C must not spoil the exit code."""
        for number in self._numbers:
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)

    def _ask(self) -> None:
        now_s = asyncio.get_running_loop().time()
        if not self.once.is_set():
            self.once.set()
            self._first_s = now_s
        elif now_s - self._first_s > _SAME_S:
            self.twice.set()


class LabTaken(Exception):
    """Another lab runs on this data directory; the text says what to do."""


@contextmanager
def _only_lab(data_dir: Path) -> Iterator[None]:
    """Be the one lab of a data directory: two would share one inbox, and each get the other's replies.

    Raises LabTaken, OSError. The lock ends with the process, however that ends.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "lab.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LabTaken(
            f"THREADWAY_DATA_DIR: another `threadway up` serves its lab from {data_dir}; use that one, or set another "
            "THREADWAY_DATA_DIR"
        ) from None
    finally:
        os.close(descriptor)


def _fail(why: str, code: int = 1) -> int:
    print(why, file=sys.stderr)  # noqa: T201
    return code
