"""threadway.toml: assistants as code, routes, and every way to get them wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.domain.messages import ConversationKey
from gateway.settings import load
from tests.unit.refusing import refused

UPSTREAM = {"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1", "THREADWAY_MODEL": "qwen3"}


@pytest.fixture(autouse=True)
def _import_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loading adds folders to the import path and imports users' tools from there."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.startswith("housetools")]:
        del sys.modules[name]


TOML = """
[[assistants]]
name = "support"
model = "gpt-5.2"
instructions = "Help."
tools = ["clock", "housetools:find_order", "housetools.inner:look"]
max_tool_rounds = 4
[[assistants]]
name = "tutor"
[[routes]]
match = "slack:T0EX:C0[1]:*"
use = "tutor"
[[routes]]
match = "telegram:?:*"
use = "tutor"
[conversations]
while_running = "steer"
debounce_s = 1
[delivery]
telegram = "edit"
[models]
"gpt-4*" = "qwen3"
"*" = "other"
"""


@pytest.fixture
def mytools(tmp_path: Path) -> Path:
    (tmp_path / "conf" / "housetools").mkdir(parents=True)
    (tmp_path / "conf" / "housetools" / "__init__.py").write_text("def find_order(): ...\nnumber = 1\n")
    (tmp_path / "conf" / "housetools" / "inner.py").write_text("async def look(): ...\n")
    return tmp_path / "conf"


def test_tables(mytools: Path, tmp_path: Path) -> None:
    (mytools / "own.toml").write_text(TOML)
    settings = load({"THREADWAY_CONFIG": "conf/own.toml", **UPSTREAM}, tmp_path)
    assert settings.config == mytools / "own.toml"
    assert settings.import_paths == (str(mytools), str(tmp_path))
    assert [(a.name, a.model, a.max_tool_rounds) for a in settings.assistants] == [
        ("support", "gpt-5.2", 4),
        ("tutor", "qwen3", 16),
    ]
    assert settings.assistants[0].functions == ("clock", "housetools:find_order", "housetools.inner:look")
    assert (settings.conversations.while_running, settings.conversations.debounce_s) == ("steer", 1.0)
    assert settings.notices() == ()
    assert (settings.delivery.telegram, settings.slack.dm) == ("edit", "auto")
    assert [settings.upstream_model(name) for name in ("gpt-4o", "o3")] == ["qwen3", "other"]


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("slack:T0EX:C0[1]:17.1", "tutor"),
        ("slack:T0EX:C01:17.1", "support"),
        ("telegram:7:42:-", "tutor"),
        ("telegram:77:42:-", "support"),
        ("console:ann", "support"),
    ],
)
def test_routes(mytools: Path, key: str, name: str) -> None:
    (mytools / "threadway.toml").write_text(TOML)
    assert load(UPSTREAM, mytools).route(ConversationKey(key)).name == name


def test_without_any_table_one_assistant_answers_everywhere(tmp_path: Path) -> None:
    (tmp_path / "threadway.toml").write_text("")
    settings = load({}, tmp_path)
    assert settings.route(ConversationKey("telegram:1:2:-")).name == "assistant"
    assert settings.assistants[0].tools == ("clock", "calculator", "remember", "recall")
    assert settings.upstream_model("gpt-4o") == "gpt-4o"


def test_the_folders_of_users_tools_come_last_on_the_import_path(mytools: Path) -> None:
    """A user's module named like one of ours or Python's must not replace it."""
    (mytools / "json.py").write_text("raise RuntimeError('taken for the standard library')")
    before = len(sys.path)
    load({}, mytools)
    load({}, mytools)
    assert sys.path[before:] == [str(mytools)]


A = '[[assistants]]\nname = "a"\n'
AT = 'assistants[0] "a".'


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("a = = 1", "not TOML: "),
        ("[assistant]", 'assistant: unknown table; did you mean "assistants"?'),
        (A + 'modle = "m"', 'assistants[0].modle: unknown key; did you mean "model"?'),
        ('[access]\nmod = "open"', 'access.mod: unknown key; did you mean "mode"?'),
        ('[access]\nzzz = "open"', "access.zzz: unknown key; known: admins, allow, mode"),
        ("[[assistants]]", "assistants[0].name: Field required"),
        ('[[assistants]]\nname = "a b"', 'assistants[0] "a b".name: should match pattern'),
        (A + "max_tool_rounds = 0", AT + "max_tool_rounds: should be greater"),
        (A + 'max_tool_rounds = "9"', AT + "max_tool_rounds: should be a valid integer"),
        (A + 'tools = "clock"', AT + "tools: should be a valid"),
        (A + 'files = ["x"]', AT + "files: not in this version"),
        (A + 'tools = ["file_search"]', AT + "tools: file_search is not in this version of the embedded"),
        (A + 'tools = ["clock", "clock"]', AT + "tools: a tool is named twice"),
        (A + 'tools = ["clok"]', AT + 'tools: there is no tool "clok"; did you mean "clock"?'),
        (A + 'tools = ["no-module:f"]', AT + 'tools: "no-module:f" is not of the form'),
        (A + 'tools = ["housetools.none:f"]', AT + 'tools: "housetools.none:f": there is no module "housetools.none"'),
        (A + 'tools = ["housetools:lost"]', AT + 'tools: "housetools:lost": the module has no "lost"'),
        (A + 'tools = ["housetools:number"]', AT + 'tools: "housetools:number" is not a function'),
        (A + 'tools = ["housetools.broken:f"]', AT + 'tools: "housetools.broken:f": syntax error in line 2'),
        (
            A + 'tools = ["housetools.raising:f"]',
            AT + 'tools: "housetools.raising:f": importing "housetools.raising" failed: RuntimeError: two',
        ),
        (A + '[[assistants]]\nname = "a"', 'assistants[1] "a".name: another assistant has this name'),
        (
            '[[routes]]\nmatch = "*"\nuse = "asistant"',
            'routes[0].use: there is no assistant "asistant"; did you mean "assistant"?',
        ),
        (
            '[[routes]]\nmatch = "telegramm:*"\nuse = "assistant"',
            'routes[0].match: no conversation begins with "telegramm:"; did you mean "telegram"?',
        ),
        ('[conversations]\nwhile_running = "drop"', "conversations.while_running: should be 'queue', 'steer'"),
        ("[conversations]\ndebounce_s = 61", "conversations.debounce_s: should be less than or equal to 60"),
        ('[slack]\ndm = "both"', "slack.dm: should be 'auto', 'channel' or 'thread'"),
        ('[delivery]\ntelegram = "no"', "delivery.telegram: should be 'notice', 'edit' or 'repeat'"),
        ("[models]\na = 1", "models.a: should be a valid string"),
        ("slack = 1", "slack: should be"),
    ],
)
def test_toml_faults(mytools: Path, toml: str, expected: str) -> None:
    (mytools / "housetools" / "broken.py").write_text("x = 1\ndef f(:\n")
    (mytools / "housetools" / "raising.py").write_text("raise RuntimeError('two\\nlines')\n")
    (mytools / "threadway.toml").write_text(toml)
    (line,) = refused({}, mytools)
    assert line.startswith(f"threadway.toml: {expected}")


def test_hosted_tools_pass_where_another_server_runs_them(tmp_path: Path) -> None:
    (tmp_path / "threadway.toml").write_text(
        A + 'tools = ["file_search", "clock"]\n[[assistants]]\nname = "b"\nassistant_id = "asst_1"\n'
    )
    settings = load({**UPSTREAM, "THREADWAY_BACKEND": "assistants"}, tmp_path)
    first, second = settings.assistants
    assert (first.hosted, first.functions) == (("file_search",), ("clock",))
    assert (second.model, second.assistant_id) == ("", "asst_1")
