"""The demo program, and its page opened in a real browser: what a newcomer sees after `make run`.

async with demo_page(tmp_path, "#/playground") as (page, program):
    await page.get_by_role("button", name="Start", exact=True).click()
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Locator, Page, expect

from support.browser import chromium, go_to, log_in, watched_page
from support.program import Program, environment

ANYWHERE: Final = ("--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")
EXPECTED: Final = frozenset({400, 401, 403, 404, 499})
"""What the playground is there to show: the answers to calls that are stopped, or stop what is not theirs."""

WORDS: Final = ".words"
"""Where the answer stands."""


@asynccontextmanager
async def demo_program(folder: Path) -> AsyncIterator[Program]:
    """`quell demo`, running."""
    program = Program(["-m", "proxy", "demo", *ANYWHERE], folder, environment())
    try:
        await program.ready()
        yield program
    finally:
        program.kill()


@asynccontextmanager
async def demo_page(folder: Path, screen: str = "#/playground", **more: Any) -> AsyncIterator[tuple[Page, Program]]:
    """A page of the demo program, with its operator logged in; `more` as in `watched_page`."""
    async with demo_program(folder) as program, chromium() as browser:
        async with watched_page(browser, program.admin_url, **more) as (page, watch):
            watch.expected |= EXPECTED
            await log_in(page, (folder / "quell.db.admin_token").read_text().strip())
            await go_to(page, screen)
            yield page, program


def headline(page: Page) -> Locator:
    """What the playground tells of the upstream, in one sentence."""
    return page.locator(".seen .headline")


def answers(page: Page) -> Locator:
    """The answers to stops, each with its status and body."""
    return page.get_by_role("heading", name="The stop's answer").locator("xpath=..").locator("div.stack > div")


async def begin(page: Page, ending: str | None = None) -> None:
    """Press Start, with an ending chosen by its name first."""
    if ending is not None:
        await page.get_by_role("radio", name=ending, exact=True).check()
    await page.get_by_role("button", name="Start", exact=True).click()


async def comes(page: Page) -> None:
    """Wait until the answer comes."""
    await expect(page.locator(WORDS)).not_to_be_empty()


async def press_stop(page: Page) -> None:
    """Press the big button while a call runs."""
    await page.get_by_role("button", name="Stop", exact=True).click()
