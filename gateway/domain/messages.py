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
    HELP = "help"


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
        known["attachments"] = tuple(Attachment(**a) for a in known.get("attachments", ()))
        return cls(**known)


@dataclass(frozen=True, slots=True)
class OutboundPart:
    """One platform-sized piece of a reply, ready to be posted."""

    text: str
    """The text in plain form: what is sent when the platform refuses the markup."""
    markup: Mapping[str, Any] = field(default_factory=dict)
    """JSON-able, made by the adapter's `render` and read only by its `post` (entities, blocks); {} is plain text."""

    def to_json(self) -> str:
        """The form kept in the delivery ledger."""
        return json.dumps({"text": self.text, "markup": dict(self.markup)}, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, raw: str | bytes) -> OutboundPart:
        """Read a part back from the delivery ledger."""
        data = json.loads(raw)
        return cls(text=data["text"], markup=data["markup"])

    def plain(self) -> OutboundPart:
        """The same part without its markup."""
        return OutboundPart(text=self.text)


@dataclass(frozen=True, slots=True)
class Destination:
    """Where a part goes: the conversation, and what the message it answers said about the place."""

    conversation: ConversationKey
    reply_to: str = ""
