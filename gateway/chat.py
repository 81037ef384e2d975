"""`threadway chat`: the terminal's side of the console adapter."""

from __future__ import annotations

import asyncio
import getpass
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

from gateway.children import ChildFailed, environment
from gateway.domain.errors import StoreDown
from gateway.domain.pacing import SystemClock
from gateway.fleet import Fleet
from gateway.intake import Intake
from gateway.listening import free_port
from gateway.queue import Waker, make_celery
from gateway.redis_server import ServerFailed, ServerMissing, live_url
from gateway.settings import Settings, load
from gateway.store import Store
from gateway.terminal import Conversation

_RECEIVES_NOTHING = {
    "TELEGRAM_BOT_TOKEN": "",
    "TELEGRAM_WEBHOOK_URL": "",
    "SLACK_BOT_TOKEN": "",
    "SLACK_APP_TOKEN": "",
    "SLACK_SIGNING_SECRET": "",
    "THREADWAY_LAB": "off",
    "THREADWAY_METRICS_PORT": "",
}
"""For our gateway, which is there for /v1 alone. The worker keeps its platforms: it finishes whatever turn is due."""
_STARTING_S = 60.0
_OTHERS_START_S = 20.0
"""A live embedded server without a worker belongs to somebody who is just starting."""
_STEP_S = 0.25


async def chat(settings: Settings, text: str | None, *, timeout_s: float) -> int:
    """One message and its reply on stdout, or a conversation line by line; the exit code.

    `timeout_s` bounds the wait for each answer. Attaches to what runs; where nothing does, it starts Redis, a gateway
    and a worker, and ends them again, also after Ctrl-C and SIGTERM.
    """
    talking = asyncio.ensure_future(_chat(settings, text, timeout_s))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, talking.cancel)
    try:
        return await talking
    except asyncio.CancelledError:
        return 0 if text is None else 1  # leaving a conversation is no failure
    except (ServerMissing, ServerFailed, StoreDown) as failed:
        return _fail(str(failed))
    except ChildFailed as failed:
        return _fail(f"{failed}; {_logfile(settings)} says why")


async def _chat(settings: Settings, text: str | None, timeout_s: float) -> int:
    async with AsyncExitStack() as stack:
        fleet = None
        url = await _running_url(settings)
        if url is None:
            fleet = _our_fleet(settings)
            stack.push_async_callback(fleet.stop)
            try:
                async with asyncio.timeout(_STARTING_S):
                    await fleet.start()
                    await fleet.until_ready()
            except TimeoutError:
                return _fail(f"not ready after {_STARTING_S:g} s; {_logfile(settings)} says why")
            url = fleet.redis_url
        store = Store(url, connections=4)
        stack.push_async_callback(store.close)
        waker = Waker(make_celery(settings.broker_url(url)))
        stack.callback(waker.close)
        intake = Intake(store, waker, debounce_s=settings.conversations.debounce_s)
        conversation = Conversation(store, intake.accept, _user(text), timeout_s)
        talk = conversation.once(text) if text is not None else conversation.line_by_line()
        return await (fleet.unless_failed(talk) if fleet else talk)


def _user(text: str | None) -> str:
    """A single message is a conversation of its own; whoever sits at the terminal goes on where they left."""
    name = getpass.getuser()
    return name if text is None else f"{name}-{uuid4().hex[:8]}"


async def _running_url(settings: Settings) -> str | None:
    """The Redis behind which a worker works; None where we have to start one. Raises StoreDown."""
    clock = SystemClock()
    give_up = clock.monotonic() + _OTHERS_START_S
    while (url := _known_url(settings)) is not None:
        store = Store(url, connections=1)
        try:
            if await store.rounds.workers():
                return url
        except StoreDown:
            if settings.redis_url:
                raise
        finally:
            await store.close()
        if settings.redis_url or clock.monotonic() > give_up:
            return None
        await clock.sleep(_STEP_S)
    return None


def _known_url(settings: Settings) -> str | None:
    return settings.redis_url_value() if settings.redis_url else live_url(settings.data_dir)


def _our_fleet(settings: Settings) -> Fleet:
    port = str(free_port())
    here = {
        "THREADWAY_HOST": "127.0.0.1",
        "THREADWAY_PORT": port,
        "THREADWAY_API_URL": f"http://127.0.0.1:{port}/v1",
    }
    gateway = {**_RECEIVES_NOTHING, **here}
    worker = {**here, "THREADWAY_METRICS_PORT": ""}
    if settings.lab_on(in_up=True):
        from gateway.lab.identity import lab_environment

        worker |= lab_environment(settings.host, settings.port)
    logfile = _logfile(settings)
    logfile.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    logfile.unlink(missing_ok=True)
    if sys.stderr.isatty():
        print("nothing runs here yet: starting what answers …", file=sys.stderr)  # noqa: T201
    as_read = load(environment(gateway))
    return Fleet(as_read, SystemClock(), gateway=gateway, worker=worker, logfile=logfile)


def _logfile(settings: Settings) -> Path:
    return settings.data_dir / "chat.log"


def _fail(why: str) -> int:
    print(why, file=sys.stderr)  # noqa: T201
    return 1
