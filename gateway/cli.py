"""The `threadway` command. Exit codes: 0 done, 1 failed, 2 wrong usage or settings."""

from __future__ import annotations

import asyncio
import json as to_json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from gateway.domain.errors import SettingsInvalid

if TYPE_CHECKING:  # each command imports what it needs: --help is for people who wait
    from gateway.settings import Settings

app = typer.Typer(
    name="threadway",
    help="AI assistants in Telegram and Slack, on a message queue.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
SPARE_SLOTS = 16
"""Celery's -c beyond the budgets: wake-ups that come over a budget need a slot for the moment it takes to say so."""
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
dead = typer.Typer(help="What was given up: list it, read it, try it again, or forget it.", no_args_is_help=True)
app.add_typer(dead, name="dead")
pair = typer.Typer(help="Let people in by a one-time code: print one, list who is paired, take it back.")
app.add_typer(pair, name="pair")
LetterIds = Annotated[list[str] | None, typer.Argument(metavar="ID...", show_default=False)]
AllLetters = Annotated[bool, typer.Option("--all", help="All there are.")]


def main() -> None:
    """Run the command line; wrong settings end it with one line per error and exit code 2."""
    try:
        app(prog_name="threadway")
    except SettingsInvalid as invalid:
        print(invalid, file=sys.stderr)  # noqa: T201
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _settings(*, level: str | None = None) -> Settings:
    from gateway.settings import load
    from gateway.telemetry import configure_logging

    settings = load()
    configure_logging(level or settings.log_level)
    return settings


def _usage(why: str) -> NoReturn:
    print(why, file=sys.stderr)  # noqa: T201
    raise SystemExit(2)


def _lab_variables(settings: Settings, *, in_up: bool = False) -> dict[str, str]:
    """What points a process at the lab where the platforms are the lab's; `in_up`: as `threadway up` would see it."""
    if not settings.lab_on(in_up) or settings.telegram_on or settings.slack_on:
        return {}
    from gateway.lab.identity import lab_environment

    return lab_environment(settings.host, settings.port)


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
    from gateway.settings import load
    from gateway.telemetry import configure_logging

    settings = load()
    if sys.stderr.isatty() and "log_level" not in settings.model_fields_set:
        settings = settings.model_copy(update={"log_level": "WARNING"})  # a person gets a few lines of words instead
    configure_logging(settings.log_level)
    from gateway.up import up as run

    raise SystemExit(asyncio.run(run(settings)))


@app.command()
def gateway() -> None:
    """Run the adapters and the HTTP server."""
    from gateway.children import environment
    from gateway.orphan import end_with_parent
    from gateway.settings import load
    from gateway.telemetry import log

    ours = end_with_parent()
    settings = _settings()
    if lab := _lab_variables(settings):
        settings = load(environment(lab))
    settings = settings.with_redis(_redis_url(settings))
    if not ours:  # else `threadway up` has said it
        for notice in settings.notices():
            log.warning("settings.notice", notice=notice)
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
    level: Annotated[str | None, typer.Option("-l", "--loglevel", help="As THREADWAY_LOG_LEVEL.")] = None,
    pool: Annotated[str, typer.Option("-P", "--pool", hidden=True)] = "custom",
) -> None:
    """Run a Celery worker with threadway's pool; other options (-n, -X …) go through to Celery."""
    if pool != "custom":
        _usage(f"-P {pool}: threadway's turns are coroutines and need its own pool; leave -P out")
    if unknown := sorted(set(queues.split(",")) - {"turns", "runs"}):
        _usage(f"-Q {queues}: unknown queue {', '.join(unknown)}; known: turns, runs")
    from gateway.children import environment
    from gateway.settings import load

    changes = {"THREADWAY_LOG_LEVEL": level} if level else {}
    settings = load(environment(changes))
    # Beside an embedded server runs `threadway up`, whose platforms may be its lab's: its conversations are ours, too.
    changes |= _lab_variables(settings, in_up=settings.redis_url is None)
    if settings.redis_url is None:
        changes["REDIS_URL"] = _redis_url(settings)
    env = environment(changes)
    root = str(Path(__file__).parent.parent)
    env |= {
        "TW_WORKER_TURNS": str(concurrency),
        "CELERY_CUSTOM_WORKER_POOL": "workers.pool:TurnPool",
        "PYTHONPATH": os.pathsep.join(filter(None, (root, env.get("PYTHONPATH")))),  # read before the cwd is
    }
    slots = concurrency + (settings.runs_concurrency or concurrency) + SPARE_SLOTS
    # Celery warns superusers of pickle, which we refuse; in containers and demos everybody is one.
    python = [sys.executable, "-W", "ignore:You're running the worker with superuser privileges"]
    celery = ["-m", "celery", "--quiet", "-A", "workers.main", "worker", "-P", "custom", "-c", str(slots), "-Q", queues]
    os.execve(python[0], [*python, *celery, "--without-gossip", "--without-mingle", *context.args], env)  # noqa: S606


@app.command()
def chat(
    text: Annotated[str | None, typer.Argument(help="One message; without it, a conversation line by line.")] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 60.0,
) -> None:
    """Talk to the assistant from the terminal; starts what is needed where nothing runs."""
    if text is not None and not text.strip():
        _usage("TEXT is empty: say something, or leave it out to talk line by line")
    settings = _settings(level="ERROR")
    from gateway.chat import chat as run

    raise SystemExit(asyncio.run(run(settings, text, timeout_s=timeout)))


@app.command()
def doctor(json: AsJson = False) -> None:
    """Check settings, Redis, broker, database, backend, model and tokens; say what to do."""
    settings = _settings(level="CRITICAL")
    from gateway.doctor import doctor as run

    raise SystemExit(asyncio.run(run(settings, as_json=json)))


@dead.command("list")
def dead_list(
    json: AsJson = False,
    conversation: Annotated[str | None, typer.Option(metavar="KEY", help="Only this conversation's.")] = None,
) -> None:
    """List dead letters, newest first; what people wrote is not shown."""
    url = _redis_url(_settings(level="ERROR"))
    from gateway.dead import list_letters

    raise SystemExit(asyncio.run(list_letters(url, conversation, as_json=json)))


@dead.command("show")
def dead_show(name: Annotated[str, typer.Argument(metavar="ID", show_default=False)], json: AsJson = False) -> None:
    """Show one dead letter, with what people wrote and what was to be answered."""
    url = _redis_url(_settings(level="ERROR"))
    from gateway.dead import show

    raise SystemExit(asyncio.run(show(url, name, as_json=json)))


@dead.command("replay")
def dead_replay(names: LetterIds = None, everything: AllLetters = False) -> None:
    """Try again: put dead letters back to the end of their conversations' mail."""
    chosen = _chosen(names, everything)
    settings = _settings(level="ERROR")
    url = _redis_url(settings)
    from gateway.dead import replay

    raise SystemExit(asyncio.run(replay(url, chosen, settings)))


@dead.command("drop")
def dead_drop(names: LetterIds = None, everything: AllLetters = False) -> None:
    """Forget dead letters for good."""
    chosen = _chosen(names, everything)
    url = _redis_url(_settings(level="ERROR"))
    from gateway.dead import drop

    raise SystemExit(asyncio.run(drop(url, chosen)))


def _chosen(names: list[str] | None, everything: bool) -> list[str] | None:
    """The ids that were given; None for all."""
    if everything == bool(names):
        _usage("say which: one or more ids, or --all")
    return None if everything else names


@pair.callback(invoke_without_command=True)
def pair_new(context: typer.Context, json: AsJson = False) -> None:
    """Print a code that lets in the first person who sends it to the bot: once, within ten minutes."""
    if context.invoked_subcommand is not None:
        if json:
            _usage("--json: put it behind the subcommand")
        return
    settings = _settings(level="ERROR")
    url = _redis_url(settings)
    from gateway.pair import new

    raise SystemExit(asyncio.run(new(url, settings, as_json=json)))


@pair.command("list")
def pair_list(json: AsJson = False) -> None:
    """List who is paired, newest first."""
    url = _redis_url(_settings(level="ERROR"))
    from gateway.pair import list_paired

    raise SystemExit(asyncio.run(list_paired(url, as_json=json)))


@pair.command("revoke")
def pair_revoke(key: Annotated[str, typer.Argument(metavar="KEY", show_default=False)], json: AsJson = False) -> None:
    """Let somebody out again; KEY as `threadway pair list` shows it. They can be paired anew."""
    url = _redis_url(_settings())
    from gateway.pair import revoke

    raise SystemExit(asyncio.run(revoke(url, key, as_json=json)))


@app.command()
def version(json: AsJson = False) -> None:
    """Print threadway's version."""
    from importlib.metadata import version as of

    number = of("threadway")
    print(to_json.dumps({"threadway": number}) if json else number)  # noqa: T201
