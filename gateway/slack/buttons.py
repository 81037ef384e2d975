"""Offers as buttons under a message, and the press of one as the command it stands for. Pure.

Wire facts: https://docs.slack.dev/reference/block-kit (actions block: 25 elements, their action_ids all different;
button: text of 75, value of 2,000 characters; section: 3,000 characters) and
https://docs.slack.dev/reference/interaction-payloads/block_actions-payload.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from gateway.domain.messages import Command, InboundMessage, Offer, OutboundPart
from gateway.slack.address import Address, origin
from gateway.slack.fields import ID, TS, filled, is_guest, matching, micros, reading
from gateway.slack.normalise import COMMANDS
from gateway.slack.text import clean

_ACTION = re.compile(r"tw:(?P<command>[a-z]{1,32})(?::\d{1,2})?")
_BUTTONS, _LABEL_LIMIT, _VALUE_LIMIT, _SECTION_LIMIT = 25, 75, 2_000, 3_000


def blocks_of(part: OutboundPart) -> list[dict[str, Any]] | None:
    """The part's blocks with its offers under them, None for plain text.

    What Slack would refuse is left out, since an offer is never the only way: a refusal would cost the whole part.
    """
    blocks = list(part.markup.get("blocks") or ())
    buttons = [
        _button(number, offer) for number, offer in enumerate(part.offers[:_BUTTONS]) if _fits(offer)
    ]  # numbered, because two of one command would have the same action_id
    if buttons and not blocks and len(part.text) <= _SECTION_LIMIT:
        blocks = [{"type": "section", "text": {"type": "mrkdwn", "text": part.text}}]  # beside blocks no text is shown
    if buttons and blocks:
        blocks = [*blocks, {"type": "actions", "elements": buttons}]
    return blocks or None


def _fits(offer: Offer) -> bool:
    return bool(offer.label.strip()) and len(offer.argument) <= _VALUE_LIMIT


def _button(number: int, offer: Offer) -> dict[str, Any]:
    label = {"type": "plain_text", "text": offer.label[:_LABEL_LIMIT]}
    action_id = f"tw:{offer.command}" + (f":{number}" if number else "")
    value = {"value": offer.argument} if offer.argument else {}  # an empty one is refused
    return {"type": "button", "action_id": action_id, "text": label, **value}


def normalise_press(payload: Mapping[str, Any]) -> InboundMessage | None:
    """The command behind a pressed button of ours, None for anything else. Raises Malformed, nothing else.

    Its dedupe key is the trigger_id, Slack's own name of the one press: a delivery that comes again repeats it, whoever
    presses again has a new one.
    """
    with reading():
        buttons = (action for action in payload.get("actions") or () if action.get("type") == "button")
        action: Mapping[str, Any] = next(buttons, {})
        known = _ACTION.fullmatch(str(action.get("action_id")))
        command = Command(known["command"]) if known and known["command"] in COMMANDS else None
        if command is None:
            return None
        message = payload.get("message") or {}
        channel = matching(ID, payload["channel"]["id"], "channel")
        root = message.get("thread_ts") or (payload.get("container") or {}).get("thread_ts")
        thread_ts = matching(TS, root, "thread_ts") if root else None
        ts = matching(TS, message.get("ts"), "ts")
        team, user = _team(payload), payload["user"]
        address = Address.of_message(team, channel, ts, thread_ts, opens=not channel.startswith("D"))
        author = matching(ID, user["id"], "user")
        pressed = micros(matching(TS, action["action_ts"], "action_ts"))
        return InboundMessage(
            conversation=address.key,
            dedupe_keys=(f"press:{filled(payload.get('trigger_id'), 'trigger_id')}",),
            text="",
            author_id=author,
            command=command,
            argument=clean(str(action.get("value") or "")),
            reply_to=address.root or "",
            sent_ms=pressed // 1000,
            order=pressed,
            origin=origin(team, channel, author, guest=is_guest({"team": user.get("team_id")}, team)),
        )


def _team(payload: Mapping[str, Any]) -> str:
    """The workspace as in events: of an org-wide install `team` is null, and the message's own or the org's counts."""
    named = [(payload.get(place) or {}).get("id") for place in ("team", "enterprise")]
    return matching(ID, named[0] or (payload.get("message") or {}).get("team") or named[1], "team")
