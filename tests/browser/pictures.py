"""Makes the pictures of the docs from the real page: `python tests/browser/pictures.py FOLDER`.

A demo program runs with some streams of made-up users; each screen is taken light, dark and narrow. What is seen is
what the page shows, so that pictures can't go stale unseen.
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, expect

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from support.browser import NARROW, chromium, go_to, operator_page
from support.streams import Scene, Talk, talking_program

LOOKS: dict[str, dict[str, Any]] = {
    "light": {"theme": "light", "size": (1280, 800)},
    "dark": {"theme": "dark", "size": (1280, 800)},
    "narrow": {"theme": "light", "size": NARROW},
}
PRICES = """\
version: "1"
currency: USD
models: {"*": {input: "1", output: "4"}}
"""
PEOPLE = ("ada", "bo", "chen", "dara", "emil", "fay")
MODELS = ("gpt-4o-mini", "llama-3.3-70b", "qwen3-32b")
SCREENS = {
    "live": "live",
    "usage": "As a table",
    "playground": "Start",
    "health": "Upstreams",
    "api": "/api/generations",
}
"""What each says when it is there."""


async def people_talk(scene: Scene) -> None:
    """Fourteen streams, some of which are stopped before the pictures are taken."""
    for number in range(14):
        name = f"{PEOPLE[number % 6]}-chat-{number + 1}"
        user, key = PEOPLE[number % 6], f"team-{number % 3}"
        await scene.start(name, user=user, key=key, model=MODELS[number % 3], max_tokens=4000)
        await asyncio.sleep(0.3)


async def stop_some(page: Page) -> None:
    """Stop two from the page, so that their rows show what a stop looks like."""
    stops = page.locator("table.live .stop")
    for at in (2, 5):
        await stops.nth(at).click()
        await expect(stops.nth(at)).to_contain_text("stopped in")


async def take(browser: Browser, scene: Scene, look: str, folder: Path) -> None:
    """All pictures of one look."""
    async with operator_page(browser, scene.program.admin_url, **LOOKS[look]) as page:
        await expect(page.locator("table.live tbody tr").nth(9)).to_be_visible()
        await asyncio.sleep(2)  # numbers and rates have come
        if look == "light":
            await stop_some(page)
        for screen, said in SCREENS.items():
            if screen != "live":
                await go_to(page, f"#/{screen}")
                await expect(page.locator("main")).to_contain_text(said)
            await page.screenshot(path=folder / f"{screen}-{look}.png", full_page=look == "narrow" or screen != "live")
        await go_to(page, "#/generation/fay-chat-6")
        await page.get_by_role("button", name="Show text").click()
        await expect(page.locator("pre.answer")).to_contain_text("Rain")
        await page.evaluate("scrollTo(0, 0)")
        await page.screenshot(path=folder / f"generation-{look}.png", full_page=True)
        await go_to(page, "#/live")
        await page.get_by_role("button", name="Stop all…").click()
        await page.get_by_role("dialog").get_by_label("Stop", exact=True).select_option("user")
        await page.get_by_role("dialog").get_by_label("Which one").fill("ada")
        await expect(page.locator(".count")).to_contain_text("now.")
        await page.screenshot(path=folder / f"stop-all-{look}.png")
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Log out").click()
        await page.screenshot(path=folder / f"login-{look}.png")


async def make(folder: Path, looks: Sequence[str]) -> None:
    """Take the pictures of these looks."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "prices.yaml").write_text(PRICES)
        prices = {"file": str(home / "prices.yaml")}
        async with talking_program(home, Talk(interval=0.04), prices=prices) as scene, chromium() as browser:
            await people_talk(scene)
            for look in looks:
                await take(browser, scene, look, folder)


if __name__ == "__main__":
    asyncio.run(make(Path(sys.argv[1]), sys.argv[2:] or list(LOOKS)))
