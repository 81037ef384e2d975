"""The control API: what the page and tests use to be the people, to read the state and to follow it."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from gateway.domain.pacing import Clock
from gateway.lab.arguments import BadArguments, File, TooLarge, read_body, read_object
from gateway.lab.faults import BadFault, Faults
from gateway.lab.feed import Feed, Json
from gateway.lab.people import PEOPLE
from gateway.lab.slack.people import SlackPeople
from gateway.lab.slack.sender import Sender
from gateway.lab.slack.socket import Sockets
from gateway.lab.slack.world import BOT_NAME, BOT_USER_ID, TEAM_ID, SlackWorld
from gateway.lab.telegram.people import TelegramPeople
from gateway.lab.telegram.world import TelegramWorld
from gateway.lab.trace import Traces

MAX_BODY_BYTES = 2 << 20
MAX_FILE_BYTES = 1 << 20
HEARTBEAT_S = 15.0


class Control:
    """Routes under /api. Bodies and answers are JSON; 400 {"error"} for what cannot be done."""

    def __init__(
        self,
        telegram: tuple[TelegramWorld, TelegramPeople],
        slack: tuple[SlackWorld, SlackPeople, Sender, Sockets],
        faults: Faults,
        feed: Feed,
        traces: Traces,
        clock: Clock,
    ) -> None:
        self._telegram, self._telegram_people = telegram
        self._slack, self._slack_people, self._sender, self._sockets = slack
        self._faults, self._feed, self._traces, self._clock = faults, feed, traces, clock

    def routes(self) -> list[Route]:
        """To be mounted where the lab is."""
        posts: dict[str, Callable[[Json], Awaitable[Json]]] = {
            "/api/telegram/send": self._telegram_send,
            "/api/telegram/edit": self._telegram_edit,
            "/api/telegram/delete": self._telegram_delete,
            "/api/telegram/block": self._telegram_block,
            "/api/telegram/remove_bot": self._telegram_remove_bot,
            "/api/telegram/press": self._telegram_press,
            "/api/slack/send": self._slack_send,
            "/api/slack/edit": self._slack_edit,
            "/api/slack/delete": self._slack_delete,
            "/api/slack/press": self._slack_press,
            "/api/slack/verify": self._slack_verify,
            "/api/slack/disconnect": self._slack_disconnect,
            "/api/faults": self._set_faults,
        }
        return [
            Route("/api/state", self.state, methods=["GET"]),
            Route("/api/messages", self.messages, methods=["GET"]),
            Route("/api/events", self.events, methods=["GET"]),
            *(Route(path, _json(act, self._feed), methods=["POST"]) for path, act in posts.items()),
        ]

    async def state(self, request: Request) -> Response:
        """Everything the page shows, and the cursor to follow it from."""
        people = [{"key": p.key, "name": p.name, "telegram": str(p.telegram_id), "slack": p.slack_id} for p in PEOPLE]
        telegram, slack = self._telegram, self._slack
        return JSONResponse(
            {
                "cursor": self._feed.cursor,
                "people": people,
                "telegram": {"bot": telegram.bot, "chats": [self._telegram_chat(c) for c in telegram.chats]},
                "slack": {
                    "team": TEAM_ID,
                    "bot": {"id": BOT_USER_ID, "name": BOT_NAME},
                    "users": slack.users,
                    "chats": [self._slack_chat(c) for c in slack.channels],
                },
                "faults": self._faults.view(),
            }
        )

    async def messages(self, request: Request) -> Response:
        """?platform=…&chat=…: one chat's messages."""
        platform, name = request.query_params.get("platform"), request.query_params.get("chat")
        if platform == "telegram" and (chat := self._telegram.chat(name)):
            return JSONResponse({"cursor": self._feed.cursor, **self._telegram_chat(chat.chat_id)})
        if platform == "slack":
            channel = self._slack.channel(name) or self._slack.channel(self._slack.user(name))
            if channel:
                return JSONResponse({"cursor": self._feed.cursor, **self._slack_chat(channel.channel_id)})
        return JSONResponse({"error": "there is no such chat"}, status_code=400)

    async def events(self, request: Request) -> Response:
        """Server-sent events: every change after Last-Event-ID (or ?after=), a comment as heartbeat every 15 s."""
        after = request.headers.get("last-event-id") or request.query_params.get("after")
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._stream(after), media_type="text/event-stream", headers=headers)

    async def _stream(self, after: str | None) -> AsyncIterator[str]:
        changes = self._feed.follow(after or self._feed.cursor)
        yield "retry: 1000\n\n"
        coming = _next(changes)
        try:
            while True:
                beat = asyncio.ensure_future(self._clock.sleep(HEARTBEAT_S))
                await asyncio.wait({coming, beat}, return_when=asyncio.FIRST_COMPLETED)
                beat.cancel()
                if not coming.done():
                    yield ": still here\n\n"
                elif item := coming.result():
                    cursor, change = item
                    yield f"id: {cursor}\ndata: {json.dumps(change, ensure_ascii=False)}\n\n"
                    coming = _next(changes)
                else:
                    return  # the lab closes
        finally:
            coming.cancel()

    async def _telegram_send(self, wish: Json) -> Json:
        _only(wish, "user", "chat", "text", "thread", "reply_to", "file")
        return self._telegram_people.send(
            wish.get("user", "ann"),
            wish.get("chat"),
            wish.get("text", ""),
            wish.get("thread"),
            wish.get("reply_to"),
            _file(wish.get("file")),
        )

    async def _telegram_edit(self, wish: Json) -> Json:
        _only(wish, "chat", "message", "text")
        return self._telegram_people.edit(wish.get("chat"), wish.get("message"), wish.get("text"))

    async def _telegram_delete(self, wish: Json) -> Json:
        _only(wish, "chat", "message")
        return self._telegram_people.delete(wish.get("chat"), wish.get("message"))

    async def _telegram_block(self, wish: Json) -> Json:
        _only(wish, "user", "blocked")
        return self._telegram_people.block(wish.get("user"), wish.get("blocked") is not False)

    async def _telegram_remove_bot(self, wish: Json) -> Json:
        _only(wish, "user", "chat", "removed")
        removed = wish.get("removed") is not False
        return self._telegram_people.remove_bot(wish.get("user", "ann"), wish.get("chat"), removed)

    async def _telegram_press(self, wish: Json) -> Json:
        _only(wish, "user", "chat", "message", "data")
        return self._telegram_people.press(
            wish.get("user", "ann"), wish.get("chat"), wish.get("message"), wish.get("data")
        )

    async def _slack_send(self, wish: Json) -> Json:
        _only(wish, "user", "channel", "text", "thread_ts")
        return await self._slack_people.send(
            wish.get("user", "ann"), wish.get("channel"), wish.get("text"), wish.get("thread_ts")
        )

    async def _slack_edit(self, wish: Json) -> Json:
        _only(wish, "channel", "ts", "text")
        return self._slack_people.edit(wish.get("channel"), wish.get("ts"), wish.get("text"))

    async def _slack_delete(self, wish: Json) -> Json:
        _only(wish, "channel", "ts")
        return self._slack_people.delete(wish.get("channel"), wish.get("ts"))

    async def _slack_press(self, wish: Json) -> Json:
        _only(wish, "user", "channel", "ts", "action")
        return await self._slack_people.press(
            wish.get("user", "ann"), wish.get("channel"), wish.get("ts"), wish.get("action")
        )

    async def _slack_verify(self, wish: Json) -> Json:
        return {"verified": await self._sender.verify_url()}

    async def _slack_disconnect(self, wish: Json) -> Json:
        await self._sockets.disconnect()
        return {}

    async def _set_faults(self, wish: Json) -> Json:
        try:
            self._faults.change(wish)
        except BadFault as error:
            raise BadArguments(str(error)) from None
        self._feed.publish({"type": "faults", "faults": self._faults.view()})
        return self._faults.view()

    def _telegram_chat(self, chat_id: int) -> Json:
        chat = self._telegram.chats[chat_id]
        title = chat.names.get("title") or " ".join(
            filter(None, (chat.names.get("first_name"), chat.names.get("last_name")))
        )
        return {
            "id": str(chat_id),
            "kind": chat.kind,
            "title": title,
            "topics": [{"id": str(topic), "name": name} for topic, name in chat.topics.items()],
            "bot_removed": chat.bot_removed,
            "messages": [self._telegram.view(chat, post) for post in chat.posts.values()],
            "traces": self._traces.of_chat("telegram", str(chat_id)),
        }

    def _slack_chat(self, channel_id: str) -> Json:
        channel = self._slack.channels[channel_id]
        return {
            "id": channel_id,
            "kind": "im" if channel.direct else "channel",
            "title": self._slack.users[channel.user] if channel.direct else f"#{channel.name}",
            "user": channel.user,
            "bot_inside": channel.bot_inside,
            "messages": [self._slack.view(message) for message in channel.messages.values()],
            "traces": self._traces.of_chat("slack", channel_id),
        }


def _next(changes: AsyncIterator[tuple[str, Json]]) -> asyncio.Task[tuple[str, Json] | None]:
    async def one() -> tuple[str, Json] | None:
        return await anext(changes, None)

    return asyncio.get_running_loop().create_task(one())


def _json(act: Callable[[Json], Awaitable[Json]], feed: Feed) -> Callable[[Request], Awaitable[Response]]:
    """Wrap an action: JSON in, JSON out. The answer's `cursor` stands *before* the action, so that whoever follows it
    misses nothing that the action set off."""

    async def endpoint(request: Request) -> Response:
        # Only JSON: a foreign site's form cannot send that without a preflight, which is never answered.
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            return JSONResponse({"error": "Content-Type must be application/json"}, status_code=415)
        cursor = feed.cursor
        try:
            wish = read_object(await read_body(request, MAX_BODY_BYTES))
            return JSONResponse({"cursor": cursor, **await act(wish)})
        except BadArguments as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        except TooLarge:
            return JSONResponse({"error": "the body is too large"}, status_code=413)

    return endpoint


def _only(wish: Json, *known: str) -> None:
    unknown = sorted(set(wish) - set(known))
    if unknown:
        raise BadArguments(f"unknown field {unknown[0]!r}; known: {', '.join(known)}")


def _file(wish: Any) -> File | None:
    if wish is None:
        return None
    try:
        content = base64.b64decode(wish["content_base64"], validate=True)
        name, mime = str(wish["name"])[:200], str(wish.get("mime", "application/octet-stream"))[:100]
    except (binascii.Error, KeyError, TypeError, AttributeError):
        raise BadArguments("file is {name, mime?, content_base64}") from None
    if not 0 < len(content) <= MAX_FILE_BYTES:
        raise BadArguments(f"a file has 1 to {MAX_FILE_BYTES} bytes")
    return File(name, mime, content)
