"""Function tools as the demo model sees them: which there are, what a sentence says about one, example arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PAIR = re.compile(r"""(?P<key>\w{1,64})\s*[=:]\s*(?:"(?P<quoted>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s,;，；]+))""")
_VERB = re.compile(
    r"(?:\b(?:call|use|run|invoke|execute|rufe?|benutze?|nutze?|verwende|llama(?: a)?|usa|ejecuta)\b|调用|使用|运行)"
    r"(?:\s+(?:the|die|das|den|la|el|función|funktion|function|tool|werkzeug))*\s*[`'\"]?$",
    re.IGNORECASE,
)
_MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Function:
    """One function tool of a request."""

    name: str
    parameters: Mapping[str, Any]

    @property
    def properties(self) -> Mapping[str, Any]:
        """The schemas of its arguments."""
        return _mapping(self.parameters.get("properties"))


@dataclass(frozen=True, slots=True)
class Named:
    """A function that a text names. `clear`: arguments were given with it, so a call is surely meant."""

    name: str
    arguments: dict[str, Any]
    clear: bool


def functions_of(tools: Sequence[Mapping[str, Any]]) -> dict[str, Function]:
    """The usable ones among Chat Completions tool objects, by name; whatever is malformed is left out."""
    found = {}
    for tool in tools:
        function = _mapping(tool.get("function"))
        name = function.get("name")
        if tool.get("type") == "function" and isinstance(name, str) and name:
            found[name] = Function(name, _mapping(function.get("parameters")))
    return found


def find_call(text: str, functions: Mapping[str, Function]) -> Named | None:
    """The function that `text` names with arguments (key=value or JSON), or orders to be called. Never raises."""
    for match in _NAME.finditer(text):
        function = functions.get(match.group())
        if function is None:
            continue
        before, after = text[: match.start()], text[match.end() :]
        arguments = _arguments(after, function)
        if arguments is not None:
            return Named(function.name, arguments, clear=True)
        if _VERB.search(before):
            return Named(function.name, _only_argument(after, function), clear=False)
    return None


def example(schema: Any, text: str, depth: int = 0) -> Any:
    """A value that fits `schema` as far as it is simple, with `text` where a string may stand. Never raises."""
    shape = _mapping(schema)
    options = shape.get("enum")
    if "const" in shape:
        return shape["const"]
    if isinstance(options, list) and options:
        return options[0]
    kind = shape.get("type")
    kind = next((k for k in kind if k != "null"), None) if isinstance(kind, list) else kind
    match kind:
        case "object":
            properties = _mapping(shape.get("properties"))
            wanted = shape.get("required")
            names = [n for n in wanted if isinstance(n, str)] if isinstance(wanted, list) else list(properties)
            return {name: example(properties.get(name), text, depth + 1) for name in names if depth < _MAX_DEPTH}
        case "array":
            return []
        case "integer" | "number":
            number = re.search(r"\d{1,9}", text)
            return int(number.group()) if number else 1
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return text


def _arguments(after: str, function: Function) -> dict[str, Any] | None:
    """What follows the name as arguments; None where nothing of the kind follows."""
    brace = after.find("{", 0, 40)
    if brace >= 0:
        try:
            value, _ = json.JSONDecoder().raw_decode(after[brace:])
        except (ValueError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
    pairs = {
        pair["key"]: next(value for value in (pair["quoted"], pair["single"], pair["bare"], "") if value is not None)
        for pair in _PAIR.finditer(after)
        if pair["key"] in function.properties or not function.properties
    }
    if not pairs:
        return None
    return {key: _typed(_trimmed(value), function.properties.get(key)) for key, value in pairs.items()}


def _trimmed(value: str) -> str:
    return value.rstrip(".,;!?)，。") or value


def _only_argument(after: str, function: Function) -> dict[str, Any]:
    """ "call find_order 17": a lone word is meant for the only parameter."""
    word = re.match(r"[`'\"(]*\s*[:：(]?\s*(?:with |mit |con )?([^\s,;.!?)]{1,200})[\s.!?)]*$", after)
    if word is None or len(function.properties) != 1:
        return {}
    key, schema = next(iter(function.properties.items()))
    return {key: _typed(word[1], schema)}


def _typed(value: str, schema: Any) -> Any:
    """`value` as the schema's type where it can be read so, else as it is: the tool will say what is wrong."""
    kind = _mapping(schema).get("type")
    if kind in ("integer", "number") and re.fullmatch(r"-?\d{1,18}", value):
        return int(value)
    if kind == "number" and re.fullmatch(r"-?\d{1,18}\.\d{1,18}", value):
        return float(value)
    if kind == "boolean" and value.lower() in ("true", "false", "yes", "no"):
        return value.lower() in ("true", "yes")
    return value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
