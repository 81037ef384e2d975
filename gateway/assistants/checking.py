"""A request's JSON against its schema, and the first complaint in OpenAI's words: what, where (`param`), which code."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.assistants.errors import ApiError

M = TypeVar("M", bound=BaseModel)

_EXPECTED: Mapping[str, str] = {
    "string_type": "a string",
    "int_type": "an integer",
    "float_type": "a decimal",
    "bool_type": "a boolean",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
    "union_tag_not_found": "a string, an array or an object of a known type",
    "metadata_type": "a string",
}


def parse_json(raw: bytes) -> dict[str, Any]:
    """The body as an object; "" is {} (SDKs send no body where every field is optional). Raises ApiError.

    What a database or a UTF-8 stream cannot hold (NUL, half of a surrogate pair) becomes U+FFFD: a user's odd
    character must not cost the message.
    """
    if not raw.strip():
        return {}
    try:
        data = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise ApiError("We could not parse the JSON body of your request. It is expected to be valid JSON.") from None
    if not isinstance(data, dict):
        raise ApiError(f"Invalid type for the request body: expected an object, but got {_kind(data)} instead.")
    lowered = raw.lower()
    if b"\\u0000" in lowered or b"\\ud" in lowered:  # only an escape can bring one in
        cleaned: dict[str, Any] = _clean(data)
        return cleaned
    return data


def storable(text: str) -> str:
    """`text` with NULs and lone surrogates replaced by U+FFFD."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def check(model: type[M], data: Mapping[str, Any]) -> M:
    """`data` as `model`. Raises ApiError about the first thing that is wrong."""
    try:
        return model.model_validate(data, strict=True)
    except ValidationError as invalid:
        raise _complaint(invalid.errors(include_url=False)[0]) from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)  # NaN and Infinity are Python's idea, not JSON's


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): _clean(item) for key, item in value.items()}
    return value


def _path(error: ErrorDetails) -> str:
    """`messages[0].content`; parts like "<text>" only say which branch of a union was taken."""
    path = ""
    for part in error["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("<"):
            path += f".{part[:64]}" if path else part[:64]
    return path


def _complaint(error: ErrorDetails) -> ApiError:
    kind, path, context = error["type"], _path(error), error.get("ctx", {})
    if kind in _EXPECTED:
        suffix = f".{context['key']}" if "key" in context else ""
        got = context.get("got") or _kind(error["input"])
        text = f"Invalid type for '{path}{suffix}': expected {_EXPECTED[kind]}, but got {got} instead."
        return ApiError(text, param=path + suffix, code="invalid_type")
    if kind in _WORDS:
        return _WORDS[kind](path, error["input"], context)
    # Ours: schemas.py raises it with the whole sentence.
    code = kind if kind in ("unsupported_value", "missing_required_parameter") else "invalid_value"
    return ApiError(error["msg"], param=path or None, code=code)


def _missing(path: str, _: Any, __: Mapping[str, Any]) -> ApiError:
    return ApiError(f"Missing required parameter: '{path}'.", param=path, code="missing_required_parameter")


def _unknown(path: str, _: Any, __: Mapping[str, Any]) -> ApiError:
    return ApiError(f"Unknown parameter: '{path}'.", param=path, code="unknown_parameter")


def _choice(path: str, got: Any, context: Mapping[str, Any]) -> ApiError:
    known = str(context.get("expected") or context.get("expected_tags"))
    shown = f"'{got[:64]}'" if isinstance(got, str) else _kind(got)
    return ApiError(f"Invalid value: {shown}. Supported values are: {known}.", param=path, code="invalid_value")


def _long_string(path: str, got: Any, context: Mapping[str, Any]) -> ApiError:
    limit, length = context["max_length"], len(got)
    text = f"Expected a string with maximum length {limit}, but got a string with length {length} instead."
    return ApiError(f"Invalid '{path}': string too long. {text}", param=path, code="string_above_max_length")


def _short_string(path: str, _: Any, context: Mapping[str, Any]) -> ApiError:
    limit = context["min_length"]
    text = f"Invalid '{path}': string too short. Expected a string with minimum length {limit}."
    return ApiError(text, param=path, code="string_below_min_length")


def _long_array(path: str, got: Any, context: Mapping[str, Any]) -> ApiError:
    limit, length = context["max_length"], len(got)
    text = f"Expected an array with maximum length {limit}, but got an array with length {length} instead."
    return ApiError(f"Invalid '{path}': array too long. {text}", param=path, code="array_above_max_length")


def _short_array(path: str, _: Any, context: Mapping[str, Any]) -> ApiError:
    text = f"Invalid '{path}': empty array. Expected an array with minimum length {context['min_length']}."
    return ApiError(text, param=path, code="array_below_min_length")


def _too_small(path: str, got: Any, context: Mapping[str, Any]) -> ApiError:
    word = "integer" if isinstance(context["ge"], int) else "decimal"
    text = f"Invalid '{path}': {word} below minimum value. Expected a value >= {context['ge']}, but got {got} instead."
    return ApiError(text, param=path, code=f"{word}_below_min_value")


def _too_big(path: str, got: Any, context: Mapping[str, Any]) -> ApiError:
    word = "integer" if isinstance(context["le"], int) else "decimal"
    text = f"Invalid '{path}': {word} above maximum value. Expected a value <= {context['le']}, but got {got} instead."
    return ApiError(text, param=path, code=f"{word}_above_max_value")


def _pattern(path: str, _: Any, context: Mapping[str, Any]) -> ApiError:
    text = f"Invalid '{path}': string does not match pattern. Expected a string that matches the pattern"
    return ApiError(f"{text} '{context['pattern']}'.", param=path, code="invalid_value")


def _many_labels(path: str, _: Any, context: Mapping[str, Any]) -> ApiError:
    text = (
        f"Invalid '{path}': too many properties. Expected an object with at most 16 properties, "
        f"but got an object with {context['count']} properties instead."
    )
    return ApiError(text, param=path, code="object_above_max_properties")


def _long_label(path: str, _: Any, context: Mapping[str, Any]) -> ApiError:
    text = (
        f"Invalid property name in '{path}': '{context['key']}' is too long. Expected a string with maximum length 64"
    )
    return ApiError(
        f"{text}, but got a string with length {context['length']} instead.", param=path, code="invalid_value"
    )


def _long_label_value(path: str, _: Any, context: Mapping[str, Any]) -> ApiError:
    return _long_string(f"{path}.{context['key']}", context["got"], {"max_length": 512})


_WORDS: Mapping[str, Callable[[str, Any, Mapping[str, Any]], ApiError]] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    "literal_error": _choice,
    "union_tag_invalid": _choice,
    "string_too_long": _long_string,
    "string_too_short": _short_string,
    "too_long": _long_array,
    "too_short": _short_array,
    "greater_than_equal": _too_small,
    "less_than_equal": _too_big,
    "string_pattern_mismatch": _pattern,
    "metadata_count": _many_labels,
    "metadata_key": _long_label,
    "metadata_value": _long_label_value,
}


def _kind(value: Any) -> str:
    """A JSON value's type as OpenAI's texts name it."""
    names = {
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null")
