"""Checks answers of an Assistants server against OpenAI's own document, operation by operation.

Stricter than plain schema validation: the document leaves objects open, so a misspelt key would pass; here a key that
no matching branch of the schema declares is a violation too. One relaxation: in an empty list `first_id` and `last_id`
may be null (the document says string, the hosted service sent null).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

SPECS = Path(__file__).parents[1] / "fixtures" / "specs"

_MODEL = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "model"},
        "created": {"type": "integer"},
        "owned_by": {"type": "string"},
    },
    "required": ["id", "object", "created", "owned_by"],
}
_MODELS = {
    "type": "object",
    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": _MODEL}},
    "required": ["object", "data"],
}
_ELSEWHERE = {("GET", "/models"): _MODELS, ("GET", "/models/{model}"): _MODEL}
"""Operations that are not in the Assistants slice of the document."""


class Contract:
    """The document, ready to judge answers. Build it once: compiling schemas is the slow part."""

    def __init__(self) -> None:
        self._document = json.loads((SPECS / "assistants.openapi.json").read_text())
        self._validators: dict[str, Draft202012Validator] = {}
        paths = [*self._document["paths"], *(path for _, path in _ELSEWHERE)]
        # Fixed words before parameters: /threads/runs is not the thread "runs".
        paths.sort(key=lambda path: [part.startswith("{") for part in path.split("/")])
        self._paths = [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path) + "$"), path) for path in paths]

    def violations(self, method: str, path: str, status: int, body: Any) -> list[str]:
        """What is wrong with this answer; [] if it keeps the contract. `path` is without /v1 and query."""
        schema: Any = {"$ref": "#/components/schemas/ErrorResponse"}
        if status == 200:
            template = next((name for pattern, name in self._paths if pattern.match(path)), None)
            if template is None:
                return [f"{method} {path}: a success for a path that is not in the document"]
            schema = _ELSEWHERE.get((method, template)) or self._success_schema(method, template)
        return [f"{method} {path} -> {status}: {problem}" for problem in self.problems(schema, _relaxed(body))]

    def problems(self, schema: Any, value: Any) -> Iterator[str]:
        """Violations of one schema, and keys it does not know."""
        for error in self._validator(schema).iter_errors(value):
            yield f"{error.json_path}: {error.message[:300]}"
        for place in self._undeclared(schema, value, "$"):
            yield f"{place}: not in the schema"

    def named(self, name: str) -> dict[str, str]:
        """A schema of the document by its name."""
        assert name in self._document["components"]["schemas"]
        return {"$ref": f"#/components/schemas/{name}"}

    def _success_schema(self, method: str, template: str) -> Any:
        operation = self._document["paths"][template][method.lower()]
        return operation["responses"]["200"]["content"]["application/json"]["schema"]

    def _validator(self, schema: Any) -> Draft202012Validator:
        key = json.dumps(schema, sort_keys=True)
        if key not in self._validators:
            whole = {"allOf": [schema], "components": self._document["components"]}
            self._validators[key] = Draft202012Validator(whole)
        return self._validators[key]

    def _undeclared(self, schema: Any, value: Any, place: str) -> Iterator[str]:
        branches = list(self._branches(schema, value))
        if isinstance(value, list):
            items = [branch["items"] for branch in branches if "items" in branch]
            for index, item in enumerate(value):
                for one in items:
                    yield from self._undeclared(one, item, f"{place}[{index}]")
        if not isinstance(value, dict) or any(branch.get("additionalProperties") for branch in branches):
            return
        declared = {key: part for branch in branches for key, part in branch.get("properties", {}).items()}
        if not declared:  # an object without properties is a free one
            return
        for key, item in value.items():
            if key not in declared:
                yield f"{place}.{key}"
            else:
                yield from self._undeclared(declared[key], item, f"{place}.{key}")

    def _branches(self, schema: Any, value: Any) -> Iterator[dict[str, Any]]:
        """The schema with its references followed and those alternatives that fit the value."""
        if "$ref" in schema:
            schema = self._document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        yield schema
        for part in schema.get("allOf", ()):
            yield from self._branches(part, value)
        for part in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
            if self._validator(part).is_valid(value):
                yield from self._branches(part, value)


def _relaxed(body: Any) -> Any:
    if (
        isinstance(body, dict)
        and body.get("object") == "list"
        and not body.get("data")
        and body.get("first_id", "") is None
    ):
        return {**body, "first_id": "", "last_id": ""}
    return body


@cache
def contract() -> Contract:
    """The one Contract of this test process."""
    return Contract()


@cache
def golden() -> dict[str, Any]:
    """Our own fixtures: objects, error bodies, streams."""
    loaded: dict[str, Any] = json.loads((SPECS / "assistants.golden.json").read_text())
    return loaded
