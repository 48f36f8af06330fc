"""The screens of health and of the API reference in a real browser."""

import re
import signal
from pathlib import Path

import pytest
import yaml
from playwright.async_api import expect

from support.browser import NARROW, axe, chromium, go_to, log_in, operator_page, watched_page
from support.program import ADMIN_TOKEN
from support.streams import Scene, talking_program

SECRET = "sk-a-secret-of-the-tests"
VIEWER = "token-of-a-viewer"
TOKENS = [{"name": "mia", "role": "viewer", "token": VIEWER}]


def change(scene: Scene, **changes: object) -> None:
    """Write other settings into the config file."""
    file = scene.program.folder / "quell.yaml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes, sort_keys=False))


async def test_health_tells_what_it_stands_on(tmp_path: Path) -> None:
    """Upstreams with state and stop policy, checks, ledger, bus and build: each in words beside its sign."""
    upstream = {"api_key": SECRET, "bills_after_close": "no"}
    async with talking_program(tmp_path, upstream=upstream) as scene, chromium() as browser:
        await scene.start("one")
        async with operator_page(browser, scene.program.admin_url, "#/health") as page:
            line = page.get_by_role("region", name="Upstreams").locator("tbody tr")
            await expect(line).to_have_count(1)
            await expect(line).to_contain_text("up")
            await expect(line).to_contain_text(re.compile("ok|unused"))
            await expect(line).to_contain_text("closes the connection")
            await expect(line.locator("td").last).to_have_text("yes")
            main = page.locator("main")
            for word in ("passes", "not draining", "healthy", "none: a replica by itself", "Python 3.", "quell.yaml"):
                await expect(main).to_contain_text(word)


async def test_a_drain_is_named(tmp_path: Path) -> None:
    """A proxy that was told to end says so on Live by itself, and on Health; once it is gone, Live claims nothing."""
    async with talking_program(tmp_path, drain={"ready_delay": "0s", "timeout": "10m"}) as scene, chromium() as browser:
        await scene.start("one")
        async with operator_page(browser, scene.program.admin_url) as page:
            await expect(page.locator("table.live tbody tr")).to_have_count(1)
            warning = page.get_by_text("Draining: this replica is shutting down.")
            await expect(warning).to_be_hidden()
            scene.program.signal(signal.SIGTERM)
            await expect(warning).to_be_visible()
            await go_to(page, "#/health")
            await expect(page.locator("main")).to_contain_text("draining: this replica ends")
            await go_to(page, "#/live")
            await expect(warning).to_be_visible()
            scene.program.kill()
            await expect(page.locator("#table-status")).to_contain_text("the connection is lost")
            await expect(page.locator("table.live tbody tr:not(.ended) .c-state")).to_have_text(["not known"])
            await expect(warning).to_be_hidden()


async def test_the_config_is_searched(tmp_path: Path) -> None:
    """Each value has its place in the file, secrets are masked, defaults are there on demand, the search in the URL."""
    async with talking_program(tmp_path, upstream={"api_key": SECRET}) as scene, chromium() as browser:
        async with operator_page(browser, scene.program.admin_url, "#/health") as page:
            table = page.get_by_role("region", name="Config")
            lines = (scene.program.folder / "quell.yaml").read_text().splitlines()
            number = next(at for at, line in enumerate(lines, 1) if "base_url" in line)
            row = table.locator("tr", has_text="upstreams.up.base_url")
            await expect(row).to_contain_text(f"quell.yaml:{number}:")
            await expect(table).to_contain_text("upstreams.up.api_key")
            assert SECRET not in await page.content()
            assert ADMIN_TOKEN not in await page.content()
            await expect(table.locator("tr", has_text="drain.ready_delay")).to_contain_text("quell.yaml:")
            await expect(table.locator("tr", has_text="limits.streams")).to_have_count(0)
            await page.get_by_label("Show defaults too").check()
            await page.get_by_label("Find").fill("limits.streams")
            await expect(table.locator("tbody tr")).to_contain_text(["default"])
            await expect(page).to_have_url(re.compile("find=limits.streams"))


async def test_reload(tmp_path: Path) -> None:
    """A file with mistakes is refused with a line for each; a good one is taken, and its values are shown."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        async with watched_page(browser, scene.program.admin_url) as (page, watch):
            watch.expected.add(422)
            await log_in(page, ADMIN_TOKEN)
            await go_to(page, "#/health")
            change(scene, limits={"streams": "many", "boddy": "1MiB"})
            await page.get_by_role("button", name="Reload the config").click()
            await expect(page.locator(".error li")).to_have_count(2)
            await expect(page.locator(".error li", has_text="boddy")).to_contain_text(
                re.compile(r"quell\.yaml:\d+:\d+:")
            )
            change(scene, limits={"streams": 77})
            await page.get_by_role("button", name="Reload the config").click()
            await expect(page.locator("main [role=status]").first).to_contain_text("Taken")
            await expect(
                page.get_by_role("region", name="Config").locator("tr", has_text="limits.streams")
            ).to_contain_text("77")


async def test_a_viewer_can_not_reload(tmp_path: Path) -> None:
    """Who may only look has no button for it."""
    async with talking_program(tmp_path, admin={"tokens": TOKENS}) as scene, chromium() as browser:
        async with operator_page(browser, scene.program.admin_url, "#/health", token=VIEWER) as page:
            await expect(page.get_by_role("region", name="Upstreams")).to_be_visible()
            await expect(page.get_by_role("button", name="Reload the config")).to_have_count(0)


async def test_the_api_reference(tmp_path: Path) -> None:
    """Every call is listed and found; opened, it has a command, parameters, and examples of answer and errors."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        async with operator_page(browser, scene.program.admin_url, "#/api") as page:
            await page.get_by_label("Find a call").fill("usage")
            call = page.locator("details.call:visible", has_text="/api/usage")
            await expect(call).to_have_count(1)
            await expect(page).to_have_url(re.compile("find=usage"))
            await call.locator("summary").click()
            await expect(call.get_by_role("region", name="Command")).to_contain_text("$QUELL_ADMIN_TOKEN")
            await expect(call).to_contain_text("since")
            await expect(call.get_by_role("region", name="Example of 200")).to_contain_text('"generations": 0')
            await expect(call.get_by_role("region", name="Example of 401")).to_contain_text("invalid_admin_token")
            await page.get_by_label("Find a call").fill("")
            await expect(page.locator("details.call", has_text="/v1/generations/")).not_to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("screen", ["health", "api"])
async def test_axe_finds_nothing(tmp_path: Path, screen: str, theme: str) -> None:
    """Health with all values, and the reference with a call opened, break no rule, wide and narrow."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        await scene.start("one")
        async with operator_page(browser, scene.program.admin_url, f"#/{screen}", theme=theme) as page:
            if screen == "health":
                await page.get_by_label("Show defaults too").check()
            else:
                await page.locator("details.call summary").first.click()
            assert await axe(page) == []
            await page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
            assert await axe(page) == []
            assert await page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]
