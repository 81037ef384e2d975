"""A user's own tools: plain typed functions. Run them with this in threadway.toml, beside which this file lies:

[[assistants]]
name = "shop"
model = "gpt-5.2"
instructions = "You help customers of a small shop."
tools = ["clock", "mytools:find_order", "mytools:open_ticket"]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from workers.tools import ToolContext, ToolFailed, tool

_ORDERS = {1001: ("shipped", 42.5), 1002: ("packed", 7.0)}
_TICKETS: dict[str, int] = {}


@dataclass
class Order:
    """What the model gets to see of an order."""

    number: int
    state: str
    total: float


def find_order(number: Annotated[int, Field(ge=1)]) -> Order:
    """Look up an order.

    Args:
        number: The order's number, as printed on the invoice.
    """
    if number not in _ORDERS:
        raise ToolFailed(f"There is no order {number}. Ask the customer to look at the invoice again.")
    state, total = _ORDERS[number]
    return Order(number, state, total)


@tool(timeout_s=10, repeatable=True)
async def open_ticket(subject: str, context: ToolContext, urgency: Literal["low", "normal", "high"] = "normal") -> str:
    """Hand the conversation to a human.

    Args:
        subject: One sentence on what the customer needs.
        urgency: How soon somebody has to look at it.
    """
    # Repeatable, because the call key makes it idempotent: the same call after a crash finds its own ticket.
    ticket = _TICKETS.setdefault(context.call_key, len(_TICKETS) + 1)
    return f"Ticket {ticket} ({urgency}) is open: {subject}"
