"""What people do on the lab's Slack: write, edit, delete, give commands, press buttons. Each makes the app's events."""

from __future__ import annotations

import json
import secrets
import uuid
from collections import OrderedDict
from dataclasses import dataclass

from gateway.lab.arguments import Arguments, BadArguments
from gateway.lab.courier import Answer
from gateway.lab.feed import Json
from gateway.lab.slack.blocks import button_values
from gateway.lab.slack.events import Events
from gateway.lab.slack.sender import Parcel, Sender
from gateway.lab.slack.text import compose, escape
from gateway.lab.slack.world import APP_ID, TEAM_ID, Channel, Message, SlackWorld
from gateway.lab.trace import Place, Traces

MAX_TYPED_CHARS = 12_000
RESPONSE_USES = 5
RESPONSE_LIFE_S = 1800.0
MAX_TICKETS = 1000


@dataclass(slots=True)
class Ticket:
    """A response_url that is still good."""

    channel: Channel
    user: str
    until: float
    uses: int = RESPONSE_USES


class SlackPeople:
    """The users' side. Every method raises BadArguments for what a client would not let a person do."""

    def __init__(self, world: SlackWorld, events: Events, sender: Sender, traces: Traces, public_url: str) -> None:
        self._world, self._events, self._sender, self._traces = world, events, sender, traces
        self._public_url = public_url
        self._tickets: OrderedDict[str, Ticket] = OrderedDict()

    async def send(self, user: object, channel: object, text: object, thread_ts: object = None) -> Json:
        """Write to a channel (default: the direct message with the bot), or give a /command; returns {"ts", "channel",
        "event_ids"}, {} for a command."""
        sender, place = self._at(user, channel)
        typed = _typed(text)
        root = self._root(place, thread_ts)
        if typed.startswith("/"):
            if root:
                raise BadArguments("slash commands do not work inside threads")
            await self._command(sender, place, typed)
            return {}
        escaped, block = compose(typed, self._world.names)
        message = self._world.add(
            place, sender, escaped, blocks=[block], thread_ts=root, client_msg_id=str(uuid.uuid4())
        )
        self._traces.note(Place("slack", place.channel_id, root, message.ts), "sent")
        return {
            "ts": message.ts,
            "channel": place.channel_id,
            "event_ids": self._events.posted(place, message),
        }

    def edit(self, channel: object, ts: object, text: object) -> Json:
        """Change a person's own message."""
        place, message = self._own(channel, ts)
        previous = self._world.message(place, message)
        message.text, block = compose(_typed(text), self._world.names)
        message.blocks, message.edited_ts = [block], self._world.edit_ts()
        self._world.changed(place, message)
        self._events.edited(place, message, previous)
        return {}

    def delete(self, channel: object, ts: object) -> Json:
        """Delete a person's own message."""
        place, message = self._own(channel, ts)
        previous = self._world.message(place, message)
        self._world.remove(place, message)
        self._events.deleted(place, previous)
        return {}

    async def press(self, user: object, channel: object, ts: object, action: object) -> Json:
        """Press a button of one of the bot's messages (block_actions, fixture 19); returns {"status"} of the answer."""
        sender, place = self._at(user, channel)
        message = place.messages.get(str(ts))
        pressed = [(b, e) for b, e in button_values(message.blocks if message else []) if e.get("action_id") == action]
        if message is None or not pressed:
            raise BadArguments("there is no such button")
        block, element = pressed[0]
        where = {"type": "message", "message_ts": message.ts, "channel_id": place.channel_id, "is_ephemeral": False}
        payload: Json = {
            "type": "block_actions",
            "user": {"id": sender, "username": self._short(sender), "name": self._short(sender), "team_id": TEAM_ID},
            "api_app_id": APP_ID,
            "token": "legacy",
            "container": where | ({"thread_ts": message.thread_ts} if message.thread_ts else {}),
            "trigger_id": secrets.token_hex(8),
            "team": {"id": TEAM_ID, "domain": "lab"},
            "enterprise": None,
            "is_enterprise_install": False,
            "channel": {"id": place.channel_id, "name": place.name or "directmessage"},
            "message": self._world.message(place, message),
            "state": {"values": {}},
            "response_url": self._response_url(place, sender),
            "actions": [{**element, "block_id": block.get("block_id", ""), "action_ts": self._world.next_ts()}],
        }
        answer = await self._sender.send_once(Parcel("interactive", payload, "block_actions"))
        return {"status": answer.status}

    def respond(self, name: str, args: Arguments) -> None:
        """A use of a response_url; raises BadArguments when it is unknown, too old or used up."""
        ticket = self._tickets.get(name)
        if ticket is None or ticket.uses <= 0 or ticket.until < self._world.clock.monotonic():
            raise BadArguments("expired_url")
        ticket.uses -= 1
        self._ephemeral(ticket.channel, ticket.user, args.text("text"))

    async def _command(self, user: str, channel: Channel, typed: str) -> None:
        command, _, rest = typed.partition(" ")
        fields = {
            "token": "legacy",
            "team_id": TEAM_ID,
            "team_domain": "lab",
            "channel_id": channel.channel_id,
            "channel_name": channel.name or "directmessage",
            "user_id": user,
            "user_name": self._short(user),
            "command": command,
            "text": escape(rest.strip()),
            "api_app_id": APP_ID,
            "is_enterprise_install": "false",
            "response_url": self._response_url(channel, user),
            "trigger_id": secrets.token_hex(8),
        }
        answer = await self._sender.send_once(Parcel("slash_commands", fields, command[:40]))
        text = _shown(answer) if answer.accepted else f"{command[:40]} failed: {answer.reason} {answer.status or ''}"
        if text:
            self._ephemeral(channel, user, text)

    def _ephemeral(self, channel: Channel, user: str, text: str) -> None:
        self._world.tell(channel, "ephemeral", user=user, id=self._world.next_ts(), text=text[:4000], thread="")

    def _response_url(self, channel: Channel, user: str) -> str:
        name = secrets.token_urlsafe(12)
        self._tickets[name] = Ticket(channel, user, self._world.clock.monotonic() + RESPONSE_LIFE_S)
        while len(self._tickets) > MAX_TICKETS:
            self._tickets.popitem(last=False)
        return f"{self._public_url}/lab/slack/response/{name}"

    def _short(self, user: str) -> str:
        return self._world.users[user].split()[0].lower()

    def _at(self, user: object, channel: object) -> tuple[str, Channel]:
        sender = self._world.user(user)
        if sender is None:
            raise BadArguments("there is no such user")
        place = self._world.channel(sender if channel in (None, "") else channel)
        if place is None or (place.direct and place.user != sender):
            raise BadArguments("there is no such channel for this user")
        return sender, place

    def _root(self, channel: Channel, thread_ts: object) -> str:
        if thread_ts in (None, ""):
            return ""
        message = channel.messages.get(str(thread_ts))
        if message is None:
            raise BadArguments("there is no such thread")
        return message.thread_ts or message.ts

    def _own(self, channel: object, ts: object) -> tuple[Channel, Message]:
        place = self._world.channel(channel) or self._world.channel(self._world.user(channel))
        message = place.messages.get(str(ts)) if place else None
        if place is None or message is None or message.by_bot:
            raise BadArguments("there is no such message of a person")
        return place, message


def _typed(text: object) -> str:
    if not isinstance(text, str) or not text.strip():
        raise BadArguments("text is missing")
    if len(text) > MAX_TYPED_CHARS:
        raise BadArguments(f"text is longer than {MAX_TYPED_CHARS}")
    return text.strip()


def _shown(answer: Answer) -> str:
    """The text of a command's direct answer: plain, or JSON with `text`."""
    raw = answer.body.decode(errors="replace").strip()
    try:
        told = json.loads(raw)
    except ValueError:
        return raw
    return str(told.get("text", "")) if isinstance(told, dict) else raw
