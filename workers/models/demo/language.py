"""What a language is to the demo model: data. A new one: a module like english.py, a texts/*.toml, a name in guess."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from typing import TypedDict

NAME = "name"
"""The key under which a user's name is kept, whatever language it was told in."""


class Topic(StrEnum):
    """What a sentence may be about; the value is the key of the reply among a language's texts."""

    FIRST_SAID = "first_said"
    SAID_BEFORE = "said_before"
    SUMMARY = "summary"
    LONG = "long"
    TABLE = "table"
    LIST = "list"
    BOLD = "bold"
    CODE = "code"
    MARKDOWN = "markdown"
    JOKE = "joke"
    TELEGRAM = "telegram"
    SLACK = "slack"
    REAL_MODEL = "real_model"
    COMMANDS = "commands"
    WHO = "who"
    HOW_ARE_YOU = "how_are_you"
    WHAT_IS = "what_is"
    HELP = "help"
    THANKS = "thanks"
    GOODBYE = "goodbye"
    GREETING = "greeting"


LOOKING_BACK = frozenset({Topic.FIRST_SAID, Topic.SAID_BEFORE, Topic.SUMMARY})
"""Topics whose reply is made from the thread."""
SMALL_TALK = frozenset({Topic.HOW_ARE_YOU, Topic.THANKS, Topic.GOODBYE, Topic.GREETING})
"""Topics that need no reply of their own when the same message asks for something else."""


@dataclass(frozen=True, slots=True)
class Language:
    """One language: how to recognise what is asked, and what to say."""

    code: str
    words: frozenset[str]
    """Frequent words that tell this language from the others, lower case."""
    topics: tuple[tuple[Topic, re.Pattern[str]], ...]
    """In order of preference: the first that is found wins."""
    name_is: re.Pattern[str]
    """Group `value`: the user's name."""
    fact_is: tuple[re.Pattern[str], ...]
    """Groups `thing`, `value`: "my dog is Rex"."""
    asks_name: re.Pattern[str]
    asks_fact: re.Pattern[str]
    """Group `thing`: "what is my dog"."""
    asks_all: re.Pattern[str]
    remember: tuple[re.Pattern[str], ...]
    """Group `value`, and `thing` where one is named: "remember that my dog is Rex"."""
    wait: re.Pattern[str]
    """Group `seconds`."""
    time: re.Pattern[str]
    place: re.Pattern[str] | None
    """Group `place`: what stands where a place would stand in a question for the time."""
    name_words: frozenset[str]
    """What this language calls a name, as it appears in `thing`."""
    decimal_comma: bool
    texts: Mapping[str, str]
    """Replies; {placeholders} are filled by str.format. Every language has the same keys."""


def pattern(text: str) -> re.Pattern[str]:
    """A regular expression that ignores case."""
    return re.compile(text, re.IGNORECASE)


class Spoken(TypedDict):
    """What a language's file under texts/ gives to its Language."""

    words: frozenset[str]
    texts: Mapping[str, str]


def spoken(code: str) -> Spoken:
    """The words and texts of texts/<code>.toml. Read once, when the language's module is imported."""
    data = tomllib.loads(
        (resources.files("workers.models.demo") / "texts" / f"{code}.toml").read_text(encoding="utf-8")
    )
    return Spoken(words=frozenset(data["words"].split()), texts=data["texts"])
