"""A small strict Telegram: the methods the adapter uses, with the refusals that real servers give.

Bodies are forms (booleans and objects as JSON text in fields), as the Bot API and python-telegram-bot have it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import web

TOKEN = "7000000001:AAtest-token-of-nobody"
BOT = {"id": 7000000001, "is_bot": True, "first_name": "Threadway", "username": "threadway_demo_bot"}
ANN = {"id": 100200301, "is_bot": False, "first_name": "Ann", "last_name": "Lee", "language_code": "en"}


def failure(status: int, description: str, **parameters: Any) -> web.Response:
    """A refusal in the Bot API's form."""
    body: dict[str, Any] = {"ok": False, "error_code": status, "description": description}
    if parameters:
        body["parameters"] = parameters
    return web.json_response(body, status=status)


class TelegramServer:
    """One bot's server: updates wait until they are confirmed by an offset."""

    def __init__(self) -> None:
        self.updates: list[Any] = []
        self.sent: list[dict[str, Any]] = []
        self.calls: list[tuple[str, dict[str, str]]] = []
        self.next: dict[str, list[web.Response | str]] = {}
        """Method → answers to give first; "silent" takes the request and never answers, "cut" drops the line."""
        self.topics: set[int] = set()
        self.url = ""
        self._changed = asyncio.Condition()
        self._released = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._number = 900000000
        self.reply_markup: dict[int, Any] = {}
        """message_id → the keyboard it has now."""

    def private(self, text: str, **fields: Any) -> dict[str, Any]:
        """An update with a private message of Ann; not queued yet."""
        self._number += 1
        message = {"message_id": self._number, "date": 1795226400, "from": ANN, "text": text}
        message |= {"chat": {"id": ANN["id"], "type": "private", "first_name": "Ann"}} | fields
        return {"update_id": self._number, "message": message}

    def edited(self, update: dict[str, Any], text: str, **fields: Any) -> dict[str, Any]:
        """An update with an edit of the message in `update`; not queued yet."""
        self._number += 1
        message = update["message"] | {"text": text, "edit_date": 1795226445} | fields
        return {"update_id": self._number, "edited_message": message}

    def pressed(self, data: str, message: dict[str, Any] | None = None) -> dict[str, Any]:
        """An update with Ann's press of a button under `message` (default: one in her chat); not queued yet."""
        self._number += 1
        chat = {"id": ANN["id"], "type": "private", "first_name": "Ann"}
        under = message or {"message_id": 5001, "date": 1795226401, "from": BOT, "chat": chat, "text": "…"}
        query = {"id": str(self._number), "from": ANN, "message": under, "chat_instance": "1", "data": data}
        return {"update_id": self._number, "callback_query": query}

    async def queue(self, *updates: Any) -> None:
        """Have the updates wait for the next getUpdates."""
        async with self._changed:
            self.updates.extend(updates)
            self._changed.notify_all()

    async def emptied(self) -> None:
        """Wait until every update is confirmed."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: not self.updates)

    async def called(self, method: str, times: int = 1) -> None:
        """Wait until `method` was called `times` times in all."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: sum(name == method for name, _ in self.calls) >= times)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        form = {name: str(value) for name, value in (await request.post()).items()}
        async with self._changed:
            self.calls.append((method, form))
            self._changed.notify_all()
        if request.match_info["token"] != TOKEN:
            return failure(401, "Unauthorized")
        if scripted := self.next.get(method):
            answer = scripted.pop(0)
            if answer == "silent":
                await self._released.wait()
            if isinstance(answer, str):
                if request.transport is not None:  # None: the other side hung up while we were silent
                    request.transport.abort()
                return web.Response()
            return answer
        handler = getattr(self, f"_{method}", None)
        if handler is None:
            return failure(404, "Not Found")
        result = await handler(form)
        return result if isinstance(result, web.Response) else web.json_response({"ok": True, "result": result})

    async def _getMe(self, form: dict[str, str]) -> Any:
        return BOT

    async def _deleteWebhook(self, form: dict[str, str]) -> Any:
        return True

    async def _setWebhook(self, form: dict[str, str]) -> Any:
        return True

    async def _getUpdates(self, form: dict[str, str]) -> Any:
        offset = int(form.get("offset", "0"))
        async with self._changed:
            self.updates = [u for u in self.updates if not (isinstance(u, dict) and u.get("update_id", 0) < offset)]
            self._changed.notify_all()
            if not self.updates and not self._released.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), float(form.get("timeout", "0")))
            return self.updates[:100]

    async def _sendMessage(self, form: dict[str, str]) -> Any:
        text = form["text"]
        if not text.strip() or len(text.encode("utf-16-le")) > 8192:
            return failure(400, "Bad Request: message text is empty or too long")
        topic = int(form["message_thread_id"]) if "message_thread_id" in form else None
        if topic is not None and topic not in self.topics:
            return failure(400, "Bad Request: message thread not found")
        entities = json.loads(form.get("entities", "[]"))
        self.sent.append({"text": text, "topic": topic, "entities": entities, "form": form})
        chat = {"id": int(form["chat_id"]), "type": "private"}
        message_id = 5000 + len(self.sent)
        self.reply_markup[message_id] = form.get("reply_markup")
        return {"message_id": message_id, "date": 1795226401, "chat": chat, "text": text}

    async def _editMessageText(self, form: dict[str, str]) -> Any:
        number = int(form["message_id"]) - 5001
        if not 0 <= number < len(self.sent):
            return failure(400, "Bad Request: message to edit not found")
        message = self.sent[number]
        new = {"text": form["text"], "entities": json.loads(form.get("entities", "[]"))}
        markup = form.get("reply_markup")
        if new == {name: message[name] for name in new} and markup == self.reply_markup[number + 5001]:
            same = "specified new message content and reply markup are exactly the same as a current content"
            return failure(400, f"Bad Request: message is not modified: {same} and reply markup of the message")
        message |= new
        self.reply_markup[number + 5001] = markup
        chat = {"id": int(form["chat_id"]), "type": "private"}
        return {"message_id": number + 5001, "date": 1795226401, "chat": chat, "text": form["text"]}

    async def _answerCallbackQuery(self, form: dict[str, str]) -> Any:
        return True

    async def _sendChatAction(self, form: dict[str, str]) -> Any:
        return True

    async def start(self) -> None:
        """Listen on a free port of this machine."""
        app = web.Application()
        app.router.add_post("/bot{token}/{method}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Let go of everybody who waits, and of the port. Safe to call twice."""
        self._released.set()
        async with self._changed:
            self._changed.notify_all()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


@asynccontextmanager
async def telegram_server() -> AsyncIterator[TelegramServer]:
    """A server for the length of the block."""
    server = TelegramServer()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
