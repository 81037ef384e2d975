"""Names of objects: a prefix that says what it is, and 24 random letters and digits, as the hosted API had them."""

from __future__ import annotations

import secrets
import string

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase


def new_id(prefix: str) -> str:
    """A fresh id such as `run_` + 24 base62 characters (142 bits: a clash is not worth checking for)."""
    return prefix + "".join(secrets.choice(_ALPHABET) for _ in range(24))
