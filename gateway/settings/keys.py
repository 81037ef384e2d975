"""Secrets that we make ourselves: the key of our own /v1 and Telegram's webhook secret."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from gateway.domain.errors import SettingsInvalid


def shared_api_key(data_dir: Path) -> str:
    """The key in `data_dir`/api_key, made at the first call: "tw-" and 43 characters, readable by its owner
    alone.

    Safe to call at the same time from several processes: all get the same key. Raises SettingsInvalid when
    the file cannot be read or made.
    """
    path = data_dir / "api_key"
    try:
        if not path.exists():
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write_once(path, f"tw-{secrets.token_urlsafe(32)}")
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise SettingsInvalid([f"{path}: {reason}: mend the file or set THREADWAY_API_KEY"]) from error
    if not re.fullmatch(r"[!-~]+", key):
        raise SettingsInvalid([f"{path}: holds no key: remove the file (a new one is made) or set THREADWAY_API_KEY"])
    return key


def _write_once(path: Path, text: str) -> None:
    """Whole or not at all, and never over an existing one: a link fails where the name is taken, and what
    it names is
    complete already (a reader would find a file that is only opened with O_EXCL empty for an instant)."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()


def webhook_secret(bot_token: str) -> str:
    """Telegram's webhook secret derived from the bot token, so that all replicas agree without sharing
    anything.

    64 hex digits; Bot API, setWebhook: secret_token takes 1-256 characters out of A-Z a-z 0-9 _ -.
    """
    return hmac.new(bot_token.encode(), b"threadway telegram webhook", hashlib.sha256).hexdigest()
