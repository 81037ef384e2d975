"""The embedded Redis: a real server as a child process on a unix socket, so that nothing has to be installed.

The lock `DATA_DIR/redis/lock` is inherited by the server and held by it alone: it is free exactly when no
server works on that folder, and kill -9 of anything never leaves it behind. `DATA_DIR/redis/address` says
where the socket is. Whoever finds the lock taken attaches to the server that answers there and starts no
other.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

from gateway.domain.errors import ThreadwayError
from gateway.redis_server.address import (
    Address,
    Answer,
    choose_address,
    locked,
    make_private,
    ping,
    read_address,
)
from gateway.redis_server.child import Child, ServerMissing, find_server
from gateway.telemetry import log

__all__ = ["RedisServer", "ServerFailed", "ServerMissing", "find_server", "live_url"]

START_S = 15.0
"""How long a server may stay silent before the start fails; one that loads its data may take its time."""
_ORPHAN_S = 2.0
"""A server whose owner died is gone within this time: its own timer looks for SIGTERM every 100 ms."""
_STEP_S = 0.02


class ServerFailed(ThreadwayError):
    """The server did not start; the text says why, with the last lines of its log."""


def live_url(data_dir: Path) -> str | None:
    """The URL of the server that runs for `data_dir` now, None where none answers.

    Never starts one, creates nothing; blocks for a second at most.
    """
    address = read_address(_folder(data_dir))
    if address is None or ping(address.socket) is Answer.SILENT:
        return None
    return address.url


class RedisServer:
    """The server of one data directory: started by us, or another process's that we use.

    `start`, use `url`, `stop`. A started server ends with its owner, however that ends; so whoever attached
    has to expect its end, too. After the server died (`wait` returned) `start` may be called again; the
    data is kept.
    """

    def __init__(self, data_dir: Path) -> None:
        """Touches nothing yet; `start` creates `data_dir` where it is missing."""
        self._folder = _folder(data_dir)
        self._address: Address | None = None
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """unix:///…/r.sock?db=0, for redis-py; kept over restarts. Raises RuntimeError before `start`."""
        if self._address is None:
            raise RuntimeError("the server was not started")
        return self._address.url

    @property
    def attached(self) -> bool:
        """Whether the server belongs to another process."""
        return self._address is not None and self._child is None

    async def start(self) -> None:
        """Start the server, or attach to the one that runs; returns when it answers PING.

        Raises ServerMissing; ServerFailed when it dies or stays silent for START_S. Best called from the main
        thread (see Child.start). Does nothing while our own server runs.
        """
        if self._child is not None and self._child.status is None:
            return
        if not make_private(self._folder):
            raise ServerFailed(
                f"{self._folder} cannot be used: it must be a folder of this user, and writable; "
                "THREADWAY_DATA_DIR names another place"
            )
        began = heard = time.monotonic()
        while not await self._start_if_free():
            answer = await self._attach(orphan_too=time.monotonic() - began > _ORPHAN_S)
            if answer is Answer.READY:
                return
            heard = time.monotonic() if answer is Answer.LOADING else heard
            if time.monotonic() - heard > START_S:
                raise ServerFailed(
                    f"{self._folder} is in use by a server that does not answer (stuck, or in another "
                    "container): stop it, or set REDIS_URL or another THREADWAY_DATA_DIR"
                )
            await asyncio.sleep(_STEP_S)

    async def wait(self) -> int | None:
        """Return when the server is gone: its exit status, None for another process's. Safe to call often."""
        if self._child is not None:
            return await self._child.wait()
        if self._address is not None:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_unix_connection(self._address.socket)
                try:
                    await reader.read()  # nothing is asked, so nothing comes but the end
                finally:
                    writer.close()
        return None

    async def stop(self) -> None:
        """End our server; another process's is left alone. May be called twice."""
        child, self._child, address, self._address = self._child, None, self._address, None
        if child is None or address is None:
            return
        await child.end()
        _tidy(self._folder, address)
        log.info("redis.stopped", pid=child.pid, status=child.status)

    async def _start_if_free(self) -> bool:
        with locked(self._folder) as lock:
            if lock is None:
                return False
            program = find_server()
            address = choose_address(self._folder)
            address.write(self._folder)
            log_start = _log_size(self._folder)
            try:
                child = await Child.start(
                    [program, *_options(self._folder, address)], logfile=self._folder / "redis.log", lock=lock
                )
            except OSError as error:
                raise ServerFailed(f"{program} cannot be run: {error.strerror}") from error
        try:
            await self._until_ready(child, address, log_start)
        except BaseException:
            await child.end()
            _tidy(self._folder, address)
            raise
        self._address, self._child = address, child
        log.info("redis.started", pid=child.pid, socket=address.socket, program=str(program))
        return True

    async def _until_ready(self, child: Child, address: Address, log_start: int) -> None:
        heard = time.monotonic()
        while (answer := await asyncio.to_thread(ping, address.socket)) is not Answer.READY:
            heard = time.monotonic() if answer is Answer.LOADING else heard
            if child.status is not None or time.monotonic() - heard > START_S:
                how = "stays silent" if child.status is None else f"ended with status {child.status}"
                said = _last_words(self._folder, log_start)
                raise ServerFailed(f"the embedded Redis {how}; {self._folder}/redis.log says:\n{said}")
            await asyncio.sleep(_STEP_S)

    async def _attach(self, *, orphan_too: bool) -> Answer:
        """What the running server answers; READY only when we use it from now on.

        One whose owner is gone is on its way out, even if it answers once more; used only if it stays after
        all.
        """
        address = read_address(self._folder)
        answer = await asyncio.to_thread(ping, address.socket) if address else Answer.SILENT
        if address is None or answer is not Answer.READY:
            return answer
        if not (address.owner_lives() or orphan_too):
            return Answer.SILENT
        self._address, self._child = address, None
        log.info("redis.attached", socket=address.socket, owner=address.owner)
        return Answer.READY


def _folder(data_dir: Path) -> Path:
    return data_dir.resolve() / "redis"


def _options(folder: Path, address: Address) -> list[str]:
    """Durability before speed: a platform's event is acknowledged as soon as this server has taken it."""
    return [
        "--port", "0", "--unixsocket", address.socket, "--unixsocketperm", "700", "--daemonize", "no",
        "--dir", str(folder), "--logfile", str(folder / "redis.log"), "--always-show-logo", "no",
        "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction",
    ]  # fmt: skip


def _tidy(folder: Path, address: Address) -> None:
    """Remove what a stopped server leaves outside the data directory, unless the next one has started."""
    with locked(folder) as lock:
        if lock is not None:
            Path(address.socket).unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                Path(address.socket).parent.rmdir()


def _log_size(folder: Path) -> int:
    logfile = folder / "redis.log"
    return logfile.stat().st_size if logfile.exists() else 0


def _last_words(folder: Path, start: int, lines: int = 12) -> str:
    """The end of the log, without what earlier servers wrote."""
    with (folder / "redis.log").open("rb") as file:
        file.seek(start)
        text = file.read().decode("utf-8", "replace")
    return "\n".join(text.strip().splitlines()[-lines:]) or "(nothing)"
