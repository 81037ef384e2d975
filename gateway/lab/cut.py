"""A connection that ends in the middle of an answer, as a fault."""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Receive, Scope, Send


class CutOff(Response):
    """Promises a body and sends none of it; the server then closes the connection.

    ASGI has no way to hang up before the first byte; for a client it is the same: what it asked for may be done or not.
    uvicorn logs each as "returned without completing response".
    """

    def __init__(self) -> None:
        super().__init__(headers={"content-length": "4096"}, media_type="application/json")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
