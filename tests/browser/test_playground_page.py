"""The playground in a real browser: each API started and stopped, each way of ending it, and what the upstream saw."""

import asyncio
import json
import re
import subprocess
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from support.browser import NARROW, axe, chromium, go_to, log_in, operator_page, watched_page
from support.http_bytes import header
from support.messages import message_events, text_block
from support.playing import WORDS, answers, begin, comes, demo_page, headline, press_stop
from support.program import ADMIN_TOKEN, config_text, running_program
from support.scripts import events_then_hang
from support.streams import Talk, talking_program
from support.upstream import scripted_upstream
from support.wait import eventually

TABS = {
    "chat": "/chat/completions/",
    "completions": "/completions/",
    "responses": "/responses/",
    "assistants": "/threads/thread_",
    "dify": "/chat-messages/",
    "dify-completion": "/completion-messages/",
    "dify-workflow": "/workflows/tasks/",
    "async": "/messages/async/",
    "aitronos": "/model/response/thrd_",
    "gemini": "/v1beta/generations/",
}
OWN_STOPS = {
    "assistants": (["Assistants run"], ("assistants", "/v1")),
    "aitronos": (["Model response"], ("aitronos", "/aitronos/v1")),
    "gemini": ([], ("openai", "/v1beta")),
}
"""Which calls stop it, besides those that every generation has; and whose it is: dialect and route."""
CLOSED = re.compile(r"^Upstream closed after [\d,]+ of 2,000 tokens, .* after your stop\.$")
HOSTILE = '<img src=x onerror="window.hurt=1"><script>window.hurt=2</script>'


async def test_each_api_is_started_and_stopped(tmp_path: Path) -> None:
    """Start and Stop in each tab: the stop's command is whole, here and on its own screen; the upstream saw it."""
    commands: dict[str, str] = {}
    async with demo_page(tmp_path) as (page, program):
        for number, (tab, path) in enumerate(TABS.items(), 1):
            await page.locator(f"#tab-{tab}").click()
            await expect(page).to_have_url(re.compile(f"tab={tab}"))
            await begin(page)
            await comes(page)
            command = page.get_by_role("region", name="Stop command")
            await expect(command).to_contain_text(path)
            await expect(command).not_to_contain_text("/ID/")
            commands[tab] = await command.inner_text()
            await press_stop(page)
            await expect(headline(page)).to_have_text(CLOSED)
            await expect(answers(page).first).to_contain_text("HTTP 200")
            await expect(page.get_by_role("region", name="Raw events")).to_contain_text("data: ")
            await expect(page.get_by_role("button", name="Start", exact=True)).to_be_visible()
            assert program.log().count("upstream: saw the close of") == number
        records = (await (await page.context.request.get("/api/generations")).json())["data"]
        for tab, (name, kind) in OWN_STOPS.items():
            ids = [record["message_id"] for record in records if (record["dialect"], record["route"]) == kind]
            await go_to(page, f"#/generation/{ids[0]}")
            calls = page.locator(".calls li")
            names = [re.compile(each) for each in ("By its id", *name, "operator")]
            await expect(calls.locator("h3")).to_have_text(names)
            await expect(calls.filter(has_text=name[0] if name else "By its id")).to_contain_text(commands[tab])


async def test_anthropic_is_started_and_stopped(tmp_path: Path) -> None:
    """In front of a provider of Anthropic's API its tab is the only one; its stop closes the provider's call."""
    script = events_then_hang([message_events(1)[0], *text_block(8, stop=False)])
    async with scripted_upstream(script) as up, chromium() as browser:
        config = config_text(up.base_url, upstream={"format": "anthropic"}, route={"dialect": "anthropic"})
        async with running_program(config, tmp_path) as program:
            async with operator_page(browser, program.admin_url, "#/playground") as page:
                await expect(page.get_by_role("tab")).to_have_text(["Anthropic"])
                await page.get_by_label("Model").fill("claude")
                await page.get_by_role("textbox", name="Key").fill("sk-ant-1")
                await begin(page)
                await comes(page)
                await press_stop(page)
                await expect(headline(page)).to_have_text(
                    re.compile(r"^Upstream closed after 9 tokens, .* after your stop")
                )
                assert (await up.conn()).closed.is_set()
                assert header(up.requests[0].headers, "x-api-key") == "sk-ant-1"
                assert '-H "X-API-Key: $KEY"' in await page.get_by_role("region", name="Start command").inner_text()


async def test_quells_own_stop(tmp_path: Path) -> None:
    """With Quell's own stop chosen, the command and the call are the native ones, and the receipt is shown."""
    async with demo_page(tmp_path) as (page, _):
        await page.get_by_label("By Quell's own stop route").check()
        await begin(page)
        await comes(page)
        await expect(page.get_by_role("region", name="Stop command")).to_contain_text("/v1/generations/")
        await press_stop(page)
        await expect(answers(page).first).to_contain_text('"result": "stopped"')
        await expect(headline(page)).to_have_text(CLOSED)


async def test_the_commands_are_whole(tmp_path: Path) -> None:
    """The stop's command, pasted into a shell, stops what the page started; the start's has the prompt as it is."""
    async with demo_page(tmp_path) as (page, _):
        await page.get_by_label("Prompt").fill('It\'s a "story"\nof two lines.')
        start = await page.get_by_role("region", name="Start command").inner_text()
        given = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-c", f'set -- {start}; eval "printf %s \\"\\${{$#}}\\""'],
            capture_output=True,
            text=True,
            check=True,
        )
        body = json.loads(given.stdout)
        assert (body["messages"][0]["content"], body["max_tokens"]) == ('It\'s a "story"\nof two lines.', 2000)
        await begin(page)
        await comes(page)
        command = page.get_by_role("region", name="Stop command")
        await expect(command).not_to_contain_text("/ID/")
        stop = await command.inner_text()
        await asyncio.to_thread(subprocess.run, ["sh", "-c", stop], capture_output=True, check=True)
        await expect(headline(page)).to_have_text(re.compile("^Upstream closed after"))
        await expect(page.get_by_role("region", name="Raw events")).to_contain_text("cause=client")


async def test_a_stop_before_the_first_byte(tmp_path: Path) -> None:
    """By an id that the caller chose, or that comes before the model's first word, a silent call is stopped."""
    silent = "Upstream closed before its first token"
    cases = [
        ("chat", "499", silent),
        ("dify", "499", "The upstream was never called"),
        ("async", "200", silent),
        ("aitronos", "200", silent),
        ("assistants", "200", silent),
        ("gemini", "499", silent),
    ]
    async with demo_page(tmp_path) as (page, _):
        for tab, status, told in cases:
            await page.locator(f"#tab-{tab}").click()
            await begin(page, "Before the first byte")
            await expect(headline(page)).to_contain_text(told)
            await expect(page.locator(".desk")).to_contain_text(f"HTTP {status}")
            assert await page.locator(WORDS).text_content() == ""


async def test_a_stop_sent_twice(tmp_path: Path) -> None:
    """One press sends two stops, and both answers are shown, as each API gives them."""
    async with demo_page(tmp_path) as (page, _):
        for tab, second in (("chat", "200"), ("assistants", "400"), ("dify", "200"), ("aitronos", "200")):
            await page.locator(f"#tab-{tab}").click()
            await begin(page, "Twice")
            await comes(page)
            await press_stop(page)
            await expect(answers(page).nth(0)).to_contain_text("HTTP 200")
            await expect(answers(page).nth(1)).to_contain_text(f"HTTP {second}")
            await expect(headline(page)).to_have_text(CLOSED)


async def test_a_stranger_stops_nothing(tmp_path: Path) -> None:
    """The stop of somebody else is answered as the API documents, the answer runs on, and the owner's stop ends it."""
    cases = {
        **dict.fromkeys(("chat", "responses", "assistants", "async", "gemini"), "404"),
        "dify": "200",
        "aitronos": "403",
    }
    async with demo_page(tmp_path) as (page, _):
        for tab, status in cases.items():
            await page.locator(f"#tab-{tab}").click()
            await begin(page, "As a stranger")
            await expect(page.get_by_role("radiogroup")).to_contain_text("who send no credential are one caller")
            await expect(page.get_by_role("region", name="Stop command")).to_contain_text("somebody-else")
            await comes(page)
            await press_stop(page)
            await expect(answers(page).first).to_contain_text(f"HTTP {status} to a stranger")
            await expect(page.locator(".seen")).to_contain_text("Somebody else's stop changed nothing")
            await press_stop(page)
            await expect(headline(page)).to_have_text(CLOSED)


async def test_leaving_closes_the_upstream(tmp_path: Path) -> None:
    """Closed instead of stopped, a chat completion ends upstream too, and the page says that nobody was reading."""
    async with demo_page(tmp_path) as (page, _):
        await begin(page, "By closing the connection")
        await comes(page)
        await page.get_by_role("button", name="Close", exact=True).click()
        await expect(headline(page)).to_have_text(
            re.compile(r"^Upstream closed after [\d,]+ of 2,000 tokens, .* after you left\.$")
        )
        await expect(page.get_by_text("Nothing was stopped yet.")).to_be_visible()


async def test_what_goes_on_without_a_reader_can_still_be_stopped(tmp_path: Path) -> None:
    """An async message whose reader left runs on, the page says so, and a stop ends it."""
    async with demo_page(tmp_path, "#/playground?tab=async") as (page, _):
        await begin(page, "By closing the connection")
        await comes(page)
        await page.get_by_role("button", name="Close", exact=True).click()
        await expect(headline(page)).to_have_text("You left, and the upstream still writes.")
        await press_stop(page)
        await expect(headline(page)).to_have_text(CLOSED)


async def test_quick_edit_and_keep_partial(tmp_path: Path) -> None:
    """An early stop in Aitronos takes question and answer back, a late one keeps both; the thread is shown."""
    endings = {"After 2 s: quick edit": ("quick_edit", 0), "After 6 s: keep partial": ("keep_partial", 2)}
    async with demo_page(tmp_path, "#/playground?tab=aitronos") as (page, _):
        for ending, (mode, left) in endings.items():
            await begin(page, ending)
            await expect(answers(page).first).to_contain_text(f'"cancel_mode": "{mode}"')
            await expect(answers(page).nth(1)).to_contain_text("GET /threads/")
            thread = await answers(page).nth(1).locator("pre").inner_text()
            assert thread.count('"role"') == left


async def test_keyboard_alone(tmp_path: Path) -> None:
    """Arrow keys turn the tabs, Ctrl and Enter start from the prompt, Escape stops, and the end is said aloud."""
    async with demo_page(tmp_path) as (page, _):
        await page.get_by_role("tab", name="OpenAI chat").focus()
        await page.keyboard.press("ArrowRight")
        await expect(page.get_by_role("tab", name="Responses")).to_be_focused()
        await expect(page).to_have_url(re.compile("tab=responses"))
        await page.get_by_label("Prompt").focus()
        await page.keyboard.press("Control+Enter")
        await comes(page)
        await page.keyboard.press("Escape")
        await expect(page.locator("#announcer")).to_have_text(re.compile("^Upstream closed after"))


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_axe_finds_nothing_behind_a_stop(tmp_path: Path, theme: str) -> None:
    """With an answer, commands, frames and a stop's answer on it, the screen breaks no rule, wide and narrow."""
    async with demo_page(tmp_path, theme=theme) as (page, _):
        await begin(page, "Twice")
        await comes(page)
        assert await axe(page) == []
        await press_stop(page)
        await expect(headline(page)).to_have_text(CLOSED)
        assert await axe(page) == []
        await page.set_viewport_size({"width": NARROW[0], "height": NARROW[1]})
        assert await axe(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= NARROW[0]


async def test_model_text_is_only_text(tmp_path: Path) -> None:
    """Markup that a model writes is shown as it is, in answer and events, and never runs."""
    talk = Talk([HOSTILE])
    async with talking_program(tmp_path, talk) as scene, chromium() as browser:
        async with operator_page(browser, scene.program.admin_url, "#/playground?tab=chat") as page:
            await page.get_by_label("Model").fill("scripted")
            await begin(page)
            await expect(page.locator(WORDS)).to_contain_text(HOSTILE)
            await press_stop(page)
            await expect(headline(page)).to_contain_text("Upstream closed after")
            assert await page.evaluate("window.hurt") is None
            assert await page.locator("main img").count() == 0


async def test_an_upstreams_id_leads_nowhere_else(tmp_path: Path) -> None:
    """An id that an upstream chose stays one segment of the stop's path, below the playground."""
    said: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "../../../../ui/logout#"}},
        {"type": "response.output_text.delta", "delta": "A word."},
    ]
    events = [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in said]
    async with scripted_upstream(events_then_hang(events)) as up, chromium() as browser:
        async with running_program(config_text(up.base_url), tmp_path) as program:
            async with operator_page(browser, program.admin_url, "#/playground?tab=responses", refused=(400,)) as page:
                sent: list[str] = []
                page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
                await page.get_by_label("Model").fill("scripted")
                await begin(page)
                await comes(page)
                await press_stop(page)
                await expect(answers(page).first).to_contain_text("HTTP 400")
                assert all(url.startswith(f"{program.admin_url}/api/playground/v1/responses") for url in sent), sent
                assert len(sent) == 2


async def test_leaving_the_screen_leaves_the_call(tmp_path: Path) -> None:
    """Whoever goes to another screen closes the call, as a closed tab would."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        async with operator_page(browser, scene.program.admin_url, "#/playground?tab=chat") as page:
            await page.get_by_label("Model").fill("scripted")
            await page.get_by_label("Prompt").fill("mine")
            await begin(page)
            await comes(page)
            await go_to(page, "#/live")
            await scene.closed("mine")


async def test_who_may_only_look_is_told_so(tmp_path: Path) -> None:
    """A viewer gets a sentence in place of the playground."""
    tokens = [{"name": "mia", "role": "viewer", "token": "token-of-a-viewer"}]
    async with talking_program(tmp_path, admin={"tokens": tokens}) as scene, chromium() as browser:
        async with operator_page(browser, scene.program.admin_url, "#/playground", token="token-of-a-viewer") as page:
            await expect(page.locator("main")).to_contain_text("needs the role operator")
            await expect(page.get_by_role("button", name="Start", exact=True)).to_have_count(0)


async def test_a_key_that_is_needed_is_asked_for(tmp_path: Path) -> None:
    """Where the proxy has keys, nothing starts without one; it goes with the call, and into no command or address."""
    key, other = "key-of-the-tests", "key-of-others"
    keys = [{"id": name, "hash": sha256(each.encode()).hexdigest()} for name, each in (("acme", key), ("bolt", other))]
    async with talking_program(tmp_path, keys=keys) as scene, chromium() as browser:
        async with watched_page(browser, scene.program.admin_url) as (page, watch):
            watch.expected |= {401, 404}
            await log_in(page, ADMIN_TOKEN)
            await go_to(page, "#/playground?tab=chat")
            await page.get_by_label("Model").fill("scripted")
            ours = page.get_by_role("textbox", name="Key", exact=True)
            await begin(page)
            await expect(ours).to_be_focused()
            await ours.fill(key)
            stranger = page.get_by_role("textbox", name="Key of the stranger")
            for theirs, status in (("", "401"), (other, "404")):
                await page.get_by_role("radio", name="As a stranger").check()
                await stranger.fill(theirs)
                await begin(page)
                await expect(page.get_by_role("radiogroup")).to_contain_text(f"It is answered: {status}")
                await comes(page)
                await press_stop(page)
                await expect(answers(page).first).to_contain_text(f"HTTP {status} to a stranger")
                await press_stop(page)
                await expect(headline(page)).to_contain_text("Upstream closed after")
            await begin(page, "When I press Stop")
            await expect(stranger).to_be_hidden()
            await comes(page)
            assert key not in await page.locator("main").inner_text()
            assert "$KEY" in await page.get_by_role("region", name="Stop command").inner_text()
            await press_stop(page)
            await expect(headline(page)).to_contain_text("Upstream closed after")
            assert not any(key in url for url in watch.requests)
            await eventually(lambda: "acme" in scene.program.log(), what="the log names the key's id")
