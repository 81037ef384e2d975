"""`threadway doctor`: is everything set up, and if not, what to do. Looks only: starts, makes and changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass

import aiohttp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.announce import model_in_use
from gateway.domain.errors import SettingsInvalid, StoreDown
from gateway.queue import make_celery
from gateway.redis_server import ServerMissing, find_server, live_url
from gateway.settings import Access, Backend, Settings
from gateway.store import Store
from gateway.telemetry import redact

_TIMEOUT_S = 8.0
_MARKS = {"ok": "green", "warning": "yellow", "failed": "red", "skipped": "dim"}
_BETA = {"OpenAI-Beta": "assistants=v2"}
"""Assistants API reference: every request of it carries this header."""


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
    checks = (_settings, _access, _redis, _broker, _database, _backend, _model, _telegram, _slack)
    findings = [
        found for group in await asyncio.gather(*(_guarded(check, settings) for check in checks)) for found in group
    ]
    if as_json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))  # noqa: T201
    else:
        table = Table("part", "state", "what was found")
        for finding in findings:
            table.add_row(finding.part, Text(finding.state, _MARKS[finding.state]), Text(finding.says))
        Console().print(table)
    return int(any(finding.state == "failed" for finding in findings))


async def _guarded(check: Callable[[Settings], Awaitable[list[Finding]]], settings: Settings) -> list[Finding]:
    part = check.__name__.lstrip("_")
    try:
        async with asyncio.timeout(_TIMEOUT_S * 2):
            found = await check(settings)
    except TimeoutError:
        found = [Finding(part, "failed", "no answer in time; is the address right and the server running?")]
    except (OSError, aiohttp.ClientError, ValueError) as error:
        found = [Finding(part, "failed", f"cannot be reached or understood: {type(error).__name__}: {error}"[:300])]
    return [Finding(finding.part, finding.state, redact(finding.says)) for finding in found]


async def _settings(settings: Settings) -> list[Finding]:
    config = settings.config.name if settings.config else "no threadway.toml"
    said = [Finding("settings", "ok", f"valid ({config}); backend {settings.backend}")]
    return said + [Finding("settings", "warning", notice) for notice in settings.notices()]


async def _access(settings: Settings) -> list[Finding]:
    """Who may talk, and whether anybody can at all."""
    modes = {platform: settings.effective_access(platform) for platform in settings.platforms_on}
    if not modes:
        return [Finding("access", "skipped", "no platform is on; the lab and the terminal are open")]
    named = len({*settings.access_rules.allow, *settings.access_rules.admins})
    says = ", ".join(f"{platform}: {mode}" for platform, mode in modes.items()) + f"; {named} named in [access]"
    url = _known_redis(settings)
    if Access.PAIRING not in modes.values() or url is None:
        return [Finding("access", "ok", says)]
    store = Store(url, connections=1)
    try:
        paired = len(await store.pairings.all())
    except StoreDown:
        return [Finding("access", "skipped", f"{says}; who is paired is in Redis")]
    finally:
        await store.close()
    if not (named or paired):
        return [Finding("access", "warning", f"{says}, nobody paired: `threadway pair` prints a code to let you in")]
    return [Finding("access", "ok", f"{says}, {paired} paired")]


def _known_redis(settings: Settings) -> str | None:
    return settings.redis_url_value() if settings.redis_url else live_url(settings.data_dir)


async def _redis(settings: Settings) -> list[Finding]:
    url = _known_redis(settings)
    if url is None:
        try:
            program = find_server()
        except ServerMissing as missing:
            return [Finding("redis", "failed", str(missing))]
        return [Finding("redis", "ok", f"embedded server {program}, not running now; `threadway up` starts it")]
    store = Store(url, connections=2)
    try:
        warnings = await store.check_server()
        workers = await store.rounds.workers()
    except SettingsInvalid as evicting:
        return [Finding("redis", "failed", str(evicting))]
    except StoreDown as away:
        return [Finding("redis", "failed", f"{away}; is REDIS_URL right and the server running?")]
    finally:
        await store.close()
    found = [Finding("redis", "warning", warning) for warning in warnings]
    found = found or [Finding("redis", "ok", "keeps what it took: every write is on disk, nothing is thrown away")]
    if workers:
        return [*found, Finding("workers", "ok", f"{workers} at work")]
    says = "none at work, so nobody answers; start `threadway worker` or `threadway up`"
    return [*found, Finding("workers", "warning", says)]


async def _broker(settings: Settings) -> list[Finding]:
    url = _known_redis(settings)
    if url is None and settings.celery_broker_url is None:
        return [Finding("broker", "skipped", "the embedded Redis, not running now")]

    def connect() -> None:
        with make_celery(settings.broker_url(url or "")).connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=5)

    name = "CELERY_BROKER_URL" if settings.celery_broker_url else "REDIS_URL"
    try:
        await asyncio.to_thread(connect)
    except Exception as error:  # whatever the transport raises
        return [Finding("broker", "failed", f"cannot be reached ({type(error).__name__}); check {name}")]
    return [Finding("broker", "ok", "reachable" if settings.celery_broker_url else "reachable (the Redis above)")]


async def _database(settings: Settings) -> list[Finding]:
    if settings.backend is not Backend.EMBEDDED:
        return [Finding("database", "skipped", "only the embedded backend keeps records")]
    if settings.database_url is None and not (settings.data_dir / "threadway.db").exists():
        return [Finding("database", "ok", f"SQLite in {settings.data_dir}, made by the first start")]
    from gateway.assistants.errors import RecordsDown
    from gateway.assistants.records import open_database

    try:
        database = await open_database(settings.database_url_value(), migrate=False)
    except RecordsDown as away:
        return [Finding("database", "failed", f"{away}; is DATABASE_URL right and the server running?")]
    except SettingsInvalid as old:
        if settings.auto_migrate:
            return [Finding("database", "ok", f"reachable; the next start migrates it ({old})")]
        return [Finding("database", "failed", str(old))]
    await database.close()
    return [Finding("database", "ok", "reachable, and of this version")]


async def _backend(settings: Settings) -> list[Finding]:
    embedded = settings.backend is Backend.EMBEDDED
    if embedded:
        key_made = settings.api_key is not None or (settings.data_dir / "api_key").exists()
        if _known_redis(settings) is None or not key_made:
            return [Finding("backend", "skipped", "our own /v1, which `threadway up` and `threadway gateway` serve")]
        url, key = settings.effective_api_url, settings.api_key_value()
    else:
        url = settings.upstream_base_url or ""
        key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else "none"
    headers = {"Authorization": f"Bearer {key}", **_BETA}
    try:
        async with (
            _http() as http,
            http.get(f"{url}/assistants?limit=1", headers=headers, proxy=settings.proxy_for(url)) as answer,
        ):
            status = answer.status
    except aiohttp.ClientConnectionError:
        if embedded:
            return [Finding("backend", "warning", f"nobody answers at {url}; `threadway up` or `gateway` serves it")]
        return [Finding("backend", "failed", f"nobody answers at {url}; is the address right and the server running?")]
    if status == 200:
        return [Finding("backend", "ok", f"answers at {url}")]
    name = "THREADWAY_API_KEY" if embedded else "OPENAI_API_KEY"
    says = f"{url} refuses {name}" if status in (401, 403) else f"{url}/assistants answers {status}"
    return [Finding("backend", "failed", says)]


async def _model(settings: Settings) -> list[Finding]:
    if settings.demo:
        says = "the built-in demo model; for a real one set OPENAI_API_KEY or OPENAI_BASE_URL, and THREADWAY_MODEL"
        return [Finding("model", "ok", says)]
    if settings.backend is not Backend.EMBEDDED:
        return [Finding("model", "skipped", "is the backend's matter")]
    url = settings.upstream_base_url or ""
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else "none"
    headers = {"Authorization": f"Bearer {key}"}
    try:
        async with _http() as http, http.get(f"{url}/models", headers=headers, proxy=settings.proxy_for(url)) as answer:
            if answer.status in (401, 403):
                return [Finding("model", "failed", f"{url} refuses OPENAI_API_KEY")]
            if answer.status != 200:
                says = f"{url}/models answers {answer.status}; some servers have no list of models"
                return [Finding("model", "warning", says)]
            known = _ids(await answer.json(content_type=None))
    except aiohttp.ClientConnectionError:
        return [Finding("model", "failed", f"nobody answers at {url}; check OPENAI_BASE_URL")]
    wanted = {settings.upstream_model(conf.model) for conf in settings.assistants if conf.model}
    if known and wanted - known:
        return [Finding("model", "warning", f"{url} does not list {', '.join(sorted(wanted - known))}")]
    return [Finding("model", "ok", model_in_use(settings))]


def _ids(listed: object) -> set[str]:
    data = listed.get("data") if isinstance(listed, dict) else None
    return {str(model.get("id")) for model in data if isinstance(model, dict)} if isinstance(data, list) else set()


async def _telegram(settings: Settings) -> list[Finding]:
    if settings.telegram_bot_token is None:
        return [Finding("telegram", "skipped", "off; set TELEGRAM_BOT_TOKEN to switch it on")]
    base = f"{settings.telegram_api_base_url}/bot{settings.telegram_bot_token.get_secret_value()}"
    proxy = settings.proxy_for(settings.telegram_api_base_url)
    async with _http() as http:
        async with http.get(f"{base}/getMe", proxy=proxy) as answer:
            me = await answer.json(content_type=None)
        if not me.get("ok"):
            return [Finding("telegram", "failed", f"getMe: {me.get('description')}; take a new token from @BotFather")]
        async with http.get(f"{base}/getWebhookInfo", proxy=proxy) as answer:
            hook = (await answer.json(content_type=None)).get("result", {})
    found = [Finding("telegram", "ok", f"@{me['result'].get('username')}")]
    if trouble := hook.get("last_error_message"):
        found.append(Finding("telegram webhook", "warning", f"Telegram's last error: {trouble}"))
    if hook.get("url") and settings.telegram_webhook_url is None:
        found.append(Finding("telegram webhook", "warning", "a webhook is set; polling removes it at its start"))
    return found


async def _slack(settings: Settings) -> list[Finding]:
    if settings.slack_bot_token is None:
        return [Finding("slack", "skipped", "off; set SLACK_BOT_TOKEN to switch it on")]
    headers = {"Authorization": f"Bearer {settings.slack_bot_token.get_secret_value()}"}
    proxy = settings.proxy_for(settings.slack_api_base_url)
    url = f"{settings.slack_api_base_url}auth.test"
    async with _http() as http, http.post(url, headers=headers, proxy=proxy) as answer:
        me = await answer.json(content_type=None)
    if not me.get("ok"):
        says = f"auth.test: {me.get('error')}; install the app again and copy its bot token"
        return [Finding("slack", "failed", says)]
    mode = "Socket Mode" if settings.slack_app_token else "requests at /slack/events"
    return [Finding("slack", "ok", f"{me.get('user')} in {me.get('team')}, {mode}")]


def _http() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), trust_env=False)
