"""Settings: where they come from, which are refused and in which words."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.settings import AssistantConf, load
from tests.unit.refusing import refused

TOKEN = "4242:invented-telegram-token"


@pytest.fixture(autouse=True)
def _import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading adds folders to the import path."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_nothing_set_gives_the_demo_on_loopback(tmp_path: Path) -> None:
    settings = load({}, tmp_path)
    assert settings.demo
    assert settings.upstream_base_url is None
    assert settings.assistants == (AssistantConf(name="assistant", model="demo"),)
    assert settings.data_dir == tmp_path / ".threadway"
    assert settings.config is None
    assert (settings.host, settings.port, settings.lease_s) == ("127.0.0.1", 8080, 10.0)
    assert settings.notices() == ()


def test_environment_beats_dotenv_beats_default(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("THREADWAY_PORT=1111\nTHREADWAY_HOST=localhost\n")
    settings = load({"THREADWAY_PORT": "2222"}, tmp_path)
    assert (settings.port, settings.host, settings.lease_s) == (2222, "localhost", 10)


def test_the_process_environment_and_folder_are_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THREADWAY_PORT", "3333")
    (tmp_path / ".env").write_text("THREADWAY_DATA_DIR=here\n")
    settings = load()
    assert (settings.port, settings.data_dir) == (3333, tmp_path / "here")


def test_an_empty_variable_means_the_default(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("THREADWAY_PORT=1111\nTHREADWAY_LEASE_S=\n")
    settings = load({"THREADWAY_PORT": "", "TELEGRAM_BOT_TOKEN": ""}, tmp_path)
    assert (settings.port, settings.lease_s, settings.telegram_on) == (8080, 10, False)


def test_dotenv_takes_values_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "\ufeff# a comment\n\nexport REDIS_URL='redis://u:p${HOME}$$@h/1'\nTHREADWAY_MODEL=a # b\n"
        'OPENAI_API_KEY="k"\nSOMETHING_ELSE=1\n'
    )
    settings = load({}, tmp_path)
    assert settings.redis_url == SecretStr("redis://u:p${HOME}$$@h/1")
    assert (settings.model, settings.openai_api_key) == ("a", SecretStr("k"))


def test_a_line_of_dotenv_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# a\n\n\nTHREADWAY_PORT=1\n\n# b\nTHREADWAY_LEASE_S\nTHREADWAY_PORT=x\n")
    assert refused({}, tmp_path) == [
        ".env line 7: not of the form NAME=value",
        ".env line 8: THREADWAY_PORT: should be a valid integer, unable to parse string as an integer",
    ]
    (tmp_path / ".env").write_bytes(b"A=\xff\n")
    assert refused({}, tmp_path) == [".env: not UTF-8: save it as UTF-8 text"]


def test_name_file_is_read_and_stripped(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    for environ in ({"TELEGRAM_BOT_TOKEN_FILE": "token"}, {"TELEGRAM_BOT_TOKEN_FILE": str(tmp_path / "token")}):
        assert load(environ, tmp_path).telegram_bot_token == SecretStr(TOKEN)
    assert load({"TELEGRAM_BOT_TOKEN_FILE": "token", "TELEGRAM_BOT_TOKEN": ""}, tmp_path).telegram_on
    (tmp_path / ".env").write_text("TELEGRAM_BOT_TOKEN_FILE=token\nTELEGRAM_BOT_TOKEN=\n")
    assert load({}, tmp_path).telegram_on
    assert not load({"TELEGRAM_BOT_TOKEN": ""}, tmp_path).telegram_on


def test_name_file_faults(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / ".env").write_text(f"TELEGRAM_BOT_TOKEN={TOKEN}\n")
    lines = refused(
        {
            "TELEGRAM_BOT_TOKEN_FILE": "token",
            "OPENAI_API_KEY_FILE": "empty",
            "THREADWAY_API_KEY_FILE": "nowhere",
            "THREADWAY_LAB_PASSWORD_FILE": "binary",
        },
        tmp_path,
    )
    assert lines == [
        "environment: TELEGRAM_BOT_TOKEN_FILE: set together with TELEGRAM_BOT_TOKEN (.env line 1): keep one of them",
        "environment: OPENAI_API_KEY_FILE: the file is empty: put the value into it",
        "environment: THREADWAY_API_KEY_FILE: the file cannot be read: No such file or directory",
        "environment: THREADWAY_LAB_PASSWORD_FILE: the file is not UTF-8 text",
    ]


def test_an_unknown_threadway_variable_names_the_nearest(tmp_path: Path) -> None:
    lines = refused({"THREADWAY_PROT": "1", "THREADWAY_LEASE": "1", "TELEGRAM_SOMETHING": "not ours"}, tmp_path)
    assert [line.rpartition("did you mean ")[2] for line in lines] == ['"THREADWAY_PORT"?', '"THREADWAY_LEASE_S"?']


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("THREADWAY_PORT", "0", "greater than or equal to 1"),
        ("THREADWAY_PORT", "65536", "less than or equal to 65535"),
        ("THREADWAY_METRICS_PORT", "-1", "greater than or equal to 0"),
        ("THREADWAY_LEASE_S", "0.1", "greater than or equal to 0.5"),
        ("THREADWAY_LEASE_S", "nan", "finite"),
        ("THREADWAY_TURN_TIMEOUT_S", "inf", "finite"),
        ("THREADWAY_RUN_EXPIRY_S", "0", "greater than or equal to 1"),
        ("THREADWAY_RUNS_CONCURRENCY", "0", "greater than or equal to 1"),
        ("THREADWAY_BACKEND", "assistant", "'embedded', 'assistants', 'responses' or 'agents'"),
        ("THREADWAY_ACCESS", "closed", "'open', 'pairing' or 'allowlist'"),
        ("THREADWAY_LAB", "yes", "'on' or 'off'"),
        ("THREADWAY_LOG_LEVEL", "loud", "'DEBUG', 'INFO'"),
        ("THREADWAY_AUTO_MIGRATE", "perhaps", "valid boolean"),
        ("THREADWAY_HOST", "http://x", "neither an IP address nor a host name"),
        ("THREADWAY_HOST", "127.0.0", "neither an IP address nor a host name"),
        ("THREADWAY_API_URL", "127.0.0.1:8080", "begin with http:// or https://"),
        ("OPENAI_BASE_URL", "ftp://example.com", "begin with http:// or https://"),
        ("OPENAI_BASE_URL", "https:///v1", "the host is missing"),
        ("OPENAI_BASE_URL", "https://h:port/v1", "not a URL"),
        ("OPENAI_BASE_URL", "https://h:0/v1", "port 0"),
        ("OPENAI_BASE_URL", "https://h /v1", "blanks"),
        ("OPENAI_BASE_URL", "https://user:pw@h/v1", "user or password"),
        ("REDIS_URL", "http://h", "begin with redis:// or rediss:// or unix://"),
        ("REDIS_URL", "unix://", "the path is missing"),
        ("REDIS_URL", "redis://:6379", "the host is missing"),
        ("CELERY_BROKER_URL", "sqs://", "begin with redis://"),
        ("DATABASE_URL", "mysql://h/d", "begin with postgresql://"),
        ("HTTPS_PROXY", "socks5://h:1", "begin with http:// or https://"),
        ("TELEGRAM_BOT_TOKEN", "no token", "not a bot token"),
        ("TELEGRAM_WEBHOOK_SECRET", "a b", "1 to 256 characters"),
        ("SLACK_BOT_TOKEN", "xapp-1", "app-level token"),
        ("SLACK_APP_TOKEN", "xoxb-1", "no app-level token"),
        ("OPENAI_API_KEY", "two words", "blanks"),
        ("THREADWAY_CONFIG", "nowhere.toml", "no such file"),
    ],
)
def test_a_wrong_value_is_refused_without_being_shown(tmp_path: Path, name: str, value: str, said: str) -> None:
    (line,) = refused({name: value}, tmp_path)
    assert line.startswith(f"environment: {name}: ")
    assert said in line.split(": ", 2)[2]


def test_all_faults_come_at_once_and_show_no_secret(tmp_path: Path) -> None:
    hidden = "hidden-S3cret"
    (tmp_path / "threadway.toml").write_text('[slack]\ndn = "auto"\n[[routes]]\nmatch = "telegram:*"\nuse = "nobody"\n')
    lines = refused(
        {
            "THREADWAY_PORT": hidden,
            "TELEGRAM_BOT_TOKEN": hidden,
            "SLACK_BOT_TOKEN": "xoxb-hidden-S3cret",
            "REDIS_URL": f"redis://:{hidden}@",
            "DATABASE_URL": f"oracle://u:{hidden}@h/d",
            "HTTP_PROXY": f"http://u:{hidden}@h:{hidden}",
            "OPENAI_BASE_URL": f"https://u:{hidden}@h",
            "THREADWAY_API_KEY": f"{hidden} {hidden}",
            "THREADWAY_BACKEND": hidden,
        },
        tmp_path,
    )
    assert len(lines) == 11
    assert hidden not in "\n".join(lines)


def test_repr_shows_no_secret(tmp_path: Path) -> None:
    environ = {
        "TELEGRAM_BOT_TOKEN": "4242:S3cret",
        "TELEGRAM_WEBHOOK_SECRET": "S3cret",
        "SLACK_BOT_TOKEN": "xoxb-S3cret",
        "SLACK_SIGNING_SECRET": "S3cret",
        "SLACK_APP_TOKEN": "xapp-S3cret",
        "OPENAI_API_KEY": "sk-S3cret",
        "REDIS_URL": "redis://:S3cret@h",
        "CELERY_BROKER_URL": "amqp://u:S3cret@h",
        "DATABASE_URL": "postgresql://u:S3cret@h/d",
        "THREADWAY_API_KEY": "tw-S3cret",
        "THREADWAY_LAB_PASSWORD": "S3cret",
        "HTTP_PROXY": "http://u:S3cret@h",
        "HTTPS_PROXY": "http://u:S3cret@h",
    }
    settings = load(environ, tmp_path)
    assert "S3cret" not in f"{settings!r}{settings}{settings.model_dump()}{settings.model_dump_json()}"
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1


def test_a_wrong_value_is_told_once_without_its_consequences(tmp_path: Path) -> None:
    environ = {"THREADWAY_BACKEND": "assistants", "THREADWAY_MODEL": "m", "OPENAI_BASE_URL": "ftp://h/v1"}
    (line,) = refused(environ, tmp_path)
    assert "begin with http://" in line
