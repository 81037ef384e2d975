"""People who write without waiting for answers, and the eyes on what the bot writes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterator

import aiohttp

from gateway.lab.client import LabClient
from gateway.lab.feed import Json
from tests.chaos.run.history import History, Message, Post
from tests.chaos.run.plan import Plan
from tests.chaos.run.tally import Tally

_FIRST_GUEST = 910_000_000


class Traffic:
    """All conversations of a run."""

    def __init__(self, plan: Plan, lab: LabClient, history: History, tally: Tally) -> None:
        self._plan, self._lab, self._history, self._tally = plan, lab, history, tally
        self.chats: dict[str, str] = {}
        """A chat's id at its platform → the conversation's name here."""
        self._numbers = [0] * plan.conversations
        self._places = [""] * plan.conversations

    async def write(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._plan.conversations):
                group.create_task(self._person(number))

    async def say_all(self) -> frozenset[str]:
        """One more message in each conversation, the last; their names."""
        names = [self.say(number, "the last one") for number in range(self._plan.conversations)]
        return frozenset(await asyncio.gather(*names))

    async def _person(self, number: int) -> None:
        chance = self._plan.chance(f"person {number}")
        pause_s = self._plan.conversations / self._plan.messages_per_s
        while True:
            await asyncio.sleep(chance.expovariate(1 / pause_s))
            if self._tally.unanswered(number, self._numbers[number]) <= self._plan.unanswered:
                await self.say(number, _wish(chance))

    async def say(self, number: int, wish: str) -> str:
        """Write one message; its name."""
        n = self._numbers[number] = self._numbers[number] + 1
        name = f"q{number}x{n}"
        platform = "telegram" if number % 2 == 0 else "slack"
        message = Message(self._places[number], name, time.time())
        self._history.messages[name] = message
        text = f"m {n} {name} {wish}"
        if platform == "telegram":
            chat = str((await self._lab.telegram_send(text, user=_FIRST_GUEST + number))["chat"])
        else:
            chat = str((await self._lab.slack_send(text, user=f"U0CHAOS{number:03d}"))["channel"])
        message.conversation = self._places[number] = f"{platform}:{chat}"
        self.chats[chat] = self._places[number]
        return name

    async def look(self) -> None:
        """Write down what the bot posts, edits and deletes, until cancelled."""
        cursor = str((await self._lab.state())["cursor"])
        while True:
            try:
                async for change in self._lab.follow(cursor):
                    if change["type"] == "reset":
                        raise RuntimeError("the witness missed something: the lab keeps too few changes")
                    cursor = change["cursor"]
                    self._see(change)
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)

    def _see(self, change: Json) -> None:
        if change["type"] not in ("message", "edit", "delete"):
            return
        place = f"{change['platform']}:{change['chat']}"
        message = change.get("message", {})
        key = (place, str(change["id"] if change["type"] == "delete" else message["id"]))
        if change["type"] == "delete":
            self._history.posts.pop(key, None)
        elif message["author"]["bot"]:
            seen = self._history.posts.get(key)
            text = visible(message)
            if seen is None:
                self._history.posts[key] = Post(place, key[1], time.time(), text)
            else:
                seen.text, seen.edits = text, seen.edits + 1
            self._tally.read(text)


def visible(message: Json) -> str:
    """What a reader sees: Slack shows the blocks where there are some, and then `text` is but a cut-off stand-in."""
    return " ".join(_texts(message["blocks"])) if message.get("blocks") else str(message["text"])


def _texts(block: object) -> Iterator[str]:
    if isinstance(block, list):
        for item in block:
            yield from _texts(item)
    elif isinstance(block, dict):
        for name, value in block.items():
            if name == "text" and isinstance(value, str):
                yield value
            else:
                yield from _texts(value)


def _wish(chance: random.Random) -> str:
    """What a message asks for beside an answer."""
    dice = chance.random()
    if dice < 0.12:
        return f"tool {chance.randint(2, 99)}*{chance.randint(2, 99)}"
    if dice < 0.18:
        return f"long {chance.randint(900, 1800)}"
    if dice < 0.4:
        return f"slow {chance.uniform(0.2, 3):.1f}"
    return "and that is all"
