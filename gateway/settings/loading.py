"""From what people wrote to `Settings`, or to the list of everything that is wrong with it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.domain.errors import SettingsInvalid
from gateway.settings.layers import KNOWN, Given, Layers, import_paths, read_toml, read_variables
from gateway.settings.resolved import DEMO_MODEL, Settings
from gateway.settings.rules import Fault, faults
from gateway.settings.tables import AssistantConf, Tables
from gateway.settings.variables import variable_of

TABLE_FIELDS = {name: "access_rules" if name == "access" else name for name in Tables.model_fields}
"""Table of the file → field of Settings."""


def load(environ: Mapping[str, str] | None = None, cwd: Path | None = None) -> Settings:
    """Read the environment, `cwd`/.env and the toml file; check everything.

    Defaults: this process's environment and current folder. The folders of users' tools are added to the
    end of the import path, where they cannot hide other modules. May be called again.

    Raises SettingsInvalid with every fault at once, one line each: place, key, what is wrong and how to
    right it. No line shows a variable's value.
    """
    folder = (cwd or Path.cwd()).resolve()
    layers = read_variables(os.environ if environ is None else environ, folder)
    given = {KNOWN[name]: found for name, found in layers.variables.items() if found.value}
    config = _config_file(given, folder, layers)
    tables = read_toml(config, layers) if config else {}
    paths = import_paths(folder, config)
    sys.path.extend(path for path in paths if path not in sys.path)

    checked, bad = _checked_tables(tables, config, layers)
    values = {field: found.value for field, found in given.items()}
    settings, bad_variables = _settled(values, checked, layers)
    settings = settings.model_copy(
        update={
            "data_dir": folder / settings.data_dir.expanduser(),
            "config": config,
            "import_paths": paths,
            "assistants": _with_models(settings.assistants, settings.model),
        }
    )
    for fault in faults(settings):
        if not (bad | bad_variables) & set(fault.fields):
            layers.fail(*_place(fault, given, config), fault.wrong)
    if layers.errors:
        raise SettingsInvalid(layers.errors)
    if settings.demo:
        named = _with_models(settings.assistants, DEMO_MODEL)
        settings = settings.model_copy(update={"assistants": named})
    return settings


def _config_file(given: dict[str, Given], folder: Path, layers: Layers) -> Path | None:
    if "config" not in given:
        usual = folder / "threadway.toml"
        return usual if usual.exists() else None
    path = folder / Path(given["config"].value).expanduser()
    if path.is_file():
        return path.resolve()
    layers.fail(given["config"].where, "THREADWAY_CONFIG", "there is no such file")
    return None


def _checked_tables(tables: dict[str, Any], config: Path | None, layers: Layers) -> tuple[dict[str, Any], set[str]]:
    """The sound tables as fields of Settings, and the names of the fields that are not."""
    try:
        Tables.model_validate(tables)
    except ValidationError as failure:
        bad = {str(error["loc"][0]) for error in failure.errors()}
        for error in failure.errors():
            layers.fail(config.name if config else "", _path(error["loc"], tables), _wrong(error))
    else:
        bad = set()
    sound = Tables.model_validate({name: value for name, value in tables.items() if name not in bad})
    fields = {TABLE_FIELDS[name]: getattr(sound, name) for name in tables if name not in bad}
    if not fields.get("assistants"):
        fields.pop("assistants", None)
    return fields, {TABLE_FIELDS[name] for name in bad}


def _settled(values: dict[str, Any], tables: dict[str, Any], layers: Layers) -> tuple[Settings, set[str]]:
    """Settings with every unsound variable at its default, so that the other rules can be checked in the
    same go."""
    try:
        return Settings(**values, **tables), set()
    except ValidationError as failure:
        bad = {str(error["loc"][0]): _wrong(error) for error in failure.errors()}
    for field, wrong in bad.items():
        name = variable_of(field)
        layers.fail(layers.variables[name].where, name, wrong)
    sound = {field: value for field, value in values.items() if field not in bad}
    return Settings(**sound, **tables), set(bad)


def _with_models(assistants: tuple[AssistantConf, ...], model: str) -> tuple[AssistantConf, ...]:
    """The assistants, each that has neither a model nor an id given `model`."""
    return tuple(
        conf if conf.model or conf.assistant_id else conf.model_copy(update={"model": model}) for conf in assistants
    )


def _place(fault: Fault, given: Mapping[str, Given], config: Path | None) -> tuple[str, str]:
    field = fault.fields[0]
    if field in TABLE_FIELDS.values():
        return config.name if config else "threadway.toml", f"{field}{fault.key}"
    return given[field].where if field in given else "not set", variable_of(field)


def _path(location: tuple[int | str, ...], tables: Mapping[str, Any]) -> str:
    """assistants[1] "tutor".tools[0]"""
    text, at = str(location[0]), tables[str(location[0])]
    for step in location[1:]:
        text += f"[{step}]" if isinstance(step, int) else f".{step}"
        at = at[step] if isinstance(at, list) and isinstance(step, int) and step < len(at) else None
        if isinstance(at, dict) and isinstance(at.get("name"), str):
            text += f' "{at["name"]}"'
    return text


def _wrong(error: Any) -> str:
    """Our own words where a check of ours failed, pydantic's otherwise; these never hold the value."""
    own = error.get("ctx", {}).get("error")
    if isinstance(own, ValueError):
        return str(own)
    return str(error["msg"]).replace("Input should be", "should be").replace("String should", "should")
