"""The inside of a paragraph: inline tokens → runs."""

from __future__ import annotations

from collections.abc import Sequence

from markdown_it.token import Token

from gateway.markdown.runs import Kind, Run, Style, plain

_KINDS = {"strong": Kind.BOLD, "em": Kind.ITALIC, "s": Kind.STRIKE}


def inline_runs(tokens: Sequence[Token]) -> list[Run]:
    """Runs of one inline token's children; a line break is "\\n".

    Code takes no other style with it, for Telegram allows none to overlap with it (Bot API, "Formatting options").
    Code in a link is plain: of the two the address is what the reader would miss.
    """
    runs: list[Run] = []
    opened: list[Style] = []
    for token in tokens:
        styles = frozenset(opened)
        linked = any(style.kind is Kind.LINK for style in opened)
        if token.type in ("softbreak", "hardbreak"):
            runs.append(Run("\n", styles))
        elif token.type == "code_inline":
            runs.append(Run(token.content, styles if linked else frozenset({Style(Kind.CODE)})))
        elif token.type == "image":
            source = str(token.attrs.get("src", ""))
            label = plain(inline_runs(token.children or [])).strip() or source
            runs.append(Run(label, styles if linked else styles | {Style(Kind.LINK, source)}))
        elif token.nesting > 0:
            opened.append(_style(token))
        elif token.nesting < 0:
            opened.pop()
        else:
            runs.append(Run(token.content, styles))
    return runs


def _style(token: Token) -> Style:
    if token.type == "link_open":
        return Style(Kind.LINK, str(token.attrs.get("href", "")))
    return Style(_KINDS[token.type.removesuffix("_open")])
