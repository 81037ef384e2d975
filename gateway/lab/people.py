"""The invented people of the lab; the same ones on both platforms."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who can write to the bot."""

    key: str
    first_name: str
    last_name: str
    language: str
    """IETF tag, as Telegram tells it to bots."""
    telegram_id: int
    slack_id: str

    @property
    def name(self) -> str:
        """The full name."""
        return f"{self.first_name} {self.last_name}".strip()


PEOPLE: tuple[Person, ...] = (
    Person("ann", "Ann", "Lee", "en", 100200301, "U0LABANN1"),
    Person("bob", "Bob", "Marsh", "en", 100200302, "U0LABBOB1"),
    Person("chen", "Chen", "Wei", "zh-hans", 100200303, "U0LABCHE1"),
    Person("doerte", "Dörte", "Sommer", "de", 100200304, "U0LABDOE1"),
    Person("eva", "Eva", "Ruiz", "es", 100200305, "U0LABEVA1"),
)
