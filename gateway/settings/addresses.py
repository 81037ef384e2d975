"""URLs: checking them, and turning one program's form into another's. Pure; no error text holds any part of
a URL."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_POSTGRES = ("postgres", "postgresql", "postgresql+asyncpg")
_SQLITE = ("sqlite", "sqlite+aiosqlite")
DATABASE_SCHEMES = ("postgresql", "postgres", "postgresql+asyncpg", "sqlite", "sqlite+aiosqlite")
REDIS_SCHEMES = ("redis", "rediss", "unix")
BROKER_SCHEMES = ("redis", "rediss", "unix", "redis+socket", "amqp", "amqps", "pyamqp")
_LOCAL_SCHEMES = ("unix", "redis+socket", *_SQLITE)
"""Schemes that are followed by a path, not by a host."""


def check_url(url: str, schemes: Collection[str]) -> str:
    """`url` itself if it can be one. Raises ValueError saying what is wrong, without showing the URL."""
    if url != url.strip() or any(c.isspace() or ord(c) < 32 for c in url):
        raise ValueError("the URL holds blanks: remove them")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("not a URL: its host or port cannot be read") from None
    if parts.scheme not in schemes:
        raise ValueError(f"the URL has to begin with {' or '.join(f'{s}://' for s in schemes)}")
    if parts.scheme in _LOCAL_SCHEMES:
        if not parts.path.startswith("/") or (parts.scheme not in _SQLITE and parts.path == "/"):
            raise ValueError(f"the path is missing: {parts.scheme}:///path")
    elif not parts.hostname:
        raise ValueError(f"the host is missing: {parts.scheme}://host…")
    if port == 0:
        raise ValueError("port 0 cannot be called")
    return url


def is_loopback(host: str) -> bool:
    """Whether `host` (name or address, without port) is this machine's own: localhost, 127.0.0.0/8, ::1."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Whether binding to `host` means every interface."""
    return host in ("0.0.0.0", "::", "*")  # noqa: S104 - recognised, not bound


def host_of(url: str) -> str:
    """The host of a URL in lower case, "" where there is none."""
    return (urlsplit(url).hostname or "").lower()


def port_of(url: str) -> int | None:
    """The port of a URL, its scheme's own where none is named."""
    parts = urlsplit(url)
    return parts.port or DEFAULT_PORTS.get(parts.scheme)


def celery_form(url: str) -> str:
    """The broker URL for Celery (kombu 5.7) of a Redis URL as redis-py reads it; other brokers' URLs as
    they are.

    unix://[user:password@]/path?db=N → redis+socket://…/path?virtual_host=N; redis://host?db=N →
    redis://host/N. A rediss:// that says nothing of it gets `ssl_cert_reqs=required`: redis-py checks
    by default, kombu does not (kombu.connection: "defaulting to insecure SSL behaviour").
    """
    parts = urlsplit(url)
    if parts.scheme not in REDIS_SCHEMES:
        return url
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    database = options.pop("db", None)
    if parts.scheme == "unix":
        options = {"virtual_host": database or "0", **options}
        return f"redis+socket://{parts.netloc}{parts.path}?{urlencode(options)}"
    if database is not None:
        parts = parts._replace(path=f"/{database}")
    if parts.scheme == "rediss":
        options.setdefault("ssl_cert_reqs", "required")
    return urlunsplit(parts._replace(query=urlencode(options)))


def sqlalchemy_form(url: str) -> str:
    """The database URL with the asynchronous driver that we ship: postgres://… and postgresql://… → asyncpg,
    sqlite:///… → aiosqlite. libpq's `sslmode` becomes asyncpg's `ssl`."""
    scheme, _, rest = url.partition("://")
    if scheme in _SQLITE:
        return f"sqlite+aiosqlite://{rest}"
    if scheme not in _POSTGRES:
        return url
    parts: SplitResult = urlsplit(f"postgresql+asyncpg://{rest}")
    options = [("ssl" if name == "sslmode" else name, value) for name, value in parse_qsl(parts.query)]
    return urlunsplit(parts._replace(query=urlencode(options)))


def bypasses_proxy(url: str, no_proxy: str) -> bool:
    """Whether NO_PROXY exempts `url`: comma-separated `*`, host, .domain, host:port, address or network."""
    host, port = host_of(url), port_of(url)
    for entry in (e.strip().lower() for e in no_proxy.split(",")):
        if entry == "*":
            return True
        name, wanted = _host_and_port(entry)
        if not name or (wanted is not None and wanted != port):
            continue
        if _names(name, host):
            return True
    return False


def _host_and_port(entry: str) -> tuple[str, int | None]:
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and (":" not in name or name.endswith("]")):
        return name.strip("[]"), int(port)
    return entry.strip("[]"), None


def _names(entry: str, host: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        domain = entry.removeprefix("*").lstrip(".")
        return bool(domain) and (host == domain or host.endswith(f".{domain}"))
