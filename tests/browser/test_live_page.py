"""The Live screen in a real browser: what runs is seen and stopped, and that it stopped is the upstream's own word."""

import re
from pathlib import Path

from playwright.async_api import Locator, Page, expect

from support.browser import NARROW, WIDE, chromium, log_in, operator_page, watched_page
from support.program import ADMIN_TOKEN, config_text, running_program
from support.redis_server import free_port
from support.streams import Talk, talking_program
from support.upstream import scripted_upstream
from support.wait import eventually

HOSTILE = '<img src=x onerror="window.hurt=1"><script>window.hurt=2</script>'
VIEWER = "token-of-a-viewer"
TOKENS = [{"name": "mia", "role": "viewer", "token": VIEWER}]
NO_LONG_TASK = 100
"""Milliseconds that no task of the page may take."""
TRIES = 4
"""So many visits are made to find one in which the machine is quiet."""


def rows(page: Page) -> Locator:
    """The rows of what runs, or ran until a moment ago."""
    return page.locator("table.live tbody tr")


def row(page: Page, task_id: str) -> Locator:
    """One of them."""
    return rows(page).filter(has=page.get_by_title(task_id, exact=True))


async def test_streams_are_stopped_by_mouse_and_by_keyboard(tmp_path: Path) -> None:
    """Three streams are three rows; a click stops one, a key another, the upstream sees both; the third runs on."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        await scene.start_all(["one", "two", "three"])
        async with operator_page(browser, scene.program.admin_url) as page:
            await expect(rows(page)).to_have_count(3)

            await row(page, "one").get_by_role("button", name=re.compile("^Stop")).click()
            await scene.closed("one")
            await expect(row(page, "one").locator(".stop")).to_have_text(re.compile(r"^stopped in [\d.]+ m?s$"))
            await expect(row(page, "one").locator(".c-state")).to_have_text(re.compile("stopped.*operator"))
            await expect(page.locator("#announcer")).to_have_text(
                re.compile("^Stopped one after .* upstream closed in")
            )

            await row(page, "two").locator(".c-id a").focus()
            await page.keyboard.press("s")
            await scene.closed("two")
            await expect(row(page, "two").locator(".stop")).to_have_text(re.compile("^stopped in"))
            await expect(row(page, "two").locator(".c-id a")).to_be_focused()
            assert scene.is_open("three")
            await expect(row(page, "three").locator(".c-tokens")).to_have_text(re.compile(r"^~\d"))
            await page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
            assert await page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]
            await page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
            await expect(page.locator(".cards .card", has_text="Stopped")).to_contain_text("today: ")

            await page.locator("h1").click()
            await expect(rows(page)).to_have_count(1)


async def test_keys_move_and_open(tmp_path: Path) -> None:
    """J and k move from row to row, Enter opens the generation; with the keys switched off letters do nothing."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        await scene.start_all(["one", "two"])
        async with operator_page(browser, scene.program.admin_url) as page:
            await expect(rows(page)).to_have_count(2)
            await page.keyboard.press("j")
            await expect(rows(page).nth(0).locator(".c-id a")).to_be_focused()
            await page.keyboard.press("j")
            await expect(rows(page).nth(1).locator(".c-id a")).to_be_focused()
            await page.keyboard.press("k")
            await expect(rows(page).nth(0).locator(".c-id a")).to_be_focused()

            await page.keyboard.press("?")
            await page.get_by_label("Use these keys").uncheck()
            await page.keyboard.press("Escape")
            await expect(page.get_by_role("dialog")).to_have_count(0)
            await page.keyboard.press("j")
            await expect(rows(page).nth(0).locator(".c-id a")).to_be_focused()

            await page.keyboard.press("Enter")
            await expect(page.get_by_role("heading", level=1)).to_contain_text("Generation")


async def test_bulk_stop_of_a_user(tmp_path: Path) -> None:
    """All of a user are stopped by one dialog that says how many, takes a reason, and wants a count over ten typed."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        many = [f"ada-{number}" for number in range(12)]
        await scene.start_all(many, user="ada")
        await scene.start("bo-1", user="bo")
        async with operator_page(browser, scene.program.admin_url) as page:
            await expect(rows(page)).to_have_count(13)
            await page.get_by_role("button", name="Stop all…").click()
            dialog = page.get_by_role("dialog")
            await dialog.get_by_label("Stop", exact=True).select_option("user")
            await dialog.get_by_label("Which one").fill("ada")
            await expect(dialog.locator(".count")).to_have_text("12 generations now.")
            await dialog.get_by_label("Reason").fill("a loop")
            stop = dialog.get_by_role("button", name="Stop 12")
            await expect(stop).to_be_disabled()
            await dialog.get_by_label("Type 12 to confirm").fill("12")
            await stop.click()
            await expect(dialog.locator(".count")).to_have_text("Stopped 12 generations.")
            for name in many:
                await scene.closed(name)
            assert scene.is_open("bo-1")
            await dialog.get_by_role("button", name="Done").click()

            await page.goto("/ui#/generation/ada-3")
            await expect(page.locator("main")).to_contain_text("a loop")


async def test_filters_are_in_the_address(tmp_path: Path) -> None:
    """A filter, a sort and their reset are in the URL, and a URL with them shows the same again."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        await scene.start("one", user="ada", model="small")
        await scene.start("two", user="bo", model="large")
        async with operator_page(browser, scene.program.admin_url, "#/live?user=bo", refused=[400]) as page:
            await expect(rows(page)).to_have_count(1)
            await expect(page.locator("#table-status")).to_have_text(re.compile("^1 of 2 live"))
            await page.get_by_role("button", name="Clear").click()
            await expect(rows(page)).to_have_count(2)
            await page.get_by_role("button", name="Model").first.click()
            await expect(page).to_have_url(re.compile("sort=model"))
            await expect(page.locator("th.c-model")).to_have_attribute("aria-sort", "ascending")
            await expect(rows(page).nth(0).locator(".c-model")).to_have_text("large")
            await row(page, "one").get_by_title("Only user ada").click()
            await expect(page).to_have_url(re.compile("user=ada"))
            await expect(rows(page)).to_have_count(1)
            await page.get_by_label("Older than").fill("soon")
            await expect(page.get_by_role("alert").filter(visible=True)).to_contain_text("older_than")


async def test_nothing_moves_beside_the_focus(tmp_path: Path) -> None:
    """While the keyboard's focus is in the table rows keep their places, new ones come below; then they are sorted."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        await scene.start_all(["one", "two"])
        async with operator_page(browser, scene.program.admin_url, "#/live?sort=age&order=asc") as page:
            await expect(rows(page)).to_have_count(2)
            await page.keyboard.press("j")
            first = await rows(page).nth(0).get_attribute("data-id")
            await scene.start("three")
            await expect(rows(page)).to_have_count(3)
            assert await rows(page).nth(0).get_attribute("data-id") == first
            await expect(page.locator("#table-status")).to_contain_text("order held")
            await page.evaluate("document.activeElement.blur()")
            await expect(rows(page).nth(0).get_by_title("three", exact=True)).to_be_visible()


async def test_a_paused_table_stands_still(tmp_path: Path) -> None:
    """While it is paused no row comes or changes, and it says that there is news; afterwards all of it is shown."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        await scene.start("one")
        async with operator_page(browser, scene.program.admin_url) as page:
            await expect(rows(page)).to_have_count(1)
            await page.get_by_role("button", name="Pause").click()
            tokens = await row(page, "one").locator(".c-tokens").text_content()
            await scene.start("two")
            await expect(page.locator("#table-status")).to_have_text("2 live · paused, there are changes")
            await expect(rows(page)).to_have_count(1)
            assert await row(page, "one").locator(".c-tokens").text_content() == tokens
            await page.get_by_role("button", name="Go on").click()
            await expect(rows(page)).to_have_count(2)


KNOWN_TABLE = """async () => {
  const { LiveTable } = await import("/ui/live_table.js");
  const take = LiveTable.prototype.take;
  LiveTable.prototype.take = function (...told) {
    window.table = this;
    return take.apply(this, told);
  };
}"""
"""Has the table name itself as soon as it is told something."""


async def keeps(page: Page, rows: int) -> bool:
    """Whether the table has so many rows in its memory."""
    return bool(await page.evaluate("window.table?.rows.size") == rows)


async def test_a_paused_table_keeps_no_row_that_came_and_went(tmp_path: Path) -> None:
    """However long it is paused, it holds what it shows and what lives, and nothing that ended unseen."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        await scene.start("one")
        async with operator_page(browser, scene.program.admin_url) as page:
            await expect(rows(page)).to_have_count(1)
            await page.get_by_role("button", name="Pause").click()
            await page.evaluate(KNOWN_TABLE)
            await scene.start_all(["two", "three"], words=9)
            await eventually(lambda: keeps(page, 3), what="it knows all three")
            stopping = "fetch('/api/generations/%s/cancel', {method: 'POST', headers: {'X-Quell-Page': '1'}})"
            for name in ("two", "three"):
                await page.evaluate(stopping % name)
            await eventually(lambda: keeps(page, 1), what="it knows the first one only")
            await expect(rows(page)).to_have_count(1)


async def test_a_viewer_can_not_stop(tmp_path: Path) -> None:
    """Whoever may only look has no Stop that works, is told why, and is refused by the proxy too."""
    async with talking_program(tmp_path, admin={"tokens": TOKENS}) as scene, chromium() as browser:
        await scene.start("one")
        async with watched_page(browser, scene.program.admin_url) as (page, watch):
            await log_in(page, VIEWER)
            await page.goto("/ui#/live")
            await expect(rows(page)).to_have_count(1)
            await expect(row(page, "one").locator(".stop")).to_be_disabled()
            await expect(page.get_by_role("button", name="Stop all…")).to_be_disabled()
            await expect(page.locator(".notice")).to_contain_text("needs the role operator")
            await page.keyboard.press("j")
            await page.keyboard.press("s")
            watch.expected.add(403)
            status = await page.evaluate(
                """() => fetch("/api/generations/one/cancel", {method: "POST", body: "{}",
                    headers: {"X-Quell-Page": "1", "Content-Type": "application/json"}}).then(({status}) => status)"""
            )
            assert status == 403
            await page.goto("/ui#/generation/one")
            await expect(page.get_by_role("button", name="Show text")).to_be_disabled()
            await expect(page.locator("main")).to_contain_text(
                "curl -X POST http://HOST:PORT/v1/generations/one/cancel"
            )
            assert scene.is_open("one")


async def test_what_comes_from_outside_is_text(tmp_path: Path) -> None:
    """Markup and script in the names of user, tag and model and in the answer are shown as they are, and do nothing."""
    talk = Talk(words=[HOSTILE])
    async with talking_program(tmp_path, talk, route={"tags": {"team": HOSTILE}}) as scene, chromium() as browser:
        await scene.start("one", user=HOSTILE, model=HOSTILE)
        async with operator_page(browser, scene.program.admin_url) as page:
            await expect(row(page, "one").locator(".c-user")).to_have_text(HOSTILE)
            await expect(row(page, "one").locator(".c-model")).to_have_text(HOSTILE)
            await row(page, "one").locator(".c-id a").click()
            await page.get_by_role("button", name="Show text").click()
            await expect(page.locator("pre.answer")).to_contain_text(HOSTILE)
            await page.get_by_role("button", name="Show raw events").click()
            await expect(page.locator("pre.raw")).to_contain_text("onerror")
            assert await page.evaluate("window.hurt") is None
            assert await page.locator("main img[src=x], main script").count() == 0


async def test_the_page_comes_back_after_a_restart(tmp_path: Path) -> None:
    """When the proxy goes the page says so; when it is back and somebody logs in, what was looked at is shown again."""
    proxy_port, admin_port = free_port(), free_port()
    listen = {"listen": f"127.0.0.1:{proxy_port}", "admin": {"listen": f"127.0.0.1:{admin_port}"}}
    async with (
        scripted_upstream(Talk()) as up,
        chromium() as browser,
        watched_page(browser, f"http://127.0.0.1:{admin_port}") as (page, _),
    ):
        config = config_text(up.base_url, **listen)
        async with running_program(config, tmp_path):
            await log_in(page)
            await page.goto("/ui#/live?user=ada")
            await expect(page.locator(".empty")).to_be_visible()
        await expect(page.locator("#connection")).to_contain_text("is lost")
        async with running_program(config, tmp_path):
            await page.get_by_label("Admin token").fill(ADMIN_TOKEN)
            await page.get_by_role("button", name="Log in").click()
            await expect(page.get_by_role("heading", level=1)).to_have_text("Live")
            await expect(page.get_by_label("User")).to_have_value("ada")
            await expect(page.locator(".empty")).to_be_visible()
            await expect(page.locator("#connection")).to_be_hidden()


LONG_TASKS = """window.long = []; new PerformanceObserver((list) => window.long.push(
    ...list.getEntries().map((entry) => entry.duration))).observe({type: "longtask", buffered: true});"""


async def test_a_thousand_rows_are_smooth(tmp_path: Path) -> None:
    """With 1,000 live streams 50 rows are drawn, sorted and paged: at one of four visits no task takes over 100 ms.

    A visit counts from its first script on, with what loads and draws the page. Tasks are measured by the clock, so
    another program on the machine makes one long too; what is slow by itself is slow at each visit.
    """
    names = [f"stream-{number}" for number in range(1000)]
    async with talking_program(tmp_path, Talk(interval=2.0)) as scene, chromium() as browser:
        await scene.start_all(names)
        async with watched_page(browser, scene.program.admin_url) as (page, _):
            await page.add_init_script(LONG_TASKS)
            await log_in(page)
            await page.goto("/ui#/live")
            visits: list[list[float]] = []
            while not visits or (visits[-1] and len(visits) < TRIES):
                await page.reload()
                await expect(page.locator("#table-status")).to_have_text(re.compile("^1,000 live"))
                await expect(rows(page)).to_have_count(50)
                await _use(page)
                visits.append([length for length in await page.evaluate("window.long") if length > NO_LONG_TASK])
            assert [] in visits, visits


async def _use(page: Page) -> None:
    """Sort, turn pages, and look on for some changes."""
    for name in ("Tokens", "State", "Age"):
        await page.get_by_role("columnheader", name=name).get_by_role("button").click()
        await expect(rows(page)).to_have_count(50)
    await page.get_by_role("button", name="Next").click()
    await expect(page.locator(".pager")).to_contain_text("51 to 100 of 1,000")
    before = await page.locator("table.live tbody .c-tokens").all_text_contents()

    async def moved() -> bool:
        return before != await page.locator("table.live tbody .c-tokens").all_text_contents()

    await eventually(moved, what="numbers change")
    await page.get_by_role("button", name="Back").click()
    await expect(page.locator(".pager")).to_contain_text("1 to 50 of 1,000")
