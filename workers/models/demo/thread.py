"""A thread as the demo model reads it: what was said before, what waits for an answer, what the tools returned."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workers.models import ModelMessage
from workers.models.demo.guess import guess, others
from workers.models.demo.language import NAME, Language

MAX_TEXT_CHARS = 2000
"""More of a message is not read: the rules have nothing to find there."""
MAX_SENTENCE_CHARS = 400
_MAX_REMEMBERED_MESSAGES = 100
_MAX_SENTENCES = 12
_END = re.compile(
    r"(?<=[.?!])\s+|(?<=[。？！；])|\n+|;\s+"
    r"|,?\s+(?:and|und|y)\s+(?=(?:what|who|how|tell|show|write|was|wie|wer|zeig|schreib|qué|cuál|cuánto|cómo|dime)\b)",
    re.IGNORECASE,
)
_SPACE = re.compile(r"[ \t\r\f\v]+")
_SPECIAL = re.compile(r"([\\`*_\[\]<>~|#])")


@dataclass(frozen=True, slots=True)
class Output:
    """What one tool call of the present run returned."""

    name: str
    arguments: Any
    text: str


@dataclass(frozen=True, slots=True)
class Thread:
    """One request's messages, split at the last reply."""

    earlier: tuple[str, ...]
    """The user's messages that were answered."""
    waiting: tuple[str, ...]
    """The user's messages since the last reply; several when they were sent faster than answered."""
    replies: tuple[str, ...]
    outputs: tuple[Output, ...]
    """Of the calls made since the last reply."""


@dataclass(frozen=True, slots=True)
class Fact:
    """Something a user told about themselves."""

    key: str
    """In lower case, the same however it is written; NAME for the name."""
    thing: str
    """As it was written."""
    value: str
    ordered: bool = False
    """It came with the order to remember it."""


def read(messages: Sequence[ModelMessage]) -> Thread:
    """Split `messages`. Pure; reads whatever order and content it is given."""
    replied = max((n for n, m in enumerate(messages, 1) if m.role == "assistant" and not m.calls), default=0)
    past, present = messages[:replied], messages[replied:]
    calls = {call.id: call for message in present for call in message.calls}
    return Thread(
        earlier=tuple(m.content for m in past if m.role == "user"),
        waiting=tuple(m.content for m in present if m.role == "user"),
        replies=tuple(m.content for m in past if m.role == "assistant" and m.content),
        outputs=tuple(
            Output(calls[m.call_id].name, parsed(calls[m.call_id].arguments), m.content)
            for m in present
            if m.role == "tool" and m.call_id in calls
        ),
    )


def parsed(text: str) -> Any:
    """`text` as JSON; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def sentences(text: str) -> list[str]:
    """`text` in pieces that ask one thing each, with their full stops and question marks."""
    even = _SPACE.sub(" ", text[:MAX_TEXT_CHARS])  # long runs of blanks make the patterns slow
    pieces = (piece.strip() for piece in _END.split(even))
    return [piece[:MAX_SENTENCE_CHARS] for piece in pieces if piece][:_MAX_SENTENCES]


def language_of(text: str, earlier: Sequence[str]) -> Language:
    """The language of `text`; where that does not tell ("12*12"), of the newest message before it that does."""
    language = guess("")
    for message in [*earlier[-10:], text]:
        language = guess(message[:MAX_TEXT_CHARS], language)
    return language


def facts(messages: Sequence[str], *, ordered: bool = False) -> dict[str, str]:
    """What users said about themselves in `messages`, newest last: {"name": "Ann", "dog": "Rex"}.

    With `ordered` also what they ordered to be remembered; without it that is left to the recall tool.
    """
    found: dict[str, str] = {}
    for text in messages[-_MAX_REMEMBERED_MESSAGES:]:
        language = guess(text[:MAX_TEXT_CHARS])
        for sentence in sentences(text):
            fact = next((f for each in others(language) if (f := _order_or_fact(sentence, each))), None)
            if fact and (ordered or not fact.ordered):
                found.pop(fact.key, None)
                found[fact.key] = fact.value
    return found


def _order_or_fact(sentence: str, language: Language) -> Fact | None:
    return order_in(sentence, language) or fact_in(sentence, language)


def order_in(sentence: str, language: Language) -> Fact | None:
    """The fact that `sentence` orders to be remembered; None where it orders nothing of the kind."""
    if _is_question(sentence, language):
        return None
    for told in language.remember:
        if match := told.search(sentence):
            thing = match.groupdict().get("thing") or language.texts["note"]
            return Fact(thing_key(thing, language), thing, match["value"].strip(), ordered=True)
    return None


def fact_in(sentence: str, language: Language) -> Fact | None:
    """The fact that `sentence` tells; None for questions and all else."""
    if _is_question(sentence, language):
        return None
    if name := language.name_is.search(sentence):
        return Fact(NAME, language.texts["name"], next(value for value in name.groups() if value))
    for told in language.fact_is:
        if match := told.search(sentence):
            return Fact(thing_key(match["thing"], language), match["thing"], match["value"].strip())
    return None


def _is_question(sentence: str, language: Language) -> bool:
    return sentence.rstrip().endswith(("?", "？")) or asks(sentence, language)


def asks(sentence: str, language: Language) -> bool:
    """Whether `sentence` asks for something that was told."""
    return any(p.search(sentence) for p in (language.asks_name, language.asks_fact, language.asks_all))


def thing_key(thing: str, language: Language) -> str:
    """The name under which a fact is kept, the same however it is written."""
    key = " ".join(thing.lower().split())[:60]
    return NAME if key in language.name_words else key


def quoted(text: str, limit: int = 120) -> str:
    """`text` in one line, clipped, and with its Markdown signs shown as signs."""
    line = " ".join(text.split())
    return _SPECIAL.sub(r"\\\1", line if len(line) <= limit else f"{line[: limit - 1]}…")
