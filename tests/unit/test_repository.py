"""The repository's own promises: what is locked, written down and shipped belongs together."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from gateway.cli import app

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def read(path: str) -> str:
    return (ROOT / path).read_text()


def package(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


# --- dependencies


def test_the_lock_names_no_host_but_pypi() -> None:
    hosts = set(re.findall(r"\bhttps?://([^/\"\s]+)", read("uv.lock")))
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


def test_every_dependency_has_its_line_and_every_line_its_dependency() -> None:
    wanted = {package(one) for one in PROJECT["project"]["dependencies"]}
    for group in PROJECT["dependency-groups"].values():
        wanted |= {package(one) for one in group}
    told = re.findall(r"^\| `([^`]+)` \|", read("docs/dependencies.md"), re.MULTILINE)
    assert sorted(told) == sorted(wanted)


def test_one_version_of_uv_is_pinned_everywhere() -> None:
    makefile = re.search(r"^UV_VERSION := (\S+)$", read("Makefile"), re.MULTILINE)
    image = re.search(r"\buv==(\S+)", read("deploy/Dockerfile"))
    assert makefile
    assert image
    assert makefile[1] == image[1]


# --- make and CI


def makefile_targets() -> dict[str, str]:
    return dict(re.findall(r"^([a-z]+):.*?## (.+)$", read("Makefile"), re.MULTILINE))


def test_make_has_its_targets_and_lists_them() -> None:
    expected = {"setup", "run", "test", "check", "fmt", "bench", "chaos", "screenshots", "clean", "help"}
    assert set(makefile_targets()) == expected
    phony = re.search(r"^\.PHONY: (.+)$", read("Makefile"), re.MULTILINE)
    assert phony
    assert set(phony[1].split()) == expected
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make (\w+)", shown, re.MULTILINE)) == expected


def test_ci_runs_what_everybody_can_run() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)
    subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT, check=True)
    lines = read(".ci/run").splitlines()
    assert lines[0] == "#!/usr/bin/env bash"
    assert "set -euo pipefail" in lines
    assert lines[-2:] == ["make check", "make test"]
    workflow = yaml.safe_load(read(".github/workflows/ci.yml"))
    assert any(step.get("run") == ".ci/run" for step in workflow["jobs"]["run"]["steps"])


def test_the_licence_is_whole() -> None:
    text = read("LICENSE")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert PROJECT["project"]["license"] == "Apache-2.0"


# --- deployment


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = yaml.safe_load(read("docker-compose.yml"))["services"]
    return loaded


OURS = ("gateway", "worker-turns", "worker-runs")


def test_compose_has_all_parts(services: dict[str, dict[str, Any]]) -> None:
    assert set(services) == {*OURS, "redis"}
    assert services["worker-turns"]["command"] == ["worker", "-Q", "turns"]
    assert services["worker-runs"]["command"] == ["worker", "-Q", "runs"]


@pytest.mark.parametrize("name", OURS)
def test_compose_runs_known_commands(name: str, services: dict[str, dict[str, Any]]) -> None:
    entrypoint = re.search(r"^ENTRYPOINT (.+)$", read("deploy/Dockerfile"), re.MULTILINE)
    assert entrypoint
    assert yaml.safe_load(entrypoint[1]) == ["threadway"]
    command, *arguments = services[name]["command"]
    known = typer.main.get_command(app)
    context = known.make_context("threadway", [command, *arguments], resilient_parsing=True)
    resolved, found, rest = known.resolve_command(context, [command, *arguments])  # type: ignore[attr-defined]
    assert resolved == command
    found.make_context(command, list(rest))  # raises on options that the command does not take


@pytest.mark.parametrize("name", OURS)
def test_compose_sets_only_documented_variables(name: str, services: dict[str, dict[str, Any]]) -> None:
    documented = set(re.findall(r"`([A-Z][A-Z_]+)`", read("docs/settings.md")))
    environment = services[name]["environment"]
    assert set(environment) <= documented
    assert environment["REDIS_URL"].startswith("redis://redis:")
    assert environment["THREADWAY_API_URL"] == f"http://gateway:{environment['THREADWAY_PORT']}/v1"
    assert environment["THREADWAY_DATA_DIR"] in {mount.split(":")[1] for mount in services[name]["volumes"]}
    assert environment["THREADWAY_LAB"] == "off"


def test_compose_keeps_redis_durable(services: dict[str, dict[str, Any]]) -> None:
    words = services["redis"]["command"]
    options = {words[i].removeprefix("--"): words[i + 1] for i in range(1, len(words), 2)}
    assert options == {"appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}
    assert any(mount.endswith(":/data") for mount in services["redis"]["volumes"])


def test_compose_publishes_on_loopback_and_nothing_else(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"gateway": ["127.0.0.1:8080:8080"]}


def test_the_image_needs_no_buildkit_and_no_rights() -> None:
    dockerfile = read("deploy/Dockerfile")
    assert not dockerfile.startswith("# syntax")
    assert not re.search(r"--mount|--link|--chmod|<<", dockerfile)
    assert re.findall(r"^USER (.+)$", dockerfile, re.MULTILINE) == ["10001:10001"]
    assert "ARG PYTHON_IMAGE=python:" in dockerfile
    for copied in re.findall(r"^COPY ((?!--from).+) \S+$", dockerfile, re.MULTILINE):
        for source in shlex.split(copied):
            assert (ROOT / source).exists()
            assert f"!{source}" in read(".dockerignore").splitlines()


def test_the_slack_manifest_asks_for_what_its_events_need() -> None:
    manifest = yaml.safe_load(read("deploy/slack-manifest.yaml"))
    scopes = set(manifest["oauth_config"]["scopes"]["bot"])
    events = manifest["settings"]["event_subscriptions"]["bot_events"]
    # https://docs.slack.dev/reference/events: each event names the scope that it requires.
    needed = {
        "app_mention": "app_mentions:read",
        "message.channels": "channels:history",
        "message.groups": "groups:history",
        "message.im": "im:history",
        "message.mpim": "mpim:history",
        "reaction_added": "reactions:read",
    }
    assert set(needed) <= set(events)
    assert {needed[event] for event in events if event in needed} <= scopes
    assert {"chat:write", "assistant:write", "commands"} <= scopes
    urls = {manifest["settings"][part]["request_url"] for part in ("event_subscriptions", "interactivity")}
    urls |= {command["url"] for command in manifest["features"]["slash_commands"]}
    assert urls == {"https://gateway.example.com/slack/events"}


# --- documentation

PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"\bsrc=\"([^\"]+)\"", text)
    local = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_the_index_lists_every_page() -> None:
    index = read("docs/README.md")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()
