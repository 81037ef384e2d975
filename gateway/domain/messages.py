"""What comes in from a platform and what goes out to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NewType

ConversationKey = NewType("ConversationKey", str)
"""`<adapter>:<…>`, e.g. "telegram:<bot>:<chat>:<topic or ->"; parsed only by the adapter that made it."""
ThreadId = NewType("ThreadId", str)
"""The backend's id of its record of a conversation."""
RunId = NewType("RunId", str)
"""The backend's id of one execution on a thread."""


def adapter_of(key: ConversationKey) -> str:
    """The name of the adapter that made `key`: everything before the first colon."""
    return key.partition(":")[0]


class Command(StrEnum):
    """What a user may order in a chat. The gateway only parses it; workers obey."""

    START = "start"
    NEW = "new"
    STOP = "stop"
    LAST = "last"
    HELP = "help"
    PAIRED = "paired"
    """Nobody's order: the gateway's word for a person whose pairing code was right; they are welcomed."""
    REFUSED = "refused"
    """Nobody's order: the gateway's word for a person who is not let in; `argument` is a `Refusal`."""


ORDERS = frozenset(Command) - {Command.PAIRED, Command.REFUSED}
"""What people may order."""


class Refusal(StrEnum):
    """Why somebody is not let in: which sentence they are told."""

    NOT_LISTED = "not_listed"
    NOT_PAIRED = "not_paired"
    WRONG_CODE = "wrong_code"
    TOO_MANY_CODES = "too_many_codes"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who said something and where, in the words of `[access]`. Made by the adapter; nobody else can read its ids."""

    person: str = ""
    """E.g. "telegram:user:4242", "slack:user:T0EX:U0ANN"; "" where the platform's adapter names nobody."""
    places: tuple[str, ...] = ()
    """What an operator may allow as a whole, e.g. "telegram:chat:-1001", "slack:channel:T0EX:C0SUPPORT"."""
    direct: bool = False
    """Nobody else reads along: the only place where a pairing code is taken."""
    addressed: bool = True
    """False: said in a thread we are in, but to nobody in particular; then a refusal is not told either."""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that came with a message, named by the platform's id; its bytes are fetched when the run needs them."""

    kind: str
    """image | audio | voice | video | document"""
    file_id: str
    name: str = ""
    mime: str = ""
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class InboundMessage:
    """One message of a user, normalised: the only form in which mail enters the inbox."""

    conversation: ConversationKey
    dedupe_keys: tuple[str, ...]
    """Each names this message for 26 h; one known key is enough to call it a duplicate. The first is its event id."""
    text: str
    author_id: str
    author_name: str = ""
    language: str = ""
    """IETF language tag as the platform gave it, "" where unknown."""
    command: Command | None = None
    argument: str = ""
    """What followed the command (a deep link's payload, a name)."""
    attachments: tuple[Attachment, ...] = ()
    message_id: str = ""
    """The platform's id of the message, for replies, edits and `why`."""
    reply_to: str = ""
    """What the adapter needs to post in the right place (a Slack thread's ts); "" where the key says it all."""
    sent_ms: int = 0
    """The platform's own time of the message, ms since the epoch."""
    order: int = 0
    """The platform's own sequence number within the conversation (Telegram: message_id, Slack: ts in µs); 0 where there
    is none. What waits together is answered in this order, whichever gateway was first to store its message."""
    more_follows: bool = False
    """One person's one message may arrive in pieces (an album, a text cut at the platform's limit): wait for more."""
    revision: int = 0
    """Of an edited text: the platform's time of the edit, so that an older edit never replaces a newer one."""
    origin: Origin = Origin()

    @property
    def event_id(self) -> str:
        """The message's stable name; a turn's key is built from the first of its batch."""
        return self.dedupe_keys[0]

    def to_json(self) -> str:
        """The envelope stored in the inbox; `from_json` reads it back, also from an older version."""
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, raw: str | bytes) -> InboundMessage:
        """Read an envelope; unknown fields are ignored, so that two versions may share one inbox."""
        data: dict[str, Any] = json.loads(raw)
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        known["dedupe_keys"] = tuple(known["dedupe_keys"])
        known["command"] = Command(known["command"]) if known.get("command") else None
        known["attachments"] = tuple(_attachment(a) for a in known.get("attachments", ()))
        known["origin"] = _origin(known.get("origin") or {})
        return cls(**known)


def _attachment(data: Mapping[str, Any]) -> Attachment:
    return Attachment(**{name: data[name] for name in Attachment.__dataclass_fields__ if name in data})


def _origin(data: Mapping[str, Any]) -> Origin:
    known = {name: data[name] for name in Origin.__dataclass_fields__ if name in data}
    known["places"] = tuple(known.get("places", ()))
    return Origin(**known)


@dataclass(frozen=True, slots=True)
class Amendment:
    """What became of a message after it was sent: its text was edited, or it was deleted."""

    conversation: ConversationKey
    message_id: str
    """InboundMessage.message_id of the message it is about."""
    text: str | None
    """The new text, normalised as the message's own was; None: deleted."""
    revision: int
    """The platform's time of the edit (any unit that only grows): an older one than what is stored changes nothing."""
    origin: Origin = Origin()
    """Whose message it is; may be missing for a deletion, which brings nothing in."""


@dataclass(frozen=True, slots=True)
class Offer:
    """Something a reader may choose under a part, shown as a button where the platform has them."""

    label: str
    command: Command
    argument: str = ""


@dataclass(frozen=True, slots=True)
class OutboundPart:
    """One platform-sized piece of a reply, ready to be posted."""

    text: str
    """The text in plain form: what is sent when the platform refuses the markup."""
    markup: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able, made by the adapter's `render` and read only by its `post` (entities, blocks); {} is plain text."""
    offers: tuple[Offer, ...] = ()
    """Never the only way: a platform without buttons shows none."""

    def to_json(self) -> str:
        """The form kept in the delivery ledger."""
        data: dict[str, Any] = {"text": self.text, "markup": dict(self.markup)}
        if self.offers:
            data["offers"] = [asdict(offer) for offer in self.offers]
        return json.dumps(data, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, raw: str | bytes) -> OutboundPart:
        """Read a part back from the delivery ledger."""
        data = json.loads(raw)
        offers = (Offer(o["label"], Command(o["command"]), o["argument"]) for o in data.get("offers", ()))
        return cls(text=data["text"], markup=data["markup"], offers=tuple(offers))

    def plain(self) -> OutboundPart:
        """The same part without its markup."""
        return OutboundPart(text=self.text, offers=self.offers)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a part goes: the conversation, and what the message it answers said about the place."""

    conversation: ConversationKey
    reply_to: str = ""
