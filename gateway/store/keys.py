"""Every key name, hash tag and time-to-live. Nothing outside the store may import this.

A conversation's keys share the hash tag of its partition, not of itself: then "append to the inbox and arm the timer"
is one script on one slot, also on a Redis Cluster. The number of partitions is fixed for the life of an installation.
"""

from __future__ import annotations

from zlib import crc32

from gateway.domain.messages import ConversationKey

PARTITIONS = 64
DEDUPE_S = 26 * 3600
"""Telegram keeps an update for 24 h and Slack retries within minutes; two hours on top for clocks and pauses."""
AMENDED_S = 600
"""Slack's last retry of an event comes about six minutes after the first."""
MAILBOX_S = 3600
"""What the terminal did not fetch for an hour, nobody waits for."""
DEAD_S = 30 * 24 * 3600


def partition(conversation: ConversationKey) -> int:
    """The partition a conversation lives in; stable across processes and versions."""
    return crc32(conversation.encode()) % PARTITIONS


def _base(number: int) -> str:
    return f"tw:{{p{number:02d}}}:"


def due(number: int) -> str:
    """Sorted set of a partition: conversation → ms at which somebody must look at it."""
    return _base(number) + "due"


def inbox(conversation: ConversationKey) -> str:
    """List of waiting envelopes, oldest first; read in place and trimmed when a turn finishes."""
    return f"{_base(partition(conversation))}i:{conversation}"


def state(conversation: ConversationKey) -> str:
    """Hash: thread, sequence number, fence, and while a turn is at work its progress."""
    return f"{_base(partition(conversation))}s:{conversation}"


def dedupe(conversation: ConversationKey, name: str) -> str:
    """String, gone after DEDUPE_S: this message was stored."""
    return f"{_base(partition(conversation))}d:{conversation}:{name}"


def amended(conversation: ConversationKey, message_id: str) -> str:
    """String, gone after AMENDED_S: an edit or a deletion whose message may come after it."""
    return f"{_base(partition(conversation))}a:{conversation}:{message_id}"


def threads(conversation: ConversationKey) -> str:
    """List of earlier thread ids, oldest first."""
    return f"{_base(partition(conversation))}h:{conversation}"


def memory(conversation: ConversationKey) -> str:
    """Hash of what the tools `remember` and `recall` keep."""
    return f"{_base(partition(conversation))}m:{conversation}"


def last_reply(conversation: ConversationKey) -> str:
    """String, for as long as asked: the parts of the last reply and the turn that they are from."""
    return f"{_base(partition(conversation))}l:{conversation}"


def server(number: int) -> str:
    """Hash of a partition: the Redis process that was seen last (run_id), and since when (ms) if it was another."""
    return _base(number) + "server"


def dead(conversation: ConversationKey) -> str:
    """Capped list of turns that we gave up."""
    return f"{_base(partition(conversation))}x:{conversation}"


def dead_index(number: int) -> str:
    """Sorted set of a partition: conversation with dead letters → ms of the newest one."""
    return _base(number) + "dead"


def leader(name: str) -> str:
    """String with an owner: the lease of something only one process may do."""
    return f"tw:leader:{name}"


def value(name: str) -> str:
    """Small shared facts: a poll offset, a latch."""
    return f"tw:value:{name}"


def table(name: str) -> str:
    """Hash of small shared facts: updates that a full conversation could not take."""
    return f"tw:table:{name}"


def mailbox(user: str) -> str:
    """List of replies waiting for a terminal."""
    return f"tw:console:{user}"


def definitions(backend: str) -> str:
    """Hash of assistant name → id and fingerprint at one backend."""
    return f"tw:assistants:{backend}"


def paired() -> str:
    """Hash: person → when they were paired, their name, the fingerprint of the code. One slot with the next ones."""
    return "tw:{access}:paired"


def told(person: str) -> str:
    """String, gone after a day: the event that this person was refused for and told so."""
    return f"tw:{{access}}:told:{person}"


def guesses(person: str) -> str:
    """Counter, gone after an hour: wrong pairing codes of this person."""
    return f"tw:{{access}}:guesses:{person}"


def code(fingerprint: str) -> str:
    """String, gone with its pairing code's life."""
    return f"tw:{{access}}:code:{fingerprint}"


WORKERS = "tw:workers"
SWEEPERS = "{tw:workers}:sweepers"
"""Sorted sets of worker → ms of its last report: all that live, and those that share the sweep. One slot."""
TRACE = "tw:trace"
NUDGES = "tw:nudge"
