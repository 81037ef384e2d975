"""What exists on the lab's Slack: a workspace with channels, direct messages and threads, and their Web API form."""

from __future__ import annotations

import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from gateway.domain.pacing import Clock
from gateway.lab.feed import Feed, Json
from gateway.lab.people import PEOPLE
from gateway.lab.slack.blocks import button_values
from gateway.lab.trace import Place

TEAM_ID, APP_ID, BOT_ID, BOT_USER_ID = "T0LAB0001", "A0LAB0001", "B0LABBOT1", "U0LABBOT1"
BOT_NAME = "Threadway"
MESSAGES_PER_CHANNEL = 1000
MAX_CHANNELS = 5_000


@dataclass(slots=True)
class Message:
    """One message; `ts` is its id."""

    ts: str
    user: str
    text: str
    """Escaped, as Slack keeps it."""
    at_ms: int
    blocks: list[Json] = field(default_factory=list)
    thread_ts: str = ""
    """The root's ts for a reply, "" at top level."""
    client_msg_id: str = ""
    """Only people's messages have one."""
    broadcast: bool = False
    metadata: Json | None = None
    edited_ts: str = ""
    reactions: dict[str, list[str]] = field(default_factory=dict)

    @property
    def by_bot(self) -> bool:
        """Whether our bot wrote it."""
        return self.user == BOT_USER_ID


@dataclass(slots=True)
class Channel:
    """A channel or a direct message."""

    channel_id: str
    name: str = ""
    user: str = ""
    """The person of a direct message."""
    bot_inside: bool = True
    messages: OrderedDict[str, Message] = field(default_factory=OrderedDict)

    @property
    def direct(self) -> bool:
        """Whether it is a direct message with the bot."""
        return bool(self.user)

    def wire(self) -> Json:
        """Web API channel object."""
        if self.direct:
            return {"id": self.channel_id, "is_im": True, "user": self.user, "is_channel": False}
        flags = {"is_channel": True, "is_im": False, "is_private": False, "is_archived": False}
        return {"id": self.channel_id, "name": self.name, **flags, "is_member": self.bot_inside}

    def thread(self, root: str) -> list[Message]:
        """A root and its replies, oldest first; [] when the root is gone."""
        if root not in self.messages:
            return []
        replies = [m for m in self.messages.values() if m.thread_ts == root]
        return [self.messages[root], *replies]


class SlackWorld:
    """State and its changes; knows nothing of HTTP. Bounded: old messages are forgotten."""

    def __init__(self, clock: Clock, feed: Feed) -> None:
        self.clock, self.feed = clock, feed
        self.users: dict[str, str] = {BOT_USER_ID: BOT_NAME}
        """id → name"""
        self.names: dict[str, str] = {BOT_NAME.lower(): BOT_USER_ID}
        """lower-case name → id, for @mentions"""
        self.channels: dict[str, Channel] = {
            "C0LABGEN1": Channel("C0LABGEN1", "general"),
            "C0LABSUP1": Channel("C0LABSUP1", "support"),
            "C0LABRND1": Channel("C0LABRND1", "random", bot_inside=False),
        }
        self.places: OrderedDict[str, Place] = OrderedDict()
        """event_id → the message it told of, so that a trace finds its message"""
        self._last_us = 0
        for person in PEOPLE:
            self._add_user(person.slack_id, person.name)
            self.names |= {person.key: person.slack_id, person.first_name.lower(): person.slack_id}

    def now_ms(self) -> int:
        """The clock's time, ms since the epoch."""
        return round(self.clock.now().timestamp() * 1000)

    def next_ts(self) -> str:
        """A timestamp id: unique and increasing, whatever the clock does."""
        now_us = int(self.clock.now().timestamp() * 1_000_000) // 100 * 100
        self._last_us = max(now_us, self._last_us + 100)
        return f"{self._last_us // 1_000_000}.{self._last_us % 1_000_000:06d}"

    def edit_ts(self) -> str:
        """When an edit is made, as Slack tells it: in whole seconds (fixture 10)."""
        return self.next_ts().partition(".")[0] + ".000000"

    def user(self, name: object) -> str | None:
        """A user's id by id or key ("ann"). An unknown id like U0GUEST42 makes an invented user with a direct message,
        so that a test may bring as many people as it needs."""
        if not isinstance(name, str):
            return None
        if name.lower() in self.names and self.names[name.lower()] != BOT_USER_ID:
            return self.names[name.lower()]
        fits = re.fullmatch(r"U[A-Z0-9]{6,20}", name) and name != BOT_USER_ID
        if fits and name not in self.users and len(self.channels) < MAX_CHANNELS:
            self._add_user(name, f"Guest {name[1:]}")
        return name if fits and name in self.users else None

    def channel(self, name: object) -> Channel | None:
        """A channel by id, "#name", name, or a user's id (their direct message)."""
        if not isinstance(name, str) or not name:
            return None
        if name in self.channels:
            return self.channels[name]
        direct = f"D{name[1:]}" if name in self.users else ""
        by_name = (c for c in self.channels.values() if c.name == name.removeprefix("#"))
        return self.channels.get(direct) or next(by_name, None)

    def add(self, channel: Channel, user: str, text: str, **rest: Any) -> Message:
        """Store a message, tell the feed, forget the oldest ones over the cap."""
        message = Message(self.next_ts(), user, text, self.now_ms(), **rest)
        channel.messages[message.ts] = message
        while len(channel.messages) > MESSAGES_PER_CHANNEL:
            channel.messages.popitem(last=False)
        self.tell(channel, "message", message=self.view(message), thread=message.thread_ts)
        return message

    def changed(self, channel: Channel, message: Message) -> None:
        """Tell the feed that a message was edited or reacted to."""
        self.tell(channel, "edit", message=self.view(message), thread=message.thread_ts)

    def remove(self, channel: Channel, message: Message) -> None:
        """Delete a message; replies to a deleted root stay."""
        del channel.messages[message.ts]
        self.tell(channel, "delete", id=message.ts, thread=message.thread_ts)

    def tell(self, channel: Channel, kind: str, **rest: Any) -> str:
        """Publish a change of one channel."""
        return self.feed.publish({"platform": "slack", "type": kind, "chat": channel.channel_id, **rest})

    def message(self, channel: Channel, message: Message, *, metadata: bool = False) -> Json:
        """Web API message object."""
        wire: Json = {"type": "message", "user": message.user, "ts": message.ts, "text": message.text, "team": TEAM_ID}
        if message.client_msg_id:
            wire["client_msg_id"] = message.client_msg_id
        if message.by_bot:
            wire |= {"bot_id": BOT_ID, "app_id": APP_ID, "bot_profile": bot_profile()}
        if message.blocks:
            wire["blocks"] = message.blocks
        if message.broadcast:
            wire["subtype"] = "thread_broadcast"
        if message.edited_ts:
            wire["edited"] = {"user": message.user, "ts": message.edited_ts}
        if message.reactions:
            wire["reactions"] = [
                {"name": name, "users": users, "count": len(users)} for name, users in message.reactions.items()
            ]
        if metadata and message.metadata:
            wire["metadata"] = message.metadata
        return wire | self._thread_fields(channel, message)

    def view(self, message: Message) -> Json:
        """A message for the page."""
        return {
            "id": message.ts,
            "author": {"id": message.user, "name": self.users.get(message.user, message.user), "bot": message.by_bot},
            "at_ms": message.at_ms,
            "text": message.text,
            "blocks": message.blocks if message.by_bot else [],
            "thread": message.thread_ts,
            "edited": bool(message.edited_ts),
            "buttons": [
                [{"text": element["text"]["text"], "data": str(element.get("action_id", ""))}]
                for _, element in button_values(message.blocks)
            ],
            "reactions": [f":{name}:" for name in message.reactions],
        }

    def locate(self, key: str, message: str) -> Place | None:
        """Find the message a trace step is about: event id, "team:channel:ts", ts, or the conversation's newest one.

        The key's form is DESIGN's contract: slack:<team>:<channel>:<root or ->.
        """
        if message in self.places:
            return self.places[message]
        parts = key.split(":")
        channel = self.channels.get(parts[2]) if len(parts) == 4 and parts[1] == TEAM_ID else None
        if channel is None:
            return None
        ts = message.rpartition(":")[2]
        if ts in channel.messages:
            return Place("slack", channel.channel_id, channel.messages[ts].thread_ts, ts)
        root = "" if parts[3] == "-" else parts[3]
        newest = self.newest(channel, root)
        return Place("slack", channel.channel_id, newest.thread_ts, newest.ts) if newest else None

    def newest(self, channel: Channel, root: str) -> Message | None:
        """The newest message of a person at top level (root "") or in a thread, its root included."""
        for message in reversed(channel.messages.values()):
            if not message.by_bot and (message.thread_ts == root or message.ts == root):
                return message
        return None

    def _thread_fields(self, channel: Channel, message: Message) -> Json:
        if message.thread_ts:
            root = channel.messages.get(message.thread_ts)
            parent = {"parent_user_id": root.user} if root else {}
            return {"thread_ts": message.thread_ts, **parent}
        replies = channel.thread(message.ts)[1:]
        if not replies:
            return {}
        return {
            "thread_ts": message.ts,
            "reply_count": len(replies),
            "reply_users": sorted({r.user for r in replies}),
            "latest_reply": replies[-1].ts,
        }

    def _add_user(self, user_id: str, name: str) -> None:
        self.users[user_id] = name
        self.names[name.lower()] = user_id
        self.channels[f"D{user_id[1:]}"] = Channel(f"D{user_id[1:]}", user=user_id)


def bot_profile() -> Json:
    """Web API bot_profile object."""
    return {"id": BOT_ID, "app_id": APP_ID, "name": BOT_NAME, "deleted": False, "updated": 0, "team_id": TEAM_ID}
