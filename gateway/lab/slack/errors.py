"""How the Web API says no: HTTP 200 with ok false and a word."""

from __future__ import annotations

from gateway.lab.feed import Json


class Refusal(Exception):
    """{"ok": false, "error": …}; `messages` go to response_metadata, as Slack does for invalid arguments."""

    def __init__(self, error: str, *messages: str) -> None:
        super().__init__(error)
        self.error, self.messages = error, messages

    def wire(self) -> Json:
        """The JSON body."""
        body: Json = {"ok": False, "error": self.error}
        if self.messages:
            body |= {"errors": list(self.messages), "response_metadata": {"messages": list(self.messages)}}
        return body
