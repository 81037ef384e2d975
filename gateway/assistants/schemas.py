"""The requests the service takes, each named after its schema in assistants.openapi.json (2026-08-21).

Unknown fields are refused where that document says so. What it has and this version does not (hosted tools, files,
streaming) is refused by name, never accepted and forgotten.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.assistants.fields import (
    MAX_TEXT_CHARS,
    Choice,
    Content,
    Effort,
    Labels,
    ModelName,
    NoAttachments,
    NoResources,
    NoStream,
    ResponseFormat,
    Temperature,
    TextPart,
    TokenBudget,
    Tool,
    TopP,
    Truncation,
)


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Open(BaseModel):
    model_config = ConfigDict(extra="ignore")


class CreateMessage(_Closed):
    """`CreateMessageRequest`."""

    role: Literal["user", "assistant"]
    content: Content
    attachments: NoAttachments = None
    metadata: Labels = None

    def parts(self) -> list[dict[str, Any]]:
        """The content as it is stored and shown."""
        if isinstance(self.content, str):
            return [TextPart(type="text", text=self.content).stored()]
        return [part.stored() for part in self.content]


class _Labelled(_Closed):
    metadata: Labels = None


class ModifyMessage(_Labelled):
    """`ModifyMessageRequest`: only metadata can change."""


class ModifyRun(_Labelled):
    """`ModifyRunRequest`: only metadata can change."""


class ModifyThread(_Labelled):
    """`ModifyThreadRequest`."""

    tool_resources: NoResources = None


class CreateThread(ModifyThread):
    """`CreateThreadRequest`."""

    messages: list[CreateMessage] | None = None


class _Definition(_Closed):
    """What both an assistant and a change of one may say."""

    name: Annotated[str, StringConstraints(max_length=256)] | None = None
    description: Annotated[str, StringConstraints(max_length=512)] | None = None
    instructions: Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARS)] | None = None
    tools: Annotated[list[Tool], Field(max_length=128)] | None = None
    tool_resources: NoResources = None
    metadata: Labels = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Effort | None = None


class CreateAssistant(_Definition):
    """`CreateAssistantRequest`."""

    model: ModelName


class ModifyAssistant(_Definition):
    """`ModifyAssistantRequest`: fields that are left out stay as they are."""

    model: ModelName | None = None


class _RunOptions(_Closed):
    assistant_id: str
    model: ModelName | None = None
    instructions: str | None = None
    tools: Annotated[list[Tool], Field(max_length=20)] | None = None
    metadata: Labels = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    stream: NoStream = None
    max_prompt_tokens: TokenBudget | None = None
    max_completion_tokens: TokenBudget | None = None
    truncation_strategy: Truncation | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None


class CreateRun(_RunOptions):
    """`CreateRunRequest`."""

    reasoning_effort: Effort | None = None
    additional_instructions: str | None = None
    additional_messages: list[CreateMessage] | None = None


class CreateThreadAndRun(_RunOptions):
    """`CreateThreadAndRunRequest`."""

    thread: CreateThread | None = None
    tool_resources: NoResources = None


class ToolOutput(_Open):
    """One answer to one call; a missing output is an empty one, as the document requires neither field."""

    tool_call_id: str = ""
    output: str | None = None


class SubmitToolOutputs(_Closed):
    """`SubmitToolOutputsRunRequest`."""

    tool_outputs: list[ToolOutput]
    stream: NoStream = None
