"""The entries of `[access] allow` and `admins`: their form, and whom they let in. Pure.

There are no patterns: an entry is compared as a whole, so that a slip of the pen lets nobody in.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from gateway.domain.messages import Origin

_TEAM, _USER, _CHANNEL = "[TE][A-Z0-9]{1,31}", "[UW][A-Z0-9]{1,31}", "[CDG][A-Z0-9]{1,31}"
_FORMS = {
    "telegram:user": (re.compile(r"telegram:user:[1-9][0-9]{0,19}"), "telegram:user:4242"),
    "telegram:chat": (re.compile(r"telegram:chat:-?[1-9][0-9]{0,19}"), "telegram:chat:-1001234567890"),
    "slack:team": (re.compile(f"slack:team:{_TEAM}"), "slack:team:T0EXAMPLE"),
    "slack:user": (re.compile(f"slack:user:{_TEAM}:{_USER}"), "slack:user:T0EXAMPLE:U0ANN"),
    "slack:channel": (re.compile(f"slack:channel:{_TEAM}:{_CHANNEL}"), "slack:channel:T0EXAMPLE:C0SUPPORT"),
}
_STRANGERS = re.compile(r"[a-z][a-z0-9_-]{0,31}:(?:user|chat):[^\s*?]{1,200}")
"""Of an adapter that is not ours: what its author says it puts into Origin."""


def check_entry(entry: str, others: Collection[str] = ()) -> str:
    """`entry` if it has the form of one. `others`: adapters beside Telegram and Slack. Raises ValueError in words."""
    if "*" in entry or "?" in entry:
        raise ValueError('there are no patterns here: name each, or let everybody in with mode = "open"')
    platform, _, rest = entry.partition(":")
    if platform in others and _STRANGERS.fullmatch(entry):
        return entry
    form, example = _FORMS.get(f"{platform}:{rest.partition(':')[0]}", (None, ""))
    if form is None:
        examples = ", ".join(f'"{example}"' for _, example in _FORMS.values())
        raise ValueError(f"nobody is named like this; write {examples}")
    if not form.fullmatch(entry):
        raise ValueError(f'write it like "{example}"')
    return entry


def check_admin(entry: str, others: Collection[str] = ()) -> str:
    """`entry` if it names one person. Raises ValueError as `check_entry`."""
    if check_entry(entry, others).split(":")[1] != "user":
        raise ValueError('an admin is a person; write it like "telegram:user:4242" or "slack:user:T0EXAMPLE:U0ANN"')
    return entry


@dataclass(frozen=True, slots=True)
class Rules:
    """Whom the settings name."""

    allow: frozenset[str] = frozenset()
    admins: frozenset[str] = frozenset()

    @classmethod
    def of(cls, allow: Collection[str], admins: Collection[str]) -> Self:
        """The rules of checked entries."""
        return cls(frozenset(allow), frozenset(admins))

    def allows(self, origin: Origin) -> bool:
        """Whether the person, or a place where it was said, is named. Admins may talk wherever they are."""
        return self.is_admin(origin.person) or not self.allow.isdisjoint((origin.person, *origin.places))

    def is_admin(self, person: str) -> bool:
        """Whether a person (`Origin.person`) is named in `admins`."""
        return person in self.admins
