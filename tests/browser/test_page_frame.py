"""The page's frame in a real browser: logging in and out, themes, narrow screens, and what axe says of every screen."""

import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from support.browser import NARROW, SAYS, WIDE, axe, chromium, go_to, log_in, operator_page, watched_page
from support.program import ADMIN_TOKEN
from support.streams import talking_program

SCREENS = ("live", "generation/one", "usage", "playground", "health", "api")


async def whole(page: Page, screen: str) -> None:
    """Open a screen, and wait until what it loads is there too."""
    await go_to(page, f"#/{screen}")
    await expect(page.locator("main")).to_contain_text(SAYS[screen.partition("/")[0]])


async def test_login_and_logout(tmp_path: Path) -> None:
    """A wrong token is refused in words, the right one opens the screen asked for, logging out closes it."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        async with watched_page(browser, scene.program.admin_url) as (page, watch):
            await page.goto("/ui#/live?user=ada")
            await page.get_by_label("Admin token").fill("wrong")
            await page.get_by_role("button", name="Log in").click()
            await expect(page.get_by_role("alert")).to_contain_text("no token that the proxy knows")
            await page.get_by_label("Admin token").fill(ADMIN_TOKEN)
            await page.keyboard.press("Enter")
            await expect(page.get_by_role("heading", level=1)).to_have_text("Live")
            await expect(page.get_by_label("User")).to_have_value("ada")
            assert await page.evaluate("document.cookie") == ""
            await page.goto("/ui#/nowhere")
            await expect(page.get_by_role("alert")).to_contain_text("There is no such screen")
            await page.get_by_role("button", name="Log out").click()
            await expect(page.get_by_label("Admin token")).to_be_focused()
            assert watch.requests


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing(tmp_path: Path, theme: str) -> None:
    """No screen, dialog or form breaks a rule of WCAG 2.2 AA that axe knows, light and dark, wide and narrow."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        await scene.start_all(["one", "two"])
        found: dict[str, list[str]] = {}
        for size in (WIDE, NARROW):
            async with watched_page(browser, scene.program.admin_url, theme=theme, size=size) as (page, _):
                await go_to(page, "")
                found[f"login {size[0]}"] = list(await axe(page))
                await log_in(page)
                await page.reload()
                for screen in SCREENS:
                    await whole(page, screen)
                    found[f"{screen} {size[0]}"] = list(await axe(page))
                await whole(page, "live")
                await page.get_by_role("button", name="Stop all…").click()
                found[f"stop all {size[0]}"] = list(await axe(page))
                await page.keyboard.press("Escape")
                await page.keyboard.press("?")
                found[f"keys {size[0]}"] = list(await axe(page))
        assert {name: problems for name, problems in found.items() if problems} == {}


async def test_narrow_screens_need_no_sideways_scrolling(tmp_path: Path) -> None:
    """At 360 pixels no screen is wider than the window."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        await scene.start("one", user="a-user-with-quite-a-long-name@example.com")
        async with operator_page(browser, scene.program.admin_url, size=NARROW) as page:
            for screen in SCREENS:
                await whole(page, screen)
                assert await page.evaluate("document.documentElement.scrollWidth") <= NARROW[0], screen


async def test_the_theme_is_kept(tmp_path: Path) -> None:
    """The theme is the system's until somebody chooses one, and the choice is there again at the next visit."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        async with operator_page(browser, scene.program.admin_url) as page:
            light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            await page.get_by_role("button", name="Theme: auto").click()
            await page.get_by_role("button", name="Theme: light").click()
            await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
            dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert dark != light
            await page.reload()
            await expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
            assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == dark


async def test_every_screen_has_its_name(tmp_path: Path) -> None:
    """Each screen of the navigation opens, is marked as the current one, and names the window."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        async with operator_page(browser, scene.program.admin_url) as page:
            for name in ("Usage", "Playground", "Health", "API", "Live"):
                link = page.get_by_role("navigation", name="Screens").get_by_role("link", name=name, exact=True)
                await link.click()
                await expect(link).to_have_attribute("aria-current", "page")
                await expect(page).to_have_title(re.compile("· Quell$"))
                await expect(page.get_by_role("heading", level=1)).to_be_visible()
