"""What has to hold between settings that are sound one by one."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass

from gateway.settings.addresses import host_of, is_loopback, is_wildcard, port_of
from gateway.settings.layers import nearest
from gateway.settings.resolved import Settings
from gateway.settings.tables import BUILT_IN_TOOLS, HOSTED_TOOLS
from gateway.settings.variables import Backend

BUILT = (Backend.EMBEDDED, Backend.ASSISTANTS)
"""The backends of this version."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that does not hold."""

    fields: tuple[str, ...]
    """The fields of Settings that the rule looked at, first the one to mend. If one of them is unsound by itself, the
    rule has nothing to say."""
    wrong: str
    """What is wrong and how to right it; no value of a variable in it."""
    key: str = ""
    """The place within the first field's table."""


def faults(settings: Settings) -> Iterator[Fault]:
    """Every fault. Imports the modules of users' tools."""
    for rule in (_backend, _own_address, _models, _slack, _webhook, _lab, _assistants, _routes):
        yield from rule(settings)


def _backend(s: Settings) -> Iterator[Fault]:
    if s.backend not in BUILT:
        yield Fault(("backend",), f"{s.backend} is not in this version: use {' or '.join(BUILT)}")
    if s.backend is Backend.ASSISTANTS and host_of(s.openai_base_url or "") in ("", "api.openai.com"):
        yield Fault(
            ("openai_base_url", "backend"),
            "OpenAI shut this API on 2026-08-26; set OPENAI_BASE_URL to a server that still speaks the Assistants "
            "API, or THREADWAY_BACKEND=embedded to use our own with any Chat Completions model",
        )


def _own_address(s: Settings) -> Iterator[Fault]:
    """A service that asks itself would answer every run with a new run."""
    if s.openai_base_url is None:
        return
    host, port = host_of(s.openai_base_url), port_of(s.openai_base_url)
    served = port == s.port and (is_loopback(host) or is_wildcard(host) or host == s.host.lower())
    if served or (host, port) == (host_of(s.effective_api_url), port_of(s.effective_api_url)):
        yield Fault(
            ("openai_base_url", "port", "host", "api_url"),
            "this is our own address: name the server behind us, or unset it to use the demo model",
        )


def _models(s: Settings) -> Iterator[Fault]:
    if s.demo:
        return
    looked_at = ("model", "backend", "openai_base_url", "assistants")
    nameless = [conf.name for conf in s.assistants if not conf.model and not conf.assistant_id]
    if nameless:
        needing = ", ".join(f'"{name}"' for name in nameless)
        yield Fault(looked_at, f"missing: set the model of assistant {needing}, by a name that the upstream knows")
    if host_of(s.upstream_base_url or "") == "api.openai.com" and s.openai_api_key is None:
        yield Fault(
            ("openai_api_key", *looked_at),
            "missing: api.openai.com needs a key; or set OPENAI_BASE_URL to another server",
        )


def _slack(s: Settings) -> Iterator[Fault]:
    if s.slack_on and s.slack_app_token is None and s.slack_signing_secret is None:
        yield Fault(
            ("slack_bot_token", "slack_app_token", "slack_signing_secret"),
            "needs SLACK_SIGNING_SECRET (requests at POST /slack/events) or SLACK_APP_TOKEN (Socket Mode) beside it",
        )


def _webhook(s: Settings) -> Iterator[Fault]:
    plain = s.telegram_webhook_url is not None and s.telegram_webhook_url.lower().startswith("http://")
    if plain and not is_loopback(host_of(s.telegram_api_base_url)):
        yield Fault(("telegram_webhook_url", "telegram_api_base_url"), "Telegram calls https:// addresses only")


def _lab(s: Settings) -> Iterator[Fault]:
    if s.lab != "on":
        return
    if not s.bound_to_loopback and s.lab_password is None:
        wrong = "missing: others reach the lab at this THREADWAY_HOST; set a password"
        yield Fault(("lab_password", "lab", "host"), wrong)
    for platform in ("telegram", "slack"):
        if s.is_vendor(platform):
            token = f"{platform}_bot_token"
            wrong = f"the lab never runs beside a real bot: unset {token.upper()} or set THREADWAY_LAB=off"
            yield Fault(("lab", token, f"{platform}_api_base_url"), wrong)


def _assistants(s: Settings) -> Iterator[Fault]:
    seen: set[str] = set()
    for number, conf in enumerate(s.assistants):
        at = f'[{number}] "{conf.name}"'
        if conf.name in seen:
            yield Fault(("assistants",), "another assistant has this name: give each its own", f"{at}.name")
        seen.add(conf.name)
        if conf.files:
            yield Fault(("assistants",), "not in this version: remove the key", f"{at}.files")
        if len(set(conf.tools)) < len(conf.tools):
            yield Fault(("assistants",), "a tool is named twice: keep one", f"{at}.tools")
        if conf.hosted and s.backend is Backend.EMBEDDED:
            wrong = f"{', '.join(conf.hosted)} is not in this version of the embedded backend: remove it"
            yield Fault(("assistants", "backend"), wrong, f"{at}.tools")
        for tool in dict.fromkeys(conf.functions):
            if wrong := _tool_fault(tool):
                yield Fault(("assistants",), wrong, f"{at}.tools")


def _tool_fault(tool: str) -> str:
    if tool in BUILT_IN_TOOLS:
        return ""
    if ":" in tool:
        return _function_fault(tool)
    known = {*BUILT_IN_TOOLS, *HOSTED_TOOLS, *_plugged_in("tools")}
    if tool in known:
        return ""
    return f'there is no tool "{tool}"{nearest(tool, known)}; a function of your own is written "module:function"'


def _function_fault(tool: str) -> str:
    module, _, function = tool.partition(":")
    if not function.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        return f'"{tool}" is not of the form "module:function"'
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as error:
        return f'"{tool}": there is no module "{error.name}" beside the toml file, in the current folder or installed'
    except SyntaxError as error:
        return f'"{tool}": syntax error in line {error.lineno} of {error.filename}'
    except (Exception, SystemExit) as error:  # a user's module may raise whatever it likes
        said = (str(error).splitlines() or [""])[0][:200]
        return f'"{tool}": importing "{module}" failed: {type(error).__name__}: {said}'
    if found is None:
        return f'"{tool}": the module has no "{function}"'
    return "" if callable(found) else f'"{tool}" is not a function'


def _routes(s: Settings) -> Iterator[Fault]:
    names = [conf.name for conf in s.assistants]
    for number, route in enumerate(s.routes):
        if route.use not in names:
            wrong = f'there is no assistant "{route.use}"{nearest(route.use, names)}'
            yield Fault(("routes", "assistants"), wrong, f"[{number}].use")
        platform = route.match.partition(":")[0]
        if {"*", "?"} & set(platform) or platform in ("telegram", "slack", "console"):
            continue
        known = {"telegram", "slack", "console", *_plugged_in("adapters")}
        if platform not in known:
            wrong = f'no conversation begins with "{platform}:"{nearest(platform, known)}'
            yield Fault(("routes",), wrong, f"[{number}].match")


def _plugged_in(what: str) -> set[str]:
    """What other distributions add under the entry point `threadway.<what>`."""
    return {entry.name for entry in importlib.metadata.entry_points(group=f"threadway.{what}")}
