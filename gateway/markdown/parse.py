"""What counts as Markdown: CommonMark with tables and strike-through, bent to what models write and chats need.

Bent, each for a reason that showed in real replies:
- emphasis next to East Asian text works although CommonMark's flanking rule forbids it (`これは**「重要」**です`);
- `__init__.py` and `obj.__class__` keep their underscores; LaTeX keeps its backslashes; a bare URL keeps everything;
- no setext headings: models write `---` under a paragraph and mean a rule;
- no HTML, and links go to http, https, mailto and tg only.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.parser_inline import ParserInline
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Scanned
from markdown_it.token import Token

_DEEPEST = 20
"""Nesting level from which on a block is taken as plain text; a quote counts one, a list two."""
_PARSER_DEEPEST = _DEEPEST + 4
"""markdown-it's own limit, just above ours; the time for `[[[[…` grows with it."""
_LONGEST_URL_CHARS = 2048
_LONGEST_FORMULA_CHARS = 1000

_NEWLINE = re.compile(r"\r\n?")
_CONTROLS = dict.fromkeys(c for c in [*range(0x20), 0x7F] if chr(c) not in "\t\n")
_SURROGATE = re.compile("[\ud800-\udfff]")
# tg://user mentions, and so pings, somebody; the rest of tg:// only opens something (Bot API, "Formatting options").
_LINK = re.compile(r"https?://[^\s/?#]|mailto:[^\s@]+@[^\s@]|tg://(?!user\b)", re.IGNORECASE)
_SCHEME = re.compile(r"(?<![a-z0-9.+-])https?$", re.IGNORECASE)
_DUNDER = re.compile(r"__[^\W_]\w{0,60}?__(?!_)")
_FORMULAS = {"\\(": "\\)", "\\[": "\\]", "$$": "$$", "$": "$"}


def clean(text: str) -> str:
    """`text` with "\\n" for every line end, without control characters and lone surrogates (no encoder takes those)."""
    return _SURROGATE.sub("\ufffd", _NEWLINE.sub("\n", text)).translate(_CONTROLS)


@dataclass(frozen=True, slots=True)
class Block:
    """Where a block of the source stands: lines first … end - 1."""

    kind: str
    """markdown-it's name for it: "fence", "code_block", "inline" (text that may hold code spans), "paragraph_open" …"""
    first: int
    end: int
    top: bool
    """Whether it lies in no quote or list."""
    markup: str = ""
    """The fence's own characters."""
    info: str = ""
    """What follows them."""


class References(dict[str, Any]):
    """Link definitions (`[1]: https://…`) that remember who was asked for: the others must not vanish unseen."""

    def __init__(self) -> None:
        super().__init__()
        self.used: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        """See dict.get."""
        if key in self:
            self.used.add(key)
        return super().get(key, default)


def parse(text: str) -> tuple[list[Token], list[str]]:
    """Block tokens of `text`, and the link definitions nobody used, as they were written. `text` must be `clean`."""
    references = References()
    env: MutableMapping[str, Any] = {"references": references}
    tokens = _parser().parse(text, env)
    lines = text.split("\n")
    unused = [entry["map"] for label, entry in references.items() if label not in references.used]
    return tokens, ["\n".join(lines[first:end]).strip() for first, end in unused]


def outline(text: str) -> list[Block]:
    """The blocks of `text`, in order, outer ones first. `text` must be `clean`."""
    tokens: list[Token] = []
    md = _parser()
    md.block.parse(text, md, {}, tokens)
    return [Block(t.type, t.map[0], t.map[1], t.level == 0, t.markup, t.info) for t in tokens if t.map is not None]


class _WideState(StateInline):
    """Lets `*` and `~` open and close next to wide characters: those scripts put no spaces between words."""

    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:
        scanned = super().scanDelims(start, canSplitWord)
        end = start + scanned.length
        before = self.src[start - 1] if start else " "
        after = self.src[end] if end < self.posMax else " "
        if not canSplitWord or not (_is_wide(before) or _is_wide(after)):
            return scanned
        return Scanned(not after.isspace(), not before.isspace(), scanned.length)


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF"


class _WideInline(ParserInline):
    def parse(self, src: str, md: MarkdownIt, env: Any, tokens: list[Token]) -> list[Token]:
        state = _WideState(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens


@functools.cache
def _parser() -> MarkdownIt:
    md = MarkdownIt("js-default", {"html": False, "maxNesting": _PARSER_DEEPEST})
    md.inline = _WideInline()
    md.disable(["lheading", "html_block", "html_inline", "linkify", "replacements", "smartquotes"], True)
    md.block.ruler.before("table", "too_deep", _too_deep, {"alt": []})
    md.inline.ruler.before("newline", "bare_url", _bare_url)
    md.inline.ruler.before("escape", "formula", _formula)
    md.inline.ruler.before("emphasis", "dunder", _dunder)
    md.validateLink = _may_link  # type: ignore[method-assign]
    return md


def _may_link(url: str) -> bool:
    return len(url) <= _LONGEST_URL_CHARS and _LINK.match(url) is not None


def _too_deep(state: StateBlock, first: int, end: int, silent: bool) -> bool:
    """markdown-it drops what is nested too deeply; we keep it as a paragraph of plain text."""
    if silent or state.level < _DEEPEST:
        return False
    state.line = end
    state.push("paragraph_open", "p", 1).map = [first, end]
    inline = state.push("inline", "", 0)
    inline.map = [first, end]
    inline.content = ""
    text = Token("text", "", 0, content=state.getLines(first, end, state.blkIndent, False).strip())
    inline.children = [text]
    state.push("paragraph_close", "p", -1)
    return True


def _bare_url(state: StateInline, silent: bool) -> bool:
    """`https://…` in running text: a link as typed. markdown-it's own rule reads to the end of the text each time."""
    linkifier = state.md.linkify
    if state.linkLevel or linkifier is None or not state.src.startswith("://", state.pos):
        return False
    scheme = _SCHEME.search(state.src, max(0, state.pos - 6), state.pos)
    if not scheme or not state.pending.endswith(scheme[0]):
        return False
    start = scheme.start()
    found = linkifier.match_at_start(state.src[start : min(state.posMax, start + _LONGEST_URL_CHARS)])
    url = found.raw.rstrip("*_~") if found else ""  # what closes emphasis is hardly ever the end of an address
    if not _may_link(url):
        return False
    if not silent:
        state.pending = state.pending[: -len(scheme[0])]
        opening = state.push("link_open", "a", 1)
        opening.attrs = {"href": url}
        state.push("text", "", 0).content = url
        state.push("link_close", "a", -1)
    state.pos = start + len(url)
    return True


def _formula(state: StateInline, silent: bool) -> bool:
    r"""`\(…\)`, `\[…\]`, `$$…$$` and `$x_i$` are shown as they stand: no emphasis inside, no backslash lost."""
    src, start = state.src, state.pos
    opener = next((o for o in _FORMULAS if src.startswith(o, start)), None)
    if opener is None:
        return False
    inside = start + len(opener)
    limit = min(state.posMax, inside + _LONGEST_FORMULA_CHARS)
    closing = src.find(_FORMULAS[opener], inside, limit)
    if closing <= inside:
        return False
    end = closing + len(opener)
    body = src[inside:closing]
    if opener == "$" and (body != body.strip() or not re.search(r"[\\_^]", body) or re.search(r"[`\n]", body)):
        return False  # a price, not a formula
    if opener == "\\[" and src[end : end + 1] in ("(", "[", ":"):
        return False  # somebody escaped the brackets of a link
    if not silent:
        state.append_pending(src[start:end])
    state.pos = end
    return True


def _dunder(state: StateInline, silent: bool) -> bool:
    """`__name__` glued to a dot and a word, or to a call's parenthesis, is Python, not bold."""
    found = _DUNDER.match(state.src, state.pos, state.posMax)
    if not found:
        return False
    before, after = state.src[max(0, state.pos - 2) : state.pos], state.src[found.end() : found.end() + 2]
    if not re.fullmatch(r"\w\.", before) and not re.match(r"\w|\.\w|\(", after):
        return False
    if not silent:
        state.append_pending(found[0])
    state.pos = found.end()
    return True
