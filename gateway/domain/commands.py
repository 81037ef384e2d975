"""Words that order something in a chat: parse only, workers obey.

Pure, and below the adapters, because each platform spells a command its own way: "/new" in Telegram and the terminal,
"/new@our_bot" in a Telegram group, "!new" in Slack, whose slash commands do not work inside threads.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.domain.messages import ORDERS, Command

_WORD = re.compile(r"(?P<word>[A-Za-z0-9_]{1,32})(?:@(?P<addressee>\w+))?(?:\s+(?P<argument>.*))?", re.DOTALL)

_COMMANDS = {command.value: command for command in ORDERS}


@dataclass(frozen=True, slots=True)
class Order:
    """A text that has the form of a command, known to us or not."""

    word: str
    """In lower case, without prefix and addressee: phones like to write "/New"."""
    addressee: str = ""
    """The bot it names ("/stop@other_bot"), as written; "" where it names none."""
    argument: str = ""
    """Everything after the word, trimmed."""

    @property
    def command(self) -> Command | None:
        """The command it is, None for a word that is none of ours."""
        return _COMMANDS.get(self.word)


def parse_order(text: str, prefix: str) -> Order | None:
    """The order that `text` as a whole is, None for ordinary text.

    "/new", "/start payload" and "/ask@bot how?" are orders; "/etc/hosts", "see /new" and "/ new" are text.
    """
    text = text.strip()
    if not text.startswith(prefix):
        return None
    match = _WORD.fullmatch(text[len(prefix) :])
    if match is None:
        return None
    return Order(
        word=match["word"].lower(), addressee=match["addressee"] or "", argument=(match["argument"] or "").strip()
    )
