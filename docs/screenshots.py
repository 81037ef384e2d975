"""Takes the pictures of the lab again: `make screenshots`.

Starts `threadway up` on a free port in an empty folder, chats in both panes with a headless Chromium, and writes
docs/img/lab.png and docs/img/lab-dark.png. Needs a Chromium on PATH and Playwright's client (dependency group e2e).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

FOLDER = Path(__file__).parent / "img"
SIZE = {"width": 1280, "height": 800}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
OURS = ("THREADWAY_", "TELEGRAM_", "SLACK_", "OPENAI_", "REDIS_URL", "CELERY_", "DATABASE_URL")
READY = "threadway is ready: "
ANSWER_MS = 30_000

TELEGRAM = ("Hi!", "What is 12 times 12, and what time is it in Tokyo?")
SLACK = ("My name is Ann.", "What is my name, and what is 15% of 80?", "Show me a table")


@contextmanager
def threadway() -> Iterator[str]:
    """The address of a lab that answers, for the length of the block."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    with tempfile.TemporaryDirectory(prefix="threadway-") as folder:
        up = subprocess.Popen(
            [sys.executable, "-m", "gateway", "up"],
            cwd=folder,
            env={**environment, "THREADWAY_PORT": str(port), "THREADWAY_LOG_LEVEL": "WARNING"},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert up.stdout is not None
            line = up.stdout.readline()
            if not line.startswith(READY):
                raise SystemExit(f"threadway did not start (exit code {up.wait()})")
            yield line.removeprefix(READY).strip()
        finally:
            up.terminate()
            up.wait(20)


def chat(page: Page, pane: str, label: str, texts: tuple[str, ...]) -> None:
    """Say one text after the other, each when the one before is answered: then its trace has become a pill."""
    for number, text in enumerate(texts):
        composer = page.get_by_label(label, exact=True)
        composer.fill(text)
        composer.press("Enter")
        page.locator(f"#{pane} .pill.done").nth(number).wait_for(timeout=ANSWER_MS)


def take(browser: Browser, address: str, scheme: str, path: Path, *, talk: bool) -> None:
    """One picture; the second visitor finds the chats as the first one left them."""
    page = browser.new_page(viewport=SIZE, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(address)
    if talk:
        chat(page, "telegram", "Message on Telegram", TELEGRAM)
        chat(page, "slack", "Message on Slack", SLACK)
    page.locator("#slack .pill.done").nth(len(SLACK) - 1).wait_for(timeout=ANSWER_MS)
    page.locator("#telegram .pill.done").last.click()
    page.locator("#telegram .timeline").wait_for()
    page.mouse.move(0, 0)  # messages under the mouse, or with the focus, show their buttons
    page.evaluate("document.activeElement.blur()")
    for pane in ("telegram", "slack"):
        page.locator(f"#{pane} .scroll").first.evaluate("node => { node.scrollTop = node.scrollHeight; }")
    page.screenshot(path=path)
    page.close()
    sys.stdout.write(f"{path}: {SIZE['width']} × {SIZE['height']}, {scheme}, {path.stat().st_size} bytes\n")


def main() -> None:
    """Both pictures, one chat."""
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    if chromium is None:
        raise SystemExit(f"no browser: none of {', '.join(BROWSERS)} is on PATH (apt install chromium)")
    FOLDER.mkdir(exist_ok=True)
    with threadway() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        take(browser, address, "light", FOLDER / "lab.png", talk=True)
        take(browser, address, "dark", FOLDER / "lab-dark.png", talk=False)
        browser.close()


if __name__ == "__main__":
    main()
