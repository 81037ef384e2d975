"""The command line from the outside: what it refuses and how, `gateway`, `worker`, `chat` and `doctor`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import redis
from aiohttp import web

from gateway.listening import free_port
from gateway.redis_server import RedisServer
from tests.flow.command_line import Command, Place, place
from tests.flow.processes import Fleet, environment, until

pytestmark = [pytest.mark.timeout(150), pytest.mark.slow]

COMMANDS = ("up", "gateway", "worker", "chat", "doctor", "dead", "pair", "version")
TOKEN = "7000000009:AA-this-token-is-refused-by-everybody"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    """An empty folder, and a port of its own."""
    async with place(tmp_path, THREADWAY_PORT=str(free_port())) as made:
        yield made


def refused(command: Command, code: int, *told: str) -> None:
    """It ended with `code`, said one line per fault on stderr, and nothing else."""
    assert command.code == code, command
    assert command.out == ""
    assert len(command.err) == len(told), command
    for line, words in zip(command.err, told, strict=True):
        assert words in line


# --- help, version


async def test_every_command_has_help(here: Place) -> None:
    listed, *each = await asyncio.gather(here.run("--help"), *(here.run(name, "--help") for name in COMMANDS))
    for name, command in zip(COMMANDS, each, strict=True):
        assert name in listed.out
        assert command.code == 0
        assert f"Usage: threadway {name}" in command.out


async def test_version(here: Place) -> None:
    said, as_json = await asyncio.gather(here.run("version"), here.run("version", "--json"))
    assert json.loads(as_json.out) == {"threadway": said.out}
    assert said.out[0].isdigit()


# --- what is refused


@pytest.mark.parametrize(
    ("variables", "toml", "told"),
    [
        ({"THREADWAY_PROT": "1"}, "", ['THREADWAY_PROT: unknown variable; did you mean "THREADWAY_PORT"?']),
        ({"REDIS_URL": "http://127.0.0.1"}, "", ["REDIS_URL: the URL has to begin with redis://"]),
        (
            {"THREADWAY_API_KEY": "tw-secret", "THREADWAY_API_KEY_FILE": "key", "THREADWAY_LEASE_S": "soon"},
            "",
            ["THREADWAY_API_KEY_FILE: set together with THREADWAY_API_KEY", "THREADWAY_LEASE_S: "],
        ),
        (
            {},
            '[[assistants]]\nname = "a"\ntools = ["clok"]\n[[routes]]\nmatch = "*"\nuse = "b"\n',
            ['there is no tool "clok"; did you mean "clock"?', 'there is no assistant "b"'],
        ),
    ],
    ids=["unknown name", "bad URL", "two faults", "toml"],
)
async def test_wrong_settings_are_one_line_each(
    here: Place, variables: dict[str, str], toml: str, told: list[str]
) -> None:
    if toml:
        (here.folder / "threadway.toml").write_text(toml)
    commands = (["up"], ["gateway"], ["worker"], ["chat", "hello"], ["doctor"])
    here.env |= variables
    for command in await asyncio.gather(*(here.run(*words) for words in commands)):
        refused(command, 2, *told)
    assert not here.data_dir.exists(), "nothing was started or made"


async def test_wrong_usage(here: Place) -> None:
    here.env["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}"
    prefork, queue, empty, slots, level = await asyncio.gather(
        here.run("worker", "-P", "prefork"),
        here.run("worker", "-Q", "turns,celery"),
        here.run("chat", " "),
        here.run("worker", "-c", "0"),
        here.run("worker", "-l", "loud"),
    )
    refused(prefork, 2, "-P prefork: threadway's turns are coroutines and need its own pool")
    refused(queue, 2, "-Q turns,celery: unknown queue celery")
    refused(empty, 2, "TEXT is empty")
    refused(level, 2, "THREADWAY_LOG_LEVEL")
    assert slots.code == 2


async def test_gateway_and_worker_start_no_redis(here: Place) -> None:
    for command in await asyncio.gather(here.run("gateway"), here.run("worker")):
        refused(command, 2, "REDIS_URL: not set, and no embedded server runs")


async def test_a_taken_port_is_named(here: Place, redis_url: str) -> None:
    taken = await asyncio.start_server(lambda _, __: None, "127.0.0.1", int(here.env["THREADWAY_PORT"]))
    other = str(taken.sockets[0].getsockname()[1])
    up, gateway, metrics = await asyncio.gather(
        here.run("up"),
        here.run("gateway", REDIS_URL=redis_url),
        here.run("gateway", REDIS_URL=redis_url, THREADWAY_PORT=str(free_port()), THREADWAY_METRICS_PORT=other),
    )
    taken.close()
    refused(up, 1, "THREADWAY_PORT: port ")
    refused(gateway, 1, "THREADWAY_PORT: port ")
    refused(metrics, 1, "THREADWAY_METRICS_PORT: port ")


@asynccontextmanager
async def telegram_that_refuses() -> AsyncIterator[str]:
    """A Bot API that knows nobody's token; its base URL."""

    async def refuse(_: web.Request) -> web.Response:
        return web.json_response({"ok": False, "error_code": 401, "description": "Unauthorized"}, status=401)

    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", refuse)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


async def test_a_refused_token_stops_the_start(here: Place, redis_url: str) -> None:
    async with telegram_that_refuses() as url:
        here.env |= {"TELEGRAM_BOT_TOKEN": TOKEN, "TELEGRAM_API_BASE_URL": url}
        gateway, up, doctor = await asyncio.gather(
            here.run("gateway", REDIS_URL=redis_url, THREADWAY_PORT=str(free_port())),
            here.run("up"),
            here.run("doctor", "--json"),
        )
    await here.until_empty(0.5)
    assert (gateway.code, up.code, doctor.code) == (1, 1, 1), f"{gateway}\n{up}\n{doctor}"
    assert (gateway.out, up.out) == ("", "")
    for command in (gateway, up):
        assert any("refuse" in line and "elegram" in line for line in command.err), command
        assert "Traceback" not in str(command)
    telegram = next(finding for finding in json.loads(doctor.out) if finding["part"] == "telegram")
    assert telegram["state"] == "failed"
    for command in (gateway, up, doctor):
        assert TOKEN.partition(":")[2] not in str(command), "a secret was shown"


async def test_a_redis_that_throws_mail_away_is_refused(here: Place, redis_url: str, redis_socket: str) -> None:
    client = redis.Redis(unix_socket_path=redis_socket)
    client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        gateway, worker, up, doctor = await asyncio.gather(
            *(here.run(name, REDIS_URL=redis_url, THREADWAY_PORT=str(free_port())) for name in ("gateway", "worker")),
            here.run("up", REDIS_URL=redis_url),
            here.run("doctor", REDIS_URL=redis_url),
        )
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()
    refused(gateway, 2, "maxmemory-policy is allkeys-lru, which throws mail away")
    assert worker.code in (1, 2), worker
    assert up.code in (1, 2), up
    assert doctor.code == 1, doctor
    for command in (worker, up, doctor):
        assert "maxmemory-policy is allkeys-lru" in f"{command}"
        assert "Traceback" not in f"{command}"


# --- gateway and worker


async def test_redis_may_come_later(here: Place) -> None:
    """Configured but away: both stay up, say so, and work as soon as it is there."""
    server = RedisServer(here.folder / "redis")
    await server.start()
    here.env["REDIS_URL"] = server.url
    await server.stop()
    gateway, worker = await here.start("gateway"), await here.start("worker")
    url = f"http://127.0.0.1:{here.env['THREADWAY_PORT']}"
    async with aiohttp.ClientSession() as http:

        async def says(path: str, status: int) -> bool:
            try:
                async with http.get(f"{url}{path}") as answer:
                    return answer.status == status
            except aiohttp.ClientConnectionError:
                return False

        await until(lambda: says("/healthz", 200), 30)
        assert await says("/readyz", 503)
        await worker.until(lambda: worker.events("start.waiting"))
        await server.start()
        try:
            await until(lambda: says("/readyz", 200), 30)
            chat = await here.run("chat", "What is 12 times 12?")
            assert (chat.code, "144" in chat.out) == (0, True), f"{chat}\n{worker}"
        finally:
            gateway.terminate()
            worker.terminate()
            assert (await gateway.ended(), await worker.ended()) == (0, 0), f"{gateway}\n{worker}"
            await server.stop()
    assert gateway.out == ""
    assert "celery@" not in worker.out, "no banner"
    assert "superuser" not in str(worker)


# --- chat


async def test_chat_on_a_fresh_folder(here: Place) -> None:
    chat = await here.run("chat", "What is 12 times 12?")
    assert (chat.code, chat.err) == (0, []), chat
    assert "144" in chat.out
    assert "threadway" not in chat.out, "only the reply"
    await here.until_empty(0.5)


async def test_what_is_piped_in_is_answered_line_by_line(here: Place) -> None:
    lines = "My name is Ann.\nWhat is my name?\n\n/new\nWhat is my name?"
    chat = await here.run("chat", stdin=lines.encode())
    assert (chat.code, chat.err) == (0, []), chat
    met, known, new, forgotten = [line for line in chat.out.splitlines() if line.strip()][:4]
    assert "Ann" in met
    assert "Ann" in known
    assert "new conversation" in new
    assert "Ann" not in forgotten
    await here.until_empty(0.5)


async def test_ctrl_c_in_a_chat_leaves_nothing_behind(here: Place) -> None:
    chat = await here.start("chat", "hello")
    await until(lambda: _worker_runs(here), 20)
    chat.interrupt()
    assert await chat.ended() == 1
    assert "Traceback" not in str(chat)
    await here.until_empty(0.5)


async def _worker_runs(here: Place) -> bool:
    return any("celery" in arguments for arguments in here.processes().values())


def asking(url: str) -> dict[str, str]:
    """The settings for another Assistants server."""
    return {"THREADWAY_BACKEND": "assistants", "OPENAI_BASE_URL": url, "THREADWAY_MODEL": "m"}


async def test_a_long_reply_comes_whole(here: Place, redis_url: str) -> None:
    """The strict backend's 1.2 million characters are more than one part of a terminal's."""
    fleet = Fleet(here.folder, environment(here.folder, redis_url))
    try:
        async with fleet.backend() as backend:
            here.env |= asking(f"{backend.url}/v1")
            chat = await here.run("chat", "long 120000")
            assert chat.code == 0, chat.err
            assert len(chat.out.splitlines()) > 1, "in parts"
            assert chat.out.replace("\n", "") == " ".join(f"word{n}" for n in range(120_000)).replace("\n", "")
            await here.until_empty(0.5)
    finally:
        await fleet.end()


async def test_a_dead_backend_is_told_after_the_timeout(here: Place) -> None:
    nobody = f"http://127.0.0.1:{free_port()}/v1"
    here.env |= asking(nobody)
    chat = await here.run("chat", "hello", "--timeout", "3")
    refused(chat, 1, "no answer within 3 s")
    await here.until_empty(0.5)


async def test_chat_says_that_its_redis_is_away(here: Place) -> None:
    chat = await here.run("chat", "hello", REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    refused(chat, 1, "Redis is away")


# --- doctor


async def test_doctor_on_a_fresh_folder(here: Place) -> None:
    table, as_json = await asyncio.gather(here.run("doctor"), here.run("doctor", "--json"))
    assert (table.code, as_json.code) == (0, 0), f"{table}\n{as_json}"
    findings = json.loads(as_json.out)
    parts = {finding["part"]: finding["state"] for finding in findings}
    assert parts == {
        "settings": "ok",
        "access": "skipped",
        "redis": "ok",
        "broker": "skipped",
        "database": "ok",
        "backend": "skipped",
        "model": "ok",
        "telegram": "skipped",
        "slack": "skipped",
    }
    for finding in findings:
        assert finding["part"] in table.out
    assert not here.data_dir.exists(), "looking makes nothing"


async def test_doctor_tells_what_is_away_and_no_secret(here: Place) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    doctor = await here.run(
        "doctor",
        "--json",
        REDIS_URL=f"redis://user:pa55word@{nobody}",
        OPENAI_BASE_URL=f"http://{nobody}/v1",
        OPENAI_API_KEY="sk-0123456789abcdef",
        THREADWAY_MODEL="m",
    )
    assert doctor.code == 1
    states = {finding["part"]: finding["state"] for finding in json.loads(doctor.out)}
    assert (states["redis"], states["broker"], states["model"]) == ("failed", "failed", "failed")
    assert states["backend"] == "skipped", "nothing was started here yet"
    assert not here.data_dir.exists(), "looking makes nothing"
    assert "pa55word" not in str(doctor)
    assert "sk-0123456789abcdef" not in str(doctor)
    assert "Traceback" not in str(doctor)
