"""A function's docstring → what the model is told: a description, and a line for each parameter. Pure."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field

_PARAMETERS = re.compile(r"(?:args|arguments|parameters|params):\s*$", re.IGNORECASE)
_OTHER_SECTION = re.compile(
    r"(?:returns?|raises?|yields?|examples?|notes?|see also|warnings?|todo):\s*$", re.IGNORECASE
)
_ENTRY = re.compile(r"(\s+)\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
_FIELD = re.compile(r":param\s+(?:[^:]*\s)?(\w+)\s*:\s*(.*)$")
_ANY_FIELD = re.compile(r":\w+[^:]*:")


@dataclass(frozen=True, slots=True)
class Docs:
    """The readable part of a function."""

    description: str = ""
    parameters: dict[str, str] = field(default_factory=dict)


def read_docstring(text: str | None) -> Docs:
    """Split a docstring into description and parameters; never raises, takes what it understands.

    Understood are an "Args:" section (Google style: indented "name: text" or "name (type): text", continued by deeper
    indentation) and ":param name: text" lines. "Returns:", "Raises:" and the like end the description: they speak to
    the programmer.
    """
    description: list[str] = []
    parameters: dict[str, list[str]] = {}
    section = "description"
    indent = 0  # of the entries of the Args section
    current: list[str] | None = None  # the parameter whose text goes on
    for line in inspect.cleandoc(text or "").splitlines():
        if _PARAMETERS.match(line):
            section, current, indent = "parameters", None, 0
        elif _OTHER_SECTION.match(line) or (_ANY_FIELD.match(line) and not _FIELD.match(line)):
            section, current = "other", None
        elif found := _FIELD.match(line):
            section, indent = "parameters", 0
            current = parameters.setdefault(found[1], [])
            current.append(found[2])
        elif section == "description":
            description.append(line)
        elif section == "parameters":
            entry = _ENTRY.match(line)
            if entry and (not indent or len(entry[1]) <= indent):
                indent = len(entry[1])
                current = parameters.setdefault(entry[2], [])
                current.append(entry[3])
            elif line.startswith(" ") and current is not None:
                current.append(line.strip())
            elif line.strip():
                section, current = "other", None
    return Docs(
        "\n".join(description).strip(), {name: " ".join(filter(None, words)) for name, words in parameters.items()}
    )
