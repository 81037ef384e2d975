"""A tool with a side effect that can be counted: a line in a file of the worker's folder for each call."""

from __future__ import annotations

from pathlib import Path

CALLS = "calls.txt"


def calculator(expression: str) -> str:
    """Work out an expression.

    expression: a sum or a product, as "2+3" or "12*12"
    """
    with Path(CALLS).open("a") as calls:
        calls.write(f"{expression}\n")
    left, operator, right = expression.partition("*" if "*" in expression else "+")
    return str(int(left) * int(right) if operator == "*" else int(left) + int(right))
