"""A worker's parts in this process: real Redis, the real SDK against a strict server, a terminal as the platform."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import web

from gateway.console import ConsoleAdapter
from gateway.domain.adapter import Adapter
from gateway.domain.commands import parse_order
from gateway.domain.messages import ConversationKey, InboundMessage
from gateway.domain.pacing import SystemClock
from gateway.domain.turns import Turn
from gateway.store import Store
from tests.flow.assistants_server import Server, make
from workers.backends import AssistantSpec, ToolCall, ToolSpec
from workers.backends.assistants import AssistantsBackend
from workers.definitions import Definitions
from workers.deps import AssistantPlan, Deps
from workers.holding import Keeper
from workers.tools import Memory, ToolContext, load_tools
from workers.turn import work
from workers.wait import Pace


class NoMemory:
    """Remembers nothing."""

    async def remember(self, key: str, value: str) -> None:
        return None

    async def recall(self, key: str | None = None) -> dict[str, str]:
        return {}


@dataclass
class Bench:
    """Everything a turn needs, and a person at a terminal."""

    store: Store
    server: Server
    deps: Deps
    numbers: itertools.count[int]

    async def say(self, text: str, user: str = "ann") -> ConversationKey:
        """Hand in a message; nobody works on it yet."""
        key = ConversationKey(f"console:{user}")
        number = next(self.numbers)
        order = parse_order(text, "/")
        await self.store.inbox.ingest(
            InboundMessage(
                conversation=key,
                dedupe_keys=(f"console:{user}:{number}",),
                text=text,
                author_id=user,
                command=order.command if order else None,
                argument=order.argument if order else "",
                message_id=str(number),
            )
        )
        return key

    async def ask(self, text: str, user: str = "ann") -> str:
        """Hand in a message, work until nothing waits, and hear everything that was said."""
        await work(await self.say(text, user), self.deps)
        return await self.heard(user)

    async def heard(self, user: str = "ann") -> str:
        """All replies so far, joined by lines."""
        replies = []
        while (reply := await self.store.mailbox.take(user, 0.01)) is not None:
            replies.append(reply)
        return "\n".join(replies)


@asynccontextmanager
async def bench(
    redis_url: str, adapter: Adapter | None = None, *, turn_timeout_s: float = 600, lease_s: float = 10
) -> AsyncIterator[Bench]:
    """Open a bench; its backend listens on a port of its own."""
    server = Server()
    runner = web.AppRunner(make(server), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    store = Store(redis_url)
    clock = SystemClock()
    backend = AssistantsBackend(f"http://127.0.0.1:{port}/v1", "key")
    keeper = Keeper(store, clock, lease_s=lease_s)
    tools = load_tools(["calculator"])
    functions = tuple(ToolSpec(t.name, t.description, t.parameters) for t in tools.values())
    specs = {"a": AssistantSpec("a", "fake", "Be brief.", functions)}
    memory: Memory = NoMemory()

    def context(turn: Turn, call: ToolCall) -> ToolContext:
        return ToolContext(turn.conversation, turn.last.author_id, "en", f"{turn.run}:{call.id}", memory)

    deps = Deps(
        store=store,
        backend=backend,
        definitions=Definitions(store, backend, str(port), specs, clock),
        adapters={"console": adapter or ConsoleAdapter(store.mailbox)},
        plan_for=lambda _: AssistantPlan("a", tools, max_tool_rounds=3),
        context_for=context,
        keeper=keeper,
        pace=Pace(clock, in_place_s=0.2),
        lease_s=lease_s,
        turn_timeout_s=turn_timeout_s,
    )
    beating = asyncio.create_task(keeper.run())
    try:
        yield Bench(store, server, deps, itertools.count(1))
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await backend.close()
        await store.close()
        await runner.cleanup()
