"""Events API payloads: which events a change in the workspace makes, in the form of tests/fixtures/slack."""

from __future__ import annotations

from gateway.lab.feed import Json
from gateway.lab.slack.sender import Sender
from gateway.lab.slack.text import mentioned
from gateway.lab.slack.world import APP_ID, BOT_USER_ID, TEAM_ID, Channel, Message, SlackWorld
from gateway.lab.trace import Place

PLACES_KEPT = 10_000


class Events:
    """Tells the app what happened; what it is subscribed to: app_mention, message.channels, message.im."""

    def __init__(self, world: SlackWorld, sender: Sender) -> None:
        self._world, self._sender = world, sender

    def posted(self, channel: Channel, message: Message) -> list[str]:
        """A new message; returns the event ids. One that mentions the bot makes two: app_mention and message, with the
        same ts and client_msg_id (fixtures 04 and 05)."""
        event = self._world.message(channel, message) | {"channel": channel.channel_id, "event_ts": message.ts}
        sent = []
        if not message.by_bot and not channel.direct and BOT_USER_ID in mentioned(message.text):
            sent.append(self._send(event | {"type": "app_mention"}, message.ts))
        if channel.bot_inside:
            sent.append(self._send(event | {"channel_type": _kind(channel)}, message.ts))
        place = Place("slack", channel.channel_id, message.thread_ts, message.ts)
        self._world.places |= dict.fromkeys(sent, place)
        while len(self._world.places) > PLACES_KEPT:
            self._world.places.popitem(last=False)
        return sent

    def edited(self, channel: Channel, message: Message, previous: Json) -> None:
        """message_changed (fixture 10)."""
        now = self._world.message(channel, message)
        self._hidden(channel, {"subtype": "message_changed", "message": now, "previous_message": previous})

    def deleted(self, channel: Channel, previous: Json) -> None:
        """message_deleted (fixture 11)."""
        told = {"subtype": "message_deleted", "previous_message": previous, "deleted_ts": previous["ts"]}
        self._hidden(channel, told)

    def _hidden(self, channel: Channel, told: Json) -> None:
        if not channel.bot_inside:
            return
        ts = self._world.next_ts()
        place = {"channel": channel.channel_id, "channel_type": _kind(channel)}
        self._send({"type": "message", **told, **place, "hidden": True, "ts": ts, "event_ts": ts}, ts)

    def _send(self, event: Json, ts: str) -> str:
        # From the ts, which never repeats: a restarted lab must not reuse ids that threadway remembers for a day.
        letter = "A" if event["type"] == "app_mention" else "M"
        event_id = f"Ev0{letter}{ts.replace('.', '')}"
        self._sender.send_event(wrap(event, event_id))
        return event_id


def wrap(event: Json, event_id: str) -> Json:
    """The outer body of an event (docs.slack.dev, "Events API", event wrapper)."""
    who = {"enterprise_id": None, "team_id": TEAM_ID, "user_id": BOT_USER_ID, "is_bot": True}
    return {
        "token": "legacy",
        "team_id": TEAM_ID,
        "context_team_id": TEAM_ID,
        "context_enterprise_id": None,
        "api_app_id": APP_ID,
        "event": event,
        "type": "event_callback",
        "event_id": event_id,
        "event_time": int(event["event_ts"].partition(".")[0]),
        "authorizations": [{**who, "is_enterprise_install": False}],
        "is_ext_shared_channel": False,
        "event_context": f"4-{event_id}",
    }


def _kind(channel: Channel) -> str:
    return "im" if channel.direct else "channel"
