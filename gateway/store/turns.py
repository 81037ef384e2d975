"""Work in progress: the stored form of a turn, and the scripts that move it on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gateway.domain.errors import LeaseLost, Refused
from gateway.domain.messages import InboundMessage, RunId, ThreadId
from gateway.domain.turns import Lease, Phase, Turn
from gateway.store import keys
from gateway.store.envelopes import envelope_message
from gateway.store.inbox import GRACE_MS

Script = Callable[[Sequence[str], Sequence[str | int]], Awaitable[Any]]
Fields = Mapping[str, str | int]
"""Fields of the turn's hash to write; "" deletes one."""


class MailUnreadable(Refused):
    """What acquire handed out cannot be read: another version of threadway wrote it, or a hand did.

    The lease is held all the same. Whoever catches this parks the turn, so that a worker of the other version may take
    it, and after a few tries puts it aside: the conversation must not wait behind it for ever.
    """

    def __init__(self, lease: Lease, at_ms: int, tries: int, envelopes: Sequence[str], why: str) -> None:
        super().__init__(f"the mail cannot be read: {why}")
        self.lease = lease
        self.at_ms = at_ms
        self.tries = tries
        self.envelopes = envelopes


def read_turn(lease: Lease, now_ms: int, fields: Mapping[str, str], envelopes: Sequence[str]) -> Turn:
    """Build the worker's copy from what acquire handed out. Raises MailUnreadable."""
    try:
        return _read(lease, now_ms, fields, envelopes)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as strange:
        tries = fields.get("tries", "1")
        why = type(strange).__name__  # its text may hold the message's
        raise MailUnreadable(lease, now_ms, int(tries) if tries.isdigit() else 1, envelopes, why) from None


def _read(lease: Lease, now_ms: int, fields: Mapping[str, str], envelopes: Sequence[str]) -> Turn:
    batch = [envelope_message(envelope) for envelope in envelopes]
    key = fields.get("key") or f"{lease.conversation}#{batch[0].event_id}"
    return Turn(
        id=hashlib.sha256(key.encode()).hexdigest()[:10],
        key=key,
        lease=lease,
        batch=batch,
        taken_ms=now_ms,
        phase=Phase(fields["phase"]),
        thread=ThreadId(fields["thread"]) if "thread" in fields else None,
        run=RunId(fields["run"]) if "run" in fields else None,
        run_intended="ri" in fields,
        started_ms=int(fields.get("started", 0)),
        failing_since_ms=int(fields.get("failing", 0)),
        failures=int(fields.get("failures", 0)),
        rounds=int(fields.get("rounds", 0)),
        tries=int(fields.get("tries", 1)),
        parts=json.loads(fields["parts"]) if "parts" in fields else [],
        outcome=fields.get("outcome", ""),
        posted={int(name[4:]): value for name, value in fields.items() if name.startswith("mid:")},
        part_intended=int(fields.get("psend", -1)),
        outputs={name[2:]: value for name, value in fields.items() if name.startswith("t:")},
        intended_calls={name[3:] for name in fields if name.startswith("ti:")},
        stop_requested="stop" in fields,
        sent=int(fields.get("sent", 0)),
        steering="steer" in fields,
        passed_over=RunId(fields["over"]) if "over" in fields else None,
        notices={name[3:] for name in fields if name.startswith("no:")},
    )


class Turns:
    """Progress of turns. Every write carries the fence; an old one raises LeaseLost and changes nothing."""

    def __init__(
        self, step: Script, park: Script, extend: Script, behind: Script, reject: Script, finish: Script
    ) -> None:
        self._step = step
        self._park = park
        self._extend = extend
        self._behind = behind
        self._reject = reject
        self._finish = finish

    async def step(self, lease: Lease, fields: Fields, *, lease_s: float) -> bool:
        """Write progress and renew the lease; True when the user asked to stop.

        May be repeated. Raises LeaseLost, StoreDown.
        """
        key = lease.conversation
        ours, stop = await self._step(
            [keys.state(key), keys.due(keys.partition(key))],
            [key, lease.fence, int(lease_s * 1000), *_flat(fields)],
        )
        if not int(ours):
            raise LeaseLost(key)
        return bool(stop)

    async def park(
        self,
        lease: Lease,
        delay_s: float,
        fields: Fields | None = None,
        *,
        clean: bool = True,
        heard: bool = False,
    ) -> None:
        """Put the turn down for `delay_s` and give the lease back. Raises LeaseLost, StoreDown.

        `clean` False counts it as a failed try; after the fifth the turn is given up. A stop that came meanwhile makes
        the turn due at once, unless the holder has `heard` of it.
        """
        key = lease.conversation
        if not await self._park(
            [keys.state(key), keys.due(keys.partition(key))],
            [key, lease.fence, int(delay_s * 1000), int(clean), int(heard), *_flat(fields or {})],
        ):
            raise LeaseLost(key)

    async def extend(self, lease: Lease, *, max_batch: int, lease_s: float) -> list[InboundMessage]:
        """Let the plain messages directly behind the batch join the turn; the next run brings just them.

        Call it when the turn's run has ended and its messages are in the thread: what belonged to that run (its tool
        calls, its reply) is forgotten, the phase is COLLECTED again, `sent` says how many messages were brought before.
        Returns what joined, [] when nothing waits, no run was begun or the batch has `max_batch` messages: then nothing
        is changed. Renews the lease. May be repeated until the next run is begun. Raises LeaseLost, StoreDown.
        """
        key = lease.conversation
        ours, *joined = await self._extend(
            [keys.inbox(key), keys.state(key), keys.due(keys.partition(key))],
            [key, lease.fence, int(lease_s * 1000), max_batch],
        )
        if not int(ours):
            raise LeaseLost(key)
        return [envelope_message(envelope) for envelope in joined]

    async def behind(self, lease: Lease, limit: int) -> list[str]:
        """The envelopes of the plain messages directly behind the batch, up to the next command and `limit`.

        Changes nothing. Raises LeaseLost, StoreDown.
        """
        key = lease.conversation
        ours, *found = await self._behind([keys.inbox(key), keys.state(key)], [lease.fence, limit])
        if not int(ours):
            raise LeaseLost(key)
        return [str(envelope) for envelope in found]

    async def reject(self, lease: Lease, envelopes: Sequence[str]) -> int:
        """Take exactly these waiting messages out of the inbox; how many were still there.

        One that was edited since `behind` named it stays. May be repeated. Raises LeaseLost, StoreDown.
        """
        key = lease.conversation
        removed = int(await self._reject([keys.inbox(key), keys.state(key)], [lease.fence, *envelopes]))
        if removed < 0:
            raise LeaseLost(key)
        return removed

    async def finish(
        self,
        lease: Lease,
        *,
        through_stop: bool = False,
        new_thread: bool = False,
        keep_reply_s: float = 0.0,
        turn_id: str = "",
    ) -> int:
        """End the turn: its mail leaves the inbox, the lease is given back. Returns how many messages wait now.

        With `keep_reply_s` its parts are kept for so long, under `turn_id`, for `Conversations.last_reply`. May be
        repeated: a second call returns 0 and changes nothing. Raises StoreDown.
        """
        key = lease.conversation
        waiting = await self._finish(
            [keys.inbox(key), keys.state(key), keys.due(keys.partition(key)), keys.threads(key), keys.last_reply(key)],
            [key, lease.fence, int(through_stop), int(new_thread), GRACE_MS, int(keep_reply_s * 1000), turn_id],
        )
        return max(0, int(waiting))


def _flat(fields: Fields) -> list[str | int]:
    return [word for pair in fields.items() for word in pair]
