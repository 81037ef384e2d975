"""Offers as Slack's buttons, and presses as commands."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.messages import Command, InboundMessage, Offer, Origin, OutboundPart
from gateway.lab.slack.blocks import check_blocks
from gateway.slack.buttons import blocks_of, normalise_press
from gateway.slack.fields import Malformed
from gateway.slack.render import render

FIXTURES = Path(__file__).parent.parent / "fixtures" / "slack"
AGAIN = Offer("Show again", Command.LAST, "turn#0")


def press(**changes: Any) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads((FIXTURES / "19_block_actions_approve.json").read_text())["payload"]
    payload["actions"][0] |= {"action_id": "tw:last", "value": "turn#0"}
    return payload | changes


def pressed(payload: dict[str, Any]) -> InboundMessage:
    message = normalise_press(payload)
    assert message is not None
    return message


def with_offers(part: OutboundPart, *offers: Offer) -> OutboundPart:
    return OutboundPart(part.text, part.markup, offers)


def test_a_part_without_offers_is_as_it_was_rendered() -> None:
    (part,) = render("**hi**")
    assert blocks_of(part) == part.markup["blocks"]
    assert blocks_of(part.plain()) is None


def test_an_offer_is_a_button_under_the_text() -> None:
    (part,) = render("**hi**")
    blocks = blocks_of(with_offers(part, AGAIN))
    assert blocks == [
        *part.markup["blocks"],
        {
            "type": "actions",
            "elements": [
                {
                    "type": "button",
                    "action_id": "tw:last",
                    "text": {"type": "plain_text", "text": "Show again"},
                    "value": "turn#0",
                }
            ],
        },
    ]
    assert part.markup["blocks"] == [{"type": "markdown", "text": "**hi**"}]


def test_plain_text_is_still_shown_beside_its_buttons() -> None:
    blocks = blocks_of(OutboundPart("hi", offers=(AGAIN,)))
    assert blocks is not None
    assert [block["type"] for block in blocks] == ["section", "actions"]
    assert blocks[0]["text"] == {"type": "mrkdwn", "text": "hi"}


def test_what_slack_would_refuse_is_left_out() -> None:
    """A refused button would cost the reader the part."""
    assert blocks_of(OutboundPart("x" * 3_001, offers=(AGAIN,))) is None
    too_long, nameless = Offer("a", Command.LAST, "x" * 2_001), Offer(" ", Command.LAST)
    assert blocks_of(OutboundPart("hi", offers=(too_long, nameless))) is None
    many = tuple(Offer("l" * 100, Command.LAST, "x" * (number % 3)) for number in range(30))
    blocks = blocks_of(OutboundPart("hi", offers=many))
    assert blocks is not None
    assert len(check_blocks(blocks)[1]["elements"]) == 25


def test_every_button_leads_back_to_its_command() -> None:
    offers = (AGAIN, Offer("The one before", Command.LAST, "turn#1"), Offer("Stop", Command.STOP))
    blocks = blocks_of(OutboundPart("hi", offers=offers))
    assert blocks is not None
    for button, offer in zip(blocks[1]["elements"], offers, strict=True):
        message = pressed(press(actions=[button | {"action_ts": "1795226420.001800"}]))
        assert (message.command, message.argument) == (offer.command, offer.argument)


def test_a_press_is_the_command_in_the_place_of_its_message() -> None:
    assert pressed(press()) == InboundMessage(
        conversation="slack:T012AB3CD:C012AB3CD:1795226404.000300",  # type: ignore[arg-type]
        dedupe_keys=("press:1111111111112.222222222222.demo0trigger0id",),
        text="",
        author_id="U012AB3CD",
        command=Command.LAST,
        argument="turn#0",
        reply_to="1795226404.000300",
        sent_ms=1795226420_001,
        order=1795226420_001800,
        origin=Origin("slack:user:T012AB3CD:U012AB3CD", ("slack:channel:T012AB3CD:C012AB3CD", "slack:team:T012AB3CD")),
    )


@pytest.mark.parametrize(
    ("channel", "thread_ts", "conversation"),
    [
        ("D012AB3CD", None, "slack:T012AB3CD:D012AB3CD:-"),
        ("D012AB3CD", "1795226402.000100", "slack:T012AB3CD:D012AB3CD:1795226402.000100"),
        ("C012AB3CD", None, "slack:T012AB3CD:C012AB3CD:1795226419.001700"),
    ],
)
def test_the_conversation_is_the_one_that_the_message_is_in(
    channel: str, thread_ts: str | None, conversation: str
) -> None:
    payload = press(channel={"id": channel, "name": "x"}, container={})
    payload["message"] |= {"thread_ts": thread_ts}
    message = pressed(payload)
    assert message.conversation == conversation
    assert message.reply_to == conversation.rpartition(":")[2].removeprefix("-")


def test_an_org_wide_install_has_a_team_all_the_same() -> None:
    assert pressed(press(team=None)).conversation.startswith("slack:T012AB3CD:")
    payload = press(team=None, enterprise={"id": "E012AB3CD"})
    del payload["message"]["team"]
    assert pressed(payload).conversation.startswith("slack:E012AB3CD:")


@pytest.mark.parametrize("action_id", ["approve", "tw:", "tw:start", "tw:dance", "tw:last:x", "xtw:last", None, 7, []])
def test_other_buttons_are_not_ours(action_id: Any) -> None:
    payload = press()
    payload["actions"][0]["action_id"] = action_id
    assert normalise_press(payload) is None


@pytest.mark.parametrize("name", ["19_block_actions_approve", "20_block_actions_feedback"])
def test_presses_of_other_elements_are_not_ours(name: str) -> None:
    assert normalise_press(json.loads((FIXTURES / f"{name}.json").read_text())["payload"]) is None


@given(st.data())
def test_no_field_of_a_wrong_type_gets_past_malformed(data: st.DataObject) -> None:
    payload = copy.deepcopy(press())
    place = data.draw(st.sampled_from([payload, payload["actions"][0], payload["message"], payload["user"]]))
    field = data.draw(st.sampled_from(sorted(place)))
    place[field] = data.draw(
        st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.just({}))
    )
    try:
        message = normalise_press(payload)
    except Malformed:
        return
    if message is not None:
        assert InboundMessage.from_json(message.to_json()) == message
