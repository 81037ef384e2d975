"""From what waits for an answer to steps: texts to say, and tools to use with the sentence for their result.

The plan is made afresh from the whole thread in every round and is the same each time, so the model keeps no state: a
step whose tool has answered becomes text, the others are calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workers.models.demo import phrasing
from workers.models.demo.arithmetic import find_expressions
from workers.models.demo.functions import Function, find_call
from workers.models.demo.guess import others
from workers.models.demo.language import LOOKING_BACK, SMALL_TALK, Language, Topic
from workers.models.demo.places import find_places
from workers.models.demo.thread import (
    MAX_TEXT_CHARS,
    Fact,
    Thread,
    asks,
    fact_in,
    facts,
    language_of,
    order_in,
    sentences,
    thing_key,
)

MAX_WAIT_S = 60
_MAX_WAITING = 5


@dataclass(frozen=True, slots=True)
class Say:
    """Text that needs no tool. `small`: dropped where the message asks for anything else."""

    text: str
    small: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """One tool call, and how to tell its output."""

    tool: str
    arguments: Mapping[str, Any]
    tell: Callable[[str], str]


Step = Say | Use


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything for one answer."""

    language: Language
    steps: tuple[Step, ...]
    wait_s: int = 0
    """Let so many seconds pass before the final text."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """What a rule may look at."""

    sentence: str
    language: Language
    before: tuple[str, ...]
    """The user's messages before the one of this sentence."""
    functions: Mapping[str, Function]

    def say(self, key: str, **values: object) -> Say:
        return Say(self.language.texts[key].format(**values))

    def use(self, tool: str, arguments: Mapping[str, Any], tell: Callable[[str], str]) -> Step:
        """The call, or an honest word where the tool is missing or takes other arguments than ours."""
        function = self.functions.get(tool)
        if function is None or not set(arguments) <= set(function.properties):
            return self.say("no_tool", tool=tool)
        return Use(tool, arguments, tell)


def make_plan(thread: Thread, functions: Mapping[str, Function]) -> Plan:
    """The steps that answer everything that waits in `thread`. Pure; never raises on any text."""
    waiting = thread.waiting[-_MAX_WAITING:]
    before = thread.earlier + thread.waiting[: -len(waiting) or None]
    language = language_of("", before)
    steps: list[Step] = []
    wait_s = 0
    for place, text in enumerate(waiting):
        language = language_of(text, before)
        found, wished_s = _answer(text, language, before, functions)
        if wished_s and place < len(waiting) - 1:
            found, wished_s = [], 0  # a wait that was overtaken by another message, or stopped, is not taken up again
        wait_s = max(wait_s, wished_s)
        if not found and not wished_s and place == len(waiting) - 1:
            found = [_unknown(text, language, thread)]
        steps += [step for step in found if step not in steps]
        before = (*before, text)
    if not waiting:
        steps.append(Say(language.texts["empty"]))
    if any(not _small(step) for step in steps):
        steps = [step for step in steps if not _small(step)]
    return Plan(language, tuple(steps), min(wait_s, MAX_WAIT_S))


def _small(step: Step) -> bool:
    return isinstance(step, Say) and step.small


def _answer(
    text: str, language: Language, before: tuple[str, ...], functions: Mapping[str, Function]
) -> tuple[list[Step], int]:
    """Steps and wished wait for one message."""
    named = find_call(text[:MAX_TEXT_CHARS], functions)
    if named and named.clear:
        return [_named(named.name, named.arguments, language)], 0
    steps: list[Step] = []
    wait_s = 0
    for sentence in sentences(text):
        for each in others(language):  # a guess may be wrong, and people mix languages
            scene = _Scene(sentence, each, before, functions)
            found, wished_s = _wait(scene)
            found += next((hit for rule in _RULES if (hit := rule(scene))), [])
            if found:
                steps += found
                wait_s = max(wait_s, wished_s)
                break
    if named and not any(isinstance(step, Use) for step in steps):
        return [_named(named.name, named.arguments, language)], wait_s
    return steps, wait_s


def _named(name: str, arguments: Mapping[str, Any], language: Language) -> Use:
    return Use(name, arguments, lambda output: phrasing.tool_said(name, output, language))


def _wait(scene: _Scene) -> tuple[list[Step], int]:
    wanted = scene.language.wait.search(scene.sentence)
    seconds = int(wanted["seconds"]) if wanted else 0
    if seconds <= 0:
        return [], 0
    if seconds > MAX_WAIT_S:
        return [scene.say("waited_less", seconds=MAX_WAIT_S)], MAX_WAIT_S
    return [scene.say("waited", seconds=seconds)], seconds


def _look_back(scene: _Scene) -> list[Step]:
    topic = _topic(scene)
    if topic not in LOOKING_BACK:
        return []
    return [Say(phrasing.looking_back(topic, scene.before, scene.language))]


def _recall(scene: _Scene) -> list[Step]:
    language, sentence = scene.language, scene.sentence
    if not asks(sentence, language):
        return []
    if language.asks_all.search(sentence):
        return [scene.use("recall", {}, lambda output: phrasing.recalled("", "", output, language))]
    match = language.asks_fact.search(sentence)
    thing = language.texts["name"] if language.asks_name.search(sentence) or match is None else match["thing"]
    key = thing_key(thing, language)
    can_recall = "recall" in scene.functions
    if value := facts(scene.before, ordered=not can_recall).get(key):
        return [Say(phrasing.fact(Fact(key, thing, value), language, "told"))]
    if can_recall:
        return [scene.use("recall", {"key": key}, lambda output: phrasing.recalled(key, thing, output, language))]
    return [Say(phrasing.fact(Fact(key, thing, ""), language, "unknown"))]


def _remember(scene: _Scene) -> list[Step]:
    fact = order_in(scene.sentence, scene.language)
    if fact is None:
        return []
    if "remember" not in scene.functions:
        return [Say(phrasing.fact(fact, scene.language, "noted"))]
    arguments = {"key": fact.key, "value": fact.value}
    return [scene.use("remember", arguments, lambda output: phrasing.remembered(fact, output, scene.language))]


def _calculate_and_tell_time(scene: _Scene) -> list[Step]:
    language = scene.language
    steps = [_calculation(expression, scene) for expression in _expressions(scene)]
    if language.time.search(scene.sentence):
        places = find_places(scene.sentence)
        if not places and language.place and (other := language.place.search(scene.sentence)):
            places = {other["place"]: other["place"]}  # the tool knows more zones than we do, or says that it does not
        steps += [_time(place, zone, scene) for place, zone in (places or {"UTC": "UTC"}).items()]
    return steps


def _expressions(scene: _Scene) -> list[str]:
    return find_expressions(scene.sentence, decimal_comma=scene.language.decimal_comma)


def _calculation(expression: str, scene: _Scene) -> Step:
    arguments = {"expression": expression}
    return scene.use("calculator", arguments, lambda output: phrasing.calculated(expression, output, scene.language))


def _time(place: str, zone: str, scene: _Scene) -> Step:
    return scene.use("clock", {"zone": zone}, lambda output: phrasing.told_time(place, output, scene.language))


def _note(scene: _Scene) -> list[Step]:
    fact = fact_in(scene.sentence, scene.language)
    return [Say(phrasing.fact(fact, scene.language, "noted"))] if fact else []


def _talk(scene: _Scene) -> list[Step]:
    topic = _topic(scene)
    if topic is None:
        return []
    if topic in (Topic.TELEGRAM, Topic.SLACK):  # often asked in one breath
        both = [
            t
            for t, found in scene.language.topics
            if t in (Topic.TELEGRAM, Topic.SLACK) and found.search(scene.sentence)
        ]
        return [scene.say(t) for t in both]
    return [Say(phrasing.topic_text(topic, scene.language), small=topic in SMALL_TALK)]


def _topic(scene: _Scene) -> Topic | None:
    return next((topic for topic, found in scene.language.topics if found.search(scene.sentence)), None)


def _unknown(text: str, language: Language, thread: Thread) -> Say:
    return Say(phrasing.unknown(text, language, thread.replies))


_RULES: tuple[Callable[[_Scene], list[Step]], ...] = (
    _look_back,
    _recall,
    _remember,
    _calculate_and_tell_time,
    _note,
    _talk,
)
"""In order: the first rule that finds something answers the sentence."""
