"""Named points at which a test may end the process as a power cut would.

A point stands before every await of the story of a turn and of intake: what the tests of tests/chaos show for each of
them is that another process, finding what this one left behind, loses nothing and repeats nothing.
"""

from __future__ import annotations

import os
import signal

VARIABLE = "TW_CRASH_AT"
"""`name` or `name:3`: end by SIGKILL at the third passage. Not a setting: it has no place in production."""


class _Armed:
    def __init__(self, wanted: str) -> None:
        self.name, _, count = wanted.partition(":")
        self.left = int(count or "1")


_armed = _Armed(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None


def arm(wanted: str) -> None:
    """Arm this process, as the variable does; "" disarms it."""
    global _armed
    _armed = _Armed(wanted) if wanted else None


def at(name: str) -> None:
    """Nothing, unless a test armed this point: then the process is gone."""
    if _armed is not None and _armed.name == name:
        _armed.left -= 1
        if _armed.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
            signal.pause()  # the signal may take a moment to be delivered; nothing may happen in it
