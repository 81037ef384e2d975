"""What has to hold between settings, and what follows from several of them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.settings import Access, Backend, load
from tests.unit.refusing import refused

TOKEN = "4242:invented-telegram-token"
SLACK = {"SLACK_BOT_TOKEN": "xoxb-invented", "SLACK_APP_TOKEN": "xapp-invented"}
UPSTREAM = {"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1", "THREADWAY_MODEL": "qwen3"}


@pytest.fixture(autouse=True)
def _import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading adds folders to the import path."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"SLACK_BOT_TOKEN": "xoxb-1"}, "SLACK_BOT_TOKEN: needs SLACK_SIGNING_SECRET"),
        (
            {"THREADWAY_BACKEND": "assistants", "THREADWAY_MODEL": "m"},
            "OPENAI_BASE_URL: OpenAI shut this API on 2026-08-26; set",
        ),
        (
            {"THREADWAY_BACKEND": "assistants", "THREADWAY_MODEL": "m", "OPENAI_BASE_URL": "https://api.openai.com/v1"},
            "OPENAI_BASE_URL: OpenAI shut this API on 2026-08-26; set",
        ),
        (
            {**UPSTREAM, "THREADWAY_BACKEND": "responses"},
            "THREADWAY_BACKEND: responses is not in this version: use embedded or",
        ),
        (
            {**UPSTREAM, "THREADWAY_BACKEND": "agents"},
            "THREADWAY_BACKEND: agents is not in this version: use embedded or",
        ),
        ({"OPENAI_BASE_URL": "http://h/v1"}, 'THREADWAY_MODEL: missing: set the model of assistant "assistant"'),
        (
            {"OPENAI_BASE_URL": "http://h/v1", "THREADWAY_BACKEND": "assistants"},
            "THREADWAY_MODEL: missing: set the model of",
        ),
        ({"THREADWAY_MODEL": "gpt-5.2"}, "OPENAI_API_KEY: missing: api.openai.com needs a key"),
        ({**UPSTREAM, "OPENAI_BASE_URL": "http://localhost:8080/v1"}, "OPENAI_BASE_URL: this is our own address"),
        ({**UPSTREAM, "OPENAI_BASE_URL": "http://[::1]:8080/v1"}, "OPENAI_BASE_URL: this is our own address"),
        (
            {**UPSTREAM, "OPENAI_BASE_URL": "http://127.0.0.1/v1", "THREADWAY_PORT": "80"},
            "OPENAI_BASE_URL: this is our own",
        ),
        (
            {**UPSTREAM, "OPENAI_BASE_URL": "https://tw.example/v1", "THREADWAY_API_URL": "https://tw.example/v1"},
            "OPENAI_BASE_URL: this is our own",
        ),
        ({"THREADWAY_LAB": "on", "THREADWAY_HOST": "0.0.0.0"}, "THREADWAY_LAB_PASSWORD: missing: others reach the lab"),
        (
            {"THREADWAY_LAB": "on", "TELEGRAM_BOT_TOKEN": TOKEN},
            "THREADWAY_LAB: the lab never runs beside a real bot: unset TELEGRAM_BOT_TOKEN",
        ),
        (
            {"THREADWAY_LAB": "on", **SLACK},
            "THREADWAY_LAB: the lab never runs beside a real bot: unset SLACK_BOT_TOKEN",
        ),
        (
            {"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_WEBHOOK_URL": "http://h/x"},
            "TELEGRAM_WEBHOOK_URL: Telegram calls https:// addresses only",
        ),
    ],
)
def test_settings_that_contradict_each_other(tmp_path: Path, environ: dict[str, str], expected: str) -> None:
    lines = refused(environ, tmp_path)
    assert any(line.partition(": ")[2].startswith(expected) for line in lines), lines
    assert len(lines) <= 2


@pytest.mark.parametrize(
    "environ",
    [
        UPSTREAM,
        {"THREADWAY_MODEL": "gpt-5.2", "OPENAI_API_KEY": "k"},
        {**UPSTREAM, "THREADWAY_BACKEND": "assistants"},
        {**UPSTREAM, "OPENAI_BASE_URL": "http://127.0.0.1:8081/v1"},
        {"THREADWAY_LAB": "on", "THREADWAY_HOST": "0.0.0.0", "THREADWAY_LAB_PASSWORD": "p"},
        {
            "THREADWAY_LAB": "on",
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "TELEGRAM_API_BASE_URL": "http://127.0.0.1:1/lab/telegram/",
        },
        {"THREADWAY_LAB": "on", **SLACK, "SLACK_API_BASE_URL": "http://127.0.0.1:1/lab/slack/api"},
        {"SLACK_BOT_TOKEN": "xoxb-1", "SLACK_SIGNING_SECRET": "s"},
        {
            "TELEGRAM_BOT_TOKEN": TOKEN,
            "TELEGRAM_WEBHOOK_URL": "http://h/x",
            "TELEGRAM_API_BASE_URL": "http://localhost:1",
        },
        {"THREADWAY_METRICS_PORT": "0", "THREADWAY_LOG_LEVEL": "debug", "THREADWAY_AUTO_MIGRATE": "0"},
        {
            "DATABASE_URL": "sqlite:///relative.db",
            "CELERY_BROKER_URL": "amqps://h/vhost",
            "REDIS_URL": "unix:///r.sock?db=1",
        },
    ],
)
def test_settings_that_hold(tmp_path: Path, environ: dict[str, str]) -> None:
    load(environ, tmp_path)


def test_a_lone_key_keeps_the_demo_and_says_how_to_switch(tmp_path: Path) -> None:
    settings = load({"OPENAI_API_KEY": "k"}, tmp_path)
    assert settings.demo
    assert "THREADWAY_MODEL" in settings.notices()[0]


def test_upstream(tmp_path: Path) -> None:
    openai = load({"THREADWAY_MODEL": "gpt-5.2", "OPENAI_API_KEY": "k"}, tmp_path)
    assert (openai.demo, openai.upstream_base_url) == (False, "https://api.openai.com/v1")
    assert openai.assistants[0].model == "gpt-5.2"
    assert load({**UPSTREAM, "OPENAI_BASE_URL": "http://h/v1/"}, tmp_path).upstream_base_url == "http://h/v1"
    other = load({**UPSTREAM, "THREADWAY_BACKEND": "assistants"}, tmp_path)
    assert (other.demo, other.backend) == (False, Backend.ASSISTANTS)


@pytest.mark.parametrize(
    ("environ", "in_up", "on"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"THREADWAY_LAB": "off"}, True, False),
        ({"THREADWAY_LAB": "on"}, False, True),
        ({"TELEGRAM_BOT_TOKEN": TOKEN}, True, False),
        (SLACK, True, False),
        ({"THREADWAY_HOST": "0.0.0.0"}, True, False),
        ({"THREADWAY_HOST": "0.0.0.0", "THREADWAY_LAB_PASSWORD": "p"}, True, True),
    ],
)
def test_lab(tmp_path: Path, environ: dict[str, str], in_up: bool, on: bool) -> None:
    assert load(environ, tmp_path).lab_on(in_up) is on


def test_access_depends_on_whether_the_platform_is_the_real_one(tmp_path: Path) -> None:
    real = load({"TELEGRAM_BOT_TOKEN": TOKEN, **SLACK}, tmp_path)
    assert [real.effective_access(p) for p in ("telegram", "slack", "console")] == ["pairing", "pairing", "open"]
    assert real.notices() == ()
    opened = load({"TELEGRAM_BOT_TOKEN": TOKEN, **SLACK, "THREADWAY_ACCESS": "open"}, tmp_path)
    assert [line.split(" may talk")[0] for line in opened.notices()] == [
        "EVERYBODY who finds the bot on telegram",
        "EVERYBODY who finds the bot on slack",
    ]
    closed = load({"TELEGRAM_BOT_TOKEN": TOKEN, "THREADWAY_ACCESS": "allowlist"}, tmp_path)
    assert [line.partition(" ")[0] for line in closed.notices()] == ["NOBODY"]
    assert closed.effective_access("console") is Access.OPEN
    stand_in = load({"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_API_BASE_URL": "http://127.0.0.1:1"}, tmp_path)
    assert (stand_in.effective_access("telegram"), stand_in.notices()) == (Access.OPEN, ())
    (tmp_path / "threadway.toml").write_text('[access]\nmode = "allowlist"\nallow = ["telegram:user:1"]\n')
    assert load({"TELEGRAM_BOT_TOKEN": TOKEN}, tmp_path).effective_access("telegram") is Access.ALLOWLIST
    beaten = load({"TELEGRAM_BOT_TOKEN": TOKEN, "THREADWAY_ACCESS": "open"}, tmp_path)
    assert (beaten.effective_access("telegram"), beaten.access_rules.allow) == (Access.OPEN, ("telegram:user:1",))
    assert beaten.notices()[-1] == "[access] allow changes nothing: access is open"


def test_a_platform_half_set_up_is_noticed(tmp_path: Path) -> None:
    settings = load({"SLACK_APP_TOKEN": "xapp-1", "TELEGRAM_WEBHOOK_URL": "https://h/x"}, tmp_path)
    assert settings.notices() == (
        "Slack is off: SLACK_BOT_TOKEN is not set",
        "Telegram is off: TELEGRAM_BOT_TOKEN is not set",
    )
