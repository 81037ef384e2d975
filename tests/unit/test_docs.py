"""The words around the code say what the code does: events, metrics, links, commands, rooms."""

from __future__ import annotations

import ast
import re
import runpy
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import typer.main

from gateway.cli import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PACKAGES = ("gateway", "workers")
FOLDERS = ("docs", "changes", "deploy", "examples", "tests", "bench")
PAGES = sorted(
    {*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))}
    - set((ROOT / "tests/fixtures/markdown").glob("*.md"))
)
LEVELS = {name: name for name in ("debug", "info", "warning", "error", "critical")} | {"exception": "error"}
METRICS = {"Counter", "Gauge", "Histogram", "Summary"}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, ast.parse(path.read_text())


# --- log events


@dataclass
class Event:
    """One event as the code logs it, or as the page describes it."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


class Reader(ast.NodeVisitor):
    """Collects the log calls of one module. A name that stands in for the event is followed to where it is assigned,
    or to the calls of the function whose parameter it is."""

    def __init__(self, path: Path, module: ast.Module) -> None:
        self.path, self.module = path, module
        self.functions: list[ast.FunctionDef | ast.AsyncFunctionDef] = []
        self.found: list[tuple[str, str, set[str]]] = []
        self.visit(module)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.functions.append(node)
        self.generic_visit(node)
        self.functions.pop()

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        called = node.func
        if not (isinstance(called, ast.Attribute) and called.attr in LEVELS and isinstance(called.value, ast.Name)):
            return
        if called.value.id not in ("log", "_log"):
            return
        fields = {keyword.arg or "**" for keyword in node.keywords} - {"exc_info"}
        names = self._words(node.args[0])
        assert names, f"{self.path}:{node.lineno}: the event's name cannot be found out; write it as a literal"
        self.found += [(name, LEVELS[called.attr], fields) for name in names]

    def _words(self, node: ast.expr) -> list[str]:
        match node:
            case ast.Constant(value=str(word)):
                return [word]
            case ast.IfExp():
                return self._words(node.body) + self._words(node.orelse)
            case ast.Name(id=name):
                return self._assigned(name) or self._passed(name)
        return []

    def _assigned(self, name: str) -> list[str]:
        return [
            word
            for node in ast.walk(self.functions[-1])
            if isinstance(node, ast.Assign) and any(isinstance(to, ast.Name) and to.id == name for to in node.targets)
            for word in self._words(node.value)
        ]

    def _passed(self, name: str) -> list[str]:
        function = self.functions[-1]
        parameters = [parameter.arg for parameter in function.args.args if parameter.arg != "self"]
        if name not in parameters:
            return []
        place = parameters.index(name)
        return [
            word
            for node in ast.walk(self.module)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute | ast.Name)
            and (node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id) == function.name
            and len(node.args) > place
            for word in self._words(node.args[place])
        ]


def logged() -> dict[str, Event]:
    events: dict[str, Event] = defaultdict(Event)
    for path, module in sources():
        for name, level, fields in Reader(path, module).found:
            events[name].levels.add(level)
            events[name].fields |= fields
    return dict(events)


def rows(page: str, columns: int) -> list[list[str]]:
    """The body rows of all tables with that many columns whose first cell is code."""
    lines = (DOCS / page).read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip()[1:-1].split("|")] for line in lines if line.startswith("| `")]
    return [row for row in cells if len(row) == columns]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))


def test_the_reader_finds_every_way_of_naming_an_event() -> None:
    module = ast.parse(
        "def f(self, ok):\n"
        "    log.info('a.one' if ok else 'a.two', n=1)\n"
        "    event = 'b.one' if ok else 'b.two'\n"
        "    log.warning(event, why=2, exc_info=ok)\n"
        "    self.told('c.one', 3)\n"
        "def told(self, event, n):\n"
        "    _log.exception(event, n=n)\n"
        "    other.info('d.one')\n"
    )
    assert sorted((name, level, sorted(fields)) for name, level, fields in Reader(Path("x.py"), module).found) == [
        ("a.one", "info", ["n"]),
        ("a.two", "info", ["n"]),
        ("b.one", "warning", ["why"]),
        ("b.two", "warning", ["why"]),
        ("c.one", "error", ["n"]),
    ]


def test_no_event_goes_out_under_another_logger() -> None:
    """`Reader` looks for `log` and `_log`: whoever names theirs otherwise would escape the page."""
    for path, module in sources():
        for node in ast.walk(module):
            if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                if "get_logger" in ast.dump(node.value):
                    assert {target.id for target in targets if isinstance(target, ast.Name)} <= {"log", "_log"}, path


def test_every_event_is_told_and_every_told_event_is_logged() -> None:
    told = {next(iter(words(row[0]))): row for row in rows("telemetry.md", 4)}
    code = logged()
    assert sorted(told) == sorted(code)
    for name, event in code.items():
        _, level, meaning, fields = told[name]
        assert set(re.findall(r"\w+", level)) == event.levels, name
        assert words(fields) == event.fields, name
        assert meaning, name


# --- metrics


def metrics() -> dict[str, tuple[str, frozenset[str]]]:
    found = {}
    for _, module in sources():
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in METRICS:
                name = ast.literal_eval(node.args[0])
                labels = frozenset(ast.literal_eval(node.args[2])) if len(node.args) > 2 else frozenset()
                found[name] = (node.func.id.lower(), labels)
    return found


def test_every_metric_is_told_and_every_told_metric_exists() -> None:
    told = {
        next(iter(words(name))): (kind, frozenset(words(labels)))
        for name, kind, labels, _, _ in rows("telemetry.md", 5)
    }
    assert metrics() == told
    assert told


# --- links and the index


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Anchors as GitHub makes them out of headings."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_their_anchors_lead_somewhere(page: Path) -> None:
    text = prose(page)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"\b(?:src|srcset|href)=\"([^\"]+)\"", text)
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), link


def test_the_index_lists_every_page_and_every_decision() -> None:
    index = (DOCS / "README.md").read_text()
    pages = {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(page.name[:4]) for page in (DOCS / "decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_polling_page_shows_what_its_simulation_prints() -> None:
    simulation = runpy.run_path(str(DOCS / "decisions/simulate_polling.py"))
    page = (DOCS / "decisions/0003-polling.md").read_text()
    shown = re.search(r"\|--:\|\n((?:\|.*\n)+)", page)
    assert shown
    assert shown[1].splitlines() == simulation["table"]()


# --- commands

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def commands(page: Path) -> Iterator[str]:
    """What follows `threadway` in code: blocks, and spans that begin with it."""
    text = page.read_text()
    blocks = re.findall(r"```(?:console|sh|bash|text)?\n(.*?)```", text, re.DOTALL)
    for block in blocks:
        for line in block.splitlines():
            found = re.match(r"(?:\$ )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?threadway (?!is ready:)([a-z].*)", line.strip())
            if found:
                yield found[1]
    for span in re.findall(r"`([^`\n]+)`", prose(page)):
        found = re.match(r"(?:\.venv/bin/)?threadway (?!is ready:)([a-z].*)", span)
        if found:
            yield found[1]


def test_every_command_that_a_page_names_exists_with_its_options() -> None:
    seen = 0
    for page in PAGES:
        for line in commands(page):
            name, *rest = line.split("#")[0].split()
            assert name in COMMANDS, f"{page}: threadway {line}"
            command = COMMANDS[name]
            known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            wanted = {word.partition("=")[0] for word in rest if word.startswith("--")}
            if not command.context_settings.get("ignore_unknown_options"):
                assert wanted <= known, f"{page}: threadway {line}"
            seen += 1
    assert seen > 10


def test_the_readme_names_every_command() -> None:
    named = {line.split()[0] for line in commands(ROOT / "README.md")}
    assert named == set(COMMANDS)


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = page.read_text()
        spans = re.findall(r"`make ([a-z]+)[^`]*`", text) + re.findall(r"^(?:\$ )?make ([a-z]+)", text, re.MULTILINE)
        assert set(spans) <= targets, page


def test_every_variable_that_the_readme_names_is_a_setting() -> None:
    documented = set(re.findall(r"`([A-Z][A-Z_]+)`", (DOCS / "settings.md").read_text()))
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"\b(?:THREADWAY|TELEGRAM|SLACK|OPENAI|REDIS|DATABASE|CELERY)_[A-Z_]+\b", text))
    assert named <= documented
    assert len(named) >= 10


# --- the rooms


def defined(path: Path) -> set[str]:
    """Functions, classes, methods as Class.method, and names assigned at the top of a module."""
    names = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
            names |= {f"{node.name}.{one.name}" for one in inner}
        if isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def test_what_pages_say_stands_in_a_file_does() -> None:
    """Written as `name` (path/of/module.py)."""
    seen = 0
    for page in DOCS.rglob("*.md"):
        for name, path in re.findall(r"`([\w.]+)`\s+\(((?:gateway|workers|tests)/[\w/]+\.py)\)", page.read_text()):
            assert (ROOT / path).is_file(), f"{page}: {path}"
            assert name in defined(ROOT / path), f"{page}: {name} in {path}"
            seen += 1
    assert seen > 20


@pytest.mark.parametrize("package", PACKAGES)
def test_the_house_draws_the_rooms_that_there_are(package: str) -> None:
    tree = re.search(rf"^{package}/ .*\n((?:  .*\n)+)", (DOCS / "house.md").read_text(), re.MULTILINE)
    assert tree
    drawn = re.findall(r"^  ([a-z_]+(?:\.py|/)) +\S", tree[1], re.MULTILINE)
    there = {
        path.name + ("/" if path.is_dir() else "")
        for path in (ROOT / package).iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    } - {"__init__.py", "__main__.py"}
    assert sorted(drawn) == sorted(there)


def test_the_house_shows_code_that_there_is() -> None:
    page = (DOCS / "house.md").read_text()
    section = page[page.index("## Write like this") : page.index("## Errors and logs")]
    shown = re.findall(r"```\w+\n(.*?)```", section, re.DOTALL)
    files = [
        path for folder in (*PACKAGES, "tests") for kind in ("py", "lua") for path in (ROOT / folder).rglob(f"*.{kind}")
    ]
    texts = [path.read_text() for path in files]
    assert len(shown) == 3
    for sample in shown:
        assert any(sample in text for text in texts), sample


def test_what_the_readme_says_is_tested_is() -> None:
    """Written as [name without test_](path)."""
    claims = re.findall(r"\[([a-z_]+)\]\((tests/[\w/]+\.py)\)", (ROOT / "README.md").read_text())
    assert len(claims) >= 5
    assert [claim for claim in claims if f"test_{claim[0]}" not in defined(ROOT / claim[1])] == []


# --- changes


def test_every_change_is_one_line_for_users() -> None:
    changes = [path for path in (ROOT / "changes").glob("*.md") if path.name != "README.md"]
    for change in changes:
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", change.name), change.name
        assert len(change.read_text().strip().splitlines()) == 1, change.name


def test_the_changelog_begins_with_what_is_not_released_or_with_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    first = re.search(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first
    assert first[1].startswith(("Unreleased", version))
