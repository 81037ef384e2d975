"""How mail waits in an inbox: envelopes "<number> <kind> <JSON>".

The number tells who arrived when, and makes each envelope unique. Kinds: "m" message, "s" stop command, "c" any other
command, "r" a dead letter that is replayed: its turn begins by putting its messages in its place.
"""

from __future__ import annotations

import json

from gateway.domain.messages import Amendment, InboundMessage


def envelope_message(envelope: str) -> InboundMessage:
    """The message in an envelope of kind m, c or s. Raises ValueError, KeyError or TypeError for a strange one."""
    return InboundMessage.from_json(_content(envelope))


def revision_of(envelope: str) -> int:
    """The revision of the message in an envelope; 0 where it was never edited."""
    return int(json.loads(_content(envelope)).get("revision", 0))


def with_text(envelope: str, amendment: Amendment) -> str:
    """The same envelope with the amended text. What another version wrote beside it is kept as it is."""
    number, kind, content = envelope.split(" ", 2)
    message = json.loads(content) | {"text": amendment.text, "revision": amendment.revision}
    return f"{number} {kind} {json.dumps(message, ensure_ascii=False, separators=(',', ':'))}"


def _content(envelope: str) -> str:
    return envelope.split(" ", 2)[2]
