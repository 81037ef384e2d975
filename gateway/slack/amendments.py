"""Slack's events about messages that changed after they were sent → Amendment. Pure.

Wire facts: https://docs.slack.dev/reference/events/message/message_changed and …/message_deleted. message_changed comes
for much that is no edit: a link was unfurled, a language detected, a reply came into the thread. A deleted message that
has replies comes as one too, its place taken by a "tombstone".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.domain.messages import Amendment, Origin
from gateway.slack.address import Address, origin
from gateway.slack.fields import ID, TS, is_direct, is_guest, matching, micros, reading, team_of
from gateway.slack.normalise import BotIdentity, is_said_by_a_person
from gateway.slack.text import without_mention


def is_amendment(event: Mapping[str, Any]) -> bool:
    """Whether an event is for `normalise_amendment`."""
    return event.get("type") == "message" and event.get("subtype") in ("message_changed", "message_deleted")


def normalise_amendment(body: Mapping[str, Any], me: BotIdentity, *, agent_view: bool) -> Amendment | None:
    """What became of a person's message, None where that is nothing to us. Raises Malformed, nothing else.

    The conversation is the one that `normalise` gave to the message; `agent_view` as there.
    """
    with reading():
        event = body["event"]
        before, now = event.get("previous_message") or {}, event.get("message") or {}
        deleted = event["subtype"] == "message_deleted" or now.get("subtype") == "tombstone"
        about = before if deleted else now
        if about and not is_said_by_a_person(about, me):
            return None
        text = None if deleted else _new_text(before, now, me)
        if text is None and not deleted:
            return None
        channel = matching(ID, event["channel"], "channel")
        ts = matching(TS, event["deleted_ts"] if event["subtype"] == "message_deleted" else now["ts"], "ts")
        thread_ts = matching(TS, about["thread_ts"], "thread_ts") if about.get("thread_ts") else None
        opens = agent_view or not is_direct(event)
        team, author = team_of(body), about.get("user")
        said_by = Origin()
        if author:
            said_by = origin(team, channel, matching(ID, author, "user"), guest=is_guest(about, team), addressed=False)
        return Amendment(
            conversation=Address.of_message(team, channel, ts, thread_ts, opens=opens).key,
            message_id=ts,
            text=text,
            # not edited.ts: it has whole seconds, and of two edits within one the later has to win
            revision=micros(matching(TS, event["event_ts"], "event_ts")),
            origin=said_by,
        )


def _new_text(before: Mapping[str, Any], now: Mapping[str, Any], me: BotIdentity) -> str | None:
    """The text of an edited message, None where it was not edited or nothing is left that could be answered."""
    edited = before.get("text") != now.get("text") if before else bool(now.get("edited"))
    text, _ = without_mention(now.get("text") or "", me.user_id)
    return text if edited and (text or now.get("files")) else None
