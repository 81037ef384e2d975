"""The `threadway` command. Exit codes: 0 done, 1 failed, 2 wrong usage or settings."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gateway.domain.errors import SettingsInvalid
from gateway.orphan import end_with_parent
from gateway.settings import Settings, load
from gateway.telemetry import configure_logging, log

app = typer.Typer(
    name="threadway",
    help="AI assistants in Telegram and Slack, on a message queue.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
SPARE_SLOTS = 16
"""Celery's -c beyond the budgets: wake-ups that come over a budget need a slot for the moment it takes to say so."""


def main() -> None:
    """Run the command line; wrong settings end it with one line per error and exit code 2."""
    try:
        app()
    except SettingsInvalid as invalid:
        print(invalid, file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _settings(*, quiet: bool = False) -> Settings:
    settings = load()
    configure_logging("ERROR" if quiet else settings.log_level)
    return settings


def _usage(why: str) -> NoReturn:
    print(why, file=sys.stderr)  # noqa: T201
    raise SystemExit(2)


def _lab_variables(settings: Settings) -> dict[str, str]:
    """With THREADWAY_LAB=on and no token of a platform, the platforms are the lab's."""
    if settings.lab != "on" or settings.telegram_on or settings.slack_on:
        return {}
    from gateway.lab.identity import lab_environment

    return lab_environment(settings.host, settings.port)


def _with_lab(settings: Settings) -> Settings:
    lab = _lab_variables(settings)
    return load({**os.environ, **lab}) if lab else settings


def _redis_url(settings: Settings) -> str:
    """The Redis to use by a process that starts none."""
    from gateway.redis_server import live_url

    if settings.redis_url is not None:
        return settings.redis_url.get_secret_value()
    return live_url(settings.data_dir) or _usage(
        f"REDIS_URL: not set, and no embedded server runs for {settings.data_dir}; set it, or start `threadway up`"
    )


@app.command()
def up() -> None:
    """Run everything on this machine: Redis, gateway, worker, and the lab where no platform is set up."""
    from gateway.up import up as run

    raise SystemExit(asyncio.run(run(_settings())))


@app.command()
def gateway() -> None:
    """Run the adapters and the HTTP server."""
    end_with_parent()
    settings = _with_lab(_settings())
    for notice in settings.notices():
        log.warning("settings.notice", notice=notice)
    settings = settings.with_redis(_redis_url(settings))
    from gateway.serve import serve

    raise SystemExit(asyncio.run(serve(settings)))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    options_metavar="[CELERY OPTIONS]",
)
def worker(
    context: typer.Context,
    concurrency: Annotated[int, typer.Option("-c", "--concurrency", min=1, help="Turns in flight.")] = 200,
    queues: Annotated[str, typer.Option("-Q", "--queues", help="Queues to consume.")] = "turns,runs",
    pool: Annotated[str, typer.Option("-P", "--pool", hidden=True)] = "custom",
) -> None:
    """Run a Celery worker with threadway's pool; other options (-n, -l …) go through to Celery."""
    if pool != "custom":
        _usage(f"-P {pool}: threadway's turns are coroutines and need its own pool; leave -P out")
    if unknown := sorted(set(queues.split(",")) - {"turns", "runs"}):
        _usage(f"-Q {queues}: unknown queue {', '.join(unknown)}; known: turns, runs")
    settings = load()
    lab = _lab_variables(settings)
    url = _redis_url(settings)
    slots = concurrency + (settings.runs_concurrency or concurrency) + SPARE_SLOTS
    root = str(Path(__file__).parent.parent)
    env = {
        **os.environ,
        **lab,
        **({} if settings.redis_url else {"REDIS_URL": url}),
        "TW_WORKER_TURNS": str(concurrency),
        "CELERY_CUSTOM_WORKER_POOL": "workers.pool:TurnPool",
        "PYTHONPATH": os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH")))),  # read before the cwd is
    }
    arguments = ["-A", "workers.main", "worker", "-P", "custom", "-c", str(slots), "-Q", queues]
    quiet = ["--without-gossip", "--without-mingle"]
    os.execve(sys.executable, [sys.executable, "-m", "celery", *arguments, *quiet, *context.args], env)  # noqa: S606


@app.command()
def chat(
    text: Annotated[str | None, typer.Argument(help="One message; without it, a conversation line by line.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer to TEXT.")] = 60.0,
) -> None:
    """Talk to the assistant from the terminal; starts what is needed where nothing runs."""
    settings = _settings(quiet=True)
    from gateway.chat import chat as run

    raise SystemExit(asyncio.run(run(settings, text, timeout_s=timeout)))


@app.command()
def doctor(json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False) -> None:
    """Check settings, Redis, broker, database, backend, tokens and model; say what to do."""
    settings = _settings(quiet=True)
    from gateway.doctor import doctor as run

    raise SystemExit(asyncio.run(run(settings, as_json=json)))


@app.command()
def version() -> None:
    """Print threadway's version."""
    from importlib.metadata import version as of

    print(of("threadway"))  # noqa: T201
