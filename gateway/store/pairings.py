"""Who is paired, the codes that pair, and who was told that they are not let in."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gateway.store import keys

Script = Callable[[Sequence[str], Sequence[str | int]], Awaitable[Any]]
MAX_GUESSES = 5
"""Wrong codes of one person within GUESSES_S; then none is looked at until it is over."""
GUESSES_S = 3600
TOLD_S = 24 * 3600
"""How often somebody is told that they are not let in."""


class Knock(StrEnum):
    """What becomes of somebody whom the settings do not name."""

    IN = "in"
    PAIRED = "paired"
    """With this very message."""
    REFUSED = "refused"
    """To be told, this once."""
    WRONG_CODE = "wrong_code"
    TOO_MANY_CODES = "too_many_codes"
    SILENT = "silent"
    """Not let in, and told so before."""


@dataclass(frozen=True, slots=True)
class Paired:
    """Somebody who was let in by a code."""

    person: str
    """As Origin.person; what `revoke` takes."""
    name: str
    """As the platform gave it at the time, "" where it gave none."""
    at_ms: int
    """Redis's time of the pairing."""


class Pairings:
    """Everything about pairing that is kept. People are named as in Origin.person."""

    def __init__(self, knock: Script, call: Callable[..., Awaitable[Any]]) -> None:
        self._knock = knock
        self._call = call

    async def knock(
        self, person: str, event_id: str, *, code: str = "", name: str = "", tell: bool = True, pairing: bool = True
    ) -> Knock:
        """Decide about one message of somebody whom the settings do not name, and remember that they were told.

        `code`: fingerprint of the code that it is. `tell` False: nobody is to be told anything. `pairing` False: who is
        paired does not count (mode "allowlist"). One round trip; may be called twice with the same event. Raises
        StoreDown.
        """
        names = [keys.paired(), keys.told(person), keys.guesses(person), keys.code(code)]
        words: list[str | int] = [person, event_id, code, name, int(pairing), int(tell), MAX_GUESSES, GUESSES_S, TOLD_S]
        return Knock(await self._knock(names, words))

    async def add_code(self, fingerprint: str, *, life_s: int) -> None:
        """From now on, and for `life_s`, the code pairs the first who sends it. Raises StoreDown."""
        await self._call("SET", keys.code(fingerprint), "1", "EX", life_s)

    async def all(self) -> list[Paired]:
        """Everybody who is paired, the newest first. Raises StoreDown."""
        raw = await self._call("HGETALL", keys.paired())
        found = raw.items() if isinstance(raw, dict) else zip(raw[::2], raw[1::2], strict=True)
        kept = ((person, json.loads(record)) for person, record in found)
        people = [Paired(person, record["name"], record["at_ms"]) for person, record in kept]
        return sorted(people, key=lambda known: known.at_ms, reverse=True)

    async def revoke(self, person: str) -> bool:
        """Whoever it is has to pair again; False when they are not paired. May be called twice. Raises StoreDown."""
        return bool(await self._call("HDEL", keys.paired(), person))
