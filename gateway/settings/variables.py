"""Every variable that threadway reads: name, unit, default, meaning. docs/settings.md says the same; a test
compares.

A field's variable is its name in upper case, with THREADWAY_ in front where the name is ours alone
(`variable_of`).
"""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway.settings.addresses import BROKER_SCHEMES, DATABASE_SCHEMES, REDIS_SCHEMES, check_url
from gateway.settings.tables import Access

OPENAI_URL = "https://api.openai.com/v1"
TELEGRAM_URL = "https://api.telegram.org"
SLACK_URL = "https://slack.com/api/"
_SHARED_NAMES = ("telegram_", "slack_", "openai_", "redis_url", "celery_", "database_", "http", "no_proxy")


class Backend(StrEnum):
    """Who runs the assistants."""

    EMBEDDED = "embedded"
    """Our own /v1 service, its model at any Chat Completions endpoint or the demo model."""
    ASSISTANTS = "assistants"
    """A server that speaks the Assistants API."""
    RESPONSES = "responses"
    """OpenAI's Responses and Conversations; not in this version."""
    AGENTS = "agents"
    """The Agents API; not in this version."""


def variable_of(field: str) -> str:
    """The environment variable of a field: "port" → "THREADWAY_PORT", "redis_url" → "REDIS_URL"."""
    return field.upper() if field.startswith(_SHARED_NAMES) else f"THREADWAY_{field.upper()}"


def _http(url: str) -> str:
    check_url(url, ("http", "https"))
    if "@" in urlsplit(url).netloc:
        raise ValueError("the URL holds a user or password: these have variables of their own")
    return url


def _secret_url(*schemes: str) -> AfterValidator:
    def check(url: SecretStr) -> SecretStr:
        check_url(url.get_secret_value(), schemes)
        return url

    return AfterValidator(check)


def _matches(pattern: str, wrong: str) -> AfterValidator:
    def check(secret: SecretStr) -> SecretStr:
        if not re.fullmatch(pattern, secret.get_secret_value()):
            raise ValueError(wrong)
        return secret

    return AfterValidator(check)


def _host(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        if not re.fullmatch(r"(?!-)[A-Za-z0-9.-]{1,253}", name) or re.fullmatch(r"[0-9.]+", name):
            raise ValueError("neither an IP address nor a host name: use e.g. 127.0.0.1 or 0.0.0.0") from None
    return name


def _level(name: str) -> str:
    return name.upper()


HttpUrl = Annotated[str, AfterValidator(_http)]
RootUrl = Annotated[HttpUrl, AfterValidator(lambda url: url.rstrip("/"))]
Token = Annotated[SecretStr, _matches(r"[!-~]+", "holds blanks or characters outside ASCII: copy it again")]
TelegramToken = Annotated[
    SecretStr, _matches(r"\d+:[A-Za-z0-9_-]+", "not a bot token: it looks like 123456:ABC…, @BotFather shows it")
]
WebhookSecret = Annotated[  # Bot API, setWebhook: secret_token
    SecretStr, _matches(r"[A-Za-z0-9_-]{1,256}", "1 to 256 characters out of A-Z a-z 0-9 _ - are allowed")
]
SlackBotToken = Annotated[
    SecretStr, _matches(r"(?!xapp-)[!-~]+", "this is an app-level token: the bot token begins with xoxb-")
]
SlackAppToken = Annotated[
    SecretStr, _matches(r"(?!xox)[!-~]+", "this is no app-level token: that one begins with xapp-")
]
Proxy = Annotated[SecretStr, _secret_url("http", "https")]
Port = Annotated[int, Field(ge=1, le=65535)]


class Variables(BaseSettings):
    """The variables, checked one by one; what depends on several of them is checked by `rules`.

    Built by `load` alone, from what it read: of a wrong value it can say in which file and line it stands,
    which the library's own sources forget.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    telegram_bot_token: TelegramToken | None = None
    """Set: Telegram is on."""
    telegram_api_base_url: RootUrl = TELEGRAM_URL
    """Requests go to {base}/bot{token}/{method}, files to {base}/file/bot{token}/{path}. No slash at the
    end."""
    telegram_webhook_url: HttpUrl | None = None
    """Set: webhook at POST /telegram/webhook; not set: long polling."""
    telegram_webhook_secret: WebhookSecret | None = None
    """What Telegram sends in its secret header; see `Settings.telegram_secret`."""

    slack_bot_token: SlackBotToken | None = None
    """Set: Slack is on. Needs the signing secret or the app token."""
    slack_signing_secret: Token | None = None
    """Checks requests at POST /slack/events."""
    slack_app_token: SlackAppToken | None = None
    """Set: Socket Mode instead of requests."""
    slack_api_base_url: Annotated[RootUrl, AfterValidator(lambda url: f"{url}/")] = SLACK_URL
    """Root of the Web API. One slash at the end."""

    backend: Backend = Backend.EMBEDDED
    """Who runs the assistants."""
    openai_base_url: RootUrl | None = None
    """Root of the upstream's API, no slash at the end; see `Settings.upstream_base_url`."""
    openai_api_key: Token | None = None
    """Bearer key of the upstream."""
    model: str = ""
    """Model of assistants that name none."""
    access: Access | None = None
    """Who may talk to the assistants; see `Settings.effective_access`."""

    redis_url: Annotated[SecretStr, _secret_url(*REDIS_SCHEMES)] | None = None
    """The state. None: the embedded server of the data directory."""
    celery_broker_url: Annotated[SecretStr, _secret_url(*BROKER_SCHEMES)] | None = None
    """Where wake-ups travel; see `Settings.broker_url`."""
    database_url: Annotated[SecretStr, _secret_url(*DATABASE_SCHEMES)] | None = None
    """Records of the embedded service; see `Settings.database_url_value`."""

    host: Annotated[str, AfterValidator(_host)] = "127.0.0.1"
    """What the gateway's HTTP server binds to: an address or a name."""
    port: Port = 8080
    """TCP port of the gateway's HTTP server."""
    api_url: RootUrl | None = None
    """Where our processes reach our own /v1; see `Settings.effective_api_url`."""
    api_key: Token | None = None
    """Bearer key of our own /v1; see `Settings.api_key_value`."""

    lease_s: float = Field(default=10.0, ge=0.5, le=600, allow_inf_nan=False)
    """Seconds that a turn, a run or the polling lease is held without renewal; crashes are repaired in this
    + 2 s."""
    turn_timeout_s: float = Field(default=600.0, ge=1, le=86_400, allow_inf_nan=False)
    """Seconds from a turn's first create; then the run is cancelled and the user told."""
    run_expiry_s: float = Field(default=600.0, ge=1, le=86_400, allow_inf_nan=False)
    """Seconds until a run of the embedded service expires."""
    runs_concurrency: int | None = Field(default=None, ge=1, le=100_000)
    """Embedded runs in flight per worker process. None: as many as turns (`-c`)."""
    metrics_port: int | None = Field(default=None, ge=0, le=65535)
    """TCP port for /metrics alone; 0 is any free one. None: a worker has none, a gateway serves it on its
    own port."""

    lab: Literal["on", "off"] | None = None
    """See `Settings.lab_on`."""
    lab_password: SecretStr | None = None
    """Asked for at /lab; required where the gateway binds to more than loopback."""

    data_dir: Path = Path(".threadway")
    """Embedded Redis, SQLite, keys. Absolute once loaded."""
    config: Path | None = None
    """The toml file. Once loaded: absolute, None where there is none."""
    auto_migrate: bool = True
    """Whether whoever opens the database first migrates it."""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_level)] = "INFO"
    """Least important level that is logged."""

    http_proxy: Proxy | None = None
    """For http:// addresses; see `Settings.proxy_for`."""
    https_proxy: Proxy | None = None
    """For https:// addresses; see `Settings.proxy_for`."""
    no_proxy: str = ""
    """Comma-separated hosts, .domains, addresses and networks that are called directly; * is all."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands over: nothing may slip in from the environment past its checks."""
        return (init_settings,)
