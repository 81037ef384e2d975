"""What Celery loads: `celery -A workers.main worker`, as `threadway worker` execs it with pool and options."""

import os
import sys

from celery.signals import setup_logging

from gateway.domain.errors import SettingsInvalid
from gateway.orphan import end_with_parent
from gateway.settings import load
from gateway.telemetry import configure_logging
from workers.app import make_worker_app

TURNS_VARIABLE = "TW_WORKER_TURNS"
"""How `threadway worker` hands over -c: Celery's own -c is the sum of all budgets and a little more."""


@setup_logging.connect  # type: ignore[untyped-decorator]  # celery ships no types
def keep_ours(**_: object) -> None:
    """A receiver is enough: Celery then leaves logging as it is."""


end_with_parent()
try:
    settings = load()
    configure_logging(settings.log_level)
    celery = make_worker_app(settings, concurrency=int(os.environ.get(TURNS_VARIABLE, "200")))
except SettingsInvalid as invalid:
    print(invalid, file=sys.stderr)  # noqa: T201  one line per error is the contract
    raise SystemExit(2) from None
