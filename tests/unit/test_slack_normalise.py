"""Slack payloads (Events API shapes, invented people) → messages."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.messages import Attachment, Command, Destination, InboundMessage, Origin
from gateway.slack.address import Address
from gateway.slack.fields import Malformed, micros, team_of
from gateway.slack.normalise import BotIdentity, Heard, normalise, normalise_slash
from gateway.slack.text import readable, without_mention

FIXTURES = Path(__file__).parent.parent / "fixtures" / "slack"
ME = BotIdentity(user_id="U0BOT12AB", bot_id="B012AB3CD")


def load(name: str) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return payload


def hear(body: dict[str, Any], *, agent_view: bool = False) -> Heard:
    heard = normalise(body, ME, agent_view=agent_view)
    assert heard is not None
    return heard


def test_a_plain_dm_is_one_conversation() -> None:
    assert hear(load("02_message_im")) == Heard(
        InboundMessage(
            conversation="slack:T012AB3CD:D012AB3CD:-",  # type: ignore[arg-type]
            dedupe_keys=("Ev0DEMO0002", "T012AB3CD:D012AB3CD:1795226402.000100"),
            text="Hi, what can you do?",
            author_id="U012AB3CD",
            message_id="1795226402.000100",
            sent_ms=1795226402_000,
            order=1795226402_000100,
            origin=Origin(
                "slack:user:T012AB3CD:U012AB3CD",
                ("slack:channel:T012AB3CD:D012AB3CD", "slack:team:T012AB3CD"),
                direct=True,
            ),
        ),
        addressed=True,
    )


def test_in_agent_view_each_message_of_a_dm_opens_a_thread() -> None:
    message = hear(load("02_message_im"), agent_view=True).message
    assert message.conversation == "slack:T012AB3CD:D012AB3CD:1795226402.000100"
    assert message.reply_to == "1795226402.000100"


@pytest.mark.parametrize("agent_view", [True, False])
def test_a_thread_in_a_dm_is_a_conversation_of_its_own(agent_view: bool) -> None:
    heard = hear(load("03_message_im_thread_reply"), agent_view=agent_view)
    assert heard.message.conversation == "slack:T012AB3CD:D012AB3CD:1795226402.000100"
    assert heard.message.reply_to == "1795226402.000100"
    assert heard.addressed


def test_a_mention_is_unescaped_and_stripped_and_opens_a_thread() -> None:
    message = hear(load("04_app_mention")).message
    assert message.text == "summarise this channel & the <ops> one"
    assert message.conversation == "slack:T012AB3CD:C012AB3CD:1795226404.000300"
    assert message.reply_to == "1795226404.000300"


def test_the_two_events_of_one_mention_are_one_message() -> None:
    mention, message = (hear(load(name)).message for name in ("04_app_mention", "05_message_channel_same_as_mention"))
    assert mention.conversation == message.conversation
    assert mention.dedupe_keys[0] != message.dedupe_keys[0]
    assert mention.dedupe_keys[1] == message.dedupe_keys[1]


def test_a_redelivery_has_the_same_keys() -> None:
    assert hear(load("21_retry_of_04")["body"]) == hear(load("04_app_mention"))


def test_a_follow_up_without_a_mention_is_for_the_store_to_judge() -> None:
    heard = hear(load("06_message_channel_thread_reply"))
    assert not heard.addressed
    assert heard.message.conversation == "slack:T012AB3CD:C012AB3CD:1795226404.000300"
    assert heard.message.text == "shorter please"


def test_files_become_attachments() -> None:
    message = hear(load("09_message_file_share")).message
    assert message.text == "please read"
    assert message.attachments == (
        Attachment("document", "F012AB3CD", name="report.pdf", mime="application/pdf", size_bytes=182044),
    )


def test_the_stop_button_is_the_stop_command() -> None:
    message = hear(load("14_agent_session_stopped")).message
    assert message.command is Command.STOP
    assert message.conversation == "slack:T012AB3CD:D012AB3CD:1795226402.000100"
    assert message.order == 1795226414_001300


def test_the_order_is_the_ts_to_the_last_digit() -> None:
    body = load("02_message_im")
    for ts, order in (("1795226402.000001", 1795226402_000001), ("9999999999.999999", 9999999999_999999)):
        body["event"]["ts"] = ts
        assert hear(body).message.order == order
    assert micros("1795226402.5") == 1795226402_500000
    assert micros("1795226402.123456789") == 1795226402_123456


def test_a_message_that_names_itself_as_its_thread_is_no_reply() -> None:
    body = load("02_message_im")
    body["event"]["thread_ts"] = body["event"]["ts"]
    assert hear(body).message.conversation == "slack:T012AB3CD:D012AB3CD:-"
    assert hear(body, agent_view=True).message.conversation == "slack:T012AB3CD:D012AB3CD:1795226402.000100"


def test_an_org_wide_install_has_a_team_all_the_same() -> None:
    body = load("17_enterprise_org_install_message")
    assert hear(body).message.conversation == "slack:T012AB3CD:D012AB3CD:-"
    body["team_id"] = None
    assert team_of(body) == "E012AB3CD"


@pytest.mark.parametrize(
    "name",
    [
        "07_message_from_own_bot",
        "08_message_other_bot",
        "10_message_changed",
        "11_message_deleted",
        "12_app_home_opened_messages_tab",
        "13_assistant_thread_started_legacy",
        "15_tokens_revoked",
        "16_app_uninstalled",
        "24_app_context_changed",
    ],
)
def test_events_that_are_no_question_to_us(name: str) -> None:
    assert normalise(load(name), ME, agent_view=True) is None


def test_channel_talk_without_a_mention_is_not_ours() -> None:
    body = load("05_message_channel_same_as_mention")
    body["event"]["text"] = "good morning <@U0OTHER11>"
    assert normalise(body, ME, agent_view=False) is None


@pytest.mark.parametrize("fields", [{"user": "U0BOT12AB"}, {"user": "USLACKBOT"}, {"bot_id": "B0X"}, {"hidden": True}])
def test_bots_and_hidden_messages_are_not_answered(fields: dict[str, Any]) -> None:
    body = load("02_message_im")
    body["event"] |= fields
    assert normalise(body, ME, agent_view=False) is None


@pytest.mark.parametrize("subtype", ["thread_broadcast", "me_message"])
def test_other_ways_for_people_to_write(subtype: str) -> None:
    body = load("02_message_im")
    body["event"]["subtype"] = subtype
    assert hear(body).message.text == "Hi, what can you do?"


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("!new", Command.NEW),
        ("<@U0BOT12AB> !stop", Command.STOP),
        ("!HELP", Command.HELP),
        ("!last", Command.LAST),
        ("<@U0BOT12AB>", Command.HELP),
        ("new", None),
        ("/new", None),
        ("!start", None),
        ("!important", None),
    ],
)
def test_commands_begin_with_an_exclamation_mark(text: str, command: Command | None) -> None:
    body = load("04_app_mention")
    body["event"]["text"] = text
    assert hear(body).message.command is command


def test_the_slash_command_works_where_there_is_one_conversation() -> None:
    form = load("18_slash_command")["fields"]
    assert normalise_slash(form) is None  # in a channel every thread is one
    message = normalise_slash(form | {"channel_id": "D012AB3CD"})
    assert message is not None
    assert message.conversation == "slack:T012AB3CD:D012AB3CD:-"
    assert (message.command, message.argument, message.order) == (Command.NEW, "research", 0)
    assert message.dedupe_keys == ("slash:1111111111111.222222222222.demo0trigger0id",)
    assert normalise_slash(form | {"channel_id": "D012AB3CD", "text": "dance"}) is None


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        ("a &lt;b&gt; &amp; c", "a <b> & c"),
        ("&amp;lt; stays &amp;amp;", "&lt; stays &amp;"),
        ("ask <@U0OTHER11> or <@U0OTHER12|bob>", "ask @U0OTHER11 or @bob"),
        ("in <#C012AB3CD|general> and <#C012AB3CE>", "in #general and #C012AB3CE"),
        ("<!here> <!subteam^S01|@ops> <!date^1392734382^{date}|18 Feb 2014>", "@here @ops 18 Feb 2014"),
        ("<https://a.example/?x=1&amp;y=2>", "https://a.example/?x=1&y=2"),
        ("<https://a.example|the site>", "the site (https://a.example)"),
        ("<http://a.example|a.example> <mailto:a@b.example|a@b.example>", "a.example a@b.example"),
        ("1 < 2 and <>", "1 < 2 and "),
    ],
)
def test_slacks_text_as_people_read_it(escaped: str, text: str) -> None:
    assert readable(escaped) == text


def test_only_our_own_mention_is_taken_out() -> None:
    assert without_mention("hey <@U0BOT12AB> ask <@U0BOT12ABC>", "U0BOT12AB") == ("hey ask @U0BOT12ABC", True)
    assert without_mention("&lt;@U0BOT12AB&gt;", "U0BOT12AB") == ("<@U0BOT12AB>", False)


@given(st.text())
def test_escaping_is_undone_for_any_text(text: str) -> None:
    storable = text.replace("\0", "")
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert readable(escaped) == storable


@pytest.mark.parametrize("field", ["event_id", "team_id"])
def test_what_every_event_has_is_checked(field: str) -> None:
    body = load("02_message_im")
    body[field] = "a:b\n"
    with pytest.raises(Malformed):
        hear(body) if field == "team_id" else hear({k: v for k, v in body.items() if k != field})


@pytest.mark.parametrize("field", ["channel", "ts", "user", "thread_ts"])
def test_nothing_but_ids_gets_into_a_key(field: str) -> None:
    body = load("02_message_im")
    body["event"][field] = "C1:X"
    with pytest.raises(Malformed):
        normalise(body, ME, agent_view=False)


@given(st.data())
def test_no_field_of_a_wrong_type_gets_past_malformed(data: st.DataObject) -> None:
    """Poison must end as Malformed: it is skipped once instead of failing at each of Slack's retries."""
    name = data.draw(st.sampled_from(["02_message_im", "04_app_mention", "09_message_file_share"]))
    body = copy.deepcopy(load(name))
    place: Any = body if data.draw(st.booleans()) else body["event"]
    field = data.draw(st.sampled_from(sorted(place)))
    place[field] = data.draw(
        st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.just({}))
    )
    try:
        heard = normalise(body, ME, agent_view=data.draw(st.booleans()))
    except Malformed:
        return
    if heard is not None:
        assert InboundMessage.from_json(heard.message.to_json()) == heard.message


@pytest.mark.parametrize("root", [None, "1795226404.000300"])
def test_an_address_survives_the_way_through_the_key(root: str | None) -> None:
    address = Address("T012AB3CD", "C012AB3CD", root)
    assert Address.of(Destination(address.key)) == address
