"""The few tools that threadway ships. They register by entry point, exactly as a stranger's package would."""

from __future__ import annotations

import difflib
from datetime import datetime
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

from pydantic import StringConstraints

from gateway.domain.errors import ToolFailed
from workers.tools.calculator import evaluate
from workers.tools.contract import ToolContext
from workers.tools.function import tool

Key = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Value = Annotated[str, StringConstraints(min_length=1, max_length=4000)]


@tool(repeatable=True)
def clock(zone: str = "UTC") -> dict[str, str]:
    """Tell the current date, time and weekday in a time zone.

    Args:
        zone: IANA name of the time zone, for example "Europe/Berlin" or "Asia/Shanghai".
    """
    wanted = _find_zone(zone)
    now = datetime.now(ZoneInfo(wanted))
    return {"zone": wanted, "time": now.isoformat(timespec="seconds"), "weekday": f"{now:%A}"}


def _find_zone(zone: str) -> str:
    zones = available_timezones()  # looked up, never opened by the model's text: a zone name is a file name to zoneinfo
    wanted = zone.strip().replace(" ", "_").casefold()
    by_folded = {name.casefold(): name for name in zones}
    if name := by_folded.get(wanted):
        return name
    # A city is what models offer most often: "Berlin", "New York".
    cities = sorted(name for folded, name in by_folded.items() if folded.rpartition("/")[2] == wanted)
    near = cities or [by_folded[folded] for folded in difflib.get_close_matches(wanted[:100], by_folded, n=3)]
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise ToolFailed(f"There is no such time zone.{hint} Use an IANA name such as Europe/Berlin.")


@tool(repeatable=True)
def calculator(expression: str) -> str:
    """Calculate an arithmetic expression exactly, to 28 digits.

    Args:
        expression: For example "12*12", "(3 + 4) / 2", "sqrt(2)", "2**10". Operators + - * / // % **; functions sqrt,
            abs, round, floor, ceil, min, max, sum, exp, ln, log(x, base), log10, log2, sin, cos, tan, asin, acos, atan
            (radians), degrees, radians, factorial, gcd; constants pi, e.
    """
    return evaluate(expression)


@tool(repeatable=True)
async def remember(key: Key, value: Value, context: ToolContext) -> str:
    """Keep a fact about this conversation or its user for later, also beyond the current thread.

    Args:
        key: Short name of the fact, for example "favourite_colour"; an older fact of that name is replaced.
        value: The fact.
    """
    await context.memory.remember(key, value)
    return f"Remembered under {key!r}."


@tool(repeatable=True)
async def recall(context: ToolContext, key: Key | None = None) -> dict[str, str]:
    """Look up facts that were remembered in this conversation.

    Args:
        key: Name of the fact; leave it out to get all of them.
    """
    return await context.memory.recall(key)
