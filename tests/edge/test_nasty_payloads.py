"""What no platform sends, signed all the same: each field of a payload in turn of a type or size that it never has.

Through the gateway's own routes into a real inbox. 5xx would have the platform repeat for a day what no repetition
makes better, and hold back what comes behind it; and what is stored has to be readable for the worker that takes it.
"""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import redis.asyncio

from gateway.domain.adapter import HttpRequest
from gateway.domain.messages import Destination
from gateway.http import make_app
from gateway.intake import Intake
from gateway.slack import BotIdentity as SlackIdentity
from gateway.slack import SlackAdapter
from gateway.slack.address import Address as SlackAddress
from gateway.store import envelope_message
from gateway.telegram import BotIdentity as TelegramIdentity
from gateway.telegram import TelegramAdapter
from gateway.telegram.address import Address as TelegramAddress
from tests.edge.slack_server import BOT_TOKEN, SIGNING_SECRET, signed
from tests.edge.telegram_server import BOT, TOKEN

FIXTURES = Path(__file__).parent.parent / "fixtures"
SECRET = "s3cret_of-nobody"
LONG = "x" * 100_000
NASTY: tuple[Any, ...] = (None, True, 10**40, float("inf"), "", "7", "\ud800\0", LONG, [], [None], {"id": {}})
NUMBERS = ("update_id", "event_id", "trigger_id")
ADDRESSES: Mapping[str, Callable[[Destination], object]] = {"telegram": TelegramAddress.of, "slack": SlackAddress.of}


def load(name: str) -> Any:
    return json.loads((FIXTURES / f"{name}.json").read_text())


def update(body: Any) -> HttpRequest:
    headers = {"content-type": "application/json", "x-telegram-bot-api-secret-token": SECRET}
    return HttpRequest("POST", "/telegram/webhook", headers, json.dumps(body).encode())


def event(body: Any) -> HttpRequest:
    return signed(json.dumps(body))


def interaction(body: Any) -> HttpRequest:
    return signed(urlencode({"payload": json.dumps(body)}), content_type="application/x-www-form-urlencoded")


def pressed_in_telegram() -> Any:
    body = load("telegram/12_callback_query_approve")
    body["callback_query"]["data"] = "tw:last:1"
    return body


def pressed_in_slack() -> Any:
    body = load("slack/19_block_actions_approve")["payload"]
    body["actions"][0] |= {"action_id": "tw:last", "value": "1"}
    return body


PAYLOADS: dict[str, tuple[Callable[[Any], HttpRequest], Callable[[], Any]]] = {
    "telegram message": (update, lambda: load("telegram/01_private_text")),
    "telegram mention": (update, lambda: load("telegram/03_group_mention")),
    "telegram topic": (update, lambda: load("telegram/05_supergroup_topic")),
    "telegram photo": (update, lambda: load("telegram/09_media_group_photo_1of2")),
    "telegram edit": (update, lambda: load("telegram/07_edited_message")),
    "telegram press": (update, pressed_in_telegram),
    "slack message": (event, lambda: load("slack/02_message_im")),
    "slack file": (event, lambda: load("slack/09_message_file_share")),
    "slack edit": (event, lambda: load("slack/10_message_changed")),
    "slack deletion": (event, lambda: load("slack/11_message_deleted")),
    "slack stop": (event, lambda: load("slack/14_agent_session_stopped")),
    "slack press": (interaction, pressed_in_slack),
}


@pytest.fixture
async def gateway(intake: Intake) -> AsyncIterator[httpx.AsyncClient]:
    """The gateway's HTTP app with both platforms; neither is there, and nobody misses it."""
    telegram = TelegramAdapter(
        TOKEN,
        api_base_url="http://127.0.0.1:1",
        webhook_url="http://127.0.0.1:1/telegram/webhook",
        webhook_secret=SECRET,
        bot_info=TelegramIdentity(BOT["id"], BOT["username"]),  # type: ignore[arg-type]
        call_timeout_s=0.2,
    )
    slack = SlackAdapter(
        BOT_TOKEN,
        signing_secret=SIGNING_SECRET,
        api_base_url="http://127.0.0.1:1/api/",
        bot_info=SlackIdentity("U0BOT12AB", "B012AB3CD"),
    )
    app = make_app(receiving=[telegram, slack], accept=intake.accept, checks={}, mounts={})
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client
    await telegram.close()
    await slack.close()


@pytest.mark.parametrize("name", PAYLOADS)
async def test_no_field_breaks_the_door_or_what_lies_behind_it(
    name: str, gateway: httpx.AsyncClient, raw: redis.asyncio.Redis, capfd: pytest.CaptureFixture[str]
) -> None:
    request_of, original = PAYLOADS[name]
    whole = original()
    for place in _places(whole):
        for number, value in enumerate(NASTY):
            body = _with(whole, place, value)
            for field in NUMBERS:  # else all but the first would be duplicates, and nothing would be stored
                if field in body and place != (field,):
                    body[field] = 900_000_000 + number if field == "update_id" else f"Ev{number}"
            answer = await _send(gateway, request_of(body))
            assert answer.status_code in (200, 400), (place, value)
        await _assert_readable(raw)
        await raw.flushdb()
    answer = await _send(gateway, request_of(whole))
    assert answer.status_code == 200
    assert LONG[:300] not in "".join(capfd.readouterr()), "what people write is never logged"


SHAPES: tuple[dict[str, Any], ...] = (
    {},
    {"callback_id": "x"},
    {"callback_id": "x", "view": None},
    {"callback_id": None, "view": 7, "workflow_step": 7},
    {"callback_id": "x", "view": {"type": 7}},
    {"callback_id": "x", "actions": []},
    {"callback_id": "x", "actions": {}},
    {"callback_id": "x", "actions": [7]},
    {"callback_id": "x", "submission": 7, "state": 7, "options": 7},
    {"event": {"type": "workflow_step_execute", "workflow_step": 7}},
    {"event": {"type": "function_executed", "inputs": 7, "function_data": 7}},
    {"event": {"type": "message", "subtype": "message_changed", "message": 7, "previous_message": 7}},
    {"enterprise": 7, "team": 7, "user": 7, "channel": 7, "container": 7, "authorizations": [7]},
)
TYPES = (
    *("event_callback", "block_actions", "interactive_message", "dialog_submission", "dialog_cancellation"),
    *("block_suggestion", "view_submission", "view_closed", "message_action", "shortcut", "workflow_step_edit"),
)


@pytest.mark.parametrize("kind", TYPES)
async def test_payloads_for_things_that_we_do_not_have_are_no_failure_of_ours(
    kind: str, gateway: httpx.AsyncClient
) -> None:
    """Bolt reads them before it asks us, and trusts them."""
    for shape in SHAPES:
        for request_of in (event, interaction):
            answer = await _send(gateway, request_of({"type": kind, "team_id": "T0A", "event_id": "Ev1", **shape}))
            assert answer.status_code in (200, 400), shape


def _places(part: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to each field and item inside."""
    inside = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for name, value in inside:
        yield (*way, name)
        yield from _places(value, (*way, name))


def _with(whole: Any, place: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(whole)
    part = changed
    for name in place[:-1]:
        part = part[name]
    part[place[-1]] = value
    return changed


async def _send(gateway: httpx.AsyncClient, request: HttpRequest) -> httpx.Response:
    return await gateway.post(request.path, content=request.body, headers=dict(request.headers))


async def _assert_readable(raw: redis.asyncio.Redis) -> None:
    """What waits can be read by a worker, is of the types it promises, and can be answered."""
    async for inbox in raw.scan_iter("tw:*:i:*"):
        for envelope in await raw.lrange(str(inbox), 0, -1):
            message = envelope_message(str(envelope))
            name, _, _ = message.conversation.partition(":")
            ADDRESSES[name](Destination(message.conversation, message.reply_to))
            texts = (message.text, message.author_id, message.author_name, message.language, message.argument)
            assert [type(text) for text in (*texts, message.message_id, message.reply_to)] == [str] * 7
            assert [type(number) for number in (message.order, message.sent_ms)] == [int] * 2
