"""Find arithmetic in a sentence: "What is 12 times 12, and …" → ["12 * 12"]. Pure; only recognises, never computes."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

MAX_EXPRESSION_CHARS = 200
_MAX_FOUND = 5

_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}|\d{1,2}/\d{1,2}/\d{2,4}|\d{1,2}:\d{2}")
_ASKED = re.compile(
    r"\bwhat(?:'s|’s| is| are)\b|\bhow much\b|\bcalculate|\bcompute|\bwas (?:ist|sind|macht|ergibt)\b|\bwie ?viel\b"
    r"|\b(?:be)?rechne\b|\bcu[áa]nto\b|\bcalcula\b|多少|等于|计算|=",
    re.IGNORECASE,
)
_HAN_POWER = re.compile(r"(\d+)\s*的\s*(\d+)\s*次方")
_HAN_ROOT = re.compile(r"(\d+(?:\.\d+)?)\s*的\s*平方根")

_TOKEN = re.compile(
    r"""
    (?P<number>\d+(?:[.,]\d+)*)
  | (?P<share>%\s*(?:of|von|de)\b | percent\s+of\b | prozent\s+von\b | por\s+ciento\s+de\b | %\s*的)
  | (?P<square>squared\b | al\s+cuadrado\b | hoch\s+zwei\b | 的平方)
  | (?P<root>(?:the\s+)?square\s+root\s+of\b | sqrt\b | √ | (?:quadrat)?wurzel\s+(?:aus|von)\b
      | ra[ií]z(?:\s+cuadrada)?\s+de\b)
  | (?P<power>\*\*|\^ | to\s+the\s+power\s+of\b | hoch\b | elevado\s+a(?:\s+la)?\b)
  | (?P<times>\*|×|·|⋅ | times\b | multiplied\s+by\b | mal\b | multiplicado\s+por\b | por\b | 乘以?
      | x(?=\s*[\d(√-]))
  | (?P<divide>/|÷ | divided\s+by\b | geteilt\s+durch\b | durch\b | dividido\s+(?:por|entre)\b | entre\b | 除以)
  | (?P<plus>\+ | plus\b | m[áa]s\b | 加上?)
  | (?P<minus>[-−–] | minus\b | menos\b | 减去?)
  | (?P<rest>% | mod\b | modulo\b)
  | (?P<open>\() | (?P<close>\))
  | (?P<numeral>[零一二两三四五六七八九十百]+)
  | (?P<han>[\u4e00-\u9fff])
  | (?P<word>[^\W\d_]+)
  | (?P<other>\S)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SYMBOL = {
    "share": "/ 100 *",
    "square": "** 2",
    "root": "sqrt",
    "power": "**",
    "times": "*",
    "divide": "/",
    "plus": "+",
    "minus": "-",
    "rest": "%",
    "open": "(",
    "close": ")",
}
_BINARY = frozenset({"share", "power", "times", "divide", "plus", "minus", "rest"})
_BEFORE_SIGN = _BINARY | {"open"}
"""After these a "-" is a number's sign."""
_COUNTING = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
null eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn siebzehn
cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete
"""
_WORDS = {word: number for line in _COUNTING.strip().splitlines() for number, word in enumerate(line.split())}
_DIGITS = {sign: value for value, sign in enumerate("零一二三四五六七八九")} | {"两": 2}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    spoken: bool
    """Written as a word: "minus", not "-"."""


def find_expressions(text: str, *, decimal_comma: bool) -> list[str]:
    """The calculations that `text` asks for, as Python-like expressions, at most five. Never raises.

    A bare "-" or "/" (3-4, 24/7) counts only when the text asks for a result or is nothing but the expression.
    """
    text = _HAN_ROOT.sub(r"sqrt(\1)", _HAN_POWER.sub(r"\1 ** \2", _DATE.sub(" , ", text)))
    asked = bool(_ASKED.search(text))
    tokens = [*_tokens(text, decimal_comma), _Token("other", "", False)]
    asked = asked or all(token.kind != "other" or token.text in "?!.？。" for token in tokens)
    found: list[str] = []
    run: list[_Token] = []
    for token in tokens:
        breaks = token.kind == "other" or (token.kind == "number" and run and run[-1].kind == "number")
        if not breaks:
            run.append(token)
            continue
        expression = _expression(run)
        clear = any(t.kind in _BINARY and (t.spoken or t.kind not in ("minus", "divide")) for t in run)
        if expression and (asked or clear or _has_function(run)) and expression not in found:
            found.append(expression)
        run = [token] if token.kind == "number" else []
    return found[:_MAX_FOUND]


def readable(expression: str) -> str:
    """`expression` as people write it: 2 ** 3 * 4 → 2^3 × 4."""
    return expression.replace(" ** ", "^").replace("*", "×").replace(" / ", " ÷ ")


def _has_function(run: list[_Token]) -> bool:
    return any(token.kind in ("root", "square") for token in run)


def _tokens(text: str, decimal_comma: bool) -> list[_Token]:
    tokens = []
    for match in _TOKEN.finditer(text):
        kind, raw = match.lastgroup or "other", match.group()
        if kind == "number":
            tokens.append(_Token("number", _number(raw, decimal_comma), False))
        elif kind == "numeral":
            tokens.append(_Token("number", str(_numeral(raw)), False))
        elif kind == "word" and raw.lower() in _WORDS:
            tokens.append(_Token("number", str(_WORDS[raw.lower()]), False))
        elif kind in _SYMBOL:
            tokens.append(_Token(kind, _SYMBOL[kind], raw[0].isalpha() or len(raw) > 2))
        else:
            tokens.append(_Token("other", raw, False))
    return tokens


def _number(raw: str, decimal_comma: bool) -> str:
    """`raw` with a decimal point and no thousands signs: 1,000.5 or, where the comma is decimal, 1.000,5 → 1000.5."""
    thousands, decimal = (".", ",") if decimal_comma else (",", ".")
    grouped = re.fullmatch(rf"\d{{1,3}}(?:\{thousands}\d{{3}})+(?:\{decimal}\d+)?", raw)
    plain = raw.replace(thousands, "") if grouped else raw
    whole, *fraction = re.split(r"[.,]", plain)
    digits = whole.lstrip("0") or "0"  # 007 is no Python number
    return f"{digits}.{''.join(fraction)}" if fraction else digits


def _numeral(raw: str) -> int:
    """A Chinese numeral below 1000: 十二 → 12, 一百二十 → 120."""
    total = digit = 0
    for sign in raw:
        if sign in "十百":
            total += (digit or 1) * (10 if sign == "十" else 100)
            digit = 0
        else:
            digit = _DIGITS[sign]
    return total + digit


def _expression(run: list[_Token]) -> str:
    """`run` as an expression; "" if it is none."""
    tokens = list(run)
    while tokens and (tokens[0].kind in _BINARY | {"square", "close"}):
        if tokens[0].text == "-" and not tokens[0].spoken and len(tokens) > 1 and tokens[1].kind == "number":
            break  # a sign
        tokens.pop(0)
    while tokens and tokens[-1].kind in _BINARY | {"root", "open"}:
        tokens.pop()
    numbers = sum(token.kind == "number" for token in tokens)
    operators = sum(token.kind in _BINARY for token in tokens[1:])
    if not numbers or not ((operators and numbers > 1) or _has_function(tokens)):
        return ""
    return _checked(_joined(tokens))


def _joined(tokens: list[_Token]) -> str:
    parts: list[str] = []
    depth = 0
    for place, token in enumerate(tokens):
        following = tokens[place + 1].kind if place + 1 < len(tokens) else ""
        if token.kind == "root" and following == "number":
            parts.append(f"sqrt({tokens[place + 1].text})")
        elif place and tokens[place - 1].kind == "root" and token.kind == "number":
            continue  # stands inside the root already
        elif token.kind == "close" and depth == 0:
            continue  # "(see 3 + 4)": its other half is not ours
        elif token.kind == "number" and parts[-1:] == ["-"] and (place == 1 or tokens[place - 2].kind in _BEFORE_SIGN):
            parts[-1] = f"-{token.text}"
        else:
            depth += (token.kind == "open") - (token.kind == "close")
            parts.append(token.text)
    joined = " ".join(parts) + " )" * max(depth, 0)
    return joined.replace("sqrt (", "sqrt(").replace("( ", "(").replace(" )", ")")


def _checked(expression: str) -> str:
    if len(expression) > MAX_EXPRESSION_CHARS:
        return ""
    try:
        ast.parse(expression, mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return ""
    return expression
