"""What Slack says about messages that changed after they were sent → amendments of what waits."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.messages import Amendment, ConversationKey, Origin
from gateway.slack.amendments import is_amendment, normalise_amendment
from gateway.slack.fields import Malformed
from gateway.slack.normalise import BotIdentity, normalise

FIXTURES = Path(__file__).parent.parent / "fixtures" / "slack"
ME = BotIdentity(user_id="U0BOT12AB", bot_id="B012AB3CD")
TS = "1795226402.000100"
ROOT = "1795226404.000300"


def load(name: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return payload


def edited(**message: Any) -> dict[str, Any]:
    body = load("10_message_changed")
    body["event"]["message"] |= message
    return body


def deleted(**message: Any) -> dict[str, Any]:
    body = load("11_message_deleted")
    body["event"]["previous_message"] |= message
    return body


def read(body: dict[str, Any], *, agent_view: bool = False) -> Amendment | None:
    return normalise_amendment(body, ME, agent_view=agent_view)


ANN = Origin(
    "slack:user:T012AB3CD:U012AB3CD",
    ("slack:channel:T012AB3CD:D012AB3CD", "slack:team:T012AB3CD"),
    direct=True,
    addressed=False,
)


def test_an_edit_brings_the_new_text_to_the_message_it_is_about() -> None:
    assert read(load("10_message_changed")) == Amendment(
        ConversationKey("slack:T012AB3CD:D012AB3CD:-"), TS, "Hi, what can you do today?", 1795226410_000800, ANN
    )


def test_a_deletion_takes_the_text_away() -> None:
    assert read(load("11_message_deleted")) == Amendment(
        ConversationKey("slack:T012AB3CD:D012AB3CD:-"), TS, None, 1795226411_000900, ANN
    )


@pytest.mark.parametrize("agent_view", [True, False])
@pytest.mark.parametrize("name", ["02_message_im", "03_message_im_thread_reply", "06_message_channel_thread_reply"])
def test_the_conversation_is_that_of_the_message(name: str, agent_view: bool) -> None:
    original = load(name)
    heard = normalise(original, ME, agent_view=agent_view)
    assert heard is not None
    inner = {key: original["event"][key] for key in ("ts", "thread_ts", "user", "text") if key in original["event"]}
    for body in (edited(**inner | {"text": "other"}), deleted(**inner)):
        body["event"] |= {"channel": original["event"]["channel"], "channel_type": original["event"]["channel_type"]}
        if "deleted_ts" in body["event"]:
            body["event"]["deleted_ts"] = inner["ts"]
        amendment = read(body, agent_view=agent_view)
        assert amendment is not None
        assert amendment.conversation == heard.message.conversation
        assert amendment.message_id == heard.message.message_id


def test_a_root_that_has_got_replies_keeps_its_conversation() -> None:
    """Slack gives it its own ts as thread_ts from the first reply on."""
    for agent_view, root in ((False, "-"), (True, TS)):
        amendment = read(edited(thread_ts=TS), agent_view=agent_view)
        assert amendment is not None
        assert amendment.conversation == f"slack:T012AB3CD:D012AB3CD:{root}"


def test_the_text_is_read_as_a_messages_is() -> None:
    amendment = read(edited(text="<@U0BOT12AB> a &lt;b&gt; &amp; <https://a.example|c>"))
    assert amendment is not None
    assert amendment.text == "a <b> & c (https://a.example)"


def test_of_two_edits_within_a_second_the_later_wins() -> None:
    first, second = edited(text="one"), edited(text="two")
    second["event"] |= {"ts": "1795226410.000900", "event_ts": "1795226410.000900"}
    one, two = read(first), read(second)
    assert first["event"]["message"]["edited"] == second["event"]["message"]["edited"]
    assert one is not None
    assert two is not None
    assert one.revision < two.revision


def test_a_deleted_root_with_replies_comes_as_a_tombstone() -> None:
    body = edited(subtype="tombstone", user="USLACKBOT", hidden=True, text="This message was deleted.")
    body["event"]["previous_message"]["thread_ts"] = TS
    amendment = read(body)
    assert amendment is not None
    assert (amendment.message_id, amendment.text) == (TS, None)


def test_a_deletion_that_does_not_say_what_it_was_is_one_all_the_same() -> None:
    body = load("11_message_deleted")
    del body["event"]["previous_message"]
    amendment = read(body)
    assert amendment is not None
    assert (amendment.conversation, amendment.text) == ("slack:T012AB3CD:D012AB3CD:-", None)


def without_edit() -> dict[str, Any]:
    body = edited()
    del body["event"]["message"]["edited"], body["event"]["previous_message"]
    return body


@pytest.mark.parametrize(
    "body",
    [
        edited(text="Hi, what can you do?", attachments=[{"from_url": "https://a.example"}]),
        without_edit(),
        edited(text="<@U0BOT12AB>"),
        edited(user="U0BOT12AB"),
        edited(bot_id="B0OTHER"),
        edited(subtype="bot_message"),
        deleted(user="U0BOT12AB"),
        deleted(bot_id="B0OTHER"),
        deleted(subtype="channel_join"),
    ],
    ids=["unfurled", "not edited", "nothing left", "ours", "a bot's", "a bot's by name", "our deleted",
         "a bot's deleted", "no message"],
)  # fmt: skip
def test_what_changes_nothing(body: dict[str, Any]) -> None:
    assert read(body) is None


def test_an_edit_down_to_its_file_leaves_the_file() -> None:
    amendment = read(edited(text="", files=[{"id": "F012AB3CD"}]))
    assert amendment is not None
    assert amendment.text == ""


def test_which_events_are_amendments() -> None:
    names = [path.stem for path in sorted(FIXTURES.glob("*.json"))]
    bodies = {name: load(name) for name in names if name[:2] != "23"}
    events = {name: body["event"] for name, body in bodies.items() if isinstance(body.get("event"), dict)}
    assert [name for name, event in events.items() if is_amendment(event)] == [
        "10_message_changed", "11_message_deleted"
    ]  # fmt: skip
    assert not is_amendment({"type": [], "subtype": {}})


@given(st.data())
def test_no_field_of_a_wrong_type_gets_past_malformed(data: st.DataObject) -> None:
    body = copy.deepcopy(load(data.draw(st.sampled_from(["10_message_changed", "11_message_deleted"]))))
    event = body["event"]
    places = [body, event, event["previous_message"], *([event["message"]] if "message" in event else [])]
    place = data.draw(st.sampled_from(places))
    field = data.draw(st.sampled_from(sorted(place)))
    if place is event and field in ("type", "subtype"):
        return
    place[field] = data.draw(
        st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.just({}))
    )
    try:
        amendment = read(body, agent_view=data.draw(st.booleans()))
    except Malformed:
        return
    if amendment is not None:
        assert amendment.text is None or isinstance(amendment.text, str)
