"""What the page says in a real browser when it is refused, when it hears nothing, and when something is broken."""

import json
import re
from pathlib import Path
from typing import Any

from playwright.async_api import Page, Route, expect

from support.browser import chromium, go_to, log_in, watched_page
from support.program import ADMIN_TOKEN
from support.streams import talking_program
from support.wait import eventually

PAGE = Path(__file__).resolve().parents[2] / "proxy" / "page"
FEED = "**/api/feed?*"
TRIES = 4
"""After so many the second is over in which the page says nothing of a lost connection."""
EMPTY_PAGE: dict[str, Any] = {"at": "2026-01-01T00:00:00Z", "total": 0, "matched": 0, "rows": [], "complete": False}
EVENTS = """async (chunks) => {
  const { told } = await import("/sse.js");
  const { readable, writable } = new TransformStream();
  const writer = writable.getWriter();
  const write = async () => {
    for (const chunk of chunks) await writer.write(new TextEncoder().encode(chunk));
    await writer.close();
  };
  write();
  const found = [];
  for await (const { name, data } of told(new Response(readable, {headers: {"Content-Type": "text/event-stream"}}))) {
    found.push([name, data]);
  }
  return found;
}"""


async def refuse(page: Page, url: str, status: int, message: str) -> list[str]:
    """Have some calls of the page answered with a refusal; gives the list that they are noted in."""
    asked: list[str] = []

    async def answer(route: Route) -> None:
        asked.append(route.request.url)
        await route.fulfill(status=status, json={"error": {"code": "refused", "message": message}})

    await page.route(url, answer)
    return asked


async def test_a_feed_that_is_refused_or_lost(tmp_path: Path) -> None:
    """The table says what the answer says, goes on trying where too many read, and claims nothing unknown."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        await scene.start("one")
        async with watched_page(browser, scene.program.admin_url) as (page, watch):
            watch.expected |= {403, 429}
            await log_in(page)
            told, lost = page.get_by_role("alert").filter(visible=True), page.locator("#connection")
            status, empty = page.locator("#table-status"), page.locator(".empty")
            asked = await refuse(page, FEED, 429, "The token admin reads as many feeds as one token may (16).")
            await go_to(page, "#/live")
            await expect(told).to_contain_text("as many feeds")
            await eventually(lambda: len(asked) >= TRIES, what="it goes on trying")
            await expect(lost).to_be_hidden()
            await expect(empty).to_be_hidden()
            await expect(status).to_be_empty()
            await page.unroute(FEED)
            await page.reload()
            await expect(status).to_have_text("1 live")
            await expect(told).to_have_count(0)

            await page.route(FEED, lambda route: route.abort())
            await page.reload()
            await expect(lost).to_contain_text("is lost")
            await expect(empty).to_be_hidden()
            await expect(status).to_be_empty()
            await refuse(page, FEED, 403, "Your token may not.")
            await expect(told).to_contain_text("Your token may not.")
            await expect(lost).to_be_hidden()

            await page.route(FEED, lambda route: route.abort())
            await page.reload()
            await expect(lost).to_be_visible()
            await go_to(page, "#/usage")
            await expect(lost).to_be_hidden()

            events = f"event: page\ndata: {json.dumps(EMPTY_PAGE)}\n\n"
            await page.route(FEED, lambda route: route.fulfill(content_type="text/event-stream", body=events))
            await go_to(page, "#/live")
            await expect(status).to_have_text("0 live · not all is known: rows may be old or missing")


async def test_a_session_that_ends_leads_to_the_login(tmp_path: Path) -> None:
    """Whichever screen finds out that the session is over, the login's form is shown, and stays."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        async with watched_page(browser, scene.program.admin_url) as (page, _):
            await log_in(page)
            for screen, call in (("playground", "**/api/playground"), ("api", "**/api/openapi.json")):
                await refuse(page, call, 401, "Who are you?")
                await page.goto(f"/ui#/{screen}")
                await page.get_by_label("Admin token").fill(ADMIN_TOKEN)
                await page.unroute(call)
                await page.get_by_role("button", name="Log in").click()
                await expect(page.locator(f"main.screen-{screen}").get_by_role("heading", level=1)).to_be_visible()


async def test_a_broken_answer_is_no_silence(tmp_path: Path) -> None:
    """A generation that the page can't draw is said to be so, and the error is on the browser's console too."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        async with watched_page(browser, scene.program.admin_url) as (page, watch):
            await log_in(page)
            await page.route("**/api/generations/broken*", lambda route: route.fulfill(json={"outcome": "completed"}))
            await go_to(page, "#/generation/broken")
            await expect(page.get_by_role("alert")).to_contain_text("undefined")
            await eventually(lambda: bool(watch.problems), what="the error is seen")
            assert re.search("an error in a script", watch.problems.pop())


async def test_events_end_as_the_standard_says() -> None:
    """A line ends with CR, LF or both (WHATWG HTML, 9.2.5), also where a piece of the stream ends between the two."""
    events = [["a", 1], ["b", 2]]
    async with chromium() as browser:
        page = await browser.new_page(base_url="http://page.test")
        await page.route("**/", lambda route: route.fulfill(body="", content_type="text/html"))
        await page.route("**/*.js", lambda route: route.fulfill(path=PAGE / "sse.js"))
        await page.goto("/")
        for end in ("\n", "\r\n", "\r"):
            stream = f": hello{end}event: a{end}data: 1{end}{end}event: b{end}data: 2{end}{end}"
            for size in (1, 2, 3, len(stream)):
                chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
                assert await page.evaluate(EVENTS, chunks) == events, (end, size)
