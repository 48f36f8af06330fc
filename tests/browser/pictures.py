"""Makes the pictures of the docs from the real page (`make pictures`); with `--all` one of every screen in every look.

A program runs with streams of made-up users in front of a scripted upstream; each screen is taken light, dark and
narrow. What is seen is what the page shows, so that pictures can't show what there is no more.
"""

import asyncio
import hashlib
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, expect

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from support.browser import NARROW, SAYS, chromium, go_to, operator_page
from support.streams import Scene, Talk, talking_program
from support.upstream import Conn
from support.wait import eventually

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
TEAMS = ("search", "support", "writing")
SCREENS = ("live", "usage", "playground", "health", "api")

SHOWN = frozenset({"live", "live-narrow", "generation"})
"""Those that the docs show."""


class PeopleTalk(Talk):
    """Answers of the past come at once; one question is thought about for ever."""

    async def __call__(self, conn: Conn) -> None:
        """Serve one stream."""
        if b"think" in conn.request.body:
            await conn.sleep_until_closed()
        else:
            await super().__call__(conn)

    def interval(self, name: str) -> float:
        """Seconds between two words."""
        return 0 if name.startswith("past") else super().interval(name)


async def people_talk(scene: Scene) -> None:
    """A day: answers that were complete, some that were stopped, and fourteen that run now."""
    past = [(f"past-{number}", MODELS[number % 3]) for number in range(24)]
    for name, model in past:
        await scene.start(name, model=model, max_tokens=900, user=PEOPLE[len(name) % 6], key=TEAMS[0])
    await eventually(lambda: not any(scene.is_open(name) for name, _ in past), 30, "the answers are complete")
    for number in range(14):
        user, key = PEOPLE[number % 6], TEAMS[number % 3]
        name, words = (f"{user}-think", 0) if number == 9 else (f"{user}-chat-{number + 1}", 2)
        await scene.start(name, user=user, key=key, model=MODELS[number % 3], max_tokens=4000, words=words)
        await asyncio.sleep(0.4)


async def stop_some(page: Page) -> None:
    """Stop two, wait until today's sums have them, then stop two more, whose rows show what a stop looks like."""
    stops = page.locator("table.live .stop")
    for at in (11, 12, 2, 5):
        if at == 2:
            await expect(page.locator(".cards .card").nth(2)).to_contain_text("operator", timeout=40_000)
        await stops.nth(at).click()
        await expect(stops.nth(at)).to_contain_text("stopped in")
    for at in (2, 5):
        await expect(page.locator("table.live tbody tr").nth(at).locator(".state")).to_contain_text("stopped")
    await page.mouse.move(640, 60)


async def take(browser: Browser, scene: Scene, look: str, folder: Path, wanted: Collection[str] | None) -> None:
    """The pictures of one look that are wanted, None: all; those of the light one have the plain names."""
    suffix = "" if look == "light" else f"-{look}"
    async with operator_page(browser, scene.program.admin_url, **LOOKS[look]) as page:

        async def shoot(name: str, *, whole: bool = False) -> None:
            await page.evaluate("scrollTo(0, 0)")
            if wanted is None or name + suffix in wanted:
                await page.screenshot(path=folder / f"{name}{suffix}.png", full_page=whole)

        await expect(page.locator("table.live tbody tr").nth(8)).to_be_visible()
        if look == "light":
            await stop_some(page)
        for screen in SCREENS:
            if screen != "live":
                await go_to(page, f"#/{screen}")
                await expect(page.locator("main")).to_contain_text(SAYS[screen])
            await shoot(screen, whole=screen == "usage")
        await go_to(page, "#/generation/fay-chat-6")
        await page.get_by_role("button", name="Show text").click()
        await expect(page.locator("pre.answer")).to_contain_text("Rain")
        await shoot("generation", whole=True)
        await go_to(page, "#/live")
        await page.get_by_role("button", name="Stop all…").click()
        await page.get_by_role("dialog").get_by_label("Stop", exact=True).select_option("user")
        await page.get_by_role("dialog").get_by_label("Which one").fill("ada")
        await expect(page.locator(".count")).to_contain_text("now.")
        await shoot("stop-all")
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Log out").click()
        await shoot("login")


async def make(folder: Path, wanted: Collection[str] | None) -> None:
    """Take the pictures that are wanted."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = [{"id": team, "hash": hashlib.sha256(team.encode()).hexdigest()} for team in TEAMS]
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        (home / "prices.yaml").write_text(PRICES)
        more: dict[str, Any] = {
            "prices": {"file": "prices.yaml"},
            "keys": keys,
            "upstream": {"bills_after_close": "no"},
            "replica": "gw-0",
        }
        async with talking_program(home, PeopleTalk(interval=0.04), **more) as scene, chromium() as browser:
            await people_talk(scene)
            for look in LOOKS:
                await take(browser, scene, look, folder, wanted)


if __name__ == "__main__":
    asyncio.run(make(Path(sys.argv[1]), None if "--all" in sys.argv[2:] else SHOWN))
