"""What counts as a command, and what is only text that looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.commands import Order, parse_order
from gateway.domain.messages import Command


@pytest.mark.parametrize(
    ("text", "prefix", "order", "command"),
    [
        ("/new", "/", Order("new"), Command.NEW),
        ("  /New  ", "/", Order("new"), Command.NEW),
        ("/start pair_9f2cA-Z0", "/", Order("start", argument="pair_9f2cA-Z0"), Command.START),
        ("/stop@Our_Bot", "/", Order("stop", addressee="Our_Bot"), Command.STOP),
        ("/ask@our_bot how\ndo I?", "/", Order("ask", "our_bot", "how\ndo I?"), None),
        ("!help", "!", Order("help"), Command.HELP),
        ("/new\nand then", "/", Order("new", argument="and then"), Command.NEW),
    ],
)
def test_an_order_is_the_whole_text(text: str, prefix: str, order: Order, command: Command | None) -> None:
    parsed = parse_order(text, prefix)
    assert parsed == order
    assert parsed.command is command


@pytest.mark.parametrize("text", ["", "new", "/", "/ new", "see /new", "/etc/hosts", "/new.", "//new", "!new", "/新"])
def test_text_that_only_looks_like_an_order(text: str) -> None:
    assert parse_order(text, "/") is None


@given(st.text(), st.sampled_from("/!"))
def test_any_text_is_read_without_an_exception(text: str, prefix: str) -> None:
    order = parse_order(prefix + text, prefix)
    assert order is None or order.word == order.word.lower() != ""
