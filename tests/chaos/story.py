"""Read the crash points out of the code: where they are, and which await has none.

The story is every module that has a point. Each of its statements that awaits something outside the story, or enters an
`async with` or `async for` over it, has `crash.at("…")` as the statement right before it. The story's own coroutines
need none where they are called: they are covered inside. Neither do plain waits: nothing happens in them.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.flow.processes import ROOT

TOLD_TO_HAVE_POINTS = (
    "gateway/intake.py",
    "workers/turn.py",
    "workers/starting.py",
    "workers/asking.py",
    "workers/steering.py",
    "workers/post.py",
    "workers/progress.py",
)
"""Modules that must not drop out of the story by losing their last point."""
WAITS = ("asyncio.", "clock.sleep")
"""Awaits in which nothing happens outside."""
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the code where the process may be made to die."""

    name: str
    where: str
    """path:line"""


@dataclass(slots=True)
class Story:
    """The story's modules, parsed."""

    modules: Mapping[str, ast.Module]
    """Path from the repository's root → its tree."""
    _functions: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Path → names of the coroutine functions in it, nested ones included."""
    _methods: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """A class's name in lower case → its coroutine methods."""

    def __post_init__(self) -> None:
        for path, tree in self.modules.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.AsyncFunctionDef):
                    self._functions[path].add(node.name)
                elif isinstance(node, ast.ClassDef):
                    self._methods[_plain(node.name)] |= {
                        n.name for n in node.body if isinstance(n, ast.AsyncFunctionDef)
                    }

    @property
    def points(self) -> list[Point]:
        """Every point, in the order of the files."""
        return [
            Point(name, f"{path}:{statement.lineno}")
            for path, tree in self.modules.items()
            for statement in ast.walk(tree)
            if isinstance(statement, ast.stmt) and (name := point_of(statement)) is not None
        ]

    def faults(self) -> list[str]:
        """Every await without its point, one line each."""
        return [fault for path, tree in self.modules.items() for fault in self._in_body(path, tree.body)]

    def _in_body(self, path: str, body: Sequence[ast.stmt]) -> Iterator[str]:
        for before, statement in zip([None, *body], body, strict=False):
            outside = [node for node in _head(statement) if self._goes_outside(path, node)]
            if outside and isinstance(statement, ast.While):
                yield f"{path}:{statement.lineno}: a loop's condition awaits: no point can stand there"
            elif outside and (before is None or point_of(before) is None):
                yield f"{path}:{statement.lineno}: no point before `{ast.unparse(outside[0])[:80]}`"
            for inner in _bodies(statement):
                yield from self._in_body(path, inner)

    def _goes_outside(self, path: str, node: ast.AST) -> bool:
        match node:
            case ast.Await(value=value) | ast.withitem(context_expr=value):
                return self._is_outside(path, value)
            case ast.AsyncFor(iter=value):
                return self._is_outside(path, value)
            case ast.comprehension(is_async=1, iter=value):
                return self._is_outside(path, value)
        return False

    def _is_outside(self, path: str, value: ast.expr) -> bool:
        if isinstance(value, ast.IfExp):
            return self._is_outside(path, value.body) or self._is_outside(path, value.orelse)
        called = ast.unparse(value.func) if isinstance(value, ast.Call) else ast.unparse(value)
        if called.startswith(WAITS) or called.replace("_", "").endswith(WAITS):
            return False
        receiver, _, name = called.rpartition(".")
        if not receiver:
            return name not in self._known(path)
        owner = receiver.rpartition(".")[2]
        if owner == "self":
            return not any(name in methods for methods in self._methods.values())
        return name not in self._methods.get(_plain(owner), ())

    def _known(self, path: str) -> set[str]:
        """The story's coroutine functions that a module can call by their names alone: its own and what it imports."""
        known = set(self._functions[path])
        for node in ast.walk(self.modules[path]):
            if isinstance(node, ast.ImportFrom) and node.module:
                theirs = self._functions.get(node.module.replace(".", "/") + ".py", set())
                known |= {alias.name for alias in node.names if alias.name in theirs}
        return known


def read_story(root: Path = ROOT) -> Story:
    """The story as it stands in the working tree."""
    texts = {
        path.relative_to(root).as_posix(): path.read_text()
        for folder in ("gateway", "workers")
        for path in sorted((root / folder).rglob("*.py"))
    }
    told = {path: text for path, text in texts.items() if path in TOLD_TO_HAVE_POINTS or "crash.at(" in text}
    return Story({path: ast.parse(text, path) for path, text in told.items() if path != "gateway/domain/crash.py"})


def point_of(statement: ast.stmt) -> str | None:
    """The name of the point that a statement is; None for any other statement."""
    match statement:
        case ast.Expr(
            value=ast.Call(func=ast.Attribute(value=ast.Name("crash"), attr="at"), args=[ast.Constant(str(name))])
        ):
            return name
    return None


def _plain(name: str) -> str:
    return name.strip("_").lower()


def _head(statement: ast.stmt) -> Iterator[ast.AST]:
    """What a statement itself awaits or enters, without the statements and functions inside it."""
    match statement:
        case ast.AsyncWith(items=items):
            yield from items
        case ast.AsyncFor():
            yield statement
    inner = [part for body in _bodies(statement) for part in body]
    waiting: list[ast.AST] = [] if isinstance(statement, _FUNCTIONS) else [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Await | ast.comprehension):
            yield node
        waiting += [
            child for child in ast.iter_child_nodes(node) if child not in inner and not isinstance(child, _FUNCTIONS)
        ]


def _bodies(statement: ast.stmt) -> Iterator[list[ast.stmt]]:
    for name in ("body", "orelse", "finalbody"):
        if isinstance(body := getattr(statement, name, None), list):
            yield body
    for arm in (*getattr(statement, "handlers", ()), *getattr(statement, "cases", ())):
        yield arm.body
