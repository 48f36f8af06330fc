"""The usage screen in a real browser: its figures are those of the command line, and its choices are in the address."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Download, Page, expect

from support.browser import NARROW, axe, chromium, go_to, log_in, operator_page, watched_page
from support.chat import chat_events, chat_object
from support.client import RawClient
from support.program import ADMIN_TOKEN, Program, config_text, running_program
from support.quell import quell
from support.scripts import events_then_hang, json_answer
from support.stops import CHAT
from support.streams import talking_program
from support.upstream import Conn, scripted_upstream

PRICES = 'version: "1"\ncurrency: USD\nmodels: {"*": {input: "1", output: "4"}}\n'
SAID = chat_events(8)[:-2]
FORMULA = "=cmd()"


async def upstream(conn: Conn) -> None:
    """Whole answers for blocking calls; a streamed one begins, and then is silent."""
    streams = b'"stream": true' in conn.request.body
    await (events_then_hang(SAID) if streams else json_answer(chat_object(100)))(conn)


@asynccontextmanager
async def used(folder: Path) -> AsyncIterator[tuple[Program, Page]]:
    """A program with some use in its ledger, stopped streams among it, and the screen."""
    (folder / "prices.yaml").write_text(PRICES)
    async with scripted_upstream(upstream) as up, chromium() as browser:
        config = config_text(up.base_url, upstream={"bills_after_close": "no"}, prices={"file": "prices.yaml"})
        async with running_program(config, folder) as program:
            for number in range(10):
                await whole(program, "ada", "small" if number % 2 else "large, with a comma")
            await whole(program, FORMULA, "small")
            for number in range(2):
                await stopped(program, f"stop-{number}")
            async with operator_page(browser, program.admin_url) as page:
                yield program, page


async def whole(program: Program, user: str, model: str) -> None:
    """One blocking call, to its end."""
    async with RawClient(program.port) as client:
        body = {"model": model, "messages": [{"role": "user", "content": "Hello."}]}
        await client.post(CHAT, body, [("X-User-Id", user)])
        assert (await client.answer()).status == 200


async def stopped(program: Program, task_id: str) -> None:
    """One stream, stopped in the middle."""
    async with RawClient(program.port) as client, RawClient(program.port) as other:
        body = {
            "model": "small",
            "stream": True,
            "max_tokens": 500,
            "messages": [{"role": "user", "content": "Hello."}],
        }
        await client.post(CHAT, body, [("X-Task-Id", task_id), ("X-User-Id", "bo")])
        await client.until(b"data: ", 8)
        await other.post(f"/v1/generations/{task_id}/cancel", {})
        assert (await other.answer()).status == 200


def printed(folder: Path, program: Program, *options: str) -> str:
    """What `quell usage` prints."""
    env = {"QUELL_ADMIN": program.admin_url, "QUELL_ADMIN_TOKEN": ADMIN_TOKEN}
    done = quell("usage", *options, "-o", "csv", folder=folder, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def downloaded(page: Page, button: str) -> str:
    """The file behind a button."""
    async with page.expect_download() as waiting:
        await page.get_by_role("button", name=button, exact=True).click()
    found: Download = await waiting.value
    assert found.suggested_filename.endswith(".csv")
    return Path(await found.path()).read_bytes().decode()


async def test_the_csv_is_that_of_the_command_line(tmp_path: Path) -> None:
    """Both downloads are what `quell usage` prints for the same span, groups and filters, to the byte."""
    async with used(tmp_path) as (program, page):
        await go_to(page, "#/usage?since=24h&by=hour&group=model")
        by_model = await downloaded(page, "CSV by model")
        assert by_model.replace("\r\n", "\n") == printed(tmp_path, program, "--since", "24h", "--by", "model")
        assert by_model.count("\r\n") == 3
        both = await downloaded(page, "CSV by hour and model")
        assert both.replace("\r\n", "\n") == printed(tmp_path, program, "--since", "24h", "--by", "hour,model")
        await page.get_by_label("By", exact=True).select_option("user")
        by_user = await downloaded(page, "CSV by user")
        assert by_user.replace("\r\n", "\n") == printed(tmp_path, program, "--since", "24h", "--by", "user")
        assert f"'{FORMULA}" in by_user


async def test_money_is_the_same_however_it_is_grouped(tmp_path: Path) -> None:
    """What was spent is one number, by model as by outcome: stopped and complete answers of one group add up."""
    async with used(tmp_path) as (_, page):
        spent = page.locator(".cards .card", has_text="Spent, USD").locator(".figure")
        await go_to(page, "#/usage?group=outcome")
        by_outcome = await spent.inner_text()
        await page.get_by_label("By", exact=True).select_option("model")
        await expect(page.get_by_role("heading", name="By model")).to_be_visible()
        await expect(spent).to_have_text(by_outcome)


async def test_what_is_chosen_is_in_the_address(tmp_path: Path) -> None:
    """Group, step, span and filters are in the URL, a URL shows the same again, and the command below names them."""
    async with used(tmp_path) as (program, page):
        await go_to(page, "#/usage")
        await page.get_by_label("By", exact=True).select_option("user")
        await page.get_by_label("Only model").fill("small")
        await page.get_by_label("Only model").press("Enter")
        await page.get_by_label("Each", exact=True).select_option("hour")
        await expect(page).to_have_url(re.compile("group=user&model=small&by=hour"))
        await expect(page.locator("code", has_text="quell usage")).to_have_text(
            f"quell usage --since 7d --model small --by user --admin {program.admin_url}"
        )
        heads = page.get_by_role("region", name="Usage by user").locator("tbody th")
        await expect(heads).to_have_text(["ada", FORMULA, "bo"])
        await page.reload()
        await expect(heads).to_have_text(["ada", FORMULA, "bo"])
        await expect(page.get_by_label("Only model")).to_have_value("small")
        await page.get_by_label("Span").select_option(label="from … to …")
        await expect(page.get_by_label("From (UTC)")).to_be_visible()
        await page.get_by_label("Only model").fill("nobody's")
        await page.get_by_label("Only model").press("Enter")
        await expect(page.locator(".empty")).to_contain_text("Nothing was asked for in this span")


async def test_spent_saved_and_stops_are_shown(tmp_path: Path) -> None:
    """Totals, the band of what stops saved, stops by cause: each chart names itself, and has a table behind it."""
    async with used(tmp_path) as (_, page):
        await go_to(page, "#/usage?since=24h")
        totals = page.locator(".cards")
        await expect(totals).to_contain_text("2 of them stopped")
        await expect(totals).to_contain_text(re.compile(r"Saved by stops\D*1\d\d to 9\d\d"))
        await expect(totals).to_contain_text("Saved, USD")
        chart = page.get_by_role("figure").filter(has=page.get_by_role("heading", name="Stops by cause"))
        await expect(chart.locator("svg[role=img]")).to_have_accessible_name(re.compile("^Stops by cause Who or what"))
        await expect(chart.locator("svg[role=img] rect.bar")).to_have_count(1)
        await chart.get_by_text("As a table").click()
        await expect(chart.locator("tbody tr")).to_have_count(25)
        await expect(chart.locator("tbody td", has_text=re.compile("^2$"))).to_have_count(1)
        band = page.get_by_role("figure").filter(has=page.get_by_role("heading", name="Spent and saved, tokens"))
        await expect(band.locator("svg[role=img] rect.bar")).to_have_count(3)


async def test_a_question_that_is_refused_is_said(tmp_path: Path) -> None:
    """A span in the address that nobody can read is refused in words."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        async with watched_page(browser, scene.program.admin_url) as (page, watch):
            watch.expected.add(400)
            await log_in(page)
            await go_to(page, "#/usage?since=2026-13-45")
            await expect(page.get_by_role("alert")).to_contain_text("since")


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_in_charts(tmp_path: Path, theme: str) -> None:
    """With charts and an open table the screen breaks no rule, wide and narrow."""
    async with used(tmp_path) as (_, page):
        await page.emulate_media(color_scheme="dark" if theme == "dark" else "light")
        await go_to(page, "#/usage?since=24h&group=user")
        await page.get_by_text("As a table").first.click()
        assert await axe(page) == []
        await page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
        assert await axe(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]
