"""What every test may rely on: a real Redis of its own, a clean environment, no vendor's address."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

_OURS = (
    "THREADWAY_",
    "TELEGRAM_",
    "SLACK_",
    "OPENAI_",
    "REDIS_URL",
    "CELERY_",
    "DATABASE_URL",
    "CREDENTIALS_DIRECTORY",
)


def pytest_configure() -> None:
    """Forget what the developer's shell says about threadway, before any test or child process reads it."""
    for name in [n for n in os.environ if n.startswith(_OURS)]:
        del os.environ[name]
    from gateway.telemetry import configure_logging

    configure_logging("INFO", json=True)


def _server_binary() -> str:
    if chosen := os.environ.get("TEST_REDIS_SERVER"):
        return chosen
    from gateway.redis_server import find_server

    return str(find_server())


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[str]:
    """A real Redis (the embedded server, or TEST_REDIS_SERVER) for this test process; its unix socket's path."""
    folder = Path(tempfile.mkdtemp(prefix="tw-test-"))
    socket = folder / "r.sock"
    server = subprocess.Popen(
        [_server_binary(), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", "",
         "--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    client = redis.Redis(
        unix_socket_path=str(socket), retry=redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 200)
    )
    client.ping()
    client.close()
    yield str(socket)
    server.terminate()
    server.wait(10)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_url(redis_socket: str) -> str:
    """The URL of an empty database on the test's own Redis."""
    client = redis.Redis(unix_socket_path=redis_socket)
    client.flushdb()
    client.close()
    return f"unix://{redis_socket}?db=0"
