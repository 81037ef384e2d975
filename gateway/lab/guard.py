"""Who may reach the lab: this machine, or whoever knows the password. Browsers only from its own page."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK_NAMES = {"localhost", "127.0.0.1", "::1"}


class Guard:
    """ASGI middleware. Refuses foreign Host and Origin headers (DNS rebinding, other sites' scripts) and, without a
    password, every client that is not on the loopback interface. With one, page and control API want HTTP Basic; the
    platforms' APIs keep to their tokens, because bots cannot send a second credential."""

    def __init__(self, app: ASGIApp, public_url: str, password: str | None) -> None:
        self._app = app
        self._hosts = LOOPBACK_NAMES | {(urlsplit(public_url).hostname or "").lower()}
        self._password = password

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        refused = self._refuse(scope) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._known(_name(f"//{host}")):
            return PlainTextResponse("foreign Host header", status_code=421)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return PlainTextResponse("foreign Origin header", status_code=403)
        if self._password is None:
            return None if _on_loopback(scope) else PlainTextResponse("loopback only", status_code=403)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if path.startswith(("/telegram/", "/slack/")) or self._knows_password(headers):
            return None
        challenge = {"WWW-Authenticate": 'Basic realm="lab", charset="UTF-8"'}
        return PlainTextResponse("password needed", status_code=401, headers=challenge)

    def _known(self, host: str) -> bool:
        # Rebinding needs a name: a bare address is safe where a password keeps strangers out.
        return host in self._hosts or (self._password is not None and _address(host) is not None)

    def _knows_password(self, headers: Headers) -> bool:
        scheme, _, given = headers.get("authorization", "").partition(" ")
        try:
            decoded = base64.b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            return False
        password = decoded.partition(b":")[2]
        expected = (self._password or "").encode()
        return scheme.lower() == "basic" and bool(expected) and hmac.compare_digest(password, expected)


def _name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _on_loopback(scope: Scope) -> bool:
    client = scope.get("client")
    if client is None:  # a unix socket: this machine
        return True
    address = _address(client[0])
    return address is not None and address.is_loopback


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
