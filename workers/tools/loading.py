"""Names in threadway.toml → tools: built-in ones by entry point, a user's own by "module:function"."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gateway.domain.errors import SettingsInvalid
from workers.tools.contract import Tool
from workers.tools.function import FunctionTool

GROUP = "threadway.tools"
"""Entry points of this group are tools by their short name; ours register the same way as a stranger's package."""


def load_tools(names: Sequence[str]) -> dict[str, Tool]:
    """The tools behind `names`, by the name that a model calls them; in the order of `names`.

    A name is that of an entry point in the group "threadway.tools", or "module:function"; what is found is a function
    or an object that is a Tool already. A name given twice is loaded once. Imports user code, so call it at the start;
    may be called twice. Raises SettingsInvalid with one line per fault, all of them at once.
    """
    known = {point.name: point for point in entry_points(group=GROUP)}
    loaded: dict[str, Tool] = {}
    origin: dict[str, str] = {}
    errors: list[str] = []
    for name in dict.fromkeys(names):
        try:
            found = _as_tool(name, _import(name) if ":" in name else _look_up(name, known))
        except SettingsInvalid as error:
            errors.extend(error.errors)
            continue
        if found.name in loaded:
            errors.append(
                f'tools: "{name}" and "{origin[found.name]}" are both called "{found.name}"; '
                "give one of them another by @tool(name=…)"
            )
            continue
        loaded[found.name], origin[found.name] = found, name
    if errors:
        raise SettingsInvalid(errors)
    return loaded


def _look_up(name: str, known: dict[str, EntryPoint]) -> Any:
    if point := known.get(name):
        return _import(point.value)
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f'did you mean "{nearest[0]}"?' if nearest else f"there are {', '.join(sorted(known)) or 'none'}"
    raise SettingsInvalid([f'tools: there is no tool "{name}"; {hint} Your own is written "module:function"'])


def _import(target: str) -> Any:
    module_name, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            reason = f'there is no module "{error.name}" in the current folder, beside threadway.toml or installed'
        else:
            reason = f'{module_name} imports "{error.name}", which is not installed'
        raise SettingsInvalid([f'tools: "{target}": {reason}']) from error
    except Exception as error:  # a user's module may raise anything while it is imported
        reason = f"importing {module_name!r} failed: {type(error).__name__}: {error}"
        raise SettingsInvalid([f'tools: "{target}": {reason}']) from error
    for step in path.split("."):
        if not hasattr(found, step):
            nearest = difflib.get_close_matches(step, [n for n in dir(found) if not n.startswith("_")], n=1)
            hint = f'; did you mean "{nearest[0]}"?' if nearest else ""
            raise SettingsInvalid([f'tools: "{target}": there is no "{step}" in {module_name}{hint}'])
        found = getattr(found, step)
    return found


def _as_tool(name: str, found: Any) -> Tool:
    if inspect.isroutine(found):
        return FunctionTool(found)
    if isinstance(found, Tool) and not inspect.isclass(found):
        return found
    raise SettingsInvalid([f'tools: "{name}" is a {type(found).__name__}; a tool is a function or a Tool object'])
