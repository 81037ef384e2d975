"""Brokers of a test's own, apart from the Redis that holds the state: each may die and come back at any time."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import redis.asyncio
from amqp.exceptions import ChannelError  # type: ignore[import-untyped]
from kombu.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff

from gateway.redis_server import find_server
from tests.flow.processes import free_port, until

RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's: the one in /usr/sbin is a wrapper that changes to the service's own user."""


class _Server:
    """A server process in a group of its own."""

    def __init__(self, command: list[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        self._command = command
        self.folder = folder
        self._env = env
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, or start it again with what it has on disk."""
        with (self.folder / "server.log").open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self.folder,
                env=self._env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    async def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        """End it and whatever it started; nothing happens when it does not run."""
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, how)
        await self._process.wait()

    def send(self, how: signal.Signals) -> None:
        """Send it a signal, SIGSTOP say: it keeps its connections and says nothing."""
        assert self._process is not None
        os.killpg(self._process.pid, how)


class RedisBroker(_Server):
    """A Redis on a port, with an append-only file."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        program = os.environ.get("TEST_REDIS_SERVER") or str(find_server())
        arguments = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "",
                     "--appendonly", "yes", "--appendfsync", "everysec", *options]  # fmt: skip
        super().__init__([program, *arguments], folder)
        self.url = f"redis://127.0.0.1:{port}/0"
        self.client = redis.asyncio.Redis.from_url(
            self.url, decode_responses=True, retry=Retry(ConstantBackoff(0.05), 200)
        )

    async def start(self) -> None:
        """See _Server.start; returns when it answers."""
        await super().start()

        async def answers() -> bool:
            with suppress(redis.asyncio.BusyLoadingError):
                return bool(await self.client.ping())
            return False

        await until(answers)

    async def close(self) -> None:
        """End everything."""
        await self.client.aclose()
        await self.end()


@asynccontextmanager
async def redis_broker(folder: Path, *options: str) -> AsyncIterator[RedisBroker]:
    """A running one, gone afterwards."""
    broker = RedisBroker(folder, *options)
    try:
        await broker.start()
        yield broker
    finally:
        await broker.close()


class RabbitBroker(_Server):
    """A RabbitMQ node of our own: nothing of the system's service is touched, neither its data nor its epmd."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._own = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),  # of the Erlang cookie
            "LANG": "C.UTF-8",
            "ERL_EPMD_PORT": str(free_port()),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"tw{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(folder / "data"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_PID_FILE": str(folder / "pid"),
        }
        super().__init__([str(RABBITMQ)], folder, self._own)

    async def start(self) -> None:
        """See _Server.start; returns when it takes a connection."""
        await super().start()
        await until(lambda: asyncio.to_thread(self._answers), 60)

    def _answers(self) -> bool:
        try:
            with Connection(self.url, connect_timeout=2) as connection:  # type: ignore[no-untyped-call]
                connection.connect()
                return True
        except (OSError, *connection.connection_errors):
            return False

    async def close(self) -> None:
        """End it and its epmd, which is a daemon of its own."""
        await self.end()
        await until(self._epmd_ended)

    async def _epmd_ended(self) -> bool:
        """It refuses to end until it has seen that the node is gone."""
        asking = await asyncio.create_subprocess_exec(
            "epmd", "-kill", env=self._own, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        said, _ = await asking.communicate()
        return b"Killed" in said or b"Cannot connect" in said


def why_no_rabbitmq() -> str:
    """What is missing for a RabbitMQ of our own, "" if nothing is."""
    if not RABBITMQ.exists():
        return "RabbitMQ is not installed (Debian: apt-get install rabbitmq-server)"
    return "" if shutil.which("epmd") else "RabbitMQ's epmd is not on PATH"


@asynccontextmanager
async def rabbit_broker(folder: Path) -> AsyncIterator[RabbitBroker]:
    """A running one, gone afterwards."""
    broker = RabbitBroker(folder)
    try:
        await broker.start()
        yield broker
    finally:
        await broker.close()


def queued(url: str, queue: str) -> int:
    """How many wake-ups wait in a queue at any kind of broker. Blocks."""
    connection: Any = Connection(url)  # type: ignore[no-untyped-call]
    with connection, connection.channel() as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except ChannelError:  # kombu (5.7) does not know an empty list of Redis's as a queue
            return 0
