"""One conversation at a terminal: what is typed or piped goes in, the replies come out on stdout."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import os
import sys
import threading
from collections.abc import AsyncIterator

from gateway.console import ConsoleAdapter
from gateway.domain.adapter import Accept
from gateway.domain.errors import StoreDown
from gateway.domain.messages import ConversationKey
from gateway.store import Store

_STEP_S = 0.25
_EMPTY_S = 0.01
"""Redis takes 0 for "wait for ever"."""


class Conversation:
    """One terminal's messages and replies."""

    def __init__(self, store: Store, accept: Accept, user: str, timeout_s: float) -> None:
        self._store = store
        self._accept = accept
        self._user = user
        self._timeout_s = timeout_s
        self._key = ConversationKey(f"{ConsoleAdapter.name}:{user}")

    async def once(self, text: str) -> int:
        """Say `text`, print the reply; 1 when none came in time."""
        try:
            async with asyncio.timeout(self._timeout_s):
                await ConsoleAdapter(self._store.mailbox, self._user, _only(text)).receive(self._accept)
                if await self._answered():
                    return 0
        except TimeoutError:
            return _fail(f"no answer within {self._timeout_s:g} s; the message is kept until somebody answers it")
        return _fail("no answer: the assistant gave up, its worker's log says why")

    async def line_by_line(self) -> int:
        """People type while replies come; what is piped in is said line by line, each after the reply to the last."""
        if not sys.stdin.isatty():
            async for line in lines(sys.stdin.fileno()):
                if line.strip() and (code := await self.once(line)):
                    return code
            return 0
        print("Write a message, or /new, /stop, /help. Ctrl-D ends.", file=sys.stderr)  # noqa: T201
        typed = ConsoleAdapter(self._store.mailbox, self._user, _prompted())
        reading = asyncio.create_task(typed.receive(self._accept))
        try:
            while not reading.done():
                if (reply := await self._take(_STEP_S)) is not None:
                    print(f"\n{reply}\n> ", end="", flush=True)  # noqa: T201
            await reading
            print()  # noqa: T201  the shell's prompt begins on a line of its own
            async with asyncio.timeout(self._timeout_s):
                await self._answered()
        except TimeoutError:
            return _fail("the last message is not answered yet; it is kept, come back later")
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        return 0

    async def _answered(self) -> bool:
        """Print every part that comes until nothing of ours is waiting or at work; whether there was one."""
        heard = False
        while True:
            # Asked before the mailbox: a part is posted before its message counts as answered.
            waiting = await self._waiting()
            while (part := await self._take(_STEP_S if waiting else _EMPTY_S)) is not None:
                print(part, flush=True)  # noqa: T201
                heard = True
            if not waiting:
                return heard

    async def _waiting(self) -> bool:
        try:
            return await self._store.inbox.waiting(self._key) > 0
        except StoreDown:
            await asyncio.sleep(_STEP_S)  # a Redis that is restarted comes back, and whoever waits has a time limit
            return True

    async def _take(self, timeout_s: float) -> str | None:
        try:
            return await self._store.mailbox.take(self._user, timeout_s)
        except StoreDown:
            await asyncio.sleep(_STEP_S)
            return None


async def lines(descriptor: int) -> AsyncIterator[str]:
    """What comes out of `descriptor`, line by line, as UTF-8; a last line without its end counts.

    Read on a thread that dies with the process: nothing else reads files, pipes and terminals alike without holding up
    the loop. By descriptor, because a thread that waits inside `sys.stdin` makes the interpreter's end fail.
    """
    loop = asyncio.get_running_loop()
    read: asyncio.Queue[str | None] = asyncio.Queue()

    def pump() -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody listens
            while chunk := _read(descriptor):
                *whole, rest = (rest + decoder.decode(chunk)).split("\n")
                for line in whole:
                    loop.call_soon_threadsafe(read.put_nowait, line)
            for last in (rest + decoder.decode(b"", final=True), None):
                loop.call_soon_threadsafe(read.put_nowait, last)

    threading.Thread(target=pump, name="typed-lines", daemon=True).start()
    while (line := await read.get()) is not None:
        yield line


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # the terminal was closed
        return b""


async def _only(text: str) -> AsyncIterator[str]:
    yield text


async def _prompted() -> AsyncIterator[str]:
    print("> ", end="", flush=True)  # noqa: T201
    async for line in lines(sys.stdin.fileno()):
        yield line
        print("> ", end="", flush=True)  # noqa: T201


def _fail(why: str) -> int:
    print(why, file=sys.stderr)  # noqa: T201
    return 1
