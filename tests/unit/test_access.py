"""Whom the rules of `[access]` let in, what a pairing code looks like, and who is named by whom."""

from __future__ import annotations

import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from telegram import Update

from gateway.access import Rules, check_admin, check_entry, code_in, fingerprint, new_code
from gateway.domain.errors import SettingsInvalid
from gateway.domain.messages import ORDERS, Amendment, Command, InboundMessage, Origin, Refusal
from gateway.settings import load
from gateway.slack.amendments import normalise_amendment
from gateway.slack.buttons import normalise_press
from gateway.slack.normalise import BotIdentity as SlackBot
from gateway.slack.normalise import normalise, normalise_slash
from gateway.telegram.normalise import BotIdentity as TelegramBot
from gateway.telegram.updates import read_update
from workers import phrases

FIXTURES = Path(__file__).parent.parent / "fixtures"
ENTRIES = (
    "telegram:user:4242",
    "telegram:chat:-1001234567890",
    "telegram:chat:4242",
    "slack:team:T0EXAMPLE",
    "slack:user:T0EXAMPLE:U0ANN",
    "slack:user:E0ORG:W0ANN",
    "slack:channel:T0EXAMPLE:C0SUPPORT",
)
PEOPLE = (
    Origin("telegram:user:4242", ("telegram:chat:4242",), direct=True),
    Origin("telegram:user:7", ("telegram:chat:-1001234567890",)),
    Origin("telegram:chat:-1001234567890", ("telegram:chat:-1001234567890",)),
    Origin("slack:user:T0EXAMPLE:U0ANN", ("slack:channel:T0EXAMPLE:C0SUPPORT", "slack:team:T0EXAMPLE")),
    Origin("slack:user:T0EXAMPLE:U0BOB", ("slack:channel:T0EXAMPLE:D0BOB", "slack:team:T0EXAMPLE"), direct=True),
    Origin(),
)


# --- entries


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_lets_in_whom_it_names_and_nobody_else(entry: str) -> None:
    rules = Rules.of([check_entry(entry)], [])
    named = [origin for origin in PEOPLE if entry in (origin.person, *origin.places)]
    assert [origin for origin in PEOPLE if rules.allows(origin)] == named


@pytest.mark.parametrize(
    ("entry", "wrong"),
    [
        ("telegram:user:*", "no patterns"),
        ("slack:team:T?", "no patterns"),
        ("*", "no patterns"),
        ("", "nobody is named like this"),
        ("4242", "nobody is named like this"),
        ("telegram:4242", "nobody is named like this"),
        ("telgram:user:4242", "nobody is named like this"),
        ("console:user:ann", "nobody is named like this"),
        ("slack:group:T0:C0", "nobody is named like this"),
        ("telegram:user:", '"telegram:user:4242"'),
        ("telegram:user:-4242", '"telegram:user:4242"'),
        ("telegram:user:0", '"telegram:user:4242"'),
        ("telegram:user:@ann", '"telegram:user:4242"'),
        ("telegram:user:4242\n", '"telegram:user:4242"'),
        ("telegram:user:٤٢", '"telegram:user:4242"'),
        (" telegram:user:4242", "nobody is named like this"),
        ("telegram:chat:--1", "telegram:chat:-100"),
        ("slack:team:t0example", "slack:team:T0EXAMPLE"),
        ("slack:team:T0EXAMPLE:U0ANN", "slack:team:T0EXAMPLE"),
        ("slack:user:U0ANN", "slack:user:T0EXAMPLE:U0ANN"),
        ("slack:channel:T0EXAMPLE:U0ANN", "slack:channel:T0EXAMPLE:C0SUPPORT"),
        ("slack:channel:T0EXAMPLE:#general", "slack:channel:T0EXAMPLE:C0SUPPORT"),
    ],
)
def test_a_malformed_entry_is_refused_with_what_to_write(entry: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=re.escape(wrong)):
        check_entry(entry)


def test_an_adapter_of_somebody_else_names_people_its_own_way() -> None:
    assert check_entry("irc:user:ann!a@host", {"irc"}) == "irc:user:ann!a@host"
    for entry in ("irc:user:*", "irc:ann", "irc:user:", "irc:user:a b"):
        with pytest.raises(ValueError, match=r"patterns|nobody"):
            check_entry(entry, {"irc"})


@pytest.mark.parametrize("entry", [*ENTRIES[1:4], ENTRIES[-1]])
def test_an_admin_is_a_person(entry: str) -> None:
    with pytest.raises(ValueError, match="an admin is a person"):
        check_admin(entry)


def test_an_admin_may_talk_anywhere() -> None:
    rules = Rules.of([], [check_admin("telegram:user:7")])
    assert [origin.person for origin in PEOPLE if rules.allows(origin)] == ["telegram:user:7"]
    assert (rules.is_admin("telegram:user:7"), rules.is_admin("telegram:user:4242"), rules.is_admin("")) == (
        True,
        False,
        False,
    )


NEAR = st.builds(
    lambda entry, at, what: entry[:at] + what + entry[at + 1 :],
    st.sampled_from(ENTRIES),
    st.integers(0, 30),
    st.text("*?:.[]-0TUtu \n٤", max_size=3),
)


@given(st.one_of(st.text(), NEAR), st.sampled_from(PEOPLE))
def test_no_entry_ever_lets_in_more_than_it_says(entry: str, origin: Origin) -> None:
    """A malformed one stops the start; and even where one got through, it would be compared as a whole."""
    try:
        checked = check_entry(entry)
    except ValueError:
        assert entry not in ENTRIES
    else:
        assert checked == entry
        assert all(part for part in checked.split(":"))
        assert not set("*?[] \n") & set(checked)
    assert Rules.of([entry], []).allows(origin) is (entry in (origin.person, *origin.places))


def test_the_settings_tell_every_malformed_entry_in_a_line_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "threadway.toml").write_text(
        '[access]\nmode = "allowlist"\nallow = ["telegram:user:1", "slack:team:*", "bob"]\nadmins = ["slack:team:T0"]\n'
    )
    with pytest.raises(SettingsInvalid) as invalid:
        load({}, tmp_path)
    lines = str(invalid.value).splitlines()
    assert [line.split(": ")[1] for line in lines] == ["access.allow[1]", "access.allow[2]", "access.admins[0]"]


# --- codes


def test_codes_are_random_and_fit_into_a_link() -> None:
    codes = {new_code() for _ in range(2000)}
    assert len(codes) == 2000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", code) for code in codes)
    drawn = set("".join(codes)) - {"-"}
    assert len(drawn) == 32, "five bits a character"
    assert {len(code.replace("-", "")) for code in codes} == {10}
    assert len({fingerprint(code) for code in codes}) == 2000


@pytest.mark.parametrize("code", [new_code() for _ in range(20)] + ["01010-10101"], ids=lambda code: "code")
def test_a_code_is_read_however_it_is_sent(code: str) -> None:
    misread = code.replace("0", "o").replace("1", "l")
    texts = (code, f" {code}\n", code.lower(), f"/start {code}", f"!start {code}", misread)
    assert {code_in(text) for text in texts} == {code}
    assert {code_in("", payload) for payload in (code, code.replace("-", ""))} == {code}


@given(st.one_of(st.text(), st.text(string.ascii_letters, min_size=10, max_size=10)))
def test_ordinary_text_is_no_code(text: str) -> None:
    if not re.fullmatch(r"\s*([!/]start\s+)?[0-9A-Za-z]{5}-[0-9A-Za-z]{5}\s*", text):
        assert code_in(text) == ""


# --- who is named by whom


def telegram(name: str, **changes: Any) -> InboundMessage | Amendment:
    raw = json.loads((FIXTURES / "telegram" / f"{name}.json").read_text())
    raw["message"] = {**raw["message"], **changes} if "message" in raw else None
    raw = {key: value for key, value in raw.items() if value is not None}
    mail = read_update(raw, TelegramBot(7000000001, "example_bot"))
    assert mail is not None, Update.de_json(raw)
    return mail


def slack(name: str) -> dict[str, Any]:
    return dict(json.loads((FIXTURES / "slack" / f"{name}.json").read_text()))


ME = SlackBot(user_id="U0BOT12AB", bot_id="B012AB3CD")


def test_a_telegram_message_names_its_person_and_its_chat() -> None:
    private = telegram("02_start_deeplink")
    person = private.origin.person
    assert re.fullmatch(r"telegram:user:\d+", person)
    assert private.origin == Origin(person, (f"telegram:chat:{person.rpartition(':')[2]}",), direct=True)
    group = telegram("04_group_reply_to_bot").origin
    assert (group.direct, group.places[0].startswith("telegram:chat:-")) == (False, True)
    edited = telegram("07_edited_message")
    assert isinstance(edited, Amendment)
    assert edited.origin.person.startswith("telegram:user:")


def test_who_speaks_as_a_chat_is_that_chat() -> None:
    chat = {"id": -1009, "type": "channel", "title": "A channel"}
    mail = telegram("04_group_reply_to_bot", sender_chat=chat)
    assert mail.origin.person == "telegram:chat:-1009"


def test_a_slack_message_names_person_channel_and_workspace() -> None:
    heard = normalise(slack("04_app_mention"), ME, agent_view=False)
    assert heard is not None
    person, places = "slack:user:T012AB3CD:U012AB3CD", ("slack:channel:T012AB3CD:C012AB3CD", "slack:team:T012AB3CD")
    assert heard.message.origin == Origin(person, places)
    payload = slack("19_block_actions_approve")["payload"]
    payload["actions"] = [{"type": "button", "action_id": "tw:last", "action_ts": "1795226420.001800"}]
    press = normalise_press(payload)
    assert press is not None
    assert press.origin == Origin(person, places)
    payload["user"]["team_id"] = "T0STRANGER"
    guest = normalise_press(payload)
    assert guest is not None
    assert guest.origin.places == places[:1]
    amended = normalise_amendment(slack("10_message_changed"), ME, agent_view=False)
    assert amended is not None
    assert amended.origin.person.startswith("slack:user:T012AB3CD:U")
    form = {"channel_id": "D012AB3CD", "team_id": "T012AB3CD", "user_id": "U012AB3CD", "trigger_id": "1", "text": "new"}
    slash = normalise_slash(form)
    assert slash is not None
    assert (slash.origin.person, slash.origin.direct) == (person, True)


@pytest.mark.parametrize("field", ["team", "user_team", "source_team"])
def test_a_guest_of_another_workspace_is_not_of_ours(field: str) -> None:
    body = slack("04_app_mention")
    body["event"][field] = "T0STRANGER"
    heard = normalise(body, ME, agent_view=False)
    assert heard is not None
    assert heard.message.origin.places == ("slack:channel:T012AB3CD:C012AB3CD",)


def test_an_envelope_keeps_who_said_it_and_reads_an_older_one() -> None:
    mail = telegram("01_private_text")
    assert isinstance(mail, InboundMessage)
    assert InboundMessage.from_json(mail.to_json()) == mail
    older = json.loads(mail.to_json())
    del older["origin"]
    assert InboundMessage.from_json(json.dumps(older)).origin == Origin()


# --- words


def test_nobody_can_order_what_the_gateway_says() -> None:
    assert frozenset(Command) - ORDERS == {Command.PAIRED, Command.REFUSED}
    assert set(phrases.COMMANDS) == frozenset(Command) - {Command.LAST, Command.REFUSED}
    for word in ("refused", "paired"):
        mail = telegram("01_private_text", text=f"/{word}", entities=[])
        assert isinstance(mail, InboundMessage)
        assert mail.command is None


def test_every_refusal_has_its_sentence() -> None:
    assert set(phrases.REFUSALS) == set(Refusal)
    assert "telegram:user:7" in phrases.refusal(Refusal.NOT_PAIRED, "telegram:user:7")
    assert phrases.refusal("of a newer gateway", "x") == phrases.refusal(Refusal.NOT_LISTED, "x")
