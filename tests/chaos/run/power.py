"""Power cuts without a plug: everything that was not synced is gone.

A shim (synced.c) notes for each file how much of it the disk surely has. A cut is kill -9, then each file is shortened
to that. Contents only: names are taken to survive, as on a journalling file system. Disks that lie are not played.
"""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

_SOURCE = Path(__file__).with_name("synced.c")


class Power:
    """The shim of one Redis server and the notes it takes."""

    def __init__(self, library: Path, notes: Path) -> None:
        self._library = library
        self._notes = notes

    @classmethod
    def build(cls, folder: Path) -> Power | str:
        """Compile the shim into `folder`; the reason where that cannot be done."""
        if not sys.platform.startswith("linux"):
            return "skipped: only on Linux"
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            return "skipped: no C compiler"
        library, notes = folder / "synced.so", folder / "synced"
        notes.mkdir(parents=True)
        made = subprocess.run(
            [compiler, "-O2", "-fPIC", "-shared", "-o", str(library), str(_SOURCE), "-ldl"],
            capture_output=True,
            text=True,
            check=False,
        )
        return f"skipped: {made.stderr.strip()[-200:]}" if made.returncode else cls(library, notes)

    @property
    def environment(self) -> dict[str, str]:
        """What the server has to be started with."""
        return {"LD_PRELOAD": str(self._library), "SYNCED_DIR": str(self._notes)}

    def synced_bytes(self, file: Path) -> int:
        """How much of `file` the disk has; 0 where it was never synced."""
        try:
            return int((self._notes / str(file.stat().st_ino)).read_text() or 0)
        except FileNotFoundError:
            return 0

    def cut(self, data: Path) -> int:
        """Take what is not on the disk from every file below `data`; how many bytes that were.

        The server must be dead. What is left afterwards counts as synced.
        """
        lost = 0
        kept: dict[int, int] = {}
        for file in data.rglob("*"):
            found = file.lstat()
            if not stat.S_ISREG(found.st_mode):
                continue
            size = min(found.st_size, self.synced_bytes(file))
            if size < found.st_size:
                with file.open("r+b") as opened:
                    opened.truncate(size)
            lost += found.st_size - size
            kept[found.st_ino] = size
        for note in self._notes.iterdir():
            note.unlink()  # an inode that is used again must not inherit the size of the one before
        for inode, size in kept.items():
            (self._notes / str(inode)).write_text(f"{size:020d}")
        return lost
