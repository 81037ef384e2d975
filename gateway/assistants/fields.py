"""The values that requests are made of: metadata, tools, formats, content. Each says what it refuses and why.

Limits are those of assistants.openapi.json (2026-08-21). Objects that the document leaves open to further fields are
read leniently: unknown ones are dropped.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

MAX_TEXT_CHARS = 256_000
_BIG = 2**53
"""Largest integer that every JSON client reads back unchanged."""
_YET = "is not supported yet by this version of threadway"


def _labels(value: dict[str, Any] | None) -> dict[str, str]:
    """Metadata: at most 16 pairs, keys of 64 and values of 512 characters (`Metadata`); null is none."""
    pairs = value or {}
    if len(pairs) > 16:
        raise PydanticCustomError("metadata_count", "too many", {"count": len(pairs)})
    for key, text in pairs.items():
        if len(key) > 64:
            raise PydanticCustomError("metadata_key", "too long", {"key": key[:64], "length": len(key)})
        if not isinstance(text, str):
            kind = "null" if text is None else f"a value of another type ({type(text).__name__})"
            raise PydanticCustomError("metadata_type", "not a string", {"key": key, "got": kind})
        if len(text) > 512:
            raise PydanticCustomError("metadata_value", "too long", {"key": key, "got": text})
    return pairs


def _no_resources(value: dict[str, Any] | None) -> dict[str, Any]:
    if any(any(part.values()) if isinstance(part, dict) else part for part in (value or {}).values()):
        raise PydanticCustomError("unsupported_value", f"Attaching files or vector stores (tool_resources) {_YET}.")
    return {}


def _no_attachments(value: list[Any] | None) -> list[Any]:
    if value:
        raise PydanticCustomError("unsupported_value", f"Attaching files to messages {_YET}.")
    return []


def _no_stream(value: bool | None) -> bool:
    if value:
        text = f"Streaming (stream=true) {_YET}; create the run without it and poll the run."
        raise PydanticCustomError("unsupported_value", text)
    return False


def _no_hosted_tool(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") in ("code_interpreter", "file_search"):
        text = f"The tool '{value['type']}' {_YET}; use tools of type 'function'."
        raise PydanticCustomError("unsupported_value", text)
    return value


def _no_image_file(value: Any) -> Any:
    if isinstance(value, dict) and value.get("type") == "image_file":
        raise PydanticCustomError("unsupported_value", f"Content of type 'image_file' {_YET}; use 'image_url'.")
    return value


def _web_address(value: str) -> str:
    if not value.lower().startswith(("https://", "http://", "data:image/")):
        raise PydanticCustomError("invalid_value", "Expected a valid image URL (https://… or data:image/…).")
    return value


class _Open(BaseModel):
    model_config = ConfigDict(extra="ignore")


Labels = Annotated[dict[str, Any] | None, AfterValidator(_labels)]
NoResources = Annotated[dict[str, Any] | None, AfterValidator(_no_resources)]
NoAttachments = Annotated[list[Any] | None, AfterValidator(_no_attachments)]
NoStream = Annotated[bool | None, AfterValidator(_no_stream)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Temperature = Annotated[float, Field(ge=0.0, le=2.0)]
TopP = Annotated[float, Field(ge=0.0, le=1.0)]
TokenBudget = Annotated[int, Field(ge=256, le=_BIG)]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class FunctionDef(_Open):
    """`FunctionObject`."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(_Open):
    """`AssistantToolsFunction`, the one kind of tool there is yet."""

    type: Literal["function"]
    function: FunctionDef

    def stored(self) -> dict[str, Any]:
        """As the API shows it; only `strict` is always there."""
        function = self.function.model_dump(exclude_none=True)
        return {"type": "function", "function": {**function, "strict": bool(self.function.strict)}}


Tool = Annotated[FunctionTool, BeforeValidator(_no_hosted_tool)]


class FunctionName(_Open):
    """The name in a named tool choice."""

    name: str


class NamedChoice(_Open):
    """`AssistantsNamedToolChoice`."""

    type: Literal["function"]
    function: FunctionName


class JsonSchema(_Open):
    """The description of a wanted JSON document."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = None


class Format(_Open):
    """`ResponseFormatText`, `…JsonObject`, `…JsonSchema`."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _complete(self) -> Format:
        if self.type == "json_schema" and self.json_schema is None:
            raise PydanticCustomError("missing_required_parameter", "Missing required parameter: 'json_schema'.")
        return self


def _word_or_object(value: Any) -> str | None:
    return "<word>" if isinstance(value, str) else "<object>" if isinstance(value, (dict, BaseModel)) else None


Choice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<word>")]
    | Annotated[NamedChoice, BeforeValidator(_no_hosted_tool), Tag("<object>")],
    Discriminator(_word_or_object),
]
ResponseFormat = Annotated[
    Annotated[Literal["auto"], Tag("<word>")] | Annotated[Format, Tag("<object>")], Discriminator(_word_or_object)
]


class Truncation(_Open):
    """`TruncationObject`."""

    type: Literal["auto", "last_messages"]
    last_messages: Annotated[int, Field(ge=1, le=_BIG)] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Truncation:
        if self.type == "last_messages" and self.last_messages is None:
            text = "Missing required parameter: 'truncation_strategy.last_messages'."
            raise PydanticCustomError("missing_required_parameter", text)
        return self

    def stored(self) -> dict[str, Any]:
        """As the API shows it."""
        return {"type": self.type, "last_messages": self.last_messages if self.type == "last_messages" else None}


class TextPart(_Open):
    """`MessageRequestContentTextObject`: written flat, read back nested."""

    type: Literal["text"]
    text: Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS)]

    def stored(self) -> dict[str, Any]:
        """As the API shows it."""
        return {"type": "text", "text": {"value": self.text, "annotations": []}}


class ImageUrl(_Open):
    """Where an image is."""

    url: Annotated[str, AfterValidator(_web_address)]
    detail: Literal["auto", "low", "high"] = "auto"


class ImagePart(_Open):
    """`MessageContentImageUrlObject`."""

    type: Literal["image_url"]
    image_url: ImageUrl

    def stored(self) -> dict[str, Any]:
        """As the API shows it."""
        return self.model_dump()


def _part_kind(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "<image>" if kind == "image_url" else "<text>" if isinstance(value, (dict, BaseModel)) else None


Part = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[ImagePart, Tag("<image>")],
    Discriminator(_part_kind),
    BeforeValidator(_no_image_file),
]


def _content_kind(value: Any) -> str | None:
    return "<words>" if isinstance(value, str) else "<parts>" if isinstance(value, list) else None


Content = Annotated[
    Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS), Tag("<words>")]
    | Annotated[list[Part], Field(min_length=1), Tag("<parts>")],
    Discriminator(_content_kind),
]
