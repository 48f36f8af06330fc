"""The screen of one generation in a real browser."""

import asyncio
import os
import re
import subprocess
from pathlib import Path

from playwright.async_api import expect

from support.browser import chromium, go_to, operator_page
from support.program import ADMIN_TOKEN
from support.streams import talking_program


async def test_a_generation_is_followed_and_stopped(tmp_path: Path) -> None:
    """While it runs its timeline, ids and use are shown, its text on demand; its stop and the reason end up there."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        await scene.start("one", max_tokens=5000)
        async with operator_page(browser, scene.program.admin_url, "#/generation/one") as page:
            main = page.locator("main")
            await expect(main.locator(".state-line")).to_have_text("streaming")
            await expect(main).to_contain_text("chatcmpl-one")
            assert "Rain" not in await main.inner_text()
            await expect(main).to_contain_text(re.compile(r"Completion\s*~[\d,]+ so far"))
            await page.get_by_role("button", name="Show text").click()
            await expect(page.locator("pre.answer")).to_contain_text("Rain fell all night")
            await expect(page.locator("pre.answer")).to_have_attribute("aria-busy", "true")

            await page.get_by_label("Reason for the stop").fill("a loop")
            await page.get_by_role("button", name=re.compile("^Stop")).click()
            await scene.closed("one")
            await expect(main.locator(".state-line")).to_have_text("stopped")
            await expect(main.locator(".steps li")).to_have_text(
                [
                    re.compile(word)
                    for word in (
                        "Accepted",
                        "Connected",
                        "First token",
                        "Stop asked.*by admin",
                        "Upstream closed",
                        "Recorded",
                    )
                ]
            )
            await expect(main).to_contain_text("a loop")
            await expect(main).not_to_contain_text("so far")
            await expect(main).to_contain_text(re.compile(r"Not made thanks to the stop\s*up to [\d,]+ tokens"))
            await expect(page.locator("pre.answer")).to_have_attribute("aria-busy", "false")
            pieces = "({childNodes}) => [...childNodes].filter(({data}) => !data).length"
            assert await page.locator("pre.answer").evaluate(pieces) == 0, "an event without text leaves nothing"
    log = scene.program.log()
    assert log.count("text.viewed") <= 2, "a page that looks each second at a record looks at no text"


async def test_the_calls_that_stop_it_stop_it(tmp_path: Path) -> None:
    """The commands shown are whole: pasted into a shell, with a key, they stop the generation."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        async with operator_page(browser, scene.program.admin_url) as page:
            for number, which in enumerate(("By its id", "Chat completions", "As the operator")):
                name = f"try-{number}"
                await scene.start(name)
                await go_to(page, f"#/generation/{name}")
                item = page.locator(".calls li").filter(has=page.get_by_role("heading", name=re.compile(which)))
                command = await item.locator("pre").filter(has_text=name if number < 2 else "/cancel").inner_text()
                keys = {"PATH": os.environ["PATH"], "API_KEY": "k1", "QUELL_ADMIN_TOKEN": ADMIN_TOKEN}
                done = await asyncio.to_thread(
                    subprocess.run,
                    ["sh", "-c", command],
                    env=keys,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=30,
                )
                assert '"result": "stopped"' in done.stdout, command + done.stdout + done.stderr
                await scene.closed(name)
