"""Ends the run's processes when the driver is gone, however it went: also those that are stopped, which nothing else
but SIGKILL ends.

`python -m tests.chaos.run.lifeline` reads "+<pid>" and "-<pid>" lines; end of file is the driver's end.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress


class Lifeline:
    """The driver's side."""

    def __init__(self) -> None:
        self._guard = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.run.lifeline"],
            stdin=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is for the driver
        )

    def hold(self, pid: int) -> None:
        """End this process if the driver dies."""
        self._tell(f"+{pid}")

    def let_go(self, pid: int) -> None:
        """It has ended; the number may soon be somebody else's."""
        self._tell(f"-{pid}")

    def close(self) -> None:
        """End what is still held, and the guard."""
        assert self._guard.stdin is not None
        with suppress(OSError):
            self._guard.stdin.close()
        self._guard.wait()

    def _tell(self, line: str) -> None:
        assert self._guard.stdin is not None
        with suppress(OSError):
            self._guard.stdin.write(f"{line}\n".encode())
            self._guard.stdin.flush()


def main() -> None:
    """Watch until the other end closes."""
    held: set[int] = set()
    for line in sys.stdin:
        pid = int(line[1:])
        held.add(pid) if line[0] == "+" else held.discard(pid)
    for pid in held:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
