"""The lab's page in a real browser: both panes are answered, and a keyboard is enough."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.flow.processes import Fleet, free_port

if TYPE_CHECKING:
    from playwright.async_api import Page

playwright = pytest.importorskip("playwright.async_api", reason="the client of Playwright is not installed (group e2e)")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
ANSWER_MS = 30_000

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(120),
    pytest.mark.skipif(CHROMIUM is None, reason=f"none of {', '.join(BROWSERS)} is on PATH"),
]


@pytest.fixture
async def page(fleet: Fleet) -> AsyncIterator[Page]:
    """The lab's page of a whole threadway of its own; whatever the page complains about fails the test."""
    port = free_port()
    del fleet.env["REDIS_URL"]
    up = await fleet.start("up", ["-m", "gateway", "up"], THREADWAY_PORT=str(port))
    await up.until_line("threadway is ready", 60)
    complaints: list[str] = []
    async with playwright.async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        opened = await browser.new_page(viewport={"width": 1280, "height": 800})
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        await opened.goto(f"http://127.0.0.1:{port}/lab")
        yield opened
        await browser.close()
    assert complaints == []


async def test_both_panes_answer(page: Page) -> None:
    for pane, label in (("telegram", "Message on Telegram"), ("slack", "Message on Slack")):
        composer = page.get_by_label(label, exact=True)
        await composer.fill("What is 12 times 12?")
        await composer.press("Enter")
        answer = page.locator(f"#{pane}").get_by_text("144").last
        await answer.wait_for(timeout=ANSWER_MS)
        trace = page.locator(f"#{pane} .pill.done").last
        await trace.wait_for(timeout=ANSWER_MS)
        await trace.click()
        timeline = page.locator(f"#{pane} .timeline")
        await timeline.wait_for(timeout=ANSWER_MS)
        told = (await timeline.inner_text()).lower()
        assert all(step in told for step in ("received", "run created", "calculator", "posted")), told


async def test_markup_of_a_message_is_shown_never_run(page: Page) -> None:
    nasty = "<img src=x onerror=\"document.title='run'\"> & <b>bold</b>"
    composer = page.get_by_label("Message on Telegram", exact=True)
    await composer.fill(nasty)
    await composer.press("Enter")
    await page.locator("#telegram").get_by_text("onerror").first.wait_for(timeout=ANSWER_MS)
    await page.locator("#telegram .pill.done").first.wait_for(timeout=ANSWER_MS)
    assert await page.title() != "run"
    assert await page.locator("#telegram img").count() == 0
