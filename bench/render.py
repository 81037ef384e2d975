"""Rendering replies for Telegram and Slack, against markdown-it-py parsing the same text and doing nothing with it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from markdown_it import MarkdownIt

from bench.results import Result, Row
from bench.rounds import ROUND_S, in_turns
from gateway.slack.render import render as for_slack
from gateway.telegram.render import render as for_telegram

_REPLIES = Path(__file__).parent.parent / "tests/fixtures/markdown"
_NAMES = ("reply_short", "reply_long")
_PLATFORMS: dict[str, Callable[[str], object]] = {"Telegram": for_telegram, "Slack": for_slack}


async def run(size: int) -> Result:
    """Render each sample `size` times a round. Raises nothing of its own."""
    parse = MarkdownIt("js-default", {"html": False}).parse
    rows = []
    for name in _NAMES:
        text = (_REPLIES / f"{name}.md").read_text(encoding="utf-8")
        sides = {"parse": parse, **_PLATFORMS}
        rates = await in_turns([_side(side, convert, text, size) for side, convert in sides.items()])
        what = f"{name} ({len(text)} characters): documents a second"
        rows += [Row(f"{platform}, {what}", rates[platform], rates["parse"], "higher") for platform in _PLATFORMS]
    return Result("render", size, "markdown-it-py parsing alone", tuple(rows))


def _side(
    name: str, convert: Callable[[str], object], text: str, size: int
) -> Callable[[], Awaitable[Mapping[str, float]]]:
    """Documents a second of CPU time: nothing here waits, and a neighbour's load does not count."""

    async def measure() -> Mapping[str, float]:
        began = time.process_time()
        done = 0
        while done < size and (done == 0 or time.process_time() - began < ROUND_S):
            convert(text)
            done += 1
        return {name: done / (time.process_time() - began)}

    return measure
