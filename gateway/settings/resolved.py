"""The settings as everybody gets them: the variables, the tables of threadway.toml, and what follows from
both."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from gateway.domain.messages import ConversationKey
from gateway.settings.addresses import (
    bypasses_proxy,
    celery_form,
    host_of,
    is_loopback,
    is_wildcard,
    port_of,
    sqlalchemy_form,
)
from gateway.settings.keys import shared_api_key, webhook_secret
from gateway.settings.tables import (
    Access,
    AccessRules,
    AssistantConf,
    Conversations,
    Delivery,
    RouteConf,
    SlackTable,
)
from gateway.settings.variables import OPENAI_URL, Backend, Variables

DEMO_MODEL = "demo"
"""Name under which assistants get the built-in demo model when nothing names another; it answers to any
name."""


class Settings(Variables):
    """Everything that was set, checked as a whole; frozen. Made by `load`; `repr` shows no secret."""

    assistants: tuple[AssistantConf, ...] = (AssistantConf(name="assistant"),)
    """At least one, each with its model (unless it names an assistant_id); the first answers where no route
    matches."""
    routes: tuple[RouteConf, ...] = ()
    access_rules: AccessRules = AccessRules()
    """The table [access]."""
    conversations: Conversations = Conversations()
    slack: SlackTable = SlackTable()
    """The table [slack]."""
    delivery: Delivery = Delivery()
    models: Mapping[str, str] = Field(default_factory=dict)
    """The table [models]; see `upstream_model`."""
    import_paths: tuple[str, ...] = ()
    """Folders of users' own tools; `load` has put them at the end of the import path."""

    @property
    def demo(self) -> bool:
        """Whether the embedded service answers with the built-in demo model: no upstream is named.

        A lone OPENAI_API_KEY names none: it often stands in an environment for other programs.
        """
        return self.backend is Backend.EMBEDDED and self.openai_base_url is None and not self.model

    @property
    def upstream_base_url(self) -> str | None:
        """Root of the API behind us, no slash at the end; None with the demo model."""
        return None if self.demo else self.openai_base_url or OPENAI_URL

    @property
    def telegram_on(self) -> bool:
        """Whether this process serves Telegram."""
        return self.telegram_bot_token is not None

    @property
    def slack_on(self) -> bool:
        """Whether this process serves Slack."""
        return self.slack_bot_token is not None

    @property
    def platforms_on(self) -> tuple[str, ...]:
        """Which of "telegram" and "slack" this process serves."""
        return ("telegram",) * self.telegram_on + ("slack",) * self.slack_on

    def is_vendor(self, platform: str) -> bool:
        """Whether "telegram" or "slack" is on and talks to the real thing, not to a stand-in at another
        address."""
        if platform == "telegram":
            return self.telegram_on and host_of(self.telegram_api_base_url) == "api.telegram.org"
        host = host_of(self.slack_api_base_url)
        return platform == "slack" and self.slack_on and (host == "slack.com" or host.endswith(".slack.com"))

    @property
    def bound_to_loopback(self) -> bool:
        """Whether only this machine reaches the gateway's HTTP server."""
        return is_loopback(self.host)

    def lab_on(self, in_up: bool) -> bool:
        """Whether this process serves the lab; `in_up`: it is the gateway of `threadway up`.

        Without THREADWAY_LAB: in `up`, when no platform token is set; on more than loopback only with a
        password.
        """
        if self.lab is not None:
            return self.lab == "on"
        reachable_only_by_us = self.bound_to_loopback or self.lab_password is not None
        return in_up and not self.telegram_on and not self.slack_on and reachable_only_by_us

    def effective_access(self, platform: str) -> Access:
        """Who may talk on `platform` ("telegram", "slack", "console") according to the settings.

        The variable beats `[access] mode`; without both: pairing where the platform is the vendor's, open
        elsewhere. The terminal is open to whoever sits at it.
        """
        if platform == "console":
            return Access.OPEN
        chosen = self.access or self.access_rules.mode
        return chosen or (Access.PAIRING if self.is_vendor(platform) else Access.OPEN)

    def redis_url_value(self) -> str:
        """The Redis of a process that was given one. May hold a password. RuntimeError where none was."""
        if self.redis_url is None:
            raise RuntimeError("REDIS_URL is not set: whoever starts the process gives it one")
        return self.redis_url.get_secret_value()

    def with_redis(self, url: str) -> Self:
        """The same settings, with `url` as the Redis in use."""
        return self.model_copy(update={"redis_url": SecretStr(url)})

    def broker_url(self, redis_url: str) -> str:
        """Celery's broker: CELERY_BROKER_URL, else derived from `redis_url`, the Redis in use. May hold a
        password."""
        given = self.celery_broker_url
        return celery_form(given.get_secret_value() if given else redis_url)

    def database_url_value(self) -> str:
        """For SQLAlchemy, with an asynchronous driver. May hold a password."""
        if self.database_url is None:
            return f"sqlite+aiosqlite:///{self.data_dir}/threadway.db"
        return sqlalchemy_form(self.database_url.get_secret_value())

    @property
    def effective_api_url(self) -> str:
        """Root of our own /v1 for our own processes, no slash at the end."""
        if self.api_url is not None:
            return self.api_url
        host = "127.0.0.1" if is_wildcard(self.host) or self.bound_to_loopback else self.host
        host = "[::1]" if self.host == "::1" else f"[{host}]" if ":" in host else host
        return f"http://{host}:{self.port}/v1"

    def api_key_value(self) -> str:
        """Bearer key of our own /v1: THREADWAY_API_KEY, else the data directory's, made at the first call.

        Raises SettingsInvalid when that file cannot be read or made.
        """
        return self.api_key.get_secret_value() if self.api_key else shared_api_key(self.data_dir)

    def telegram_secret(self) -> str:
        """The webhook's secret: TELEGRAM_WEBHOOK_SECRET, else derived from the token. RuntimeError without
        a token."""
        if self.telegram_webhook_secret is not None:
            return self.telegram_webhook_secret.get_secret_value()
        if self.telegram_bot_token is None:
            raise RuntimeError("Telegram is off")
        return webhook_secret(self.telegram_bot_token.get_secret_value())

    def assistant(self, name: str) -> AssistantConf | None:
        """The assistant of that name."""
        return next((conf for conf in self.assistants if conf.name == name), None)

    def route(self, key: ConversationKey) -> AssistantConf:
        """The assistant that answers in a conversation: the first route that matches, else the first
        assistant."""
        for route in self.routes:
            if _fits(key, route.match) and (conf := self.assistant(route.use)):
                return conf
        return self.assistants[0]

    def upstream_model(self, name: str) -> str:
        """The upstream's name for a model that a client of /v1 asked for; `name` itself where [models] is
        silent."""
        return next((ours for pattern, ours in self.models.items() if _fits(name, pattern)), name)

    def proxy_for(self, url: str) -> str | None:
        """The proxy for an outgoing call, None for a direct one. Never for loopback and our own /v1. May
        hold a password."""
        scheme = urlsplit(url).scheme
        proxy: SecretStr | None = {
            "http": self.http_proxy, "ws": self.http_proxy, "https": self.https_proxy, "wss": self.https_proxy,
        }.get(scheme)  # fmt: skip
        ours = (host_of(url), port_of(url)) == (host_of(self.effective_api_url), port_of(self.effective_api_url))
        if proxy is None or ours or is_loopback(host_of(url)) or bypasses_proxy(url, self.no_proxy):
            return None
        return proxy.get_secret_value()

    def notices(self) -> tuple[str, ...]:
        """What the start should tell people, one sentence each: settings that hold but may not do what was
        meant."""
        said = []
        if self.demo and self.openai_api_key is not None:
            said.append("the demo model answers: OPENAI_API_KEY alone changes nothing, set THREADWAY_MODEL as well")
        if self.slack_on is False and (self.slack_app_token or self.slack_signing_secret):
            said.append("Slack is off: SLACK_BOT_TOKEN is not set")
        if self.telegram_on is False and self.telegram_webhook_url:
            said.append("Telegram is off: TELEGRAM_BOT_TOKEN is not set")
        for platform in ("telegram", "slack"):
            if self.is_vendor(platform) and self.effective_access(platform) is Access.OPEN:
                said.append(
                    f"EVERYBODY who finds the bot on {platform} may talk to it and spend your tokens: access is open; "
                    "THREADWAY_ACCESS=pairing asks each for a code"
                )
        rules = self.access_rules
        modes = {self.effective_access(platform) for platform in self.platforms_on}
        if Access.ALLOWLIST in modes and not (rules.allow or rules.admins):
            said.append("NOBODY may talk to the bot: access is by allowlist, and [access] allow is empty")
        if modes == {Access.OPEN} and rules.allow:
            said.append("[access] allow changes nothing: access is open")
        return tuple(said)


def _fits(text: str, pattern: str) -> bool:
    """* and ? only: a bracket stands for itself."""
    return fnmatchcase(text, pattern.replace("[", "[[]"))
