"""Where the embedded server of a data directory listens, who owns it, and whether it lives."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import quote

SOCKET_PATH_BYTES = 103
"""sun_path holds 108 bytes on Linux and 104 on macOS, the closing NUL among them: unix(7), unix(4)."""


class Answer(Enum):
    """What a server says to PING."""

    READY = "ready"
    LOADING = "loading"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Address:
    """The content of `DATA_DIR/redis/address`, written by whoever starts a server, under the lock."""

    socket: str
    """Path of the unix socket."""
    owner: int
    """Process id of whoever started the server."""

    @property
    def url(self) -> str:
        """The form that redis-py reads."""
        return f"unix://{quote(self.socket)}?db=0"

    def owner_lives(self) -> bool:
        """Whether the process that started the server is there (a recycled id counts as alive)."""
        try:
            os.kill(self.owner, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True

    def write(self, folder: Path) -> None:
        """Store it for `read`, whole or not at all."""
        draft = folder / "address.new"
        draft.write_text(json.dumps({"socket": self.socket, "owner": self.owner}))
        draft.replace(folder / "address")


def read_address(folder: Path) -> Address | None:
    """What the last starter wrote; None where there is nothing to rely on.

    A copied data directory still names the original's socket, so the name is checked against the folder.
    """
    try:
        data = json.loads((folder / "address").read_text())
        address = Address(str(data["socket"]), int(data["owner"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    ours = Path(address.socket).parent.name.startswith(_socket_folder_name(folder))
    return address if ours and address.owner > 0 else None


def choose_address(folder: Path) -> Address:
    """A socket path short enough for AF_UNIX, in a folder that only we may enter, owned by this process.

    If possible the last one, so that the URL outlives a restart from another environment. Not below the data
    directory: a project's path is often too long.
    """
    before = read_address(folder)
    bases = [Path(before.socket).parent.parent] if before else []
    bases += [Path(base) for base in (os.environ.get("XDG_RUNTIME_DIR"), "/tmp") if base]  # noqa: S108
    name = _socket_folder_name(folder)
    for base in bases:
        path = base / name / "r.sock"
        fits = base.is_absolute() and base.is_dir() and len(os.fsencode(path)) <= SOCKET_PATH_BYTES
        if fits and make_private(path.parent):
            return Address(str(path), os.getpid())
    # Somebody else took the name in /tmp: any other will do, the address file tells where.
    return Address(str(Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp")) / "r.sock"), os.getpid())


def _socket_folder_name(folder: Path) -> str:
    return f"threadway-{os.getuid()}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]}"


def make_private(folder: Path) -> bool:
    """See that `folder` exists, is ours and closed to others (0700). False when that cannot be had."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()  # not stat: in /tmp a link may lead into somebody else's folder
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            return False
        if stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int | None]:
    """The folder's lock as a descriptor, None while a server, or whoever starts one, holds it.

    Closing our copy does not release it as long as a server that inherited it lives (flock(2): the lock
    belongs to the open file description).
    """
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


def ping(socket_path: str) -> Answer:
    """Ask once; blocks for a second at most. An inline command (Redis protocol) needs no client."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(0.5)
        try:
            client.connect(socket_path)
            client.sendall(b"PING\r\n")
            answer = client.recv(64)
        except OSError:
            return Answer.SILENT
    if answer.startswith(b"+PONG"):
        return Answer.READY
    return Answer.LOADING if answer.startswith(b"-LOADING") else Answer.SILENT
