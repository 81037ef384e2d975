"""Reading the layers: environment over .env, each with NAME_FILE; and threadway.toml. Values with where
they stand."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from dotenv.parser import parse_stream
from pydantic import BaseModel

from gateway.settings.tables import Tables
from gateway.settings.variables import Variables, variable_of

KNOWN = {variable_of(name): name for name in Variables.model_fields}
"""Variable → field."""
ENVIRONMENT = "environment"
_LOWER_CASE_TOO = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
"""Most programs write these in lower case."""


@dataclass(frozen=True, slots=True)
class Given:
    """One value as somebody wrote it. "" means: the default, whatever a lower layer says."""

    value: str
    where: str
    """"environment", ".env line 3", or the file that NAME_FILE names."""


@dataclass(slots=True)
class Layers:
    """What was found; `errors` has one line per fault."""

    variables: dict[str, Given] = field(default_factory=dict)
    """By variable; the highest layer only."""
    errors: list[str] = field(default_factory=list)

    def fail(self, where: str, key: str, wrong: str) -> None:
        """Note one fault."""
        self.errors.append(f"{where}: {key}: {wrong}")


def nearest(name: str, known: Collection[str]) -> str:
    """', did you mean "…"?' or, where nothing is near, "; known: …"."""
    found = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f'; did you mean "{found[0]}"?' if found else f"; known: {', '.join(sorted(known))}"


def read_variables(environ: Mapping[str, str], cwd: Path) -> Layers:
    """The variables of the environment and of `cwd`/.env, NAME_FILE resolved. Never raises."""
    layers = Layers()
    seen: dict[str, Given] = {}
    for name, given in _dotenv(cwd / ".env", layers):
        seen[name] = given
    for name in _LOWER_CASE_TOO:
        if name not in environ and name.lower() in environ:
            seen[name] = Given(environ[name.lower()], ENVIRONMENT)
    for name, value in environ.items():
        seen[name] = Given(value, ENVIRONMENT)
    layers.variables = {name: given for name, given in seen.items() if name in KNOWN}
    for name, given in seen.items():
        plain = name.removesuffix("_FILE")
        if plain in KNOWN:
            if plain != name and given.value:
                _take_file(plain, given, layers, cwd)
        elif name.startswith("THREADWAY_"):
            ours = [known for known in KNOWN if known.startswith("THREADWAY_")]
            suggestion = difflib.get_close_matches(name, ours, n=1, cutoff=0.0)[0]
            layers.fail(given.where, name, f'unknown variable; did you mean "{suggestion}"?')
    return layers


def _dotenv(path: Path, layers: Layers) -> Iterator[tuple[str, Given]]:
    """The lines of a .env file; values are taken as they stand, $ means nothing."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            bindings = list(parse_stream(file))
    except FileNotFoundError:
        return
    except OSError as error:
        layers.errors.append(f".env: cannot be read: {error.strerror}")
        return
    except UnicodeDecodeError:
        layers.errors.append(".env: not UTF-8: save it as UTF-8 text")
        return
    for binding in bindings:
        where = f".env line {_line_of(binding.original.string, binding.original.line)}"
        if binding.error or (binding.key is not None and binding.value is None):
            layers.errors.append(f"{where}: not of the form NAME=value")
        elif binding.key is not None:
            yield binding.key, Given((binding.value or "").strip(), where)


def _line_of(text: str, line: int) -> int:
    """A binding begins at the blank lines and comments before it."""
    return line + len(text) - len(text.lstrip("\r\n")) if text.strip() else line


def _take_file(name: str, given: Given, layers: Layers, cwd: Path) -> None:
    plain = layers.variables.get(name)
    if plain is not None and plain.value:
        wrong = f"set together with {name} ({plain.where}): keep one of them"
        layers.fail(given.where, f"{name}_FILE", wrong)
        return
    if plain is not None and plain.where == ENVIRONMENT != given.where:
        return  # emptied above .env
    path = cwd / Path(given.value).expanduser()
    try:
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        layers.fail(given.where, f"{name}_FILE", f"the file cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        layers.fail(given.where, f"{name}_FILE", "the file is not UTF-8 text")
    else:
        if value:
            layers.variables[name] = Given(value, f"the file that {name}_FILE names")
        else:
            layers.fail(given.where, f"{name}_FILE", "the file is empty: put the value into it")


def read_toml(path: Path, layers: Layers) -> dict[str, Any]:
    """The tables of the file, without unknown keys (each of them is an error). {} where it cannot be read."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        layers.errors.append(f"{path.name}: cannot be read: {error.strerror}: THREADWAY_CONFIG names the file")
    except UnicodeDecodeError:
        layers.errors.append(f"{path.name}: not UTF-8: save it as UTF-8 text")
    except tomllib.TOMLDecodeError as error:
        layers.errors.append(f"{path.name}: not TOML: {error}")
    else:
        return _without_unknown(tables, Tables, path.name, "", layers)
    return {}


def _without_unknown(
    given: dict[str, Any], model: type[BaseModel], file: str, at: str, layers: Layers
) -> dict[str, Any]:
    known: dict[str, Any] = {}
    for key, value in given.items():
        if key not in model.model_fields:
            what = "key" if at else "table"
            layers.fail(file, f"{at}{key}", f"unknown {what}{nearest(key, model.model_fields)}")
            continue
        known[key] = value
        inner = _table_of(model.model_fields[key].annotation)
        if inner is not None and isinstance(value, dict):
            known[key] = _without_unknown(value, inner, file, f"{at}{key}.", layers)
        elif inner is not None and isinstance(value, list):
            known[key] = [
                _without_unknown(item, inner, file, f"{at}{key}[{number}].", layers) if isinstance(item, dict) else item
                for number, item in enumerate(value)
            ]
    return known


def _table_of(annotation: Any) -> type[BaseModel] | None:
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def import_paths(cwd: Path, config: Path | None) -> tuple[str, ...]:
    """Folders on which users' own tools are looked for: the toml file's, then the current one."""
    folders = [config.parent, cwd] if config else [cwd]
    return tuple(dict.fromkeys(os.fspath(folder) for folder in folders))
