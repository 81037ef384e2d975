"""Who has been answered so far: paces the traffic and ends the run. The verdict does not rely on it."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from tests.chaos.run.backend import names_in, words_wanted

_WORD = re.compile(r"\br(\d+)w(\d+)\b")


class Tally:
    """Reads the backend's journal as it grows, and what is posted."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._offset = 0
        self._open: dict[str, tuple[int, list[str]]] = {}
        """Run → its last word's number, the messages that it answers; runs that are not answered."""
        self._heard: dict[str, int] = {}
        self.answered: set[str] = set()
        """Names of messages whose reply's end was posted."""
        self._counts: Counter[int] = Counter()

    def read(self, text: str) -> None:
        """Something was posted."""
        for run, number in _WORD.findall(text):
            self._heard[run] = max(int(number), self._heard.get(run, 0))

    def unanswered(self, conversation: int, sent: int) -> int:
        """How many of the `sent` messages of a conversation wait."""
        return sent - self._counts[conversation]

    def look(self) -> None:
        """Bring `answered` up to date."""
        if self._journal.exists():
            with self._journal.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
            whole = data.rpartition(b"\n")[0]
            self._offset += len(whole) + bool(whole)
            for line in whole.splitlines():
                self._take(json.loads(line))
        for run, (last, names) in list(self._open.items()):
            if self._heard.get(run, -1) >= last:
                del self._open[run]
                for name in set(names) - self.answered:
                    self.answered.add(name)
                    self._counts[int(name[1:].partition("x")[0])] += 1

    def _take(self, record: dict[str, object]) -> None:
        run, brought = record.get("run"), record.get("brought")
        if isinstance(run, dict) and isinstance(brought, list):
            number = run["id"].removeprefix("run_")
            self._open[number] = words_wanted(brought) - 1, [name for text in brought for name in names_in(text)]
