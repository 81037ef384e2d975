"""The service as one object: what routes.py offers over HTTP, and tests may call directly."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.assistants import views
from gateway.assistants.definitions import Assistants
from gateway.assistants.desk import Desk
from gateway.assistants.errors import not_found
from gateway.assistants.records import Database
from gateway.assistants.runs import Runs, Wake
from gateway.assistants.threads import Messages, Threads
from gateway.domain.pacing import Clock, SystemClock

__all__ = ["Desk", "Service"]


async def _nobody(_: str) -> None:
    return None


class Service:
    """The Assistants API on `database`. Its parts hold no state of their own: any number of processes may serve one.

    `run_expiry_s`: how long a run may take from its creation, seconds. `wake` is awaited with a run's id after the run
    became queued and that is committed; its failure or loss is harmless. `models`: the names clients may ask for and
    the upstream's name of each, only to be listed: the model driver translates them.
    """

    def __init__(
        self,
        database: Database,
        *,
        run_expiry_s: float = 600,
        wake: Wake = _nobody,
        clock: Clock | None = None,
        models: Mapping[str, str] | None = None,
    ) -> None:
        clock = clock or SystemClock()
        self.assistants = Assistants(database, clock)
        self.threads = Threads(database, clock)
        self.messages = Messages(database, clock)
        self.runs = Runs(database, clock, expiry_s=run_expiry_s, wake=wake)
        self.models = Models(models or {}, int(clock.now().timestamp()))


class Models:
    """GET /models: names without wildcards that clients may ask for, and the upstream's own."""

    def __init__(self, names: Mapping[str, str], created_at: int) -> None:
        known = dict.fromkeys([*names, *names.values()])
        self._names = [name for name in known if not any(sign in name for sign in "*?[")]
        self._created_at = created_at

    def list(self) -> views.Json:
        """All of them (the list has no pages)."""
        return {"object": "list", "data": [self._show(name) for name in self._names]}

    def retrieve(self, name: str) -> views.Json:
        """One. Raises ApiError 404."""
        if name not in self._names:
            raise not_found("model", name, param="model")
        return self._show(name)

    def _show(self, name: str) -> views.Json:
        return {"id": name, "object": "model", "created": self._created_at, "owned_by": "threadway"}
