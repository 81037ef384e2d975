"""Arithmetic by walking a parsed expression: exact where it can be, quick to refuse what would take long, never eval.

Whole numbers stay whole numbers; everything else is decimal, computed with 60 digits and shown with 28, so that
0.1 + 0.2 is 0.3 and 1 / 3 * 3 is 1. Python's own parser does the reading; only the node types listed here are obeyed.
"""

from __future__ import annotations

import ast
import decimal
import math
import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal

from gateway.domain.errors import ToolFailed

MAX_CHARS = 500
MAX_DIGITS = 1_000
"""Longest whole number, also in between; beyond it powers and factorials cost time and nobody reads the answer."""
_MAX_BITS = 3_330
SHOWN_DIGITS = 28

Number = int | Decimal

_CONTEXT = decimal.Context(
    prec=60,
    Emax=MAX_DIGITS,
    Emin=-MAX_DIGITS,
    traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)
_PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
_E = Decimal("2.71828182845904523536028747135266249775724709369995957496696763")
_TOO_LARGE = "The result is too large."
_WRITTEN = {
    "×": "*", "·": "*", "∙": "*", "⋅": "*", "✕": "*", "÷": "/", "∕": "/", "⁄": "/",
    "−": "-", "–": "-", "—": "-", "^": "**", "√": "sqrt", "π": "pi", "²": "**2", "³": "**3",
}  # fmt: skip
_ROOT_OF_NUMBER = re.compile(r"sqrt\s*([\d.]+)")


def evaluate(expression: str) -> str:
    """The value of `expression` as text. Raises ToolFailed, in words for the model, when it has none."""
    text = _normalise(expression)
    try:
        with decimal.localcontext(_CONTEXT):
            tree = ast.parse(text, mode="eval")
            return _show(_value(tree.body, text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ToolFailed("This is not an arithmetic expression that can be read.") from None
    except ZeroDivisionError:  # decimal's DivisionByZero is one, too
        raise ToolFailed("Division by zero.") from None
    except (OverflowError, decimal.Overflow):
        raise ToolFailed(_TOO_LARGE) from None
    except decimal.InvalidOperation:
        raise ToolFailed("This is not defined for real numbers, or needs too many digits.") from None


def _normalise(expression: str) -> str:
    """What people write → Python's spelling. Full-width digits and signs (common in Chinese text) become ASCII."""
    if len(expression) > MAX_CHARS:
        raise ToolFailed(f"The expression is too long: at most {MAX_CHARS} characters.")
    text = "".join(_WRITTEN.get(char, char) for char in expression)  # before NFKC, which would make ² a plain 2
    text = unicodedata.normalize("NFKC", text)
    text = "".join(_WRITTEN.get(char, char) for char in text)
    text = _ROOT_OF_NUMBER.sub(r"sqrt(\1)", " ".join(text.split())).strip(" =?")
    if not text.isascii():
        raise ToolFailed("Only digits, operators, parentheses and the known function names can be used.")
    return text


def _value(node: ast.expr, text: str) -> Number:
    match node:
        case ast.Constant(value=bool()):
            pass
        case ast.Constant(value=int(whole)):
            return _bounded(whole)
        case ast.Constant(value=float()):
            # From the source text: the float has lost digits already. Columns are bytes, the text is ASCII.
            return _bounded(Decimal(text[node.col_offset : node.end_col_offset]))
        case ast.Name(id=name) if name.lower() in _CONSTANTS:
            return _CONSTANTS[name.lower()]
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return _value(operand, text)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, text)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _bounded(_OPERATORS[type(op)](_value(left, text), _value(right, text)))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name.lower() in _FUNCTIONS:
            return _bounded(_call(name.lower(), [_value(argument, text) for argument in arguments]))
        case ast.Tuple():
            raise ToolFailed("Write numbers without thousands separators and with a decimal point.")
        case ast.Call(func=ast.Name()) | ast.Name():
            names = ", ".join(sorted({*_FUNCTIONS, *_CONSTANTS}))
            raise ToolFailed(f"The expression holds an unknown name. Known are: {names}.")
    raise ToolFailed("Only numbers, + - * / // % **, parentheses and functions are calculated.")


def _bounded(value: Number) -> Number:
    """`value`, made whole where it is; refused beyond MAX_DIGITS."""
    if isinstance(value, Decimal):
        value = +value  # rounds to the context and raises Overflow
        return int(value) if value == value.to_integral_value() and value.adjusted() < SHOWN_DIGITS else value
    if value.bit_length() > _MAX_BITS:
        raise ToolFailed(_TOO_LARGE)
    return value


def _divide(a: Number, b: Number) -> Number:
    if isinstance(a, int) and isinstance(b, int) and b and a % b == 0:
        return a // b
    return Decimal(a) / Decimal(b)


def _modulo(a: Number, b: Number) -> Number:
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    if b == 0:
        raise ZeroDivisionError
    rest = Decimal(a) % Decimal(b)
    # Decimal's remainder has the sign of a; ours, as for whole numbers, that of b.
    return rest + b if rest and (rest < 0) != (b < 0) else rest


def _floor_divide(a: Number, b: Number) -> Number:
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    return (Decimal(a) - _modulo(a, b)) / Decimal(b)


def _power(a: Number, b: Number) -> Number:
    if isinstance(a, int) and isinstance(b, int) and b >= 0:
        # Before the work, not after: 9**9**9 would take hours.
        if abs(a) > 1 and (b > _MAX_BITS or b * math.log2(abs(a)) > _MAX_BITS):
            raise ToolFailed(_TOO_LARGE)
        return int(a**b)
    if a == 0 and b < 0:
        raise ZeroDivisionError
    return Decimal(a) ** Decimal(b)


def _round(value: Number, digits: Number = 0) -> Number:
    """Half away from zero, as people round; Python's own would make 2.5 a 2."""
    if not isinstance(digits, int) or abs(digits) > SHOWN_DIGITS:
        raise ToolFailed(f"round takes a whole number of digits, at most {SHOWN_DIGITS}.")
    if isinstance(value, int) and digits >= 0:
        return value
    return Decimal(value).quantize(Decimal(1).scaleb(-digits), rounding=decimal.ROUND_HALF_UP)


def _factorial(value: Number) -> Number:
    if not isinstance(value, int) or value < 0:
        raise ToolFailed("factorial is defined for whole numbers from 0.")
    if value > MAX_DIGITS // 2:
        raise ToolFailed(_TOO_LARGE)
    return math.factorial(value)


def _gcd(*values: Number) -> Number:
    whole = [value for value in values if isinstance(value, int)]
    if len(whole) < len(values):
        raise ToolFailed("gcd is defined for whole numbers.")
    return math.gcd(*whole)


def _log(value: Number, base: Number | None = None) -> Number:
    if base is None:
        return Decimal(value).ln()
    return Decimal(value).ln() / Decimal(base).ln()


def _by_float(function: Callable[[float], float]) -> Callable[[Number], Number]:
    """A function that decimal lacks: a float's 15 places, so that sin(pi) is 0 and not 1.2e-16."""

    def by_float(value: Number) -> Number:
        try:
            return Decimal(repr(round(function(float(value)), 15)))
        except ValueError:  # asin(2)
            raise decimal.InvalidOperation from None

    return by_float


def _call(name: str, arguments: list[Number]) -> Number:
    function, least, most = _FUNCTIONS[name]
    if not least <= len(arguments) <= most:
        count = str(least) if most == least else f"{least} to {most}"
        raise ToolFailed(f"{name} takes {count} argument{'s' * (most > 1)}, not {len(arguments)}.")
    return function(*arguments)


def _show(value: Number) -> str:
    if isinstance(value, int):
        return str(value)
    with decimal.localcontext(prec=SHOWN_DIGITS):
        shown = (+value).normalize()
    return f"{shown:f}" if -SHOWN_DIGITS < shown.adjusted() < SHOWN_DIGITS else f"{shown:e}"


_CONSTANTS: dict[str, Number] = {"pi": _PI, "e": _E, "tau": _CONTEXT.multiply(2, _PI)}
_OPERATORS: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.Div: _divide,
    ast.FloorDiv: _floor_divide,
    ast.Mod: _modulo,
    ast.Pow: _power,
}
_FUNCTIONS: dict[str, tuple[Callable[..., Number], int, int]] = {
    "abs": (abs, 1, 1),
    "round": (_round, 1, 2),
    "floor": (math.floor, 1, 1),
    "ceil": (math.ceil, 1, 1),
    "min": (lambda *values: min(values), 1, 99),
    "max": (lambda *values: max(values), 1, 99),
    "sum": (lambda *values: sum(values, 0), 1, 99),
    "sqrt": (lambda value: Decimal(value).sqrt(), 1, 1),
    "exp": (lambda value: Decimal(value).exp(), 1, 1),
    "ln": (_log, 1, 1),
    "log": (_log, 1, 2),
    "log10": (lambda value: Decimal(value).log10(), 1, 1),
    "log2": (lambda value: _log(value, 2), 1, 1),
    "sin": (_by_float(math.sin), 1, 1),
    "cos": (_by_float(math.cos), 1, 1),
    "tan": (_by_float(math.tan), 1, 1),
    "asin": (_by_float(math.asin), 1, 1),
    "acos": (_by_float(math.acos), 1, 1),
    "atan": (_by_float(math.atan), 1, 1),
    "degrees": (lambda value: value * 180 / _PI, 1, 1),
    "radians": (lambda value: value * _PI / 180, 1, 1),
    "factorial": (_factorial, 1, 1),
    "gcd": (_gcd, 1, 99),
}
