"""How the Bot API says no."""

from __future__ import annotations

from gateway.lab.feed import Json


class Refusal(Exception):
    """An error answer: HTTP status = error_code, description, and parameters where Telegram adds them."""

    def __init__(self, code: int, description: str, parameters: Json | None = None) -> None:
        super().__init__(description)
        self.code, self.description, self.parameters = code, description, parameters

    def wire(self) -> Json:
        """The JSON body."""
        body: Json = {"ok": False, "error_code": self.code, "description": self.description}
        return body | ({"parameters": self.parameters} if self.parameters else {})


def bad_request(what: str) -> Refusal:
    """400 "Bad Request: <what>"."""
    return Refusal(400, f"Bad Request: {what}")


def too_many(retry_after: int) -> Refusal:
    """429; `retry_after` in seconds (Bot API, ResponseParameters)."""
    return Refusal(429, f"Too Many Requests: retry after {retry_after}", {"retry_after": retry_after})
