"""What people do on the lab's Telegram: write, edit, delete, block the bot, press buttons; each makes updates."""

from __future__ import annotations

import secrets
from typing import Any

from gateway.lab.arguments import BadArguments, File
from gateway.lab.feed import Json
from gateway.lab.telegram.account import AccountMethods
from gateway.lab.telegram.text import MAX_TEXT_UTF16, find_entities, utf16_len
from gateway.lab.telegram.updates import Updates
from gateway.lab.telegram.world import Chat, Post, TelegramWorld
from gateway.lab.trace import Place, Traces

MAX_OPEN_QUERIES = 1000


class TelegramPeople:
    """The users' side. Every method raises BadArguments for what a client would not let a person do."""

    def __init__(self, world: TelegramWorld, updates: Updates, account: AccountMethods, traces: Traces) -> None:
        self._world, self._updates, self._account, self._traces = world, updates, account, traces

    def send(
        self,
        user: object,
        chat: object,
        text: object,
        thread: object = None,
        reply_to: object = None,
        file: File | None = None,
    ) -> Json:
        """Write to a chat (default: the user's private chat with the bot); returns {"id", "chat", "update_id"}."""
        sender, place = self._at(user, chat)
        words = _words(text, needed=file is None)
        topic = _number(thread, "thread")
        if topic is not None and topic not in place.topics:
            raise BadArguments("there is no such topic in this chat")
        answered = _number(reply_to, "reply_to")
        if answered is not None and answered not in place.posts:
            raise BadArguments("the message that is answered does not exist")
        self._return_of_the_user(place, sender)
        entities = find_entities(words)
        media = self._upload(file) if file else None
        post = self._world.add(place, sender, words, entities=entities, topic=topic, reply_to=answered, media=media)
        here = Place("telegram", str(place.chat_id), str(topic or ""), str(post.message_id))
        self._traces.note(here, "sent")
        update = self._tell_bot("message", place, post)
        if update is not None:
            self._world.updates_of[update] = here
            while len(self._world.updates_of) > 10_000:
                self._world.updates_of.popitem(last=False)
        return {"id": str(post.message_id), "chat": str(place.chat_id), "update_id": update}

    def edit(self, chat: object, message: object, text: object) -> Json:
        """Change a person's own message."""
        place, post = self._own(chat, message)
        post.text = _words(text)
        post.entities, post.edited_ms = find_entities(post.text), self._world.now_ms()
        self._world.changed(place, post)
        return {"update_id": self._tell_bot("edited_message", place, post)}

    def delete(self, chat: object, message: object) -> Json:
        """Delete a person's own message; bots are not told."""
        self._world.remove(*self._own(chat, message))
        return {}

    def block(self, user: object, blocked: bool) -> Json:
        """Block the bot in the user's private chat, or unblock it."""
        sender, place = self._at(user, None)
        if place.bot_removed != blocked:
            self._membership(place, sender, removed=blocked)
        return {}

    def remove_bot(self, user: object, chat: object, removed: bool) -> Json:
        """Kick the bot out of a group, or add it again."""
        sender, place = self._at(user, chat)
        if place.kind == "private":
            raise BadArguments("in a private chat the bot is blocked, not removed")
        if place.bot_removed != removed:
            self._membership(place, sender, removed=removed)
        return {}

    def press(self, user: object, chat: object, message: object, data: object) -> Json:
        """Press a button under one of the bot's messages; returns {"query", "update_id"}."""
        sender, place = self._at(user, chat)
        post = place.posts.get(_number(message, "message") or 0)
        rows = ((post and post.reply_markup) or {}).get("inline_keyboard", [])
        if post is None or data not in [b.get("callback_data") for row in rows for b in row]:
            raise BadArguments("there is no such button")
        query = str(secrets.randbits(60))
        if len(self._account.open_queries) >= MAX_OPEN_QUERIES:
            self._account.open_queries.clear()
        self._account.open_queries[query] = place
        payload = {
            "id": query,
            "from": sender,
            "message": self._world.message(place, post),
            "chat_instance": str(-abs(place.chat_id)),
            "data": data,
        }
        return {"query": query, "update_id": self._updates.push("callback_query", place.chat_id, payload)}

    def _tell_bot(self, kind: str, chat: Chat, post: Post) -> int | None:
        if chat.bot_removed or not self._world.to_bot(chat, post):
            return None
        return self._updates.push(kind, chat.chat_id, self._world.message(chat, post))

    def _return_of_the_user(self, chat: Chat, sender: Json) -> None:
        """Writing to a blocked bot unblocks it: clients offer "Restart" before they let one write."""
        if chat.kind == "private" and chat.bot_removed:
            self._membership(chat, sender, removed=False)

    def _membership(self, chat: Chat, sender: Json, *, removed: bool) -> None:
        chat.bot_removed = removed
        user = self._world.bot
        out: Json = {"user": user, "status": "kicked", "until_date": 0}
        back: Json = {"user": user, "status": "member"}
        change = {
            "chat": chat.wire(),
            "from": sender,
            "date": self._world.now_ms() // 1000,
            "old_chat_member": back if removed else out,
            "new_chat_member": out if removed else back,
        }
        self._world.tell(chat, "membership", bot_removed=removed)
        self._updates.push("my_chat_member", chat.chat_id, change)

    def _upload(self, file: File) -> Json:
        number = self._world.now_ms()
        file_id = f"lab-upload-{number}-{secrets.token_hex(4)}"
        self._world.keep_file(file_id, f"documents/{file_id}", file.content)
        stored: Json = {"file_id": file_id, "file_unique_id": file_id, "file_size": len(file.content)}
        return {"document": stored | {"file_name": file.name, "mime_type": file.mime}}

    def _at(self, user: object, chat: object) -> tuple[Json, Chat]:
        sender = self._world.user(user)
        if sender is None:
            raise BadArguments("there is no such user")
        place = self._world.chat(sender["id"] if chat in (None, "") else chat)
        if place is None or (place.kind == "private" and place.chat_id != sender["id"]):
            raise BadArguments("there is no such chat for this user")
        return sender, place

    def _own(self, chat: object, message: object) -> tuple[Chat, Post]:
        place = self._world.chat(chat)
        post = place.posts.get(_number(message, "message") or 0) if place else None
        if place is None or post is None or post.by_bot:
            raise BadArguments("there is no such message of a person")
        return place, post


def _words(text: Any, *, needed: bool = True) -> str:
    if not isinstance(text, str) or (needed and not text.strip()):
        raise BadArguments("text is missing")
    if utf16_len(text.strip()) > MAX_TEXT_UTF16:
        raise BadArguments(f"text is longer than {MAX_TEXT_UTF16}")
    return text.strip()


def _number(value: Any, name: str) -> int | None:
    if value in (None, ""):
        return None
    if isinstance(value, bool) or not str(value).isdecimal():
        raise BadArguments(f"{name} is a number")
    return int(value)
