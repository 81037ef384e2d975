"""The page and the examples say what the code does; importing stays light."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from gateway.domain.messages import ConversationKey
from gateway.settings import AssistantConf, Settings, load
from gateway.settings.tables import Tables
from gateway.settings.variables import Variables, variable_of

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _import_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Loading adds folders to the import path and imports users' tools from there."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    for name in [name for name in sys.modules if name.startswith("mytools")]:
        del sys.modules[name]


def _rows(text: str) -> dict[str, str]:
    """Name → default of a page's tables, in the order of the page."""
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \| .+ \|$", text, re.MULTILINE))


def _written(default: Any) -> str:
    if isinstance(default, tuple):
        return ", ".join(default)
    if isinstance(default, bool):
        return str(int(default))
    return (
        f"{default:g}"
        if isinstance(default, float)
        else str(default.value if isinstance(default, StrEnum) else default)
    )


def _compare(rows: dict[str, str], fields: dict[str, Any], names: dict[str, str]) -> None:
    assert sorted(rows) == sorted(names)
    for name, field in names.items():
        default = fields[field].get_default(call_default_factory=True)
        if fields[field].is_required():
            assert rows[name] == "required"
        elif default not in (None, "", ()):
            assert rows[name] == f"`{_written(default)}`", name


def test_the_page_lists_every_variable_with_its_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text().partition("## threadway.toml")[0]
    _compare(_rows(page), Variables.model_fields, {variable_of(field): field for field in Variables.model_fields})


def test_the_page_lists_every_table_and_key_with_its_default() -> None:
    page = (ROOT / "docs" / "settings.md").read_text().partition("## threadway.toml")[2]
    parts = re.split(r"^### `\[+(\w+)\]+`$", page, flags=re.MULTILINE)
    tables = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert list(tables) == list(Tables.model_fields)
    for name, text in tables.items():
        annotation: Any = Tables.model_fields[name].annotation
        table = next((a for a in (annotation, *getattr(annotation, "__args__", ())) if isinstance(a, type)), None)
        if isinstance(table, type) and issubclass(table, BaseModel):
            _compare(_rows(text), table.model_fields, {key: key for key in table.model_fields})
    assert name == "models"


def test_the_example_of_dotenv_is_complete_and_loads(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text()
    assert not re.findall(r"^[^#\n].*", text, re.MULTILINE)
    names = re.findall(r"^#([A-Z_]+)=.+$", text, re.MULTILINE)
    assert sorted(names) == sorted(variable_of(field) for field in Variables.model_fields)
    (tmp_path / ".env").write_text(re.sub(r"^#(?=[A-Z_]+=)", "", text, flags=re.MULTILINE))
    (tmp_path / "threadway.toml").write_text("")
    settings = load({}, tmp_path)
    assert (settings.telegram_on, settings.slack_on, settings.demo) == (True, True, False)
    for field, info in Variables.model_fields.items():
        if info.default not in (None, "") and field not in ("data_dir", "config"):
            assert getattr(settings, field) in (info.default, "off"), f"the example shows another default of {field}"


def test_the_example_of_toml_is_complete_and_loads(tmp_path: Path) -> None:
    text = (ROOT / "threadway.example.toml").read_text()
    assert not re.findall(r"^[^#\n].*", text, re.MULTILINE)
    (tmp_path / "threadway.toml").write_text(re.sub(r"^#(?! )", "", text, flags=re.MULTILINE))
    (tmp_path / "mytools.py").write_text("def find_order(number: str) -> str:\n    return number\n")
    settings = load({}, tmp_path)
    assert settings.route(ConversationKey("slack:T0EX:C0SUPPORT:1.2")).name == "support"
    assert settings.route(ConversationKey("telegram:1:2:-")).assistant_id == "asst_abc"
    assert settings.upstream_model("gpt-4o") == "qwen3"
    for table in Tables.model_fields:
        assert re.search(rf"^#\[+{table}\]+$", text, re.MULTILINE), table
    for key in AssistantConf.model_fields.keys() - {"files"}:
        assert re.search(rf"^#{key} = ", text, re.MULTILINE), key


def test_importing_the_settings_brings_no_sdk_along() -> None:
    heavy = [
        "openai",
        "telegram",
        "slack_sdk",
        "slack_bolt",
        "celery",
        "redis",
        "sqlalchemy",
        "aiohttp",
        "httpx",
        "starlette",
    ]
    code = f"import sys, gateway.settings; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_settings_are_made_by_load_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    monkeypatch.setenv("THREADWAY_PORT", "1")
    assert Settings().port == 8080, "something slipped in past the checks of load"
