"""Read a request's body without ever holding more of it than is allowed."""

from __future__ import annotations

from starlette.requests import Request


async def read_within(request: Request, limit_bytes: int) -> bytes | None:
    """The whole body, or None as soon as it is known to be longer than `limit_bytes`. Raises ClientDisconnect."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:18]) > limit_bytes:  # Python refuses to read thousands of digits
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit_bytes:
            return None
    return bytes(body)
