"""The tables of threadway.toml: assistants as code. Every key: default, unit, meaning."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from gateway.access import check_admin, check_entry
from gateway.domain.adapter import Doubt
from gateway.domain.turns import WhileRunning

BUILT_IN_TOOLS = ("clock", "calculator", "remember", "recall")
"""Tools we ship; the default assistant has them all."""
HOSTED_TOOLS = ("file_search", "code_interpreter")
"""Tools that the backend itself runs."""


class Access(StrEnum):
    """Who may talk to the assistants."""

    OPEN = "open"
    PAIRING = "pairing"
    ALLOWLIST = "allowlist"


class Table(BaseModel):
    """A table of the file; unknown keys are refused (by `layers`, which names the nearest known one)."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, strict=True)


class AssistantConf(Table):
    """`[[assistants]]`: a definition, created on the backend once and updated when it changes."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
    """How routes, logs and commands call it; unique."""
    model: str = ""
    """The model's name; "" takes THREADWAY_MODEL (or the demo model)."""
    instructions: str = Field(default="You are a helpful assistant. Answer briefly.", max_length=256_000)
    """The system prompt. Assistants API: at most 256,000 characters."""
    tools: tuple[str, ...] = Field(default=BUILT_IN_TOOLS, max_length=128, strict=False)
    """Built-in or hosted tools by name, own functions as "module:function". Assistants API: at most 128."""
    files: tuple[str, ...] = Field(default=(), strict=False)
    """Paths (globs) that go into the assistant's vector store; not in this version."""
    max_tool_rounds: int = Field(default=16, ge=1, le=128)
    """How often in one run the model may call tools before the run is ended."""
    assistant_id: str = ""
    """An assistant that exists on the backend already; it is used as it is there."""

    @property
    def hosted(self) -> tuple[str, ...]:
        """The tools that the backend runs."""
        return tuple(tool for tool in self.tools if tool in HOSTED_TOOLS)

    @property
    def functions(self) -> tuple[str, ...]:
        """The tools that our workers run: built-in names and "module:function"."""
        return tuple(tool for tool in self.tools if tool not in HOSTED_TOOLS)


class RouteConf(Table):
    """`[[routes]]`: which assistant answers where; the first match wins."""

    match: str = Field(min_length=1)
    """Pattern for the conversation key, e.g. "slack:T0EX:C0SUPPORT:*"; * stands for any characters, ? for
    one."""
    use: str
    """Name of the assistant."""


def _entry(entry: str) -> str:
    return check_entry(entry, _other_adapters())


def _admin(entry: str) -> str:
    return check_admin(entry, _other_adapters())


def _other_adapters() -> set[str]:
    """Platforms that other distributions add. The terminal is open to whoever sits at it: nobody is named there."""
    return {entry.name for entry in entry_points(group="threadway.adapters")} - {"telegram", "slack", "console"}


class AccessRules(Table):
    """`[access]`; THREADWAY_ACCESS beats `mode`."""

    mode: Access | None = Field(default=None, strict=False)
    """open | pairing | allowlist; without it as THREADWAY_ACCESS's default."""
    allow: tuple[Annotated[str, AfterValidator(_entry)], ...] = Field(default=(), strict=False)
    """People, chats, channels and workspaces that are let in, e.g. "telegram:user:4242", "slack:team:T0EXAMPLE"."""
    admins: tuple[Annotated[str, AfterValidator(_admin)], ...] = Field(default=(), strict=False)
    """People who are let in everywhere and will be obeyed where others are not."""


class Conversations(Table):
    """`[conversations]`"""

    while_running: WhileRunning = Field(default=WhileRunning.QUEUE, strict=False)
    """What becomes of a message that arrives during a run."""
    debounce_s: float = Field(default=0.0, ge=0, le=60, strict=False)
    """Seconds to wait for more before a turn begins; albums and split long messages always wait 0.5 s."""


class SlackTable(Table):
    """`[slack]`"""

    dm: Literal["auto", "channel", "thread"] = "auto"
    """What a conversation is in a direct message: the channel, the thread, or as the workspace's view
    suggests."""


class Delivery(Table):
    """`[delivery]`"""

    telegram: Doubt = Field(default=Doubt.NOTICE, strict=False)
    """What follows a send whose outcome is unknown: a notice, nothing because each part is the edit of a
    placeholder, or the part again."""


class Tables(BaseModel):
    """Everything that threadway.toml may hold."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    assistants: tuple[AssistantConf, ...] = ()
    routes: tuple[RouteConf, ...] = ()
    access: AccessRules = AccessRules()
    conversations: Conversations = Conversations()
    slack: SlackTable = SlackTable()
    delivery: Delivery = Delivery()
    models: Mapping[str, str] = Field(default_factory=dict)
    """`[models]`: names (patterns) that clients of /v1 ask for → the upstream's; the first match wins."""
