"""Who the bot is in the lab: invented tokens, the same in every process, worth nothing outside this machine."""

from __future__ import annotations

LAB_TELEGRAM_TOKEN = "7000000001:lab-token-that-opens-nothing-outside-this-machine"  # noqa: S105
LAB_SLACK_BOT_TOKEN = "xoxb-lab-token-that-opens-nothing"  # noqa: S105
LAB_SLACK_APP_TOKEN = "xapp-lab-token-that-opens-nothing"  # noqa: S105
LAB_SLACK_SIGNING_SECRET = "lab-signing-secret-that-signs-for-nobody"  # noqa: S105


def lab_url(host: str, port: int) -> str:
    """Where processes on this machine reach the gateway that serves the lab."""
    name = "127.0.0.1" if host in ("0.0.0.0", "::", "localhost") else f"[{host}]" if ":" in host else host  # noqa: S104
    return f"http://{name}:{port}"


def lab_environment(host: str, port: int) -> dict[str, str]:
    """The variables that point gateway and workers at the lab instead of the real platforms."""
    url = lab_url(host, port)
    return {
        "THREADWAY_LAB": "on",
        "TELEGRAM_BOT_TOKEN": LAB_TELEGRAM_TOKEN,
        "TELEGRAM_API_BASE_URL": f"{url}/lab/telegram",
        "TELEGRAM_WEBHOOK_URL": "",
        "SLACK_BOT_TOKEN": LAB_SLACK_BOT_TOKEN,
        "SLACK_SIGNING_SECRET": LAB_SLACK_SIGNING_SECRET,
        "SLACK_APP_TOKEN": "",
        "SLACK_API_BASE_URL": f"{url}/lab/slack/api/",
    }
