"""Log format, bound context and metric names. Every event and metric stands in docs/telemetry.md; a test compares."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from prometheus_client import Counter, Gauge, Histogram

_SECRETS = re.compile(
    r"(/bot)?\d{5,}:[A-Za-z0-9_-]{30,}"  # Telegram's token, which stands in the URL's path
    r"|\b(?:xox[a-z]|xapp)-[A-Za-z0-9-]+|\bsk-[A-Za-z0-9_-]{8,}|\btw-[A-Za-z0-9_-]{16,}"
    r"|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)"  # user:password in a URL
)


def redact(text: str) -> str:
    """`text` with everything that looks like a token or a password in a URL replaced by ***."""
    return _SECRETS.sub("***", text)


def _redact_event(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = redact(value)
        elif isinstance(value, BaseException):
            event[key] = redact(repr(value))
    return event


class _RedactingFormatter(structlog.stdlib.ProcessorFormatter):
    """The last line of defence: whatever a library logs, no token leaves the process."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))


def configure_logging(level: str = "INFO", *, json: bool | None = None) -> None:
    """Send structlog and the standard library's loggers to stderr in one format: JSON unless stderr is a terminal.

    May be called twice. HTTP libraries that log whole URLs (and Telegram's token with them) are set to WARNING.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _redact_event,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    # Not the pretty tracebacks: they show local variables, and with them what people wrote.
    console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: Any = structlog.processors.JSONRenderer() if as_json else console
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _RedactingFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # At ERROR it writes down server answers that it cannot read, with the texts in them.
    logging.getLogger("telegram.request").setLevel(logging.CRITICAL)


_NOISY = (
    *(
        "httpx",
        "httpx2",
        "httpcore",
        "openai",
        "aiosqlite",
        "slack_sdk",
        "slack_bolt",
        "alembic",
        "asyncio",
        "telegram",
    ),
    *("celery.worker.strategy", "celery.app.trace"),  # two lines for every wake-up; a turn has its own
)

log: structlog.stdlib.BoundLogger = structlog.get_logger("threadway")

MESSAGES = Counter(
    "threadway_messages_total", "Messages offered to the inbox, by adapter and outcome", ["adapter", "outcome"]
)
TURNS = Counter("threadway_turns_total", "Turns brought to an end, by outcome", ["outcome"])
TURN_SECONDS = Histogram(
    "threadway_turn_seconds",
    "From the creation of a turn's run to its last posted part",
    buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300, 600),
)
TURNS_IN_FLIGHT = Gauge("threadway_turns_in_flight", "Turns this process works on now")
RUNS_IN_FLIGHT = Gauge("threadway_runs_in_flight", "Runs of the embedded service this process executes now")
LOOKS = Counter("threadway_looks_total", "Polls of runs")
TOOL_CALLS = Counter("threadway_tool_calls_total", "Tool calls carried out, by outcome", ["outcome"])
PARTS = Counter("threadway_parts_total", "Reply parts, by adapter and outcome", ["adapter", "outcome"])
SWEPT = Counter("threadway_swept_total", "Conversations and runs re-woken by the sweep", ["kind"])
DUE = Gauge("threadway_conversations_due", "Conversations in all partitions that somebody must look at now")
