"""`threadway chat`: the terminal's side of the console adapter."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import uuid4

from gateway.children import ChildFailed
from gateway.console import ConsoleAdapter
from gateway.domain.adapter import Accept
from gateway.domain.errors import StoreDown
from gateway.domain.messages import ConversationKey
from gateway.domain.pacing import SystemClock
from gateway.intake import Intake
from gateway.queue import Waker, make_celery
from gateway.redis_server import ServerFailed, ServerMissing, live_url
from gateway.settings import Settings
from gateway.store import Store
from gateway.up import Fleet

_PLATFORMS_OFF = {
    "TELEGRAM_BOT_TOKEN": "",
    "TELEGRAM_WEBHOOK_URL": "",
    "SLACK_BOT_TOKEN": "",
    "SLACK_APP_TOKEN": "",
    "SLACK_SIGNING_SECRET": "",
    "THREADWAY_LAB": "off",
}


async def chat(settings: Settings, text: str | None, *, timeout_s: float) -> int:
    """One message and its reply on stdout, or a conversation line by line; the exit code.

    Attaches to what runs; where nothing does, it starts Redis, a gateway and a worker, and ends them again.
    """
    async with AsyncExitStack() as stack:
        try:
            url = await _attach_or_start(settings, stack)
        except (ServerMissing, ServerFailed, ChildFailed) as failed:
            return _fail(str(failed))
        store = Store(url, connections=8)
        stack.push_async_callback(store.close)
        waker = Waker(make_celery(settings.broker_url(url)))
        stack.callback(waker.close)
        user = f"{getpass.getuser()}-{uuid4().hex[:8]}" if text is not None else getpass.getuser()
        try:
            return await _converse(store, Intake(store, waker).accept, user, text, timeout_s)
        except StoreDown as away:
            return _fail(str(away))


async def _converse(store: Store, accept: Accept, user: str, text: str | None, timeout_s: float) -> int:
    if text is not None:
        await ConsoleAdapter(store.mailbox, user, _once(text)).receive(accept)
        reply = await _take(store, user, timeout_s)
        if reply is None:
            return _fail(f"no answer within {timeout_s:g} s; the message is kept and will be answered")
        print(reply)  # noqa: T201
        return 0
    reading = asyncio.create_task(ConsoleAdapter(store.mailbox, user, _lines()).receive(accept))
    try:
        while not reading.done() or await store.inbox.waiting(ConversationKey(f"{ConsoleAdapter.name}:{user}")):
            if (reply := await store.mailbox.take(user, 0.5)) is not None:
                print(f"\n{reply}\n> ", end="", flush=True)  # noqa: T201
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
    return 0


async def _take(store: Store, user: str, timeout_s: float) -> str | None:
    """The whole reply: every part that comes until the turn is over."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    parts: list[str] = []
    while loop.time() < end:
        if (part := await store.mailbox.take(user, min(0.25, end - loop.time()))) is not None:
            parts.append(part)
        elif parts and not await store.inbox.waiting(ConversationKey(f"{ConsoleAdapter.name}:{user}")):
            break
    return "\n".join(parts) if parts else None


async def _attach_or_start(settings: Settings, stack: AsyncExitStack) -> str:
    """The URL of a Redis behind which a worker works."""
    clock = SystemClock()
    url = settings.redis_url_value() if settings.redis_url else live_url(settings.data_dir)
    if url is not None:
        store = Store(url, connections=2)
        try:
            if await store.shared.workers(now_s=clock.now().timestamp()):
                return url
        finally:
            await store.close()
    port = _free_port()
    extra = {
        **_PLATFORMS_OFF,
        "THREADWAY_HOST": "127.0.0.1",
        "THREADWAY_PORT": str(port),
        "THREADWAY_API_URL": f"http://127.0.0.1:{port}/v1",
    }
    fleet = Fleet(settings, clock, extra, quiet=not os.environ.get("TW_CHAT_LOGS"))
    stack.push_async_callback(fleet.stop)
    await fleet.start()
    await fleet.until_ready()
    return fleet.extra.get("REDIS_URL") or settings.redis_url_value()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _once(text: str) -> AsyncIterator[str]:
    yield text


async def _lines() -> AsyncIterator[str]:
    """Lines of stdin, read on a thread that dies with us: a blocked read must not hold up the end."""
    loop = asyncio.get_running_loop()
    read: asyncio.Queue[str | None] = asyncio.Queue()

    def pump() -> None:
        for line in sys.stdin:
            loop.call_soon_threadsafe(read.put_nowait, line)
        loop.call_soon_threadsafe(read.put_nowait, None)

    print("Write a message, or /new, /stop, /help. Ctrl-D ends.\n> ", end="", flush=True)  # noqa: T201
    threading.Thread(target=pump, daemon=True).start()
    while (line := await read.get()) is not None:
        if line.strip():
            yield line.strip()


def _fail(why: str) -> int:
    print(why, file=sys.stderr)  # noqa: T201
    return 1
