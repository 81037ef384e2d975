"""Settings → what a worker works with: assistants and their tools, the backend's address, the model."""

from __future__ import annotations

from gateway.domain.messages import ConversationKey
from gateway.domain.pacing import SystemClock
from gateway.domain.turns import Turn
from gateway.settings import AssistantConf, Backend, Settings
from gateway.store import Store
from workers.backends import AssistantSpec, ToolCall, ToolSpec
from workers.deps import AssistantPlan
from workers.models import Model
from workers.tools import ToolContext, load_tools


def plan(conf: AssistantConf) -> AssistantPlan:
    """An assistant's function tools, ready to be called. Raises SettingsInvalid."""
    return AssistantPlan(
        name=conf.name,
        tools=load_tools(conf.functions),
        max_tool_rounds=conf.max_tool_rounds,
    )


def spec(conf: AssistantConf, planned: AssistantPlan, settings: Settings) -> AssistantSpec:
    """An assistant as the backend is told about it."""
    return AssistantSpec(
        name=conf.name,
        model=conf.model or settings.model or "demo",
        instructions=conf.instructions,
        functions=tuple(ToolSpec(t.name, t.description, t.parameters) for t in planned.tools.values()),
        hosted=conf.hosted,
        assistant_id=conf.assistant_id or "",
    )


def backend_address(settings: Settings) -> tuple[str, str]:
    """Where the assistants backend is, and its key: our own service when the backend is embedded."""
    if settings.backend is Backend.EMBEDDED:
        return settings.effective_api_url, settings.api_key_value()
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else "none"
    assert settings.openai_base_url is not None  # checked by the settings
    return settings.openai_base_url, key


def make_model(settings: Settings) -> Model:
    """The model behind the embedded service: the upstream's Chat Completions, or the demo model."""
    if settings.demo:
        from workers.models.demo import DemoModel

        return DemoModel(SystemClock())
    from workers.models.chat_completions import ChatCompletionsModel

    url = settings.upstream_base_url or ""
    return ChatCompletionsModel(
        base_url=url,
        api_key=settings.openai_api_key.get_secret_value() if settings.openai_api_key else None,
        proxy=settings.proxy_for(url),
        models=settings.models,
        default_model=settings.model,
    )


def tool_context(store: Store, turn: Turn, call: ToolCall) -> ToolContext:
    """What a tool is told of the turn that calls it."""
    asker = turn.last
    return ToolContext(
        conversation=turn.conversation,
        author_id=asker.author_id,
        language=asker.language,
        call_key=f"{turn.run}:{call.id}",
        memory=_Memory(store, turn.conversation),
    )


class _Memory:
    """The conversation's memory, as the tools see it."""

    def __init__(self, store: Store, conversation: ConversationKey) -> None:
        self._store = store
        self._conversation = conversation

    async def remember(self, key: str, value: str) -> None:
        await self._store.conversations.remember(self._conversation, key, value)

    async def recall(self, key: str | None = None) -> dict[str, str]:
        return await self._store.conversations.recall(self._conversation, key)
