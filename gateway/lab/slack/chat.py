"""Web API methods that write: chat.*, reactions.add, thread status. Source: docs.slack.dev, one page per method."""

from __future__ import annotations

import re
from typing import Any

from gateway.lab.arguments import Arguments
from gateway.lab.feed import Json
from gateway.lab.slack.blocks import MAX_MARKDOWN_CHARS, check_blocks
from gateway.lab.slack.errors import Refusal
from gateway.lab.slack.events import Events
from gateway.lab.slack.world import BOT_USER_ID, Channel, Message, SlackWorld
from gateway.lab.trace import Place, Traces

MAX_POST_CHARS = 40_000
"""The real Slack cuts the text here in silence; a lost end of a reply is refused instead."""
MAX_UPDATE_CHARS = 4_000
STATUSES = {"processing", "active", "suspended", "closed"}


class ChatMethods:
    """Each public method is one Web API method: Arguments → the answer's fields. All raise Refusal."""

    def __init__(self, world: SlackWorld, events: Events, traces: Traces) -> None:
        self._world, self._events, self._traces = world, events, traces

    async def post_message(self, args: Arguments) -> Json:
        """chat.postMessage."""
        channel = self._channel(args)
        text, blocks = _content(args, MAX_POST_CHARS)
        metadata = _metadata(args)
        root = self._root(args, channel)
        message = self._world.add(
            channel,
            BOT_USER_ID,
            text,
            blocks=blocks,
            thread_ts=root,
            metadata=metadata,
            broadcast=bool(root) and args.flag("reply_broadcast"),
        )
        self._note_posted(channel, message)
        self._events.posted(channel, message)
        return self._answer(channel, message)

    async def update(self, args: Arguments) -> Json:
        """chat.update; only the bot's own messages."""
        channel = self._channel(args)
        message = self._own(channel, args, "cant_update_message")
        text, blocks = _content(args, MAX_UPDATE_CHARS)
        previous = self._world.message(channel, message)
        message.text = text
        if blocks or args.structure("blocks") is not None:  # left out, the old blocks stay; [] takes them away
            message.blocks = blocks
        message.metadata = _metadata(args) or message.metadata
        message.edited_ts = self._world.edit_ts()
        self._world.changed(channel, message)
        self._events.edited(channel, message, previous)
        return {**self._answer(channel, message), "text": text}

    async def delete(self, args: Arguments) -> Json:
        """chat.delete; only the bot's own messages."""
        channel = self._channel(args)
        message = self._own(channel, args, "cant_delete_message")
        previous = self._world.message(channel, message)
        self._world.remove(channel, message)
        self._events.deleted(channel, previous)
        return {"channel": channel.channel_id, "ts": message.ts}

    async def post_ephemeral(self, args: Arguments) -> Json:
        """chat.postEphemeral: seen by one user, kept nowhere."""
        channel = self._channel(args)
        user = args.text("user")
        if user not in self._world.users or user == BOT_USER_ID:
            raise Refusal("user_not_in_channel")
        text, _ = _content(args, MAX_POST_CHARS)
        ts = self._world.next_ts()
        self._world.tell(channel, "ephemeral", user=user, id=ts, text=text, thread=self._root(args, channel))
        return {"message_ts": ts}

    async def add_reaction(self, args: Arguments) -> Json:
        """reactions.add."""
        channel = self._channel(args)
        name = args.text("name").strip(":")
        if not re.fullmatch(r"[\w+'-]{1,100}", name):
            raise Refusal("invalid_name")
        message = channel.messages.get(args.text("timestamp"))
        if message is None:
            raise Refusal("message_not_found" if args.text("timestamp") else "no_item_specified")
        users = message.reactions.setdefault(name, [])
        if BOT_USER_ID in users:
            raise Refusal("already_reacted")
        users.append(BOT_USER_ID)
        self._world.changed(channel, message)
        return {}

    async def set_thread_status(self, args: Arguments) -> Json:
        """assistant.threads.setStatus: "is thinking…" under a thread until the app posts there; "" clears it."""
        channel = self._channel(args, name="channel_id")
        if "status" not in args.values:
            raise Refusal("invalid_arguments", "[ERROR] missing required field: status")
        self._world.tell(channel, "typing", thread=self._status_root(args, channel), status=args.text("status")[:100])
        return {}

    async def set_agent_status(self, args: Arguments) -> Json:
        """agents.sessions.setStatus: processing | active | suspended | closed."""
        channel = self._channel(args, name="channel_id")
        if args.text("status") not in STATUSES:
            raise Refusal("invalid_arguments", "[ERROR] status must be one of the allowed values")
        working = "is working…" if args.text("status") == "processing" else ""
        self._world.tell(channel, "typing", thread=self._status_root(args, channel), status=working)
        return {}

    def _answer(self, channel: Channel, message: Message) -> Json:
        told = self._world.message(channel, message, metadata=True)
        return {"channel": channel.channel_id, "ts": message.ts, "message": told}

    def _note_posted(self, channel: Channel, message: Message) -> None:
        asked = self._world.newest(channel, message.thread_ts)
        if asked is not None:
            place = Place("slack", channel.channel_id, asked.thread_ts, asked.ts)
            self._traces.note(place, "posted", detail={"id": message.ts})

    def _channel(self, args: Arguments, name: str = "channel") -> Channel:
        channel = self._world.channel(args.text(name))
        if channel is None:
            raise Refusal("channel_not_found")
        if not channel.bot_inside:
            raise Refusal("not_in_channel")
        return channel

    def _own(self, channel: Channel, args: Arguments, refused: str) -> Message:
        message = channel.messages.get(args.text("ts"))
        if message is None:
            raise Refusal("message_not_found")
        if not message.by_bot:
            raise Refusal(refused)
        return message

    def _root(self, args: Arguments, channel: Channel) -> str:
        thread_ts = args.text("thread_ts")
        if not thread_ts:
            return ""
        if not re.fullmatch(r"\d{1,12}\.\d{6}", thread_ts):
            raise Refusal("invalid_thread_ts")
        root = channel.messages.get(thread_ts)
        if root is None:
            raise Refusal("thread_not_found")
        if root.thread_ts:
            raise Refusal("cannot_reply_to_message")
        return thread_ts

    def _status_root(self, args: Arguments, channel: Channel) -> str:
        # A status may be set under any message, before it has its first reply.
        ts = args.text("thread_ts")
        message = channel.messages.get(ts)
        if message is None:
            raise Refusal("thread_not_found" if ts else "invalid_thread_ts")
        return message.thread_ts or ts


def _content(args: Arguments, limit: int) -> tuple[str, list[Json]]:
    text, markdown = args.text("text"), args.text("markdown_text")
    blocks = check_blocks(args.structure("blocks"))
    if markdown and (text or blocks):
        raise Refusal("markdown_text_conflict")
    if len(markdown) > MAX_MARKDOWN_CHARS or len(text) > limit:
        raise Refusal("msg_too_long")
    if markdown:
        blocks = [{"type": "markdown", "block_id": "b0", "text": markdown}]
    if not text.strip() and not blocks and not args.structure("attachments"):
        raise Refusal("no_text")
    return text, blocks


def _metadata(args: Arguments) -> Json | None:
    raw: Any = args.structure("metadata")
    if raw is None:
        return None
    fits = isinstance(raw, dict) and isinstance(raw.get("event_payload"), dict)
    if not fits or not re.fullmatch(r"[\w-]{1,255}", str(raw.get("event_type", ""))):
        raise Refusal("invalid_metadata_format")
    return {"event_type": raw["event_type"], "event_payload": raw["event_payload"]}
