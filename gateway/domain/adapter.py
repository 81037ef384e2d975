"""The plug between threadway and a platform: what a Telegram, a Slack or a stranger's adapter promises.

Two halves, one class. The gateway calls `receive` or `handle`; workers, other processes, call `render`, `post` and
`working`. An adapter is built once per process and lives on that process's one event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable

from gateway.domain.messages import Amendment, Destination, InboundMessage, OutboundPart


class Accepted(StrEnum):
    """What became of a message that was offered to the inbox."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    FULL = "full"
    """The conversation's inbox is at its cap; nothing was stored, the platform should send it again."""
    NOTHING = "nothing"
    """An amendment of a message that does not wait (any more): there is nothing to change, and nothing to repeat."""
    REFUSED = "refused"
    """Its author is not let in (`[access]`): nothing of it is kept, and nothing to repeat."""


class Doubt(StrEnum):
    """What follows a post whose outcome nobody knows, where the platform cannot be asked (`[delivery]`)."""

    NOTICE = "notice"
    """It is not repeated; a notice after the reply says so and offers the reply once more."""
    EDIT = "edit"
    """Every part is posted as a placeholder first and becomes its text by an edit, which may be repeated."""
    REPEAT = "repeat"
    """It is posted again."""


Mail = InboundMessage | Amendment
Accept = Callable[[Mail], Awaitable[Accepted]]
"""Store a message durably, or amend one that waits. Only after it returned anything but FULL may the platform get its
acknowledgement. Raises StoreDown when nothing could be stored. May be called twice with the same mail."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What the platform can do."""

    max_text_utf16: int
    """Longest text of one part, in UTF-16 units (after markup is taken out)."""
    working_every_s: float = 0.0
    """How often `working` has to be repeated while a turn runs; 0 means never call it."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One HTTP request to an adapter's path, its body already limited in size."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What the platform gets back."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@runtime_checkable
class Adapter(Protocol):
    """One platform."""

    name: ClassVar[str]
    """"telegram"; the first part of every ConversationKey it makes."""
    capabilities: Capabilities

    async def receive(self, accept: Accept) -> None:
        """Bring in messages until cancelled; acknowledge to the platform only after `accept` returned.

        Called once per gateway process, in a task of its own. An adapter that is fed over HTTP returns at once.
        Platform failures are retried inside with backoff; raises TokenRefused when retrying cannot help.
        """

    def render(self, reply: str) -> Sequence[OutboundPart]:
        """Pure: a Markdown reply → parts in the platform's markup, each within `capabilities.max_text_utf16`.

        Never raises for any text: what cannot be rendered comes back as plain text. "" gives no part.
        """

    async def post(self, to: Destination, part: OutboundPart, key: str) -> str:
        """Send one part and return the platform's message id. `key` names this part for ever, where a platform has
        metadata.

        Raises RateLimited, Unreachable (surely not sent), Ambiguous (perhaps sent), FormatRefused (send
        `part.plain()`), DeliveryRefused, ConversationMoved, TokenRefused. Not idempotent: the caller's delivery ledger
        decides about repeating.
        """

    async def working(self, to: Destination) -> None:
        """Show "typing…"; best effort, never raises; called every `capabilities.working_every_s` while a turn runs."""

    async def close(self) -> None:
        """Give back connections; called once, on the loop that used the adapter, perhaps without any use before."""


@runtime_checkable
class HttpReceiving(Protocol):
    """An adapter that is fed over HTTP as well (webhook, Events API)."""

    paths: Sequence[str]
    """Where it wants to be mounted, e.g. ("/slack/events",); POST only."""

    async def handle(self, request: HttpRequest, accept: Accept) -> HttpResponse:
        """Check, normalise and `accept` one request. 401 bad signature, 400 malformed; StoreDown may be raised through
        (the server answers 503 + Retry-After). Never 2xx for what is not durable."""


@runtime_checkable
class FindingPosted(Protocol):
    """An adapter whose platform can be asked whether a part arrived (Slack: message metadata)."""

    async def find_posted(self, to: Destination, key: str, since_ms: int) -> str | None:
        """The platform's id of the part posted under `key`, None if it surely is not there.

        Raises Retryable; DeliveryRefused where the platform will not tell (a scope is missing, the channel is gone).
        """


@runtime_checkable
class Editing(Protocol):
    """An adapter whose platform lets us change what we posted: an edit may be repeated, a post may not."""

    async def edit(self, to: Destination, platform_id: str, part: OutboundPart) -> None:
        """Make the posted message read as `part`. Idempotent: one that reads so already is fine.

        Raises as `post` (Ambiguous may simply be repeated); DeliveryRefused where the message is gone.
        """


@runtime_checkable
class Probing(Protocol):
    """An adapter that can say how it is, for /readyz and `threadway doctor`."""

    def healthy(self) -> bool:
        """Whether mail can come in now; standing by for another replica's lease counts as healthy."""
