"""`threadway pair`: let people in by a code, see who was, and take it back."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime

import aiohttp
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.access import CODE_LIFE_S, fingerprint, new_code
from gateway.domain.errors import StoreDown
from gateway.settings import Access, Settings
from gateway.store import Store
from gateway.store.pairings import Paired, Pairings
from gateway.telemetry import log, redact

_CONNECTIONS = 2
_ASK_S = 4.0
"""How long Telegram may take to tell the bot's name: the link is a comfort, the code works without."""


async def new(url: str, settings: Settings, *, as_json: bool) -> int:
    """Print a code that lets in the first who sends it, and the link that sends it for them. 1 when Redis is away."""
    async with _pairings(url) as pairings:
        code = new_code()
        await pairings.add_code(fingerprint(code), life_s=CODE_LIFE_S)
        link = await _deep_link(settings, code)
        if as_json:
            print(json.dumps({"code": code, "expires_in_s": CODE_LIFE_S, "link": link}, indent=2))  # noqa: T201
            return 0
        print(code)  # noqa: T201
        if link:
            print(link)  # noqa: T201
        _explain(settings, link)
        return 0
    return 1


def _explain(settings: Settings, link: str) -> None:
    """To stderr: stdout belongs to the code, which scripts read."""
    way = "open the link in Telegram, or send the code" if link else "send the code"
    _say(f"It works once, for {CODE_LIFE_S // 60} minutes: {way} to the bot in a direct message.")
    modes = {settings.effective_access(platform) for platform in settings.platforms_on}
    if modes and Access.PAIRING not in modes:
        _say(
            f"Nobody is asked for it now: access is {' and '.join(sorted(modes))}. THREADWAY_ACCESS=pairing changes it."
        )


async def _deep_link(settings: Settings, code: str) -> str:
    """The link that opens the bot and sends it the code; "" where Telegram is off or does not tell the bot's name.

    https://core.telegram.org/bots/features#deep-linking
    """
    if settings.telegram_bot_token is None:
        return ""
    base = settings.telegram_api_base_url
    asked = f"{base}/bot{settings.telegram_bot_token.get_secret_value()}/getMe"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ASK_S), trust_env=False) as http,
            http.get(asked, proxy=settings.proxy_for(base)) as answer,
        ):
            name = (await answer.json(content_type=None))["result"]["username"]
    except (aiohttp.ClientError, OSError, ValueError, LookupError, TypeError):
        return ""
    return f"https://t.me/{name}?start={code}" if isinstance(name, str) and name else ""


async def list_paired(url: str, *, as_json: bool) -> int:
    """Print everybody who is paired, the newest first. 1 when Redis is away."""
    async with _pairings(url) as pairings:
        found = await pairings.all()
        if as_json:
            print(json.dumps([asdict(paired) for paired in found], indent=2, ensure_ascii=False))  # noqa: T201
        elif not found:
            print("nobody is paired")  # noqa: T201
        else:
            _print_table(found)
        return 0
    return 1


async def revoke(url: str, person: str, *, as_json: bool) -> int:
    """Take a pairing back; gateways heed it within seconds. 1 when there is none, or Redis is away."""
    async with _pairings(url) as pairings:
        was_paired = await pairings.revoke(person)
        if was_paired:
            log.info("access.revoked", person=person)
        if as_json:
            print(json.dumps({"person": person, "revoked": was_paired}))  # noqa: T201
        elif was_paired:
            print(f"revoked {person}")  # noqa: T201
        if not was_paired:
            _say(f"{person}: is not paired; `threadway pair list` names who is")
        return int(not was_paired)
    return 1


@asynccontextmanager
async def _pairings(url: str) -> AsyncIterator[Pairings]:
    """The pairings behind `url`. A Redis that is away or full ends the block with one line on stderr."""
    store = Store(url, connections=_CONNECTIONS)
    try:
        yield store.pairings
    except StoreDown as away:
        _say(f"{redact(str(away))}; nothing was done")
    finally:
        await store.close()


def _print_table(found: list[Paired]) -> None:
    table = Table("person", "name", "paired (UTC)")
    for paired in found:
        at = datetime.fromtimestamp(paired.at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(*(Text(_harmless(word), overflow="fold") for word in (paired.person, paired.name, at)))
    Console().print(table)


def _harmless(text: str) -> str:
    """Without control characters: a stranger's name must not steer the operator's terminal."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201
