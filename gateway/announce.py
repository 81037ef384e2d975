"""What `threadway up` tells while it starts and stops: short lines for a person at a terminal, events for a log."""

from __future__ import annotations

import sys
from importlib.metadata import version

from gateway.settings import Access, Backend, Settings
from gateway.telemetry import log

_REAL_MODEL = "for a real one set OPENAI_API_KEY (or OPENAI_BASE_URL) and THREADWAY_MODEL"


class Announcer:
    """Writes to stderr: stdout belongs to the one line that says where to go."""

    def __init__(self, settings: Settings, *, lab: bool) -> None:
        """`settings` as people made them, without what the lab adds."""
        self._settings = settings
        self._lab = lab
        self._to_a_person = sys.stderr.isatty()

    def starting(self) -> None:
        """What is on, which model answers, and what the settings may not have meant."""
        telegram, slack = telegram_mode(self._settings, self._lab), slack_mode(self._settings, self._lab)
        model = model_in_use(self._settings)
        if not self._to_a_person:
            log.info("up.starting", telegram=telegram, slack=slack, model=model, backend=str(self._settings.backend))
            for notice in self._notices():
                log.warning("settings.notice", notice=notice)
            return
        _say(f"threadway {version('threadway')}")
        _say(f"  Telegram  {telegram}")
        _say(f"  Slack     {slack}")
        _say(f"  model     {model}")
        _say(f"  data      {self._settings.data_dir}")
        for notice in self._notices():
            _say(f"  note      {notice}")
        redis = "Redis, " if self._settings.redis_url is None else ""
        _say(f"starting {redis}gateway and worker …")

    def is_up(self, part: str) -> None:
        """One part is there: "Redis", "gateway", "worker"."""
        if self._to_a_person:
            _say(f"  {part} is up")

    def ready(self, took_s: float) -> None:
        """A message would be answered."""
        if self._to_a_person:
            _say(f"ready after {took_s:.1f} s; Ctrl-C stops everything")
        else:
            log.info("up.ready", took_s=round(took_s, 2))

    def stopping(self) -> None:
        """Somebody asked for the end."""
        if self._to_a_person:
            _say("stopping … (Ctrl-C again does not wait)")
        else:
            log.info("up.stopping")

    def stopped(self) -> None:
        """Nothing of ours runs any more."""
        if self._to_a_person:
            _say("stopped; what is unanswered is kept and goes on with the next start")
        else:
            log.info("up.stopped")

    def _notices(self) -> list[str]:
        notices = list(self._settings.notices())
        s = self._settings
        if s.demo and s.openai_api_key is None:
            notices.append(f"the demo model is a small program that follows rules; {_REAL_MODEL}")
        if not (self._lab or s.telegram_on or s.slack_on):
            said = "no platform is on: set TELEGRAM_BOT_TOKEN or SLACK_BOT_TOKEN"
            if s.lab is None:
                said += "; the lab would need THREADWAY_LAB_PASSWORD, because others reach THREADWAY_HOST"
            notices.append(said)
        return notices


def telegram_mode(settings: Settings, lab: bool) -> str:
    """In two words: how Telegram's messages come in."""
    if lab:
        return "in the lab, no token needed"
    if not settings.telegram_on:
        return "off (TELEGRAM_BOT_TOKEN is not set)"
    way = "by webhook" if settings.telegram_webhook_url else "by polling"
    return f"on, {way}; {access_mode(settings, 'telegram')}"


def slack_mode(settings: Settings, lab: bool) -> str:
    """In two words: how Slack's messages come in."""
    if lab:
        return "in the lab, no token needed"
    if not settings.slack_on:
        return "off (SLACK_BOT_TOKEN is not set)"
    way = "by Socket Mode" if settings.slack_app_token else "requests at /slack/events"
    return f"on, {way}; {access_mode(settings, 'slack')}"


def access_mode(settings: Settings, platform: str) -> str:
    """In a few words: who may talk there."""
    return {
        Access.OPEN: "open to everybody",
        Access.PAIRING: "`threadway pair` lets people in",
        Access.ALLOWLIST: "for whom [access] allow names",
    }[settings.effective_access(platform)]


def model_in_use(settings: Settings) -> str:
    """Which model answers, and where it is; no secret in it."""
    if settings.demo:
        return "demo (built in, works offline)"
    if settings.backend is Backend.ASSISTANTS:
        return f"the assistants at {settings.openai_base_url}"
    names = dict.fromkeys(conf.model or settings.model for conf in settings.assistants)
    return f"{', '.join(filter(None, names))} at {settings.upstream_base_url}"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201
