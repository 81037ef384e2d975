"""The gateway's address: who may bind to it, how people and processes call it."""

from __future__ import annotations

import errno
import socket

from gateway.settings.addresses import is_wildcard

_BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on; they wait until somebody serves it.

    Taken first and handed to the HTTP server: what our own adapters ask of the lab while we start waits instead of
    being refused. Raises OSError; `trouble` says it in words.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening


def trouble(error: OSError, host: str, port: int, *, variable: str = "THREADWAY_PORT") -> str:
    """Why `listen` failed and what to do, in one line that names the variable; `variable` is the port's."""
    if error.errno == errno.EADDRINUSE:
        return f"{variable}: port {port} on {host} is taken; set another one, or end what listens there"
    if error.errno == errno.EACCES:
        return f"{variable}: port {port} is for the superuser; set one above 1023"
    return f"THREADWAY_HOST: {host} cannot be bound to ({error.strerror}); set an address of this machine"


def free_port() -> int:
    """A loopback port on which nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def url_of(host: str, port: int) -> str:
    """How this machine calls a server bound to `host`; no slash at the end."""
    name = "127.0.0.1" if is_wildcard(host) else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"
