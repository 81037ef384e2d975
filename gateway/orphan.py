"""End with the parent: a child of `threadway up` never outlives it, however the parent ended.

The parent holds the write end of a pipe and hands down the read end; kill -9 closes it, on Linux as on macOS.
"""

from __future__ import annotations

import os
import signal
import threading

VARIABLE = "TW_PARENT_FD"
_GRACE_S = 8.0


def end_with_parent() -> bool:
    """Send ourselves SIGTERM when the parent is gone, then SIGKILL if that did not help.

    False, and nothing happens, in a process that was not started by `threadway up` or `chat`.
    """
    handed = os.environ.pop(VARIABLE, "")
    if not handed.isdigit():
        return False
    fd = int(handed)
    os.set_inheritable(fd, False)

    def watch() -> None:
        while os.read(fd, 64):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(_GRACE_S)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
    return True
