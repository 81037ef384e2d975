"""Telegram updates (Bot API shapes, invented people) → messages."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.messages import Amendment, Attachment, Command, Destination, InboundMessage, Offer, Origin
from gateway.telegram.address import Address
from gateway.telegram.buttons import keyboard
from gateway.telegram.normalise import BotIdentity
from gateway.telegram.updates import Malformed, read_update

FIXTURES = Path(__file__).parent.parent / "fixtures" / "telegram"
ME = BotIdentity(id=7000000001, username="Threadway_Demo_Bot")
US = {"id": ME.id, "is_bot": True, "first_name": "Threadway", "username": "threadway_demo_bot"}
GROUP = -4000000101


def load(name: str) -> dict[str, Any]:
    update: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return update


def read(raw: object) -> InboundMessage:
    message = read_update(raw, ME)
    assert isinstance(message, InboundMessage)
    return message


def amended(raw: object) -> Amendment:
    amendment = read_update(raw, ME)
    assert isinstance(amendment, Amendment)
    return amendment


def edit_of(update: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """The update that tells of an edit of the message in `update`."""
    message = update["message"] | {"edit_date": 1795226445} | fields
    return {"update_id": update["update_id"] + 7, "edited_message": message}


def pressed(data: object, **fields: Any) -> dict[str, Any]:
    """The press of a button; `fields` replace the message's own."""
    update = load("12_callback_query_approve")
    update["callback_query"]["data"] = data
    update["callback_query"]["message"] |= fields
    return update


def group(text: str, *entities: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A group message; the fixture's own text and entities are replaced."""
    update = load("03_group_mention")
    update["message"] |= {"text": text, "entities": list(entities)} | fields
    return update


ANN = Origin("telegram:user:100200301", ("telegram:chat:100200301",), direct=True)


def test_private_text() -> None:
    assert read(load("01_private_text")) == InboundMessage(
        conversation="telegram:7000000001:100200301:-",  # type: ignore[arg-type]
        dedupe_keys=("7000000001:900000001",),
        text="Hi! What can you do?",
        author_id="100200301",
        author_name="Ann Lee",
        language="en",
        message_id="11",
        sent_ms=1795226400_000,
        order=11,
        origin=ANN,
    )


def test_a_deep_link_is_start_with_its_payload() -> None:
    message = read(load("02_start_deeplink"))
    assert (message.command, message.argument) == (Command.START, "pair_9f2cA-Z0")


def test_a_group_mention_is_stripped_behind_emoji_outside_the_bmp() -> None:
    message = read(load("03_group_mention"))
    assert message.text == "👩‍🔧 please check order_17 🇯🇵"
    assert message.conversation == "telegram:7000000001:-4000000101:-"
    assert message.reply_to == "201"


def test_every_mention_of_us_is_stripped_and_no_other() -> None:
    text = "@threadway_demo_bot ask @other_bot or @Threadway_Demo_Bot"
    places = [(0, 19), (24, 10), (38, 19)]
    message = read(group(text, *({"type": "mention", "offset": at, "length": size} for at, size in places)))
    assert message.text == "ask @other_bot or"


def test_a_reply_to_the_bot_needs_no_mention() -> None:
    assert read(load("04_group_reply_to_bot")).text == "and when does it arrive?"


def test_a_forum_topic_is_its_own_conversation() -> None:
    message = read(load("05_supergroup_topic"))
    assert message.conversation == "telegram:7000000001:-1002000000101:3001"
    assert message.text == "/ask how do I rotate logs?"
    assert message.command is None


def test_a_private_topic_is_its_own_conversation() -> None:
    assert read(load("06_private_topic")).conversation == "telegram:7000000001:100200301:38"


def test_files_become_attachments() -> None:
    assert read(load("08_voice")).attachments == (
        Attachment("voice", "AwACAgIAAxkBAAIBdemoVOICE01", mime="audio/ogg", size_bytes=24310),
    )
    photo = read(load("09_media_group_photo_1of2"))
    assert photo.text == "Which of these two is broken?"
    assert photo.attachments == (Attachment("image", "AgACAgIAAxkBAAIBdemoPH1x", mime="image/jpeg", size_bytes=148220),)
    assert read(load("11_document_too_big")).attachments == (
        Attachment("document", "BQACAgIAAxkBAAIBdemoDOC01", "trace.log.gz", "application/gzip", 31457280),
    )


@pytest.mark.parametrize(
    "name",
    [
        "12_callback_query_approve",
        "13_my_chat_member_blocked",
        "14_my_chat_member_added_to_group",
        "15_migrate_to_supergroup",
        "16_migrate_from_group",
        "17_channel_post",
        "18_business_message",
        "19_message_reaction",
        "20_stopped_message_generation_10_3",
    ],
)
def test_updates_that_are_no_question_to_us(name: str) -> None:
    assert read_update(load(name), ME) is None


def test_group_talk_that_is_not_for_us() -> None:
    other_mention = {"type": "mention", "offset": 0, "length": 10}
    someone = {"message_id": 1, "date": 1, "chat": {"id": GROUP, "type": "group"}, "from": {**US, "id": 5}}
    for update in (
        group("good morning"),
        group("@other_bot hello", other_mention),
        group("threadway_demo_bot without the sign"),
        group("/stop@other_bot", {"type": "bot_command", "offset": 0, "length": 15}),
        group("/weather Berlin", {"type": "bot_command", "offset": 0, "length": 8}),
        group("thanks", reply_to_message=someone),
    ):
        assert read_update(update, ME) is None


def test_another_bots_command_is_not_ours_even_as_a_reply_to_us() -> None:
    update = load("04_group_reply_to_bot")
    update["message"]["text"] = "/stop@other_bot"
    assert read_update(update, ME) is None


@pytest.mark.parametrize("text", ["/new", "/new@threadway_demo_bot", "/NEW@THREADWAY_DEMO_BOT"])
def test_our_commands_work_in_groups_without_a_mention(text: str) -> None:
    assert read(group(text)).command is Command.NEW


def test_a_command_behind_the_mention_is_a_command() -> None:
    update = group("@threadway_demo_bot /stop", {"type": "mention", "offset": 0, "length": 19})
    assert read(update).command is Command.STOP


def test_a_text_mention_counts_and_is_stripped() -> None:
    update = group("hey Threadway, help", {"type": "text_mention", "offset": 4, "length": 9, "user": US})
    assert read(update).text == "hey , help"
    update["message"]["entities"][0]["user"] = {**US, "id": 5}
    assert read_update(update, ME) is None


def test_the_bare_name_asks_for_help_instead_of_an_empty_question() -> None:
    message = read(group("@threadway_demo_bot", {"type": "mention", "offset": 0, "length": 19}))
    assert (message.text, message.command) == ("", Command.HELP)


def test_the_root_of_a_topic_that_we_opened_is_not_a_reply_to_us() -> None:
    update = load("05_supergroup_topic")
    update["message"] |= {"text": "chatter", "entities": []}
    update["message"]["reply_to_message"]["from"] = US
    assert read_update(update, ME) is None
    update["message"]["reply_to_message"]["message_id"] = 3050  # a real message of ours in that topic
    assert read(update).text == "chatter"


def test_a_plain_reply_thread_is_not_a_topic() -> None:
    message = read(group("/help", message_thread_id=55))
    assert message.conversation.endswith(":-")


def test_the_general_topic_is_marked_for_chat_actions() -> None:
    update = group("/help")
    update["message"]["chat"] |= {"type": "supergroup", "is_forum": True}
    message = read(update)
    address = Address.of(Destination(message.conversation, message.reply_to))
    assert (address.topic, address.general, address.answers) == (None, True, 201)


def test_an_anonymous_admin_is_the_chat_never_the_stand_in_bot() -> None:
    stand_in = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
    sender = {"id": GROUP, "type": "group", "title": "Ops room"}
    update = group("/new")
    update["message"] |= {"from": stand_in, "sender_chat": sender}
    message = read(update)
    assert (message.author_id, message.author_name) == (f"chat:{GROUP}", "Ops room")


def test_other_bots_and_forwarded_channel_posts_are_not_answered() -> None:
    bot = group("/new")
    bot["message"]["from"] = {"id": 5, "is_bot": True, "first_name": "CI", "username": "ci_bot"}
    assert read_update(bot, ME) is None
    channel = group("/new", is_automatic_forward=True)
    channel["message"] |= {"sender_chat": {"id": -100123, "type": "channel", "title": "News"}}
    assert read_update(channel, ME) is None


def test_in_a_private_chat_a_command_for_nobody_there_is_text() -> None:
    update = load("01_private_text")
    update["message"]["text"] = "/new@other_bot"
    message = read(update)
    assert (message.text, message.command) == ("/new@other_bot", None)


def test_what_no_store_can_hold_is_replaced() -> None:
    update = load("01_private_text")
    update["message"]["text"] = "a\ud83db\0c"
    assert read(update).text.encode() == b"a\xef\xbf\xbdbc"


def test_pieces_of_one_message_say_that_more_may_follow() -> None:
    assert read(load("09_media_group_photo_1of2")).more_follows
    update = load("01_private_text")
    assert not read(update).more_follows
    for text, cut in (("x" * 3999, False), ("x" * 4000, True), ("👩" * 1999, False), ("👩" * 2000, True)):
        update["message"]["text"] = text
        assert read(update).more_follows is cut


def test_an_edit_amends_the_message_it_is_of() -> None:
    amendment = amended(load("07_edited_message"))
    assert amendment == Amendment(
        conversation=read(load("01_private_text")).conversation,
        message_id=read(load("01_private_text")).message_id,
        text="Hi! What can you do for *me*?",
        revision=900000007,
        origin=ANN,
    )


@pytest.mark.parametrize(
    "name", ["01_private_text", "03_group_mention", "04_group_reply_to_bot", "05_supergroup_topic", "06_private_topic"]
)
def test_an_edit_finds_its_message_wherever_it_was_written(name: str) -> None:
    message, amendment = read(load(name)), amended(edit_of(load(name)))
    assert (amendment.conversation, amendment.message_id) == (message.conversation, message.message_id)
    assert amendment.text == message.text


def test_an_edit_that_takes_our_name_out_still_amends() -> None:
    edit = edit_of(load("03_group_mention"), text="never mind", entities=[])
    assert amended(edit).text == "never mind"


def test_of_two_edits_within_a_second_the_later_one_has_the_higher_revision() -> None:
    first, second = edit_of(load("01_private_text"), text="a"), edit_of(load("01_private_text"), text="b")
    second["update_id"] += 1
    assert amended(second).revision > amended(first).revision


def test_edits_without_words_change_nothing() -> None:
    place = edit_of(load("01_private_text"), location={"latitude": 52.5, "longitude": 13.4})
    del place["edited_message"]["text"]
    name_only = edit_of(
        load("03_group_mention"),
        text="@threadway_demo_bot",
        entities=[{"type": "mention", "offset": 0, "length": 19}],
    )
    other_bot = edit_of(load("01_private_text"), **{"from": {**US, "id": 5}})
    business = edit_of(load("01_private_text"), business_connection_id="x")
    for update in (place, name_only, other_bot, business):
        assert read_update(update, ME) is None


def test_a_caption_is_amended_as_it_was_read() -> None:
    album = load("09_media_group_photo_1of2")
    assert amended(edit_of(album, caption="Which one is whole?")).text == "Which one is whole?"


def test_an_offer_comes_back_as_a_command_from_where_its_button_is() -> None:
    markup = keyboard([Offer("Show again", Command.LAST, "900000012:1")])
    assert markup is not None
    ((button,),) = markup.inline_keyboard
    assert (button.text, button.callback_data) == ("Show again", "tw:last:900000012:1")
    message = read(pressed(button.callback_data))
    assert message == InboundMessage(
        conversation="telegram:7000000001:100200301:-",  # type: ignore[arg-type]
        dedupe_keys=("7000000001:900000012",),
        text="/last 900000012:1",
        author_id="100200301",
        author_name="Ann Lee",
        language="en",
        command=Command.LAST,
        argument="900000012:1",
        origin=ANN,
    )


def test_a_button_in_a_topic_speaks_for_the_topic() -> None:
    forum = {"id": -1002000000101, "type": "supergroup", "title": "Ops", "is_forum": True}
    message = read(pressed("tw:last:", chat=forum, message_thread_id=3001, is_topic_message=True))
    assert (message.conversation, message.reply_to) == ("telegram:7000000001:-1002000000101:3001", "17")
    assert (message.command, message.argument, message.message_id, message.order) == (Command.LAST, "", "", 0)


def test_a_button_of_a_message_that_is_gone_still_knows_its_chat() -> None:
    update = pressed("tw:last:1")
    update["callback_query"]["message"] = {"message_id": 17, "date": 0, "chat": {"id": GROUP, "type": "group"}}
    message = read(update)
    assert (message.conversation, message.reply_to) == (f"telegram:7000000001:{GROUP}:-", "17")


@pytest.mark.parametrize("data", ["", "tw", "tw:last", "tw:lost:1", "tw::1", "xx:last:1", "TW:last:1", "ap1:9f:y"])
def test_foreign_buttons_are_nobody_speaking_to_us(data: str) -> None:
    assert read_update(pressed(data), ME) is None


def test_presses_that_are_not_a_persons_in_a_chat_with_us() -> None:
    channel = pressed("tw:last:1", chat={"id": -100123, "type": "channel", "title": "News"})
    business = pressed("tw:last:1", business_connection_id="x")
    inline = pressed("tw:last:1")
    del inline["callback_query"]["message"]
    robot = pressed("tw:last:1")
    robot["callback_query"]["from"]["is_bot"] = True
    for update in (channel, business, inline, robot):
        assert read_update(update, ME) is None


def test_an_offer_that_fits_no_button_is_left_out() -> None:
    fits, long = Offer("a", Command.LAST, "x" * 56), Offer("b", Command.LAST, "x" * 57)
    markup = keyboard([long, fits, Offer("", Command.LAST, "1")])
    assert markup is not None
    assert [[b.text for b in row] for row in markup.inline_keyboard] == [["a"]]
    assert keyboard([long]) is None
    assert keyboard([]) is None


@pytest.mark.parametrize("raw", [None, [], {}, {"update_id": "1"}, {"update_id": True}, "x"])
def test_what_is_no_update_is_malformed(raw: object) -> None:
    with pytest.raises(Malformed):
        read_update(raw, ME)


@given(st.data())
def test_no_field_of_a_wrong_type_gets_past_malformed(data: st.DataObject) -> None:
    """Poison must end as Malformed: anything else would stop the poll loop for good."""
    names = ["01_private_text", "03_group_mention", "05_supergroup_topic", "08_voice", "07_edited_message"]
    name = data.draw(st.sampled_from([*names, "12_callback_query_approve"]))
    update = copy.deepcopy(load(name))
    place: Any = next(part for field, part in update.items() if field != "update_id")
    if "data" in place:
        place["data"] = "tw:last:1"
    field = data.draw(st.sampled_from(sorted(place)))
    while isinstance(place[field], dict) and data.draw(st.booleans()):
        place = place[field]
        field = data.draw(st.sampled_from(sorted(place)))
    place[field] = data.draw(
        st.one_of(st.none(), st.integers(), st.floats(), st.text(), st.lists(st.integers()), st.just({}))
    )
    try:
        message = read_update(update, ME)
    except Malformed:
        return
    if isinstance(message, InboundMessage):
        assert InboundMessage.from_json(message.to_json()) == message


@given(
    st.integers(1, 2**52),
    st.integers(-(2**52), 2**52),
    st.none() | st.integers(1, 2**31),
    st.none() | st.integers(1, 2**31),
    st.booleans(),
)
def test_an_address_survives_the_way_through_key_and_reply_to(
    bot: int, chat: int, topic: int | None, answers: int | None, general: bool
) -> None:
    address = Address(bot, chat, topic, answers, general)
    assert Address.of(Destination(address.key, address.reply_to)) == address
