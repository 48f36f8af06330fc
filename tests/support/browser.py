"""A real browser in tests: Debian's chromium, driven by Playwright, and what must hold of every page that it shows.

async with chromium() as browser, operator_page(browser, program.admin_url) as page:
    ... page.get_by_role("button", name="Stop"), await axe(page)

Every page is watched: a request that leaves its origin, an error in its scripts or on its console fails the test.
"""

import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Request, Response, async_playwright, expect

from support.node import FOLDER, node
from support.program import ADMIN_TOKEN
from support.wait import PATIENCE

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
MISSING: Final = "chromium is not installed (Debian: apt-get install chromium)"
FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE_MS: Final = PATIENCE * 1000
WIDE: Final = (1360, 900)
NARROW: Final = (360, 780)

SAYS: Final[Mapping[str, str | re.Pattern[str]]] = {
    "live": "streaming",
    "generation": "Calls that stop it",
    "usage": "As a table",
    "playground": "Start",
    "health": re.compile("Upstreams.*Config in force", re.DOTALL),
    "api": "/api/generations",
}
"""What each screen says when all of it is there, and something runs."""

AXE: Final = """async () => (await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa",
    "best-practice"]})).violations.map(({id, help, nodes}) =>
    `${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 160)).join(" | ")}`)"""


def browser_program() -> str:
    """Where the browser is. Without one the test is skipped, and says why; in CI, which installs it, it fails."""
    for name in PROGRAMS:
        if (found := shutil.which(name)) is not None:
            return found
    if os.environ.get("CI"):
        pytest.fail(MISSING)
    pytest.skip(MISSING)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser with a profile of its own, gone at the end."""
    program = browser_program()
    expect.set_options(timeout=PATIENCE_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=FLAGS, headless=True)
        try:
            yield browser
        finally:
            await browser.close()


class Watch:
    """What a page did that none may do."""

    def __init__(self, origin: str) -> None:
        self._host = urlsplit(origin).netloc
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.expected: set[int] = {401}
        """Statuses of answers that are no problem: a page asks who is logged in before anybody is."""

    def look_at(self, page: Page) -> None:
        """Watch a page from now on."""
        page.on("request", self._request)
        page.on("response", self._response)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"an error in a script: {error}"))

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)
        if urlsplit(request.url).netloc != self._host:
            self.problems.append(f"a request that leaves the origin: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.expected:
            self.problems.append(f"{response.status} for {response.url}")

    def _console(self, message: ConsoleMessage) -> None:
        is_told = "Failed to load resource" in message.text or "net::ERR_" in message.text  # see `_response`
        if message.type == "error" and not is_told:
            self.problems.append(f"on the console: {message.text}")


@asynccontextmanager
async def watched_page(
    browser: Browser, admin_url: str, *, size: tuple[int, int] = WIDE, theme: str = "light", **more: Any
) -> AsyncIterator[tuple[Page, Watch]]:
    """An empty page, and what watches it. `theme` is the system's, light or dark.

    Raises:
        AssertionError: the page did what none may do; with all of it.
    """
    width, height = size
    scheme: Any = theme
    viewport: Any = {"width": width, "height": height}
    context = await browser.new_context(viewport=viewport, color_scheme=scheme, base_url=admin_url, **more)
    context.set_default_timeout(PATIENCE_MS)
    page, watch = await context.new_page(), Watch(admin_url)
    watch.look_at(page)
    try:
        yield page, watch
    finally:
        await context.close()
    assert not watch.problems, "\n".join(watch.problems)


@asynccontextmanager
async def operator_page(
    browser: Browser,
    admin_url: str,
    screen: str = "#/live",
    *,
    token: str = ADMIN_TOKEN,
    refused: Sequence[int] = (),
    **more: Any,
) -> AsyncIterator[Page]:
    """The page with somebody logged in, at one of its screens; see `watched_page` for the rest.

    `refused`: the statuses of refusals that the test is about.
    """
    async with watched_page(browser, admin_url, **more) as (page, watch):
        watch.expected.update(refused)
        await log_in(page, token)
        await go_to(page, screen)
        yield page


async def log_in(page: Page, token: str = ADMIN_TOKEN) -> None:
    """Get the cookie of a session, as the login form does."""
    answer = await page.context.request.post("/ui/login", data={"token": token})
    assert answer.ok, await answer.text()


async def go_to(page: Page, screen: str) -> None:
    """Open a screen, and wait until it is there."""
    await page.goto(f"/ui{screen}")
    name = re.search(r"#/([a-z]+)", screen)
    main = page.locator(f"main.screen-{name[1]}" if name else "main")
    await expect(main.get_by_role("heading", level=1)).to_be_visible()


async def axe(page: Page) -> Sequence[str]:
    """What axe finds wrong with a page as it is now."""
    node()
    await page.evaluate((FOLDER / "node_modules" / "axe-core" / "axe.min.js").read_text())
    found: list[str] = await page.evaluate(AXE)
    return found
