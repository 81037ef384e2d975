"""Who dies in a case, and in which order; and what has to have come of it all the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.chaos.forkserver import Forked
from tests.chaos.place import Place

Act = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Expected:
    """What has to be there at the end."""

    heard: list[str] = field(default_factory=list)
    """The bot's posts, in order, without notices of interruption; the parts of one reply as one text."""
    threads: list[str] = field(default_factory=list)
    """What people said, in order, as the backend's threads have it: each message once."""
    free: bool = False
    """The scenario has looked for itself at what was heard: it depends on the moment of death."""


@dataclass(slots=True)
class Stage:
    """A place, and who dies there."""

    place: Place
    arms: tuple[str, ...] = ()
    """Where to die, one process after the other; () where nobody does. All are of gateways, or none."""
    late: bool = False
    """The next worker begins only after the lease of the dead one has ended."""
    expected: Expected = field(default_factory=Expected)

    @property
    def gateways_die(self) -> bool:
        """Whether gateways die, not workers."""
        return bool(self.arms) and self.arms[0].startswith("intake.")

    async def open(self) -> None:
        """Start the gateway, unless it is to die: then it begins in `dying`."""
        if not self.gateways_die:
            await self.place.crew.gateway()

    def expect(self, heard: str = "", *, said: str = "") -> None:
        """`heard` has to be the next post, `said` the next message in a thread."""
        self.expected.heard += [heard] if heard else []
        self.expected.threads += [said] if said else []

    @asynccontextmanager
    async def dying(
        self, between: Act | None = None, *, blind: bool = False, worker: bool = True
    ) -> AsyncIterator[None]:
        """Inside the block processes die one after the other; after it they have, and those that take over are at work.

        between: what happens after the first death of a worker, or in the end where no worker dies.
        blind: the workers that die know no platform. worker: start one that lives on, too.
        """
        if self.gateways_die:
            first = await self.place.crew.gateway(self.arms[0])
            deaths = asyncio.ensure_future(self._gateways_die(first, worker))
        else:
            deaths = asyncio.ensure_future(self._workers_die(between, blind))
        body_failed = True
        try:
            yield
            body_failed = False
            await deaths
        finally:
            if deaths.done() and body_failed and not deaths.cancelled() and (error := deaths.exception()):
                raise error  # the body waits in vain for what a process that failed to die would have done
            deaths.cancel()
        if between and (self.gateways_die or not self.arms):
            await between()

    async def _workers_die(self, between: Act | None, blind: bool) -> None:
        for number, arm in enumerate(self.arms):
            worker = await self.place.crew.worker(arm, blind=blind)
            await self.place.crew.death(worker, arm)
            if between and not number:
                await between()
            if self.late:
                await self.place.kept.lease_ended()
        await self.place.crew.worker()

    async def _gateways_die(self, first: Forked, worker: bool) -> None:
        if worker:
            await self.place.crew.worker()
        for number, arm in enumerate(self.arms):
            gateway = first if not number else await self.place.crew.gateway(arm)
            await self.place.crew.death(gateway, arm)
        await self.place.crew.gateway()
