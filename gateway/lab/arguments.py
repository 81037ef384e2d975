"""A request's arguments, whichever way they came: query, form, multipart or JSON. Both platforms take all of them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from gateway.bodies import read_within


class BadArguments(ValueError):
    """The request's body or one of its values cannot be read; the text says which and why."""


class TooLarge(Exception):
    """The body is longer than its limit."""


@dataclass(frozen=True, slots=True)
class File:
    """One uploaded file."""

    name: str
    mime: str
    content: bytes


@dataclass(frozen=True, slots=True)
class Arguments:
    """Named values: strings where a form carried them, JSON values where JSON did."""

    values: Mapping[str, Any]
    files: Mapping[str, File] = field(default_factory=dict)

    def text(self, name: str, default: str = "") -> str:
        """The value as text; raises BadArguments when it is an object or list."""
        value = self.values.get(name)
        if value is None:
            return default
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str | int | float):
            return str(value)
        raise BadArguments(f"{name} must be a string")

    def integer(self, name: str) -> int | None:
        """The value as a whole number, None where it is missing or empty; raises BadArguments."""
        text = self.text(name).strip()
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise BadArguments(f"{name} must be a number") from None

    def flag(self, name: str) -> bool:
        """Whether the value says yes: true, 1, yes, t, y."""
        return self.text(name).strip().lower() in {"true", "1", "yes", "t", "y"}

    def structure(self, name: str) -> Any:
        """An object or list, given as JSON or as JSON in a string; None where it is missing or empty.

        Raises BadArguments.
        """
        value = self.values.get(name)
        if not isinstance(value, str):
            return value
        if not value.strip():
            return None
        try:
            return json.loads(value)
        except ValueError:
            raise BadArguments(f"{name} is not valid JSON") from None


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The whole body; raises TooLarge as soon as it is known to pass the limit."""
    body = await read_within(request, limit_bytes)
    if body is None:
        raise TooLarge
    return body


async def read_arguments(request: Request, limit_bytes: int) -> Arguments:
    """The arguments of a request, body over query. Raises BadArguments and TooLarge."""
    values: dict[str, Any] = dict(request.query_params)
    body = await read_body(request, limit_bytes)
    if not body:
        return Arguments(values)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return Arguments(values | read_object(body))
    if kind == "multipart/form-data":
        fields, files = await _multipart(request.headers, body)
        return Arguments(values | fields, files)
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=1000)
    except ValueError:
        raise BadArguments("the form cannot be read") from None
    return Arguments(values | dict(pairs))


def read_object(body: bytes) -> dict[str, Any]:
    """A JSON object; raises BadArguments."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise BadArguments("the body is not valid JSON") from None
    if not isinstance(value, dict):
        raise BadArguments("the body must be a JSON object")
    return value


async def _multipart(headers: Headers, body: bytes) -> tuple[dict[str, Any], dict[str, File]]:
    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(headers, once(), max_part_size=len(body)).parse()
    except (MultiPartException, KeyError, UnicodeDecodeError):
        raise BadArguments("the multipart body cannot be read") from None
    values: dict[str, Any] = {}
    files: dict[str, File] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            mime = value.content_type or "application/octet-stream"
            files[name] = File(value.filename or name, mime, await value.read())
        else:
            values[name] = value
    await form.close()
    return values, files
