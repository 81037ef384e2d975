"""Markdown for Slack's `markdown` block that can notify nobody. Pure.

Wire facts: the block reads `<!channel>`, `<@U…>`, `<#C…>` like any message text does; `&lt;` is shown as "<" and not
read again. In code an entity might be shown as it is written, so code is left alone but for those tokens themselves.
"""

from __future__ import annotations

import re

from gateway.markdown import Block

_CONTROL = re.compile(
    r"<(?=!(?:channel|here|everyone|group|subteam|date)|@[UWB][A-Z0-9]+[>|]|#[CDG][A-Z0-9]+[>|])", re.IGNORECASE
)
_LESS_THAN = re.compile(r"(?<!\\)(\\*)<")
_AUTOLINK = re.compile(
    r"(?<!\\)<((?:https?://|mailto:)[^\s<>]+|[\w.+-]{1,64}@[\w-]{1,63}\.[\w.-]{1,63})>", re.IGNORECASE
)
_TICKS = re.compile(r"`+")
_NOTHING = "\u2060"
"""Word joiner: seen by nobody, wraps no line, and no token starts with it."""


def neutralise(lines: list[str], blocks: list[Block]) -> list[str]:
    """The lines of a Markdown document, each made harmless. `blocks` is the document's outline."""
    out = [_text(line) for line in lines]
    for block in blocks:
        here = slice(block.first, block.end)
        if block.kind in ("fence", "code_block"):
            out[here] = [_code(line) for line in lines[here]]
        elif block.kind == "inline":
            out[here] = _prose("\n".join(lines[here])).split("\n")
    return out


def _prose(text: str) -> str:
    """Text outside code blocks; it may hold code spans."""
    out: list[str] = []
    at = 0
    for first, end in _code_spans(text):
        out += [_text(text[at:first]), _code(text[first:end])]
        at = end
    return "".join([*out, _text(text[at:])])


def _code(text: str) -> str:
    return _CONTROL.sub("<" + _NOTHING, text)


def _text(text: str) -> str:
    return _LESS_THAN.sub(_entity, _AUTOLINK.sub(r"\1", text))


def _entity(found: re.Match[str]) -> str:
    """An entity in its place. A backslash that escaped the "<" goes: before "&" it would escape that."""
    backslashes = found[1]
    return backslashes[: len(backslashes) // 2 * 2] + "&lt;"


def _code_spans(text: str) -> list[tuple[int, int]]:
    """Where code spans lie: a run of backticks up to the next run of the same length (CommonMark 6.1)."""
    runs = [(m.start(), m.end()) for m in _TICKS.finditer(text)]
    later: dict[int, list[int]] = {}
    for index in range(len(runs) - 1, -1, -1):
        later.setdefault(runs[index][1] - runs[index][0], []).append(index)
    spans: list[tuple[int, int]] = []
    index = 0
    while index < len(runs):
        start, end = runs[index]
        escaped = start > 0 and text[start - 1] == "\\"
        same = later[end - start]
        while same and same[-1] <= index:
            same.pop()
        if same and not escaped:
            closing = same.pop()
            spans.append((start, runs[closing][1]))
            index = closing
        index += 1
    return spans
