"""Any server that speaks Chat Completions: OpenAI, Ollama, vLLM, llama.cpp, a proxy in front of them.

Wire facts: OpenAI's OpenAPI document 2.3.0, POST /chat/completions; where other servers differ it says so below.
"""

from __future__ import annotations

import fnmatch
from collections.abc import AsyncIterator, Mapping
from typing import Any, ClassVar

import httpx2
import structlog
from openai import AsyncOpenAI, DefaultAioHttpClient, Omit

from gateway.domain.errors import BackendRefused
from workers.models import ModelAnswer, ModelMessage, ModelRequest
from workers.models.chat_answers import StreamedAnswer, to_answer
from workers.models.chat_errors import FOREIGN, refused_parameter, translated

log = structlog.get_logger("threadway")

CONNECT_TIMEOUT_S = 10.0
_SPARE = ("parallel_tool_calls", "temperature", "top_p", "stream_options", "max_completion_tokens", "max_tokens")
"""What a request may lose and still be the same question; tools and response_format are not among it."""


class ChatCompletionsModel:
    """A model behind a Chat Completions endpoint. Every method is one attempt at an answer; retrying is the executor's.

    Parameters that a server refuses by name are left out, and stay left out for that model name as long as this
    object lives: reasoning models refuse `temperature`, older servers do not know `max_completion_tokens`.
    """

    name: ClassVar[str] = "chat_completions"

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str | None,
        timeout_s: float = 600.0,
        proxy: str | None = None,
        models: Mapping[str, str] | None = None,
        default_model: str = "",
    ) -> None:
        """`base_url` is the API's root ("…/v1"). `timeout_s` is the longest silence of the server, 600 s as in OpenAI's
        SDK. `proxy` is the URL of an HTTP proxy; the environment's own are not read here. `models` maps names that are
        asked for (with * and ?, first match wins) to the server's; an empty name becomes `default_model`."""
        self._models = dict(models or {})
        self._default_model = default_model
        self._secret = api_key or ""
        self._left_out: dict[str, set[str]] = {}
        timeout = httpx2.Timeout(timeout_s, connect=CONNECT_TIMEOUT_S)
        # The SDK insists on a key; a server that wants none gets none.
        self._headers: dict[str, Any] = {} if api_key else {"Authorization": Omit()}
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=api_key or "none",
            max_retries=0,  # the executor retries, within the run's time
            timeout=timeout,
            # Redirects are refused: a POST would arrive elsewhere as a GET, and say nothing of it.
            http_client=DefaultAioHttpClient(proxy=proxy, trust_env=False, timeout=timeout, follow_redirects=False),
        )

    async def answer(self, request: ModelRequest) -> ModelAnswer:
        """See Model.answer. The wait for a slow model is only ended by `timeout_s` of silence, or by cancelling."""
        return to_answer(await self._create(request, stream=False))

    async def stream(self, request: ModelRequest) -> AsyncIterator[str | ModelAnswer]:
        """See Model.stream. Raises BackendDown when the stream is cut: text that was yielded is then worth nothing."""
        answer = StreamedAnswer()
        chunks = await self._create(request, stream=True)
        if not hasattr(chunks, "__aiter__"):
            raise BackendRefused("the server did not stream; is OPENAI_BASE_URL the root of a Chat Completions API?")
        try:
            async for chunk in chunks:
                if piece := answer.add(chunk):
                    yield piece
        except FOREIGN as error:
            raise translated(error, self._secret) from error
        finally:
            await chunks.close()
        yield answer.whole()

    async def close(self) -> None:
        """See Model.close."""
        await self._client.close()

    async def _create(self, request: ModelRequest, *, stream: bool) -> Any:
        """Send the request; once more for each parameter that the server refuses by name."""
        model = self._upstream_name(request.model)
        left_out = self._left_out.setdefault(model, set())
        while True:
            body = to_body(request, model, left_out, stream=stream)
            try:
                # The SDK's overloads know neither servers' own values nor parameters that come and go.
                return await self._client.chat.completions.create(**body, extra_headers=self._headers)
            except FOREIGN as error:
                refused = refused_parameter(error, _SPARE)
                if refused is None or refused not in body:
                    raise translated(error, self._secret) from error
                left_out.add(refused)
                log.info("model.parameter_left_out", model=model, parameter=refused)

    def _upstream_name(self, asked: str) -> str:
        for pattern, name in self._models.items():
            if fnmatch.fnmatchcase(asked, pattern):
                return name
        return asked or self._default_model


def to_body(request: ModelRequest, model: str, left_out: set[str], *, stream: bool) -> dict[str, Any]:
    """`request` as the SDK's arguments, without what is not set and what is in `left_out`. Pure."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [to_message(message) for message in request.messages],
        "temperature": request.temperature,
        "top_p": request.top_p,
        "response_format": None if request.response_format == "auto" else request.response_format,
    }
    if request.tools:  # without tools the two others are an error of their own
        body["tools"] = list(request.tools)
        body["tool_choice"] = request.tool_choice
        body["parallel_tool_calls"] = request.parallel_tool_calls
    # Deprecated, but all that servers older than September 2024 know.
    limit = "max_tokens" if "max_completion_tokens" in left_out else "max_completion_tokens"
    body[limit] = request.max_completion_tokens
    if stream:
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    return {key: value for key, value in body.items() if value is not None and key not in left_out}


def to_message(message: ModelMessage) -> dict[str, Any]:
    """One message on the wire."""
    if message.role == "tool":
        return {"role": "tool", "tool_call_id": message.call_id, "content": message.content}
    if not message.calls:
        return {"role": message.role, "content": message.content}
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in message.calls
    ]
    # Servers disagree about an empty text beside calls; null is what OpenAI itself sends.
    return {"role": message.role, "content": message.content or None, "tool_calls": calls}
