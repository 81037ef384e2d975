"""Find adapters: ours, and whatever other distributions register under the entry point group `threadway.adapters`."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from gateway.domain.adapter import Adapter
from gateway.domain.errors import SettingsInvalid
from gateway.domain.messages import ConversationKey
from gateway.domain.pacing import CALL_SHARE
from gateway.settings import Settings

GROUP = "threadway.adapters"


@dataclass(frozen=True, slots=True)
class Ports:
    """What an adapter may need of the rest, by the platform's side it is used on; None where that side has none."""

    leader: Any = None
    offsets: Any = None
    spill: Any = None
    mailbox: Any = None
    known: Callable[[ConversationKey], Awaitable[bool]] | None = None
    agent_views: Any = None


def build_adapters(settings: Settings, ports: Ports) -> dict[str, Adapter]:
    """Every adapter that the settings switch on, by name.

    Ours are built from the settings. A stranger's class has `from_environment(environ) -> Adapter | None`, which reads
    its own variables and returns None where they are not set. Raises SettingsInvalid.
    """
    adapters: dict[str, Adapter] = {}
    for entry in entry_points(group=GROUP):
        build = _OURS.get(entry.name)
        adapter = build(settings, ports) if build else _strange(entry.name, entry.load())
        if adapter is not None:
            adapters[entry.name] = adapter
    return adapters


def _strange(name: str, loaded: Any) -> Adapter | None:
    made = loaded.from_environment(os.environ) if hasattr(loaded, "from_environment") else None
    if made is not None and not isinstance(made, Adapter):
        raise SettingsInvalid([f"entry point {GROUP}:{name}: what it builds is not an Adapter"])
    return made


def _telegram(settings: Settings, ports: Ports) -> Adapter | None:
    if not settings.telegram_on or settings.telegram_bot_token is None:
        return None
    from gateway.telegram import TelegramAdapter

    return TelegramAdapter(
        settings.telegram_bot_token.get_secret_value(),
        api_base_url=settings.telegram_api_base_url,
        webhook_url=settings.telegram_webhook_url,
        webhook_secret=settings.telegram_secret(),
        leader=ports.leader,
        offsets=ports.offsets,
        spill=ports.spill,
        call_timeout_s=call_timeout_s(settings),
        proxy=settings.proxy_for(settings.telegram_api_base_url),
    )


def _slack(settings: Settings, ports: Ports) -> Adapter | None:
    if not settings.slack_on or settings.slack_bot_token is None:
        return None
    from gateway.slack import SlackAdapter

    return SlackAdapter(
        settings.slack_bot_token.get_secret_value(),
        signing_secret=settings.slack_signing_secret.get_secret_value() if settings.slack_signing_secret else "",
        app_token=settings.slack_app_token.get_secret_value() if settings.slack_app_token else "",
        api_base_url=settings.slack_api_base_url,
        dm=settings.slack.dm,
        in_thread=ports.known,
        agent_views=ports.agent_views,
        call_timeout_s=call_timeout_s(settings),
        proxy=settings.proxy_for(settings.slack_api_base_url),
    )


def _console(_: Settings, ports: Ports) -> Adapter | None:
    from gateway.console import ConsoleAdapter

    return ConsoleAdapter(ports.mailbox)


def call_timeout_s(settings: Settings) -> float:
    """How long a creating or posting call may take, see CALL_SHARE."""
    return min(4.0, CALL_SHARE * settings.lease_s)


_OURS: Mapping[str, Callable[[Settings, Ports], Adapter | None]] = {
    "telegram": _telegram,
    "slack": _slack,
    "console": _console,
}
