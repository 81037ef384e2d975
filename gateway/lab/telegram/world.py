"""What exists on the lab's Telegram: the bot, people, chats and messages, and their Bot API form."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.pacing import Clock
from gateway.lab.feed import Feed, Json
from gateway.lab.people import PEOPLE
from gateway.lab.telegram.text import utf16_cut
from gateway.lab.trace import Place

POSTS_PER_CHAT = 500
MAX_CHATS = 5_000
MAX_FILES = 50
MAX_FILES_BYTES = 64 << 20
GROUP_ID, FORUM_ID = -4000000101, -1002000000101
TOPICS = {3001: "Deploys", 3002: "Billing"}


@dataclass(slots=True)
class Post:
    """One message in a chat."""

    message_id: int
    sender: Json
    """Bot API User."""
    at_ms: int
    text: str
    entities: list[Json] = field(default_factory=list)
    topic: int | None = None
    """The forum topic; None outside forums and in General."""
    reply_to: int | None = None
    edited_ms: int | None = None
    reply_markup: Json | None = None
    media: Json | None = None
    """{"document": …} or {"photo": […]}; `text` is then the caption."""
    reactions: list[str] = field(default_factory=list)

    @property
    def by_bot(self) -> bool:
        """Whether our bot wrote it."""
        return bool(self.sender["is_bot"])


@dataclass(slots=True)
class Chat:
    """A private chat, group or forum."""

    chat_id: int
    kind: str
    """private | group | supergroup"""
    names: Json
    """first_name, last_name, username of a private chat; title of a group."""
    topics: dict[int, str] = field(default_factory=dict)
    bot_removed: bool = False
    """Blocked in a private chat, kicked from a group."""
    posts: OrderedDict[int, Post] = field(default_factory=OrderedDict)

    def wire(self) -> Json:
        """Bot API Chat."""
        forum = {"is_forum": True} if self.topics else {}
        return {"id": self.chat_id, "type": self.kind, **self.names, **forum}


class TelegramWorld:
    """State and its changes; knows nothing of HTTP. Bounded: old messages and files are forgotten."""

    def __init__(self, clock: Clock, feed: Feed, bot_id: int) -> None:
        self.clock, self.feed = clock, feed
        self.bot: Json = {
            "id": bot_id,
            "is_bot": True,
            "first_name": "Threadway",
            "username": "threadway_lab_bot",
        }
        self.users: dict[int, Json] = {}
        self.chats: dict[int, Chat] = {}
        self.files: OrderedDict[str, tuple[str, bytes]] = OrderedDict()
        """file_id → (path, content)"""
        self.commands: dict[str, list[Json]] = {}
        """scope and language → the bot's commands"""
        self.updates_of: OrderedDict[int, Place] = OrderedDict()
        """update_id → the message it told of, so that a trace finds its message"""
        self._last_ids: dict[int, int] = {}
        for person in PEOPLE:
            self._add_user(person.telegram_id, person.first_name, person.last_name, person.key, person.language)
        self.chats[GROUP_ID] = Chat(GROUP_ID, "group", {"title": "Ops room"})
        self.chats[FORUM_ID] = Chat(
            FORUM_ID, "supergroup", {"title": "Ops forum", "username": "ops_forum_lab"}, dict(TOPICS)
        )
        self._last_ids[FORUM_ID] = max(TOPICS)

    def now_ms(self) -> int:
        """The clock's time, ms since the epoch."""
        return round(self.clock.now().timestamp() * 1000)

    def user(self, name: object) -> Json | None:
        """A user by id or by key ("ann"). An unknown positive id makes an invented user with a private chat, so that
        a test may bring as many people as it needs."""
        for person in PEOPLE:
            if name == person.key:
                return self.users[person.telegram_id]
        if not isinstance(name, int) or isinstance(name, bool) or not 0 < name < 2**52:
            return None
        if name not in self.users and name != self.bot["id"] and len(self.chats) < MAX_CHATS:
            self._add_user(name, f"Guest {name}", "", f"guest_{name}", "en")
        return self.users.get(name)

    def chat(self, name: object) -> Chat | None:
        """A chat by id, "@username", "group", "forum" or a person's key."""
        if isinstance(name, str):
            if re.fullmatch(r"-?\d{1,16}", name):
                return self.chats.get(int(name))
            fixed = {"group": GROUP_ID, "forum": FORUM_ID, "@ops_forum_lab": FORUM_ID}
            user = None if name in fixed else self.user(name)
            return self.chats.get(fixed.get(name, int(user["id"]) if user else 0))
        return self.chats.get(name) if isinstance(name, int) and not isinstance(name, bool) else None

    def add(self, chat: Chat, sender: Json, text: str, **rest: Any) -> Post:
        """Store a message, tell the feed, forget the oldest ones over the cap."""
        # One counter for private chats and groups, one per supergroup: so Telegram numbers messages for a bot.
        counter = chat.chat_id if chat.kind == "supergroup" else 0
        number = self._last_ids[counter] = self._last_ids.get(counter, 0) + 1
        post = Post(number, sender, self.now_ms(), text, **rest)
        chat.posts[number] = post
        while len(chat.posts) > POSTS_PER_CHAT:
            chat.posts.popitem(last=False)
        self.tell(chat, "message", message=self.view(chat, post), thread=str(post.topic or ""))
        return post

    def changed(self, chat: Chat, post: Post) -> None:
        """Tell the feed that a message was edited, reacted to or lost its buttons."""
        self.tell(chat, "edit", message=self.view(chat, post), thread=str(post.topic or ""))

    def remove(self, chat: Chat, post: Post) -> None:
        """Delete a message."""
        del chat.posts[post.message_id]
        self.tell(chat, "delete", id=str(post.message_id), thread=str(post.topic or ""))

    def keep_file(self, file_id: str, path: str, content: bytes) -> None:
        """Store a file's bytes; the oldest is forgotten over the cap."""
        self.files[file_id] = (path, content)
        while len(self.files) > MAX_FILES or self._file_bytes() > MAX_FILES_BYTES:
            self.files.popitem(last=False)

    def tell(self, chat: Chat, kind: str, **rest: Any) -> str:
        """Publish a change of one chat."""
        return self.feed.publish({"platform": "telegram", "type": kind, "chat": str(chat.chat_id), **rest})

    def message(self, chat: Chat, post: Post, *, nested: bool = False) -> Json:
        """Bot API Message."""
        date = post.at_ms // 1000
        wire: Json = {"message_id": post.message_id, "from": post.sender, "chat": chat.wire(), "date": date}
        if post.topic is not None:
            wire |= {"message_thread_id": post.topic, "is_topic_message": True}
        elif chat.kind == "supergroup" and post.reply_to is not None:
            # A plain reply in a supergroup carries the id of the reply chain's root: a thread, but no topic.
            wire["message_thread_id"] = self._chain_root(chat, post)
        if post.edited_ms is not None:
            wire["edit_date"] = post.edited_ms // 1000
        if not nested and (reply := self._replied(chat, post)):
            wire["reply_to_message"] = reply
        text, entities = ("caption", "caption_entities") if post.media else ("text", "entities")
        if post.text:
            wire[text] = post.text
        if post.entities:
            wire[entities] = post.entities
        if post.reply_markup and not nested:
            wire["reply_markup"] = post.reply_markup
        return wire | (post.media or {})

    def view(self, chat: Chat, post: Post) -> Json:
        """A message for the page."""
        sender = post.sender
        name = " ".join(filter(None, (sender["first_name"], sender.get("last_name"))))
        rows = (post.reply_markup or {}).get("inline_keyboard", [])
        document = (post.media or {}).get("document")
        return {
            "id": str(post.message_id),
            "author": {"id": str(sender["id"]), "name": name, "bot": post.by_bot},
            "at_ms": post.at_ms,
            "text": post.text,
            "entities": post.entities,
            "thread": str(post.topic or ""),
            "reply_to": str(post.reply_to or ""),
            "edited": post.edited_ms is not None,
            "buttons": [[{"text": b["text"], "data": b.get("callback_data", "")} for b in row] for row in rows],
            "file": document["file_name"] if document else ("photo" if post.media else ""),
            "reactions": post.reactions,
            "unseen": not post.by_bot and not self.to_bot(chat, post),
        }

    def locate(self, key: str, message: str) -> Place | None:
        """Find the message a trace step is about: "bot:update_id", a message id, or the conversation's newest one.

        The key's form is DESIGN's contract: telegram:<bot>:<chat>:<topic or ->.
        """
        bot, _, update = message.partition(":")
        if update.isdecimal() and bot == str(self.bot["id"]):
            return self.updates_of.get(int(update))
        parts = key.split(":")
        chat = self.chat(parts[2]) if len(parts) == 4 and parts[1] == str(self.bot["id"]) else None
        if chat is None:
            return None
        thread = "" if parts[3] == "-" else parts[3]
        if not (message.isdecimal() and int(message) in chat.posts):
            message = self.newest(chat, thread)
        return Place("telegram", str(chat.chat_id), thread, message) if message else None

    def newest(self, chat: Chat, thread: str) -> str:
        """The id of the newest message of a person in a chat's topic, "" for none."""
        for post in reversed(chat.posts.values()):
            if not post.by_bot and str(post.topic or "") == thread:
                return str(post.message_id)
        return ""

    def to_bot(self, chat: Chat, post: Post) -> bool:
        """Whether the bot may see a group message in privacy mode: a command, a mention of it, a reply to it.

        Source: Bot FAQ, "What messages will my bot get?".
        """
        if chat.kind == "private":
            return True
        replied = chat.posts.get(post.reply_to) if post.reply_to else None
        if replied is not None and replied.by_bot:
            return True
        own = "@" + self.bot["username"].lower()
        for entity in post.entities:
            word = utf16_cut(post.text, entity["offset"], entity["length"]).lower()
            addressed = word.rpartition("@")[1:]
            if entity["type"] == "mention" and word == own:
                return True
            if entity["type"] == "bot_command" and (not addressed[0] or "".join(addressed) == own):
                return True
        return False

    def _file_bytes(self) -> int:
        return sum(len(content) for _, content in self.files.values())

    def _replied(self, chat: Chat, post: Post) -> Json | None:
        if post.reply_to is not None and post.reply_to in chat.posts:
            return self.message(chat, chat.posts[post.reply_to], nested=True)
        if post.topic is None:
            return None
        # Every message of a topic that answers nothing "replies" to the service message that opened the topic.
        opener = self.users[PEOPLE[0].telegram_id]
        opened = {"name": chat.topics[post.topic], "icon_color": 7322096}
        root = Post(post.topic, opener, 0, "", topic=post.topic, media={"forum_topic_created": opened})
        return self.message(chat, root, nested=True) | {"date": post.at_ms // 1000 - 86_400}

    def _chain_root(self, chat: Chat, post: Post) -> int:
        root = post
        while root.reply_to is not None and root.reply_to in chat.posts:
            root = chat.posts[root.reply_to]
        return root.message_id

    def _add_user(self, user_id: int, first: str, last: str, username: str, language: str) -> None:
        names = {"first_name": first, "last_name": last, "username": username}
        names = {name: value for name, value in names.items() if value}
        self.users[user_id] = {"id": user_id, "is_bot": False, **names, "language_code": language}
        self.chats[user_id] = Chat(user_id, "private", names)
