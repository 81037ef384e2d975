"""gateway.telegram.render: text and entities that Telegram accepts, whatever the model wrote."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.messages import OutboundPart
from gateway.markdown import is_blank, utf16
from gateway.telegram.render import render
from tests.unit.test_markdown import documents

FIXTURES = Path(__file__).parents[1] / "fixtures" / "markdown"
SAMPLES: list[dict[str, Any]] = json.loads((FIXTURES / "samples.json").read_text("utf-8"))
TYPES = {"blockquote", "bold", "italic", "strikethrough", "text_link", "code", "pre"}


def under(part: OutboundPart, entity: dict[str, Any]) -> str:
    """The text an entity covers; decoding fails where it starts or ends inside a surrogate pair."""
    units = part.text.encode("utf-16-le")
    start = entity["offset"] * 2
    return units[start : start + entity["length"] * 2].decode("utf-16-le")


def entities(part: OutboundPart) -> list[dict[str, Any]]:
    return list(part.markup.get("entities", []))


def check(part: OutboundPart, limit: int = 4096) -> None:
    """Bot API, sendMessage and "Formatting options"."""
    assert 0 < utf16(part.text) <= limit
    assert not is_blank(part.text)
    assert part.text == part.text.rstrip()
    assert part.markup == {} or 0 < len(entities(part)) <= 100
    assert OutboundPart.from_json(part.to_json()) == part
    for entity in entities(part):
        assert entity["type"] in TYPES
        assert entity["length"] > 0
        assert 0 <= entity["offset"] <= utf16(part.text) - entity["length"]
        assert utf16(under(part, entity)) == entity["length"]
        assert ("url" in entity) == (entity["type"] == "text_link")
        assert set(entity) <= {"type", "offset", "length", "url"} or entity["type"] == "pre"
    for one, other in combinations(entities(part), 2):
        overlap = min(one["offset"] + one["length"], other["offset"] + other["length"]) - max(
            one["offset"], other["offset"]
        )
        if overlap <= 0:
            continue
        assert overlap == min(one["length"], other["length"]), "partial overlap"
        types = {one["type"], other["type"]}
        assert len(types) == 2
        assert not types & {"code", "pre"} or "blockquote" in types


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["id"])
def test_sample(sample: dict[str, Any]) -> None:
    parts = render(sample["markdown"])
    for part in parts:
        check(part)
    text = "\n".join(part.text for part in parts)
    assert [wanted for wanted in sample["plain_has"] if wanted not in text] == []
    assert [unwanted for unwanted in sample["plain_not"] if unwanted in text] == []
    found = [
        [entity["type"], under(part, entity), *([entity["url"]] if "url" in entity else [])]
        for part in parts
        for entity in entities(part)
    ]
    assert [wanted for wanted in sample["entities"] if wanted not in found] == []


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["id"])
def test_every_beginning_of_a_sample_is_valid(sample: dict[str, Any]) -> None:
    """What a stream that was cut off leaves behind."""
    for end in range(1, min(400, len(sample["markdown"])) + 1):
        beginning = sample["markdown"][:end]
        parts = render(beginning)
        assert parts or not beginning.strip()
        for part in parts:
            check(part)


def test_long_reply_is_three_messages_and_the_code_goes_on() -> None:
    parts = render((FIXTURES / "reply_long.md").read_text("utf-8"))
    for part in parts:
        check(part)
    assert len(parts) == 3
    assert entities(parts[1]) == [{"type": "pre", "offset": 0, "length": utf16(parts[1].text), "language": "python"}]
    code = [[under(part, e) for e in entities(part) if e.get("language") == "python"] for part in parts]
    assert "\n".join(block for blocks in code for block in blocks).count("\n") == 131
    assert all(line.startswith(("    ", "def main")) for (block,) in code for line in block.split("\n"))


def test_short_reply_to_the_letter() -> None:
    (part,) = render("**Order 17** 😀 [here](https://e.com/?a=1&b=2)\n\n> *quoted*")
    assert part == OutboundPart(
        "Order 17 😀 here\n\nquoted",
        {
            "entities": [
                {"type": "bold", "offset": 0, "length": 8},
                {"type": "text_link", "offset": 12, "length": 4, "url": "https://e.com/?a=1&b=2"},
                {"type": "blockquote", "offset": 18, "length": 6},
                {"type": "italic", "offset": 18, "length": 6},
            ]
        },
    )


@pytest.mark.parametrize("reply", ["plain", "https://e.com/a_b and <https://e.org>", "me@e.com"])
def test_no_markup_without_entities(reply: str) -> None:
    (part,) = render(reply)
    assert part.markup == {}


@pytest.mark.parametrize("reply", ["", " \n\t", "\u200b\u2060", "\x00"])
def test_nothing_to_see_is_no_message(reply: str) -> None:
    assert render(reply) == []


@given(documents, st.sampled_from([20, 64, 4096]))
def test_every_document_is_valid(document: str, limit: int) -> None:
    for part in render(document, limit):
        check(part, limit)
