"""Runs → mrkdwn, Slack's older markup, for `text`, response_url and section text. Pure.

Wire facts: docs.slack.dev, "Formatting message text": & < > are escaped everywhere, code included, or `<!channel>` and
`<@U…>` from a model would notify people; *bold*, _italic_, ~strike~ work only next to something that is no word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway import markdown
from gateway.markdown import Kind, Run, Span, plain, spans

_MARKS = {Kind.BOLD: "*", Kind.ITALIC: "_", Kind.STRIKE: "~", Kind.CODE: "`"}
_NOTHING = "\u200b"
"""Zero width space: no word, and not seen."""
_FENCE = "```"
_URL_ESCAPES = str.maketrans({"<": "%3C", ">": "%3E", "|": "%7C", "&": "&amp;", "\n": "%0A", " ": "%20"})


def escape(text: str) -> str:
    """`text` as Slack shows it literally, and reads no mention, channel or link out of it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def mrkdwn(reply: str) -> str:
    """A Markdown reply → mrkdwn of any length. Never raises; mentions in it stay text."""
    return write(markdown.render(reply))


def write(runs: Sequence[Run]) -> str:
    """Runs → mrkdwn."""
    out: list[str] = []
    for line in _lines(runs):
        if line and line[0].has(Kind.PRE):
            code = line[0].text.replace(_FENCE, f"``{_NOTHING}`")
            out.append(f"{_FENCE}\n{escape(code)}\n{_FENCE}")
        else:
            quote = "> " if any(run.has(Kind.QUOTE) for run in line) else ""
            out.append(quote + _line(line))
    return "\n".join(out).strip("\n")


def _lines(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of each line; a code block, which always stands between line ends, counts as one line."""
    lines: list[list[Run]] = [[]]
    for run in runs:
        if run.has(Kind.PRE):
            lines[-1] = [run]
            continue
        first, *rest = run.text.split("\n")
        if first:
            lines[-1].append(Run(first, run.styles))
        lines.extend([Run(text, run.styles)] if text or run.has(Kind.QUOTE) else [] for text in rest)
    return lines


def _line(runs: Sequence[Run]) -> str:
    """One line: text with marks put where its spans start and end, which nest."""
    text = plain(runs)
    opening: dict[int, list[str]] = {}
    closing: dict[int, list[str]] = {}
    marked: set[int] = set()
    for span in _writable(text, spans(runs)):
        before, after = _marks(span)
        opening.setdefault(span.start, []).append(before)
        closing.setdefault(span.end, []).insert(0, after)
        if span.style.kind is not Kind.LINK:
            marked |= {span.start, span.end}
    out: list[str] = []
    last = 0
    for at in sorted({*opening, *closing, len(text)}):
        out.append(escape(text[last:at]))
        out.extend(closing.get(at, ()))
        if at in marked and _needs_gap(text, at, at in opening, at in closing):
            out.append(_NOTHING)
        out.extend(opening.get(at, ()))
        last = at
    return "".join(out)


def _writable(text: str, found: Sequence[Span]) -> list[Span]:
    """The spans mrkdwn can write: without white space at their ends, nothing inside a link, no code with a backtick."""
    kept: list[Span] = []
    link_end = 0
    for start, end, style in found:
        words = text[start:end].strip()
        backtick = style.kind is Kind.CODE and "`" in words
        if not words or backtick or start < link_end or style.kind is Kind.QUOTE:
            continue
        if style.kind is Kind.LINK:
            link_end = end
        start += len(text[start:end]) - len(text[start:end].lstrip())
        kept.append(Span(start, start + len(words), style))
    return kept


def _marks(span: Span) -> tuple[str, str]:
    if span.style.kind is Kind.LINK:
        return f"<{span.style.value.translate(_URL_ESCAPES)}|", ">"
    mark = _MARKS[span.style.kind]
    return mark, mark


def _needs_gap(text: str, at: int, opens: bool, closes: bool) -> bool:
    word_before = at > 0 and re.match(r"\w", text[at - 1]) is not None
    word_after = at < len(text) and re.match(r"\w", text[at]) is not None
    return (opens and closes) or (opens and word_before) or (closes and word_after)
