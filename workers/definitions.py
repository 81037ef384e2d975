"""Assistants as code: each definition is created at the backend once for the fleet, and updated when it changes."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from uuid import uuid4

from gateway.domain.pacing import Clock
from gateway.store import Store
from gateway.store.shared import Definition
from gateway.telemetry import log
from workers.backends import AssistantSpec, Backend

_LEASE_S = 30.0


def fingerprint(spec: AssistantSpec) -> str:
    """Changes whenever something of the definition does that the backend is told about."""
    return hashlib.sha256(json.dumps(asdict(spec), sort_keys=True, default=dict).encode()).hexdigest()[:32]


class Definitions:
    """Name of an assistant → its id at the backend."""

    def __init__(
        self, store: Store, backend: Backend, place: str, specs: Mapping[str, AssistantSpec], clock: Clock
    ) -> None:
        self._store = store
        self._backend = backend
        self._place = hashlib.sha256(f"{backend.name} {place}".encode()).hexdigest()[:16]
        self._specs = specs
        self._clock = clock
        self._known: dict[str, str] = {}
        self._making: dict[str, asyncio.Task[str]] = {}

    async def id_of(self, name: str) -> str:
        """The assistant's id, from memory, from Redis, or made now under a lease. May be called any time.

        A thousand turns that ask at once share one attempt, and its failure: one after the other they would wait a
        thousand time-outs of a backend that hangs. Raises what Backend.ensure_assistant raises, and StoreDown.
        """
        if name in self._known:
            return self._known[name]
        making = self._making.get(name)
        if making is None:
            making = self._making[name] = asyncio.create_task(self._find_or_make(name))
            making.add_done_callback(lambda done: self._made(name, done))
        return await asyncio.shield(making)  # who asked first may be cancelled, the others still wait

    def _made(self, name: str, done: asyncio.Task[str]) -> None:
        del self._making[name]
        if not done.cancelled():
            done.exception()  # taken, also where everybody who waited is gone

    async def _find_or_make(self, name: str) -> str:
        spec = self._specs[name]
        wanted = fingerprint(spec)
        owner = uuid4().hex
        role = f"define:{self._place}:{name}"
        while True:
            found = await self._store.shared.definition(self._place, name)
            if found and found.fingerprint == wanted:
                break
            if await self._store.leases.lead(role, owner, ttl_s=_LEASE_S):
                try:
                    found = Definition(await self._backend.ensure_assistant(spec, wanted), wanted)
                    await self._store.shared.set_definition(self._place, name, found)
                    log.info("assistant.defined", assistant=name, id=found.assistant_id)
                finally:
                    await self._store.leases.resign(role, owner)
                break
            await self._clock.sleep(0.1)  # another worker is making it
        self._known[name] = found.assistant_id
        return found.assistant_id

    async def forget(self, name: str) -> None:
        """The backend does not know it any more: the next `id_of` makes it again. Raises StoreDown."""
        self._known.pop(name, None)
        await self._store.shared.set_definition(self._place, name, None)
