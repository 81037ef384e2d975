"""Pairing codes: ten characters, fifty random bits, written "K7QM2-9XW4P". Pure but for the random source."""

from __future__ import annotations

import hashlib
import re
import secrets

CODE_LIFE_S = 600
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base 32: no I, L, O, U. What people read as those is taken for 1, 1 and 0."""
_HALF = 5
_MISREAD = str.maketrans("ILO", "110")
_ALONE = re.compile(r"(?:[!/]start\s+)?([0-9A-Za-z]{5}-[0-9A-Za-z]{5})")
"""A text that is a code: with its dash, or every word of ten letters would be one."""
_AFTER_START = re.compile(r"([0-9A-Za-z]{5}-?[0-9A-Za-z]{5})")


def new_code() -> str:
    """A code that nobody can guess. It fits into a deep link (Bot API: 64 characters of A-Z a-z 0-9 _ -)."""
    drawn = "".join(secrets.choice(_ALPHABET) for _ in range(2 * _HALF))
    return f"{drawn[:_HALF]}-{drawn[_HALF:]}"


def code_in(text: str, payload: str = "") -> str:
    """The code that a message is, as `new_code` writes it; "" where it is none.

    `payload`: what followed the command /start. Lower case, a dash left out after /start, and letters that look alike
    are forgiven.
    """
    found = _AFTER_START.fullmatch(payload.strip()) or _ALONE.fullmatch(text.strip())
    if not found:
        return ""
    plain = found[1].replace("-", "").upper().translate(_MISREAD)
    return f"{plain[:_HALF]}-{plain[_HALF:]}"


def fingerprint(code: str) -> str:
    """What is stored and looked up in a code's place: a copy of Redis tells no code, a lookup no letter of one."""
    return hashlib.sha256(code.encode()).hexdigest()
