"""What is derived from settings: URLs in others' forms, proxies, keys."""

from __future__ import annotations

import re
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.errors import SettingsInvalid
from gateway.settings import load
from gateway.settings.addresses import bypasses_proxy, celery_form, check_url, is_loopback, sqlalchemy_form

TOKEN = "4242:invented-telegram-token"


@pytest.fixture(autouse=True)
def _import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading adds folders to the import path."""
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("unix:///tmp/a%20b/r.sock?db=0", "redis+socket:///tmp/a%20b/r.sock?virtual_host=0"),
        ("unix://u:p%40@/r.sock?db=3", "redis+socket://u:p%40@/r.sock?virtual_host=3"),
        ("unix:///r.sock", "redis+socket:///r.sock?virtual_host=0"),
        ("redis://h", "redis://h"),
        ("redis://:p%40@h:1/2", "redis://:p%40@h:1/2"),
        ("redis://h?db=2&socket_timeout=1", "redis://h/2?socket_timeout=1"),
        ("rediss://h/1", "rediss://h/1?ssl_cert_reqs=required"),
        ("rediss://h/1?ssl_ca_certs=%2Fca.pem", "rediss://h/1?ssl_ca_certs=%2Fca.pem&ssl_cert_reqs=required"),
        ("rediss://h/1?ssl_cert_reqs=none", "rediss://h/1?ssl_cert_reqs=none"),
        ("amqp://u:p@h/vhost", "amqp://u:p@h/vhost"),
        ("redis+socket:///r.sock?virtual_host=1", "redis+socket:///r.sock?virtual_host=1"),
    ],
)
def test_broker_form(url: str, broker: str) -> None:
    assert celery_form(url) == broker


def test_the_broker_is_the_redis_in_use_unless_named(tmp_path: Path) -> None:
    assert load({}, tmp_path).broker_url("unix:///r.sock?db=0") == "redis+socket:///r.sock?virtual_host=0"
    named = load({"CELERY_BROKER_URL": "amqp://h"}, tmp_path)
    assert named.broker_url("unix:///r.sock?db=0") == "amqp://h"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("postgres://u:p%40@h/d", "postgresql+asyncpg://u:p%40@h/d"),
        ("postgresql://h:1/d?sslmode=require&x=1", "postgresql+asyncpg://h:1/d?ssl=require&x=1"),
        ("postgresql+asyncpg://h/d", "postgresql+asyncpg://h/d"),
        ("sqlite:////var/x.db", "sqlite+aiosqlite:////var/x.db"),
        ("sqlite+aiosqlite:///x.db", "sqlite+aiosqlite:///x.db"),
    ],
)
def test_database_form(url: str, expected: str) -> None:
    assert sqlalchemy_form(url) == expected
    check_url(url, ("postgres", "postgresql", "postgresql+asyncpg", "sqlite", "sqlite+aiosqlite"))


def test_database_url_value(tmp_path: Path) -> None:
    assert load({}, tmp_path).database_url_value() == f"sqlite+aiosqlite:///{tmp_path}/.threadway/threadway.db"
    assert load({"DATABASE_URL": "postgres://h/d"}, tmp_path).database_url_value() == "postgresql+asyncpg://h/d"


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"THREADWAY_PORT": "9"}, "http://127.0.0.1:9/v1"),
        ({"THREADWAY_HOST": "0.0.0.0"}, "http://127.0.0.1:8080/v1"),
        ({"THREADWAY_HOST": "localhost"}, "http://127.0.0.1:8080/v1"),
        ({"THREADWAY_HOST": "::1"}, "http://[::1]:8080/v1"),
        ({"THREADWAY_HOST": "10.1.2.3"}, "http://10.1.2.3:8080/v1"),
        ({"THREADWAY_API_URL": "https://tw.example/v1/"}, "https://tw.example/v1"),
    ],
)
def test_effective_api_url(tmp_path: Path, environ: dict[str, str], url: str) -> None:
    assert load(environ, tmp_path).effective_api_url == url


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("https://api.telegram.org/bot1/getMe", "http://secure:1"),
        ("wss://wss.slack.com/x", "http://secure:1"),
        ("http://example.org/", "http://plain:1"),
        ("http://127.0.0.1:1/", None),
        ("http://localhost/", None),
        ("http://[::1]/", None),
        ("http://tw.internal:8080/v1/runs", None),
        ("http://tw.internal:8081/", "http://plain:1"),
        ("https://a.example.com/", None),
        ("https://badexample.com/", "http://secure:1"),
        ("http://10.2.3.4/", None),
        ("unix:///r.sock", None),
    ],
)
def test_proxy(tmp_path: Path, url: str, proxy: str | None) -> None:
    environ = {
        "http_proxy": "http://plain:1",
        "HTTPS_PROXY": "http://secure:1",
        "https_proxy": "http://loses:1",
        "NO_PROXY": ".example.com, 10.0.0.0/8",
        "THREADWAY_API_URL": "http://tw.internal:8080/v1",
    }
    assert load(environ, tmp_path).proxy_for(url) == proxy


@pytest.mark.parametrize(
    ("entry", "exempt"),
    [("h", True), ("H", True), (".h", True), ("*", True), ("h:80", True), ("h:81", False), ("", False), ("x,h", True),
     ("xh", False), ("*.h", True), ("[::1]", False)],
)  # fmt: skip
def test_no_proxy(entry: str, exempt: bool) -> None:
    assert bypasses_proxy("http://h/", entry) is exempt
    assert bypasses_proxy("http://[::1]:80/", "[::1]:80") is True


@given(st.integers(0, 2**24 - 1))
def test_all_of_127_is_loopback(rest: int) -> None:
    assert is_loopback(f"127.{rest >> 16}.{rest >> 8 & 255}.{rest & 255}")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "a.localhost", "::1", "[::1]"])
def test_names_of_loopback(host: str) -> None:
    assert is_loopback(host)
    assert not is_loopback(f"{host}.example")


def _key(data_dir: Path) -> str:
    return load({"THREADWAY_DATA_DIR": str(data_dir)}, data_dir.parent).api_key_value()


def test_the_api_key_is_made_once_by_all_who_ask_together(tmp_path: Path) -> None:
    data_dir, together = tmp_path / "data", threading.Barrier(16)

    def ask(_: int) -> str:
        together.wait()
        return _key(data_dir)

    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(ask, range(16)))
    assert len(keys) == 1
    assert re.fullmatch(r"tw-[A-Za-z0-9_-]{43}", keys.pop())
    assert stat.S_IMODE((data_dir / "api_key").stat().st_mode) == 0o600
    assert [file.name for file in data_dir.iterdir()] == ["api_key"]


def test_the_api_key_of_the_environment_needs_no_file(tmp_path: Path) -> None:
    settings = load({"THREADWAY_API_KEY": "tw-shared"}, tmp_path)
    assert settings.api_key_value() == "tw-shared"
    assert not settings.data_dir.exists()


def test_an_api_key_file_that_holds_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "api_key").write_text("\n")
    with pytest.raises(SettingsInvalid, match=r"holds no key.*THREADWAY_API_KEY"):
        _key(tmp_path / "data")
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsInvalid, match="mend the file or set THREADWAY_API_KEY"):
        _key(tmp_path / "file")


def test_telegram_secret_is_the_same_everywhere_and_fits_the_bot_api(tmp_path: Path) -> None:
    derived = load({"TELEGRAM_BOT_TOKEN": TOKEN}, tmp_path).telegram_secret()
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,256}", derived)
    assert derived == load({"TELEGRAM_BOT_TOKEN": TOKEN, "THREADWAY_PORT": "1"}, tmp_path).telegram_secret()
    assert derived != load({"TELEGRAM_BOT_TOKEN": f"{TOKEN}x"}, tmp_path).telegram_secret()
    given_one = load({"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_WEBHOOK_SECRET": "mine"}, tmp_path)
    assert given_one.telegram_secret() == "mine"
    with pytest.raises(RuntimeError):
        load({}, tmp_path).telegram_secret()
