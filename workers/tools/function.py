"""A typed Python function → a tool: its JSON Schema, the check of what the model sends, the call."""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, overload

import pydantic
import pydantic_core
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from gateway.domain.errors import SettingsInvalid, ToolFailed
from workers.tools.contract import DEFAULT_TIMEOUT_S, ToolContext
from workers.tools.docstring import read_docstring
from workers.tools.threads import DaemonThreads

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_OPTIONS = "__threadway_tool__"
_MOST_FAULTS_TOLD = 10
_THREADS = DaemonThreads(limit=32)
"""Shared by all tools of the process: the bound is there for the process's memory, not for one tool."""

AnyFunction = TypeVar("AnyFunction", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class _Options:
    name: str | None = None
    timeout_s: float = DEFAULT_TIMEOUT_S
    repeatable: bool = False


@overload
def tool(function: AnyFunction, /) -> AnyFunction: ...
@overload
def tool(
    *, name: str | None = None, timeout_s: float = DEFAULT_TIMEOUT_S, repeatable: bool = False
) -> Callable[[AnyFunction], AnyFunction]: ...
def tool(
    function: AnyFunction | None = None,
    /,
    *,
    name: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    repeatable: bool = False,
) -> AnyFunction | Callable[[AnyFunction], AnyFunction]:
    """Mark a function as a tool and give it options; without options the mark changes nothing.

    The function stays an ordinary function: call it in your own code and tests as before. It is inspected when the
    tool is loaded, so a mistake in it is reported with the other settings and not as an import error.

    name: what the model calls it; the function's own name by default.
    timeout_s: seconds one call may take, waiting for a free thread included.
    repeatable: after a crash that left the outcome unknown the call may be made again (it only reads, or uses
    `ToolContext.call_key` as idempotency key). Otherwise the model is told that the outcome is unknown.
    """
    options = _Options(name, timeout_s, repeatable)

    def mark(marked: AnyFunction) -> AnyFunction:
        setattr(marked, _OPTIONS, options)
        return marked

    return mark(function) if function is not None else mark


class FunctionTool:
    """A function as a tool. Built once at the start; safe to call from many runs at once."""

    def __init__(self, function: Callable[..., Any]) -> None:
        """Inspect `function`. Raises SettingsInvalid, naming the parameter, where it cannot be a tool."""
        options: _Options = getattr(function, _OPTIONS, _Options())
        self.name = options.name or str(getattr(function, "__name__", ""))
        self.timeout_s = options.timeout_s
        self.repeatable = options.repeatable
        self._function = function
        self._asynchronous = inspect.iscoroutinefunction(function)
        where = f"tool {getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', self.name)}"
        if not _NAME.fullmatch(self.name):
            raise SettingsInvalid([f"{where}: the name {self.name!r} has to be 1 to 64 of a-z A-Z 0-9 _ -"])
        if not self.timeout_s > 0:
            raise SettingsInvalid([f"{where}: timeout_s has to be more than 0 seconds, not {self.timeout_s}"])
        docs = read_docstring(function.__doc__)
        self.description = docs.description
        visible, self._context_parameters = _parameters(function, where)
        self._arguments, self._names = _arguments_model(self.name, visible, docs.parameters)
        self.parameters: Mapping[str, Any] = _schema(self._arguments)

    def check(self, arguments: str) -> Mapping[str, Any]:
        """See Tool.check. A quoted number is taken for a number, "" for no arguments: models write both."""
        try:
            checked = self._arguments.model_validate_json(arguments if arguments.strip() else "{}")
        except pydantic.ValidationError as error:
            raise ToolFailed(_told(error)) from None
        # Only what the model sent: the defaults are the function's own business.
        return {self._names[field]: getattr(checked, field) for field in checked.model_fields_set}

    async def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """See Tool.call. A plain function runs in a thread, where it may block; its result becomes text there, too."""
        everything = {**arguments, **dict.fromkeys(self._context_parameters, context)}
        if self._asynchronous:
            return _as_text(await self._function(**everything))
        result = await _THREADS.run(functools.partial(self._call_plain, everything))
        return _as_text(await result) if inspect.isawaitable(result) else str(result)

    def _call_plain(self, everything: Mapping[str, Any]) -> Any:
        result = self._function(**everything)
        # A decorated `async def` looks like a plain function and shows only now: it has to be awaited on the loop.
        return result if inspect.isawaitable(result) else _as_text(result)


def _as_text(result: Any) -> str:
    if isinstance(result, str):
        return result
    return pydantic_core.to_json(result, inf_nan_mode="strings", bytes_mode="base64").decode()


def _parameters(
    function: Callable[..., Any], where: str
) -> tuple[dict[str, tuple[Any, inspect.Parameter]], tuple[str, ...]]:
    """What the model fills in (name → type and parameter), and the names of the parameters that get the context."""
    try:
        signature = inspect.signature(function)
        hints = typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, ValueError, AttributeError, SyntaxError) as error:
        raise SettingsInvalid([f"{where}: its types cannot be read ({error}); import them at run time"]) from error
    visible: dict[str, tuple[Any, inspect.Parameter]] = {}
    context: list[str] = []
    faults: list[str] = []
    for name, parameter in signature.parameters.items():
        hint = hints.get(name)
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            faults.append(f'{where}: parameter "{parameter}": a model can only fill in named parameters')
        elif name not in hints:
            faults.append(f'{where}: parameter "{name}" has no type; write {name}: str, for example')
        elif _is_context(hint):
            context.append(name)
        elif reason := _unsupported(hint):
            faults.append(f'{where}: parameter "{name}" has a type that JSON cannot express: {reason}')
        else:
            visible[name] = (hint, parameter)
    if faults:
        raise SettingsInvalid(faults)
    return visible, tuple(context)


def _is_context(hint: Any) -> bool:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return any(_is_context(member) for member in typing.get_args(hint))
    return hint is ToolContext


def _unsupported(hint: Any) -> str:
    try:
        pydantic.TypeAdapter(hint).json_schema()
    except (pydantic.PydanticUserError, pydantic_core.SchemaError, TypeError) as error:
        return str(error).splitlines()[0]
    return ""


def _arguments_model(
    name: str, visible: Mapping[str, tuple[Any, inspect.Parameter]], described: Mapping[str, str]
) -> tuple[type[pydantic.BaseModel], dict[str, str]]:
    """A pydantic model of the arguments, and its field names → the function's parameter names."""
    fields: dict[str, Any] = {}
    names: dict[str, str] = {}
    for number, (parameter, (hint, signature)) in enumerate(visible.items()):
        # Numbered fields with the true names as aliases: pydantic forbids fields called `json`, `copy` or `_x`.
        field = f"argument_{number}"
        names[field] = parameter
        default: Any = ... if signature.default is signature.empty else signature.default
        if text := described.get(parameter):
            fields[field] = (hint, pydantic.Field(default, alias=parameter, description=text))
        else:
            fields[field] = (hint, pydantic.Field(default, alias=parameter))
    config = pydantic.ConfigDict(extra="forbid", coerce_numbers_to_str=True)
    return pydantic.create_model(name, __config__=config, **fields), names


class _PlainSchema(GenerateJsonSchema):
    """Without the titles that pydantic makes out of field names: they cost the model tokens and say nothing."""

    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012

    def field_title_should_be_set(self, schema: Any) -> Literal[False]:
        return False


def _schema(arguments: type[pydantic.BaseModel]) -> dict[str, Any]:
    schema = arguments.model_json_schema(schema_generator=_PlainSchema)
    schema.pop("title", None)
    schema.setdefault("properties", {})  # some servers refuse an object schema without it
    return schema


def _told(error: pydantic.ValidationError) -> str:
    """The faults in words for the model: which argument, what is wrong; no input, no types of ours, no addresses."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = []
    for fault in faults[:_MOST_FAULTS_TOLD]:
        path = ".".join(str(step) for step in fault["loc"])
        match fault["type"]:
            case "json_invalid":
                lines.append(f"The arguments are not valid JSON ({fault['msg'].removeprefix('Invalid JSON: ')}).")
            case "string_unicode" if not path:  # a lone surrogate outside any escape
                lines.append("The arguments are not valid JSON (not valid Unicode).")
            case "model_type" if not path:
                lines.append("The arguments have to be one JSON object.")
            case "missing":
                lines.append(f'The argument "{path}" is missing.')
            case "extra_forbidden":
                lines.append(f'There is no argument "{path}".')
            case _:
                lines.append(f'The argument "{path}" is wrong: {fault["msg"]}.')
    if len(faults) > _MOST_FAULTS_TOLD:
        lines.append(f"({len(faults) - _MOST_FAULTS_TOLD} more faults)")
    return "\n".join([*lines, "The tool was not run; call it again with right arguments."])
