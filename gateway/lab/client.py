"""A client of the lab's control API, for tests and scripts: be the people, wait for the bot. No sleeping, no polls."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp

from gateway.lab.faults import FaultKind
from gateway.lab.feed import Json

Platform = Literal["telegram", "slack"]


class LabRefused(Exception):
    """The lab said no to a control request; the text is its reason."""


class LabClient:
    """`async with LabClient("http://127.0.0.1:8080/lab") as lab:`; one event loop, any number of calls at once.

    What is sent returns the lab's answer with a `cursor` from just before it; `wait_for_reply(…, after=sent["cursor"])`
    therefore sees every reply, however fast it was.
    """

    def __init__(self, base_url: str, *, password: str | None = None) -> None:
        self._base = base_url.rstrip("/")
        self._headers: dict[str, str] = {}
        if password:
            self._headers["Authorization"] = "Basic " + base64.b64encode(f"lab:{password}".encode()).decode()
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the HTTP client."""
        connector = aiohttp.TCPConnector(limit=0)  # a waiting call holds a connection: no ceiling on waiters
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        self._http = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=self._headers, trust_env=False)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the HTTP client."""
        if self._http is not None:
            await self._http.close()

    async def telegram_send(
        self,
        text: str,
        *,
        user: str | int = "ann",
        chat: str | int | None = None,
        thread: str | int | None = None,
        reply_to: str | int | None = None,
        file: Json | None = None,
    ) -> Json:
        """A person writes: to the bot in private unless `chat` ("group", "forum", an id) is given; `thread` is a topic.

        Returns {"id", "chat", "update_id" (None when privacy mode hides it from the bot), "cursor"}. An unknown numeric
        `user` is invented. `file` is {"name", "mime"?, "content_base64"}. Raises LabRefused.
        """
        wish = {"user": user, "chat": chat, "text": text, "thread": thread, "reply_to": reply_to, "file": file}
        return await self.act("telegram/send", wish)

    async def telegram_edit(self, message: str | int, text: str, *, chat: str | int = "ann") -> Json:
        """A person changes the text of a message of theirs; `chat` is an id, or a person's key for their private chat.

        Returns {"update_id" (None when the bot is not told), "cursor"}. Raises LabRefused.
        """
        return await self.act("telegram/edit", {"chat": chat, "message": message, "text": text})

    async def telegram_press(
        self, message: str | int, data: str, *, user: str | int = "ann", chat: str | int | None = None
    ) -> Json:
        """A person presses the button with the callback data `data` under a message of the bot.

        Returns {"query", "update_id" (None when the bot is not told), "cursor"}; the feed has {"type": "answered",
        "query"} once the bot has answered, which ends the button's spinning. Raises LabRefused.
        """
        return await self.act("telegram/press", {"user": user, "chat": chat, "message": message, "data": data})

    async def slack_send(
        self, text: str, *, user: str = "ann", channel: str | None = None, thread_ts: str | None = None
    ) -> Json:
        """A person writes: to the bot's direct message unless `channel` ("#general", an id) is given; "@Threadway"
        mentions the bot, a leading "/" is a slash command.

        Returns {"ts", "channel", "event_ids", "cursor"}. An unknown user id like U0GUEST42 is invented. Raises
        LabRefused.
        """
        return await self.act("slack/send", {"user": user, "channel": channel, "text": text, "thread_ts": thread_ts})

    async def slack_edit(self, ts: str, text: str, *, channel: str = "ann") -> Json:
        """A person changes a message of theirs; `channel` as in `messages`. Returns {"cursor"}. Raises LabRefused."""
        return await self.act("slack/edit", {"channel": channel, "ts": ts, "text": text})

    async def slack_delete(self, ts: str, *, channel: str = "ann") -> Json:
        """A person deletes a message of theirs; `channel` as in `messages`. Returns {"cursor"}. Raises LabRefused."""
        return await self.act("slack/delete", {"channel": channel, "ts": ts})

    async def slack_press(self, ts: str, action: str, *, user: str = "ann", channel: str | None = None) -> Json:
        """A person presses the button with the action_id `action` under a message of the bot.

        Returns {"status" (of the app's answer, 0: none), "cursor"}. Raises LabRefused.
        """
        return await self.act("slack/press", {"user": user, "channel": channel, "ts": ts, "action": action})

    async def act(self, path: str, wish: Json) -> Json:
        """Any control request: POST /api/<path>. Raises LabRefused."""
        async with self._client().post(f"{self._base}/api/{path}", json=_without_none(wish)) as response:
            return await _answer(response)

    async def state(self) -> Json:
        """The whole world."""
        async with self._client().get(f"{self._base}/api/state") as response:
            return await _answer(response)

    async def messages(self, chat: str | int, platform: Platform = "telegram") -> list[Json]:
        """A chat's messages, oldest first; `chat` as in the send methods, a person's key for their private chat.

        Each has id, author {id, name, bot}, text, thread, edited, at_ms and entities or blocks. Raises LabRefused.
        """
        query = {"platform": platform, "chat": str(chat)}
        async with self._client().get(f"{self._base}/api/messages", params=query) as response:
            return list((await _answer(response))["messages"])

    async def wait_for_reply(
        self,
        platform: Platform,
        chat: str | int,
        *,
        after: str,
        timeout_s: float = 15.0,
        thread: str | None = None,
    ) -> Json:
        """The bot's next message in a chat after a cursor, with its own "cursor" to wait for the one after it.

        `chat` is the id that the send methods return; `thread` (topic or thread root) narrows it down. Raises
        TimeoutError.
        """

        def fits(change: Json) -> bool:
            if (change.get("type"), change.get("platform")) != ("message", platform):
                return False
            in_thread = thread is None or change["message"]["thread"] == str(thread)
            return change["chat"] == str(chat) and in_thread and bool(change["message"]["author"]["bot"])

        change = await self.wait_for(fits, after=after, timeout_s=timeout_s)
        return {**change["message"], "cursor": change["cursor"]}

    async def wait_for(self, fits: Callable[[Json], bool], *, after: str, timeout_s: float = 15.0) -> Json:
        """The first change after a cursor for which `fits` is true, with its "cursor". Raises TimeoutError."""
        async with asyncio.timeout(timeout_s):
            async for change in self.follow(after):
                if fits(change):
                    return change
        raise ConnectionError("the lab closed its stream")

    async def follow(self, after: str) -> AsyncIterator[Json]:
        """Every change after a cursor, each with its "cursor", until the lab closes."""
        async with self._client().get(f"{self._base}/api/events", headers={"Last-Event-ID": after}) as response:
            if response.status != 200:
                raise LabRefused(await response.text())
            cursor = ""
            # Read by chunks: aiohttp's own line reader refuses lines over 64 KiB, and a long reply makes one.
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if line.startswith(b"id: "):
                        cursor = line[4:].decode()
                    elif line.startswith(b"data: "):
                        yield {**json.loads(line[6:]), "cursor": cursor}

    async def set_fault(self, platform: Platform, **rates: float) -> None:
        """Faults by chance: rate_429, retry_after, errors_5xx, drop_response, cut_before, cut_after, latency_ms,
        duplicates; see `faults.Rates`. Raises LabRefused.
        """
        await self.act("faults", {platform: rates})

    async def fail_next(
        self,
        platform: Platform,
        method: str,
        fault: FaultKind,
        *,
        count: int = 1,
        retry_after: int = 1,
        latency_ms: int = 0,
    ) -> None:
        """The next `count` calls of `method` fail so ("duplicates": the next updates or events come twice)."""
        plan: dict[str, Any] = {"platform": platform, "method": method, "fault": fault, "count": count}
        plan |= {"retry_after": retry_after, "latency_ms": latency_ms}
        await self.act("faults", {"next": [plan]})

    async def reset_faults(self) -> None:
        """Switch every fault off."""
        await self.act("faults", {"reset": True})

    def _client(self) -> aiohttp.ClientSession:
        if self._http is None:
            raise RuntimeError("use `async with LabClient(…)`")
        return self._http


async def _answer(response: aiohttp.ClientResponse) -> Json:
    if response.status != 200:
        raise LabRefused(f"{response.status}: {await response.text()}")
    answer: Json = await response.json()
    return answer


def _without_none(wish: Json) -> Json:
    return {name: value for name, value in wish.items() if value is not None}
