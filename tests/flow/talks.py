"""A whole stack (lab, gateways, workers, strict backend) and people who talk to it, on Telegram and on Slack alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from gateway.domain.messages import ConversationKey
from gateway.lab.client import LabClient, Platform
from gateway.lab.identity import LAB_TELEGRAM_TOKEN, lab_environment
from gateway.lab.slack.world import TEAM_ID
from gateway.store import Store
from tests.flow.processes import Backend, Fleet, Process, environment, free_port, until

SECRET = "right-secret"
"""What Telegram's webhook calls carry, where the stack has a webhook."""
OPTIONS = ("-c", "20")
"""Of every worker."""


class Talk:
    """One person's conversation with the bot."""

    def __init__(self, stack: Stack, platform: Platform, user: int | str) -> None:
        self.stack, self.platform, self.user = stack, platform, user
        self.chat = str(user) if platform == "telegram" else f"D{str(user)[1:]}"
        self.root = ""
        """Slack: the thread's ts, "" for the direct message itself."""
        self._heard = ""

    @property
    def conversation(self) -> ConversationKey:
        """Its key, as the backend was told it."""
        if self.platform == "telegram":
            return ConversationKey(f"telegram:{LAB_TELEGRAM_TOKEN.partition(':')[0]}:{self.chat}:-")
        return ConversationKey(f"slack:{TEAM_ID}:{self.chat}:{self.root or '-'}")

    async def say(self, text: str) -> str:
        """Write; the message's id. A command begins with "/", which is "!" on Slack."""
        lab = self.stack.lab
        if self.platform == "telegram":
            sent = await lab.telegram_send(text, user=self.user)
        else:
            where = {"channel": self.chat, "thread_ts": self.root} if self.root else {}
            sent = await lab.slack_send(text.replace("/", "!", 1), user=str(self.user), **where)
        self._heard = self._heard or sent["cursor"]
        return str(sent["id"] if self.platform == "telegram" else sent["ts"])

    async def hear(self, timeout_s: float = 40.0) -> dict[str, Any]:
        """The bot's next message."""
        reply = await self.stack.lab.wait_for_reply(self.platform, self.chat, after=self._heard, timeout_s=timeout_s)
        self._heard = reply["cursor"]
        return reply

    async def hears(self, text: str) -> None:
        """The bot's next message has this text in it."""
        assert text in (said := (await self.hear())["text"]), said

    async def edit(self, message: str, text: str) -> None:
        """Change a message of one's own."""
        if self.platform == "telegram":
            await self.stack.lab.telegram_edit(message, text, chat=self.chat)
        else:
            await self.stack.lab.slack_edit(message, text, channel=self.chat)

    async def delete(self, message: str) -> None:
        """Take back a message of one's own; Telegram would not tell the bot."""
        await self.stack.lab.slack_delete(message, channel=self.chat)

    def continues_after(self, cursor: str) -> None:
        """What was heard up to this place of the lab's feed is not heard again."""
        self._heard = cursor

    async def shown(self) -> list[str]:
        """Everything of the bot that the chat shows now."""
        messages = await self.stack.lab.messages(self.chat, self.platform)
        return [message["text"] for message in messages if message["author"]["bot"]]

    async def runs(self) -> list[dict[str, Any]]:
        """The conversation's runs at the backend, oldest first."""
        log = await self.stack.backend.log()
        return [run for run in log["runs"] if log["threads"][run["thread"]] == self.conversation]

    async def running(self) -> None:
        """Return when a run is at work."""

        async def there() -> bool:
            return any(run["status"] in ("in_progress", "requires_action") for run in await self.runs())

        await until(there)

    async def stored(self, messages: int) -> None:
        """Return when so many messages wait for an answer."""

        async def there() -> bool:
            return await self.stack.store.inbox.waiting(self.conversation) == messages

        await until(there)

    async def read(self) -> list[str]:
        """What the model has been given of this person's words, in order."""
        threads = (await self.stack.backend.log())["threads"]
        mine = [thread for thread, whose in threads.items() if whose == self.conversation]
        return [text for thread in mine for text in await self.stack.thread(thread)]


@dataclass
class Stack:
    """Everything that answers, as processes of one test or module."""

    fleet: Fleet
    lab: LabClient
    backend: Backend
    store: Store
    urls: list[str]
    """The gateways; the first one has the lab."""
    workers: list[Process] = field(default_factory=list)
    _people: int = 0

    def telegram(self) -> Talk:
        """Somebody new on Telegram."""
        self._people += 1
        return Talk(self, "telegram", 920_000_000 + self._people)

    def slack(self) -> Talk:
        """Somebody new on Slack, in a direct message."""
        self._people += 1
        return Talk(self, "slack", f"U0GUEST{self._people:04d}")

    async def both(self, scene: Callable[[Talk], Awaitable[None]]) -> None:
        """Play a scene on both platforms at once."""
        await asyncio.gather(scene(self.telegram()), scene(self.slack()))

    async def worker(self, **more: str) -> Process:
        """One more worker."""
        worker = await self.fleet.worker(*OPTIONS, **more)
        self.workers.append(worker)
        return worker

    async def replace_worker(self) -> None:
        """Kill the newest worker with SIGKILL and start another one."""
        worker = self.workers.pop()
        worker.kill()
        await worker.wait()
        await self.worker()

    async def thread(self, name: str) -> list[str]:
        """What users said in a thread of the backend."""
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"{self.backend.url}/v1/threads/{name}/messages") as answer,
        ):
            messages = (await answer.json())["data"]
        return [m["content"][0]["text"]["value"] for m in messages if m["role"] == "user"]


@asynccontextmanager
async def stack(
    folder: Path, redis_url: str, config: str = "", *, replicas: int = 1, workers: int = 1, **more: str
) -> AsyncIterator[Stack]:
    """Start it all in `folder` with `config` as its threadway.toml; `more` are variables of every process.

    With several replicas Telegram calls a webhook, of the first one; else it is polled.
    """
    (folder / "threadway.toml").write_text(config)
    fleet = Fleet(folder, environment(folder, redis_url, **{"THREADWAY_LEASE_S": "3", **more}))
    store = Store(redis_url)
    ports = [free_port() for _ in range(replicas)]
    fleet.env |= lab_environment("127.0.0.1", ports[0]) | {"THREADWAY_PORT": str(ports[0])}
    if replicas > 1:
        hook = f"http://127.0.0.1:{ports[0]}/telegram/webhook"
        fleet.env |= {"TELEGRAM_WEBHOOK_URL": hook, "TELEGRAM_WEBHOOK_SECRET": SECRET}
    try:
        async with fleet.backend() as backend:
            gateways = asyncio.gather(*(_gateway(fleet, port, lab=port == ports[0]) for port in ports))
            started = asyncio.gather(*(fleet.worker(*OPTIONS) for _ in range(workers)))
            urls = await gateways
            async with LabClient(f"{urls[0]}/lab") as lab:
                yield Stack(fleet, lab, backend, store, urls, await started)
    finally:
        await store.close()
        await fleet.end()
        fleet.show()


async def _gateway(fleet: Fleet, port: int, *, lab: bool) -> str:
    _, url = await fleet.gateway(THREADWAY_PORT=str(port), THREADWAY_LAB="on" if lab else "off")
    return url
