"""gateway.slack.render: messages that notify nobody and lose nothing, whatever the model wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import markdown
from gateway.domain.messages import OutboundPart
from gateway.slack.blocks import cut
from gateway.slack.render import mrkdwn, render
from tests.unit.test_markdown import documents, solid

FIXTURES = Path(__file__).parents[1] / "fixtures" / "markdown"
SAMPLES: list[dict[str, Any]] = json.loads((FIXTURES / "samples.json").read_text("utf-8"))
ALIVE = re.compile(r"<(?:!(?:channel|here|everyone|group|subteam|date)|@[UWB]\w+[>|]|#[CDG]\w+[>|])", re.IGNORECASE)
TOKENS = re.compile(r"<(?:https?://|mailto:|tg://)[^\s<>|]+\|[^<>\n]+>", re.IGNORECASE)


def block(part: OutboundPart) -> str:
    (only,) = part.markup["blocks"]
    assert only == {"type": "markdown", "text": only["text"]}
    return str(only["text"])


def check(part: OutboundPart) -> None:
    assert set(part.markup) == {"blocks", "fallback"}
    assert 0 < markdown.utf16(block(part)) <= 11_000
    assert 0 < len(part.text) <= 40_000
    assert 0 < len(part.markup["fallback"]) <= 3_000
    assert not markdown.is_blank(part.text)
    assert not ALIVE.search(block(part))
    for text in (TOKENS.sub("", part.text), part.markup["fallback"]):
        assert "<" not in text
        assert not re.search(r"&(?!amp;|lt;|gt;)", text)
    assert OutboundPart.from_json(part.to_json()) == part


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["id"])
def test_sample(sample: dict[str, Any]) -> None:
    written = mrkdwn(sample["markdown"])
    assert [wanted for wanted in sample["mrkdwn_has"] if not re.search(wanted, written, re.MULTILINE)] == []
    assert [unwanted for unwanted in sample["mrkdwn_not"] if re.search(unwanted, written, re.MULTILINE)] == []
    parts = render(sample["markdown"])
    assert len(parts) == (2 if markdown.utf16(sample["markdown"]) > 11_000 else 1)
    for part in parts:
        check(part)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["id"])
def test_every_beginning_of_a_sample_is_valid(sample: dict[str, Any]) -> None:
    for end in range(1, min(400, len(sample["markdown"])) + 1):
        beginning = sample["markdown"][:end]
        parts = render(beginning)
        assert parts or not beginning.strip()
        for part in parts:
            check(part)


def test_long_reply_is_one_block() -> None:
    (part,) = render((FIXTURES / "reply_long.md").read_text("utf-8"))
    check(part)
    assert "&lt;!channel>" in block(part)
    assert '# naïve <tag> & "quote"' in block(part)
    assert "&lt;tag&gt; &amp;" in part.text


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("<!channel> <@U1> <#C1> @here", "&lt;!channel> &lt;@U1> &lt;#C1> @here"),
        ("`<!everyone>` `<b>` ``a ` <!here>``", "`<\u2060!everyone>` `<b>` ``a ` <\u2060!here>``"),
        ("`<!channel>\n`<@U1>", "`<\u2060!channel>\n`&lt;@U1>"),
        ("```html\n<!DOCTYPE html><p>\n<!channel>\n```", "```html\n<!DOCTYPE html><p>\n<\u2060!channel>\n```"),
        ("> ```\n> <!subteam^S1>", "> ```\n> <\u2060!subteam^S1>"),
        ("    <@W1|ann>", "    <\u2060@W1|ann>"),
        ("| <!here> | `<#C1>` |\n|-|-|\n| <!x> | 1 |", "| &lt;!here> | `<\u2060#C1>` |\n|-|-|\n| &lt;!x> | 1 |"),
        ("<https://e.com/a_b?x=1&y=2> <me@e.com>", "https://e.com/a_b?x=1&y=2 me@e.com"),
        ("[a](<https://e.org>) <tg://x>", "[a](https://e.org) &lt;tg://x>"),
        ("1 < 2 > 1 & `a<b`\n\n> quote", "1 &lt; 2 > 1 & `a<b`\n\n> quote"),
        ("[<!channel>]: https://e.com\n\n`open <!here>", "[&lt;!channel>]: https://e.com\n\n`open &lt;!here>"),
    ],
)  # fmt: skip
def test_the_block_is_the_reply_made_harmless(reply: str, expected: str) -> None:
    (part,) = render(reply)
    check(part)
    assert block(part) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("# A **b**\n- *c*\n- ~~d~~", "*A b*\n• _c_\n• ~d~"),
        ("**a `c` b** **a*b*c**", "*a* `c` *b* *a\u200b_b_\u200bc*"),
        ("**(x)**_(y)_", "*(x)*\u200b_(y)_"),
        ("**x**_y_", "*x*\u200b_y_"),
        ("これは**重要**です", "これは\u200b*重要*\u200bです"),
        ("**two\nlines**", "*two*\n*lines*"),
        ("> a\n> **b**\n\nc", "> a\n> *b*\n\nc"),
        ("```py\na < b\n\n```", "```\na &lt; b\n```"),
        ("- x\n  ```\n  y\n  ```\n  z", "• x\n```\ny\n```\n   z"),
        ("> a\n>\n> ```\n> y\n> ```", "> a\n> \n```\ny\n```"),
        ("````\n```\n````", "```\n``\u200b`\n```"),
        ("[**a** <b>|c](https://e.com/?x=<1>|&y=2)", "<https://e.com/?x=%3C1%3E%7C&amp;y=2|a &lt;b&gt;|c>"),
        ("**[a](https://e.com)**", "*<https://e.com|a>*"),
        ("``a`b`` & `c`", "a`b &amp; `c`"),
        ("&lt;!channel&gt; `<@U1>`", "&lt;!channel&gt; `&lt;@U1&gt;`"),
    ],
)
def test_mrkdwn(reply: str, expected: str) -> None:
    assert mrkdwn(reply) == expected


def test_a_long_reply_is_cut_between_blocks() -> None:
    paragraphs = [f"paragraph {number} " + "word " * 300 for number in range(20)]
    parts = render("\n\n".join(paragraphs))
    assert len(parts) == 3
    for part in parts:
        check(part)
        assert block(part).startswith("paragraph")
    assert solid("".join(map(block, parts))) == solid("".join(paragraphs))


def test_a_long_fence_is_closed_and_opened_again() -> None:
    code = [f"line {number} <tag>" for number in range(1500)]
    parts = render("Intro\n\n````python title\n" + "\n".join(code) + "\n````\n\nend")
    assert len(parts) == 3
    lines = [line for part in parts for line in block(part).split("\n")]
    assert [line for line in lines if line.startswith("line")] == code
    for part in parts:
        check(part)
        assert block(part).count("````python title\n") == 1
        assert block(part).count("\n````") == (2 if part is parts[0] else 1)


def test_a_fence_keeps_its_place_in_a_quote_or_list_when_it_is_cut() -> None:
    for opening, prefix in (("> ```", "> "), ("- ```", "  ")):
        lines = [opening, *(f"{prefix}line {number}" for number in range(9)), f"{prefix}```"]
        text = "\n".join(lines)
        pieces = cut(lines, markdown.outline(text), 60)
        assert len(pieces) > 1
        assert all(piece.startswith(f"{prefix}```\n") for piece in pieces[1:])
        assert all(piece.endswith(f"\n{prefix}```") for piece in pieces)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["p" * 30, "", "```", *["a" * 8] * 4, "```"], [["p" * 30], ["```", *["a" * 8] * 4, "```"]]),
        (["```", *["a" * 10] * 4, "b" * 7, "```"], [["```", *["a" * 10] * 4, "b" * 7, "```"]]),
        (
            ["p" * 10, "```", "a" * 50, "b" * 50, "```"],
            [["p" * 10], ["```", "a" * 50, "```"], ["```", "b" * 50, "```"]],
        ),
    ],
    ids=["a block that fits is not torn", "room is kept for one closing line", "no fence without code"],
)
def test_fences_at_the_end_of_a_piece(lines: list[str], expected: list[list[str]]) -> None:
    pieces = cut(lines, markdown.outline("\n".join(lines)), 60)
    assert [piece.split("\n") for piece in pieces] == expected


def test_text_that_grows_is_sent_in_more_parts() -> None:
    parts = render("&" * 11_000)
    assert len(parts) == 2
    assert "".join(part.text for part in parts) == "&amp;" * 11_000
    assert all(part.markup["fallback"].endswith("&amp;…") for part in parts)


@pytest.mark.parametrize("reply", ["", " \n\t", "\u200b\u2060", "\x00"])
def test_nothing_to_see_is_no_message(reply: str) -> None:
    assert render(reply) == []


@given(documents)
def test_every_document_is_valid(document: str) -> None:
    parts = render(document)
    assert bool(parts) or markdown.is_blank(markdown.clean(document))
    for part in parts:
        check(part)


@given(documents, st.integers(30, 80))
def test_pieces_fit_and_keep_all_text(document: str, limit: int) -> None:
    text = markdown.clean(document)
    pieces = cut(text.split("\n"), markdown.outline(text), limit)
    assert all(markdown.utf16(piece) <= limit for piece in pieces)
    assert not any(markdown.is_blank(piece) for piece in pieces)
    # Fences that were closed and opened again may only add to the text.
    left = iter(solid("".join(pieces)))
    assert all(char in left for char in solid(text) if char not in "`~")


@pytest.mark.parametrize("source", ["a <b> c", r"a \<b> c", r"a \\<b> c", r"a \\\<b> c"])
def test_an_escaped_less_than_is_shown_as_one(source: str) -> None:
    """The entity that replaces it must not be escaped in its stead."""
    (part,) = render(source)
    block = part.markup["blocks"][0]["text"]
    assert markdown.plain(markdown.render(block)) == markdown.plain(markdown.render(source))
    assert "<" not in block
