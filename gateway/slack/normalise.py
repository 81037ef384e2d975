"""Slack's payloads → InboundMessage. Pure: no network, no clock, no state.

Wire facts: https://docs.slack.dev/reference/events (event_callback; message, app_mention, agent_session_stopped) and
https://docs.slack.dev/interactivity/implementing-slash-commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.domain.commands import parse_order
from gateway.domain.messages import Attachment, Command, InboundMessage
from gateway.slack.address import Address, origin
from gateway.slack.fields import ID, TS, filled, is_direct, is_guest, matching, micros, reading, team_of
from gateway.slack.text import clean, without_mention

AGENT_VIEW_EVENTS = frozenset({"app_context_changed", "agent_session_stopped"})
"""Only workspaces whose DMs with us are in agent view send these."""

_SUBTYPES = frozenset({None, "file_share", "thread_broadcast", "me_message"})
"""Messages that people write; all other subtypes are edits, deletions, joins, bots …"""
COMMANDS = frozenset({Command.NEW, Command.STOP, Command.LAST, Command.HELP})
"""What can be ordered on Slack; nobody starts a bot there."""


@dataclass(frozen=True, slots=True)
class BotIdentity:
    """Who we are, as auth.test says."""

    user_id: str
    bot_id: str = ""


@dataclass(frozen=True, slots=True)
class Heard:
    """A message, and whether it was said to us."""

    message: InboundMessage
    addressed: bool
    """False: a follow-up in a channel's thread that names nobody; ours only if the conversation is known already."""


def normalise(body: Mapping[str, Any], me: BotIdentity, *, agent_view: bool) -> Heard | None:
    """The message of an event_callback, None where there is nothing for us to answer. Raises Malformed, nothing else.

    `agent_view`: in direct messages every top-level message opens a thread of its own; otherwise the DM is one
    conversation and each thread in it another.
    """
    with reading():
        return _normalise(body, me, agent_view)


def _normalise(body: Mapping[str, Any], me: BotIdentity, agent_view: bool) -> Heard | None:
    event = body["event"]
    if event["type"] == "agent_session_stopped":
        return Heard(_stop(body, event), addressed=True)
    if event["type"] not in ("message", "app_mention") or not is_said_by_a_person(event, me):
        return None
    channel, ts = matching(ID, event["channel"], "channel"), matching(TS, event["ts"], "ts")
    thread_ts = matching(TS, event["thread_ts"], "thread_ts") if event.get("thread_ts") else None
    direct = is_direct(event)
    text, mentioned = without_mention(event.get("text") or "", me.user_id)
    attachments = _attachments(event)
    mentioned = mentioned or event["type"] == "app_mention"
    if not (direct or mentioned or thread_ts):
        return None
    if not (text or attachments or mentioned):
        return None
    order = parse_order(text, "!")
    command = order.command if order is not None and not order.addressee and order.command in COMMANDS else None
    argument = order.argument if order is not None and command is not None else ""
    if not (text or attachments):
        command = Command.HELP  # called by name and nothing more: an empty question would fail at every backend
    team = team_of(body)
    address = Address.of_message(team, channel, ts, thread_ts, opens=agent_view or not direct)
    author, addressed = matching(ID, event["user"], "user"), direct or mentioned
    message = InboundMessage(
        conversation=address.key,
        # redelivery repeats the event id; app_mention and message of one mention have two, but the same channel and ts
        dedupe_keys=(_event_id(body), f"{team}:{channel}:{ts}"),
        text=text,
        author_id=author,
        command=command,
        argument=argument,
        attachments=attachments,
        message_id=ts,
        reply_to=address.root or "",
        sent_ms=micros(ts) // 1000,
        order=micros(ts),
        origin=origin(team, channel, author, guest=is_guest(event, team), addressed=addressed),
    )
    return Heard(message, addressed=addressed)


def is_said_by_a_person(event: Mapping[str, Any], me: BotIdentity) -> bool:
    """Whether a message (an event, or the message inside of one) is one that a person wrote."""
    if event.get("hidden") or event.get("subtype") not in _SUBTYPES:
        return False
    author = event.get("user")
    return bool(author) and author not in (me.user_id, "USLACKBOT") and not event.get("bot_id")


def _stop(body: Mapping[str, Any], event: Mapping[str, Any]) -> InboundMessage:
    """The native stop button of agent view, as the command it is."""
    root = matching(TS, event["thread_ts"], "thread_ts")
    address = Address(team_of(body), matching(ID, event["channel"], "channel"), root)
    author = matching(ID, event["user"], "user")
    pressed = micros(matching(TS, event["event_ts"], "event_ts"))
    return InboundMessage(
        conversation=address.key,
        dedupe_keys=(_event_id(body),),
        text="",
        author_id=author,
        command=Command.STOP,
        reply_to=root,
        sent_ms=pressed // 1000,
        order=pressed,
        origin=origin(address.team, address.channel, author),
    )


def normalise_slash(form: Mapping[str, Any]) -> InboundMessage | None:
    """The command of "/threadway new|stop|last|help" in a direct message, None where it names no conversation.

    Slack offers no slash command inside threads and tells no thread: only a DM that is one conversation has one to
    command. Whether it is one, the caller knows (agent view). Raises Malformed.
    """
    order = parse_order("!" + str(form.get("text") or "").strip(), "!")
    channel = matching(ID, form.get("channel_id"), "channel_id")
    if order is None or order.command not in COMMANDS or not channel.startswith("D"):
        return None
    team, author = matching(ID, form.get("team_id"), "team_id"), matching(ID, form.get("user_id"), "user_id")
    return InboundMessage(
        conversation=Address(team, channel, None).key,
        dedupe_keys=(f"slash:{filled(form.get('trigger_id'), 'trigger_id')}",),
        text=f"!{order.word}",
        author_id=author,
        command=order.command,
        argument=clean(order.argument),
        origin=origin(team, channel, author),
    )


def _attachments(event: Mapping[str, Any]) -> tuple[Attachment, ...]:
    files = event.get("files") or ()
    return tuple(
        Attachment(
            kind=_kind(str(file.get("mimetype") or "")),
            file_id=filled(file["id"], "file id"),
            name=clean(str(file.get("name") or "")),
            mime=clean(str(file.get("mimetype") or "")),
            size_bytes=file["size"] if type(file.get("size")) is int else None,
        )
        for file in files
        if file.get("mode") != "tombstone"  # deleted before it reached us
    )


def _kind(mime: str) -> str:
    family = mime.partition("/")[0]
    return family if family in ("image", "audio", "video") else "document"


def _event_id(body: Mapping[str, Any]) -> str:
    return filled(body.get("event_id"), "event_id")
