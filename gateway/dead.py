"""`threadway dead`: what was given up, for operators: list it, read it, try it again, or forget it."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.domain.errors import StoreDown
from gateway.domain.messages import ConversationKey, InboundMessage, OutboundPart
from gateway.queue import Waker, make_celery
from gateway.settings import Settings
from gateway.store import Store
from gateway.store.dead_letters import DeadLetters, Letter
from gateway.telemetry import redact

_CONNECTIONS = 8
_LISTED = ("id", "conversation", "turn", "stage", "reason", "at_ms", "tries", "run", "thread", "outcome")
"""What a list may show: everything but what people wrote and what was answered."""


async def list_letters(url: str, conversation: str | None, *, as_json: bool) -> int:
    """Print the letters of all conversations, or of one, newest first; never what they say. 1 when Redis is away."""
    async with _letters(url) as letters:
        found = await (letters.all() if conversation is None else letters.of(ConversationKey(conversation)))
        if as_json:
            _print([_outline(letter) for letter in found])
        elif not found:
            print("no dead letters")  # noqa: T201
        else:
            _print_table(found)
        return 0
    return 1


async def show(url: str, name: str, *, as_json: bool) -> int:
    """Print one letter whole, what people wrote included: the operator asks for it. 1 when it is not there."""
    async with _letters(url) as letters:
        letter = await letters.find(name)
        if letter is None:
            return _unknown(name)
        if as_json:
            _print(letter)
        else:
            _print_letter(letter)
        return 0
    return 1


async def replay(url: str, names: Sequence[str] | None, settings: Settings) -> int:
    """Put letters back to the end of their conversations' inboxes and wake workers for them; None: all of them, oldest
    first, so that a conversation's letters keep their order. 1 when one is not there or Redis is away or full."""
    waker = Waker(make_celery(settings.broker_url(url)))

    async def again(letters: DeadLetters, name: str) -> bool:
        conversation = await letters.replay(name)
        if conversation is not None:
            waker.wake_turn(conversation)  # a lost one is made up for by the sweep
        return conversation is not None

    try:
        return await _each(url, names, "replayed", again)
    finally:
        waker.close()


async def drop(url: str, names: Sequence[str] | None) -> int:
    """Forget letters for good; None: all of them. 1 when one is not there, or Redis is away."""
    return await _each(url, names, "dropped", lambda letters, name: letters.drop(name))


async def _each(
    url: str, names: Sequence[str] | None, done: str, act: Callable[[DeadLetters, str], Awaitable[bool]]
) -> int:
    async with _letters(url) as letters:
        wanted = names if names is not None else [letter["id"] for letter in reversed(await letters.all())]
        missing = 0
        for name in wanted:
            if await act(letters, name):
                print(f"{done} {name}")  # noqa: T201
            else:
                missing += _unknown(name)
        if not wanted:
            print("no dead letters")  # noqa: T201
        return min(1, missing)
    return 1


@asynccontextmanager
async def _letters(url: str) -> AsyncIterator[DeadLetters]:
    """The dead letters behind `url`. A Redis that is away or full ends the block with one line on stderr."""
    store = Store(url, connections=_CONNECTIONS)
    try:
        yield store.dead_letters
    except StoreDown as away:
        print(f"{redact(str(away))}; nothing more was done", file=sys.stderr)  # noqa: T201
    finally:
        await store.close()


def _unknown(name: str) -> int:
    print(f"{name}: no such dead letter; `threadway dead list` names those there are", file=sys.stderr)  # noqa: T201
    return 1


def _print(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))  # noqa: T201


def _outline(letter: Letter) -> dict[str, Any]:
    return {name: letter.get(name) for name in _LISTED} | {"messages": len(letter["messages"])}


def _at(letter: Letter) -> str:
    return datetime.fromtimestamp(letter["at_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _print_table(letters: Sequence[Letter]) -> None:
    table = Table("id", "given up (UTC)", "conversation", "messages", "tries", "reason")
    for letter in letters:
        words = (letter["id"], _at(letter), letter["conversation"], str(len(letter["messages"])), str(letter["tries"]))
        table.add_row(*(Text(_harmless(word), overflow="fold") for word in (*words, letter["reason"])))
    Console().print(table)


def _print_letter(letter: Letter) -> None:
    for name in _LISTED:
        if (value := letter.get(name)) not in (None, ""):
            _say(f"{name:<13} {_at(letter) + ' UTC' if name == 'at_ms' else value}")
    for number, raw in enumerate(letter["messages"], 1):
        _say(f"\nmessage {number} of {len(letter['messages'])}{_text_of(raw)}")
    parts, posted = letter.get("parts", []), letter.get("posted", {})
    for number, raw in enumerate(parts):
        state = f"posted as {posted[str(number)]}" if str(number) in posted else "not posted"
        _say(f"\npart {number + 1} of {len(parts)}, {state}:\n{OutboundPart.from_json(raw).text}")


def _say(text: str) -> None:
    print(_harmless(text))  # noqa: T201


def _harmless(text: str) -> str:
    """Without control characters: what strangers wrote must not steer the operator's terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _text_of(raw: str) -> str:
    """A message in words; as it is kept where it cannot be read, which is why its letter is here."""
    try:
        message = InboundMessage.from_json(raw)
        files = "".join(f", {attachment.name or attachment.kind}" for attachment in message.attachments)
        return f", from {message.author_name or message.author_id}{files}:\n{message.text}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f", unreadable:\n{raw}"
