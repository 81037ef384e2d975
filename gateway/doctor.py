"""`threadway doctor`: is everything set up, and if not, what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import aiohttp
from rich.console import Console
from rich.table import Table

from gateway.domain.errors import SettingsInvalid, StoreDown
from gateway.domain.pacing import SystemClock
from gateway.queue import make_celery
from gateway.redis_server import ServerMissing, find_server, live_url
from gateway.settings import Backend, Settings
from gateway.store import Store
from gateway.telemetry import redact

_TIMEOUT_S = 8.0
_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failed": "[red]failed[/]", "skipped": "[dim]–[/]"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    part: str
    state: str
    """ok | warning | failed | skipped"""
    says: str
    """What was found, and what to do about it."""


async def doctor(settings: Settings, *, as_json: bool) -> int:
    """Look at everything, print it; 1 when something required failed."""
    findings = [Finding("settings", "ok", f"valid; backend {settings.backend}, access open to everybody")]
    for check in (_redis, _broker, _database, _model, _telegram, _slack):
        findings += await _guarded(check, settings)
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))  # noqa: T201
    else:
        table = Table("part", "state", "what was found")
        for finding in findings:
            table.add_row(finding.part, _MARKS[finding.state], finding.says)
        Console().print(table)
    return int(any(finding.state == "failed" for finding in findings))


async def _guarded(check: Callable[[Settings], Awaitable[list[Finding]]], settings: Settings) -> list[Finding]:
    part = check.__name__.lstrip("_")
    try:
        async with asyncio.timeout(_TIMEOUT_S * 2):
            return await check(settings)
    except (TimeoutError, OSError, aiohttp.ClientError, ValueError) as error:
        return [Finding(part, "failed", redact(f"{type(error).__name__}: {error}")[:200])]


async def _redis(settings: Settings) -> list[Finding]:
    url = settings.redis_url_value() if settings.redis_url else live_url(settings.data_dir)
    if url is None:
        try:
            return [
                Finding("redis", "ok", f"embedded server {find_server()}, not running now; `threadway up` starts it")
            ]
        except ServerMissing as missing:
            return [Finding("redis", "failed", str(missing))]
    store = Store(url, connections=2)
    try:
        warnings = await store.check_server()
        workers = await store.shared.workers(now_s=SystemClock().now().timestamp())
    except SettingsInvalid as evicting:
        return [Finding("redis", "failed", str(evicting))]
    except StoreDown as away:
        return [Finding("redis", "failed", f"{away}; is REDIS_URL right and the server running?")]
    finally:
        await store.close()
    found = [Finding("redis", "warning", warning) for warning in warnings] or [Finding("redis", "ok", "durable")]
    says = (
        f"{workers} at work" if workers else "none at work: nobody answers; start `threadway worker` or `threadway up`"
    )
    return [*found, Finding("workers", "ok" if workers else "warning", says)]


async def _broker(settings: Settings) -> list[Finding]:
    url = settings.redis_url_value() if settings.redis_url else live_url(settings.data_dir)
    if url is None and settings.celery_broker_url is None:
        return [Finding("broker", "skipped", "the embedded Redis, not running now")]

    def connect() -> None:
        with make_celery(settings.broker_url(url or "")).connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)

    try:
        await asyncio.to_thread(connect)
    except Exception as error:  # whatever the transport raises
        return [Finding("broker", "failed", f"cannot be reached ({type(error).__name__}); check CELERY_BROKER_URL")]
    return [Finding("broker", "ok", "reachable")]


async def _database(settings: Settings) -> list[Finding]:
    if settings.backend is not Backend.EMBEDDED:
        return [Finding("database", "skipped", "only the embedded backend keeps records")]
    from gateway.assistants.errors import RecordsDown
    from gateway.assistants.records import open_database

    try:
        database = await open_database(settings.database_url_value(), migrate=settings.auto_migrate)
        await database.ping()
    except RecordsDown as away:
        return [Finding("database", "failed", f"{away}; is DATABASE_URL right and the server running?")]
    await database.close()
    return [Finding("database", "ok", "reachable, migrated")]


async def _model(settings: Settings) -> list[Finding]:
    if settings.demo:
        says = "the built-in demo model; for a real one set OPENAI_API_KEY or OPENAI_BASE_URL, and THREADWAY_MODEL"
        return [Finding("model", "ok", says)]
    url = (settings.upstream_base_url or "").rstrip("/")
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else "none"
    async with (
        _http() as http,
        http.get(f"{url}/models", headers={"Authorization": f"Bearer {key}"}, proxy=settings.proxy_for(url)) as answer,
    ):
        if answer.status == 401:
            return [Finding("model", "failed", f"{url} refuses OPENAI_API_KEY")]
        if answer.status != 200:
            return [Finding("model", "warning", f"{url}/models answers {answer.status}; some servers have no list")]
        known = {model.get("id") for model in (await answer.json()).get("data", [])}
    wanted = settings.model
    if wanted and known and wanted not in known:
        return [Finding("model", "warning", f"{url} does not list THREADWAY_MODEL={wanted}")]
    return [Finding("model", "ok", f"{wanted or 'named by each assistant'} at {url}")]


async def _telegram(settings: Settings) -> list[Finding]:
    if settings.telegram_bot_token is None:
        return [Finding("telegram", "skipped", "off; set TELEGRAM_BOT_TOKEN to switch it on")]
    base = f"{settings.telegram_api_base_url}/bot{settings.telegram_bot_token.get_secret_value()}"
    proxy = settings.proxy_for(settings.telegram_api_base_url)
    async with _http() as http:
        async with http.get(f"{base}/getMe", proxy=proxy) as answer:
            me = await answer.json()
        if not me.get("ok"):
            return [Finding("telegram", "failed", f"getMe: {me.get('description')}; take a new token from @BotFather")]
        async with http.get(f"{base}/getWebhookInfo", proxy=proxy) as answer:
            hook = (await answer.json()).get("result", {})
    found = [Finding("telegram", "ok", f"@{me['result'].get('username')}")]
    if trouble := hook.get("last_error_message"):
        found.append(Finding("telegram webhook", "warning", f"Telegram's last error: {trouble}"))
    if hook.get("url") and settings.telegram_webhook_url is None:
        found.append(Finding("telegram webhook", "warning", "a webhook is set; polling removes it at its start"))
    return found


async def _slack(settings: Settings) -> list[Finding]:
    if settings.slack_bot_token is None:
        return [Finding("slack", "skipped", "off; set SLACK_BOT_TOKEN to switch it on")]
    async with (
        _http() as http,
        http.post(
            f"{settings.slack_api_base_url}auth.test",
            headers={"Authorization": f"Bearer {settings.slack_bot_token.get_secret_value()}"},
            proxy=settings.proxy_for(settings.slack_api_base_url),
        ) as answer,
    ):
        me = await answer.json()
    if not me.get("ok"):
        return [
            Finding("slack", "failed", f"auth.test: {me.get('error')}; install the app again and copy its bot token")
        ]
    mode = "Socket Mode" if settings.slack_app_token else "requests at /slack/events"
    return [Finding("slack", "ok", f"{me.get('user')} in {me.get('team')}, {mode}")]


def _http() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), trust_env=False)
