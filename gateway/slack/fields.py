"""Fields of Slack's payloads, checked: nothing gets into a key that does not have the form of its part. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from gateway.slack.text import clean

ID = re.compile(r"[A-Z0-9]{2,32}")
TS = re.compile(r"\d{1,12}\.\d{1,9}")


class Malformed(ValueError):
    """A payload without what every payload of its kind has."""


@contextmanager
def reading() -> Iterator[None]:
    """Inside the block Slack's documented types are trusted; where they do not hold, Malformed comes out."""
    try:
        yield
    except Malformed:
        raise
    except (TypeError, ValueError, LookupError, AttributeError) as error:
        raise Malformed(type(error).__name__) from error


def matching(form: re.Pattern[str], value: Any, what: str) -> str:
    """`value` if it has the form that keys are built from: nothing else may get into one. Raises Malformed."""
    if not isinstance(value, str) or not form.fullmatch(value) or not value.isascii():
        raise Malformed(f"no {what}")
    return value


def filled(value: Any, what: str) -> str:
    """`value` if it is a short storable text. Raises Malformed."""
    if not is_short(value):
        raise Malformed(f"no {what}")
    return str(value)


def is_short(value: Any) -> bool:
    """Whether it is a text that fits into a key or a log line, and no store refuses it."""
    return isinstance(value, str) and 0 < len(value) <= 200 and clean(value) == value


def micros(ts: str) -> int:
    """A checked ts as µs since the epoch, digit by digit: as a float its last digits would be guesses."""
    seconds, _, fraction = ts.partition(".")
    return int(seconds) * 1_000_000 + int(fraction[:6].ljust(6, "0"))


def team_of(body: Mapping[str, Any]) -> str:
    """The workspace (of an org-wide install: the organisation) a payload came from. Raises Malformed.

    The top-level team_id is the workspace that has the app, also in channels shared with other organisations.
    """
    authorizations = body.get("authorizations")
    first = authorizations[0] if isinstance(authorizations, list) and authorizations else None
    first = first if isinstance(first, dict) else {}
    for candidate in (body.get("team_id"), first.get("team_id"), first.get("enterprise_id"), body.get("enterprise_id")):
        if candidate:
            return matching(ID, candidate, "team_id")
    raise Malformed("no team_id")


def is_guest(event: Mapping[str, Any], team: str) -> bool:
    """Whether a message's author is of another workspace than the one that has the app (Slack Connect).

    Where the workspaces of one organisation share channels they count as others, too: in doubt nobody is let in.
    """
    return any(event.get(field) not in (None, "", team) for field in ("team", "user_team", "source_team"))


def is_direct(event: Mapping[str, Any]) -> bool:
    """Whether it was said in a direct message; a group DM is a channel like others."""
    return event.get("channel_type") == "im" or str(event.get("channel")).startswith("D")
