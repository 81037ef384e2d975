"""The demo model's sentences: results of tools, things told, texts on request. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from workers.models.demo.arithmetic import readable
from workers.models.demo.language import NAME, Language, Topic
from workers.models.demo.thread import Fact, facts, parsed, quoted

LONG_CHARS = 6000
"""More than one message on any platform: Telegram takes 4096 UTF-16 units (Bot API 9, sendMessage)."""
_MAX_OUTPUT_CHARS = 3000
_SHOWN_MESSAGES = 5
_NUMBER = re.compile(r"[-+]?\d[\d.,_]*(?:e[-+]?\d+)?", re.IGNORECASE)


def calculated(expression: str, output: str, language: Language) -> str:
    """ "12 × 12 = 144", or what the calculator said instead of a number."""
    result = output.strip()
    if not _NUMBER.fullmatch(result):
        return tool_said("calculator", output, language)
    return language.texts["calculated"].format(expression=_escaped(readable(expression)), output=result)


def told_time(place: str, output: str, language: Language) -> str:
    """The time at `place`, or what the clock said instead of one."""
    answer = parsed(output)
    raw = answer.get("time") if isinstance(answer, dict) else None
    try:
        moment = datetime.fromisoformat(str(raw))
    except ValueError:
        return tool_said("clock", output, language)
    return language.texts["clock"].format(
        time=f"{moment:%H:%M}",
        place=quoted(place),
        weekday=language.texts["weekdays"].split()[moment.weekday()],
        date=f"{moment:%Y-%m-%d}",
    )


def remembered(told: Fact, output: str, language: Language) -> str:
    """That a fact is kept, or why it is not."""
    if not output.startswith("Remembered"):
        return tool_said("remember", output, language)
    return language.texts["remembered"].format(thing=quoted(told.thing), value=quoted(told.value))


def recalled(key: str, thing: str, output: str, language: Language) -> str:
    """One remembered fact, or all for key "", or that there is none."""
    known = parsed(output)
    if not isinstance(known, dict):
        return tool_said("recall", output, language)
    if not known or (key and key not in known):
        return language.texts["recalled_nothing"]
    if key:
        return language.texts["recalled"].format(thing=quoted(thing), value=quoted(str(known[key])))
    return _listed(language.texts["recalled_all"], [_line(str(k), str(v), language) for k, v in known.items()])


def tool_said(tool: str, output: str, language: Language) -> str:
    """The output as it is: a stranger's tool, or an error, which is told and not hidden."""
    text = output if len(output) <= _MAX_OUTPUT_CHARS else f"{output[:_MAX_OUTPUT_CHARS]}…"
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=2) + 1 if "```" in text else 3)
    shown = (
        f"\n\n{fence}\n{text}\n{fence}" if "\n" in text or text[:1] in ("{", "[") else quoted(text, _MAX_OUTPUT_CHARS)
    )
    return language.texts["tool_said"].format(tool=tool, output=shown)


def fact(told: Fact, language: Language, what: str) -> str:
    """A fact noted, told or unknown (`what`)."""
    kind = "name" if told.key == NAME else "fact"
    return language.texts[f"{kind}_{what}"].format(thing=quoted(told.thing), value=quoted(told.value))


def looking_back(topic: Topic, before: Sequence[str], language: Language) -> str:
    """The reply to a question about the thread itself."""
    texts = language.texts
    said = [text for text in before if text.strip()]
    if not said:
        return texts["nothing_said"]
    if topic is Topic.FIRST_SAID:
        return texts["first_said"].format(text=quoted(said[0], 300))
    if topic is Topic.SAID_BEFORE:
        return texts["said_before"].format(text=quoted(said[-1], 300))
    summary = _listed(texts["summary"].format(count=len(said)), [quoted(text, 80) for text in said[-_SHOWN_MESSAGES:]])
    known = [_line(key, value, language) for key, value in facts(said, ordered=True).items()]
    return f"{summary}\n\n{_listed(texts['summary_facts'], known)}" if known else summary


def topic_text(topic: Topic, language: Language) -> str:
    """The text of a topic that needs nothing but itself."""
    texts = language.texts
    if topic is Topic.MARKDOWN:
        return "\n\n".join([texts["bold"], texts["list"], texts["table"], texts["code"], texts["quote"]])
    if topic is Topic.LONG:
        return long_text(language)
    return texts[topic]


def long_text(language: Language) -> str:
    """Numbered paragraphs, longer than LONG_CHARS."""
    lines = [language.texts[f"long_{n}"] for n in range(1, 5)]
    count = LONG_CHARS // min(len(line) for line in lines) + 1
    paragraphs = [f"{n}) {lines[(n - 1) % len(lines)]}" for n in range(1, count + 1)]
    return "\n\n".join([language.texts["long"].format(count=count), *paragraphs])


def unknown(text: str, language: Language, replies: Sequence[str]) -> str:
    """That there is no rule for `text`: at length the first time in a thread, in short afterwards."""
    if not text.strip():
        return language.texts["empty"]
    opening = language.texts["unknown"].partition("{text}")[0]
    told = any(reply.startswith(opening) for reply in replies)
    return language.texts["unknown_again" if told else "unknown"].format(text=quoted(text))


def _listed(title: str, lines: Sequence[str]) -> str:
    return "\n".join([title, "", *(f"- {line}" for line in lines)])


def _line(key: str, value: str, language: Language) -> str:
    return f"{quoted(language.texts['name'] if key == NAME else key)}: {quoted(value)}"


def _escaped(text: str) -> str:
    return re.sub(r"([*_~`])", r"\\\1", text)
