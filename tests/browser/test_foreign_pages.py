"""What a page of somebody else can do in the browser of an operator who is logged in: nothing.

The page is on another port of the same host, which a browser takes for the same site: it sends the cookie along.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from playwright.async_api import Page

from support.browser import chromium, log_in
from support.program import ADMIN_TOKEN
from support.streams import talking_program
from support.wait import eventually

TRIES = """async (admin) => {
  const send = async (path, init) => {
    try {
      const answer = await fetch(admin + path, {credentials: "include", ...init});
      return answer.type === "opaque" ? "opaque" : await answer.text();
    } catch (error) {
      return error.name;
    }
  };
  const post = {method: "POST", body: '{"all": true}'};
  const page = {"X-Quell-Page": "1", "Content-Type": "application/json"};
  return [
    await send("/api/generations/cancel", {...post, mode: "no-cors"}),
    await send("/api/generations/cancel", {...post, headers: page}),
    await send("/ui/logout", {method: "POST", mode: "no-cors"}),
    await send("/api/me", {}),
    await send("/api/generations/one", {mode: "no-cors"}),
    await send("/api/playground/v1/models", {mode: "no-cors"}),
  ];
}"""
POSTED = ("/api/generations/one/cancel", "/api/generations/cancel", "/ui/logout", "/api/reload")
FORMS = """([admin, paths]) => {
  for (const path of paths) {
    const form = document.createElement("form");
    const frame = document.createElement("iframe");
    frame.name = path;
    Object.assign(form, {method: "post", action: admin + path, enctype: "text/plain", target: path});
    const field = document.createElement("input");
    Object.assign(field, {name: '{"all": true, "reason": "', value: '"}'});
    form.append(field);
    document.body.append(frame, form);
    form.submit();
  }
}"""
REFUSED = [
    ("POST /api/generations/cancel", True, 403),
    ("OPTIONS /api/generations/cancel", False, 401),
    ("POST /ui/logout", True, 403),
    ("GET /api/me", True, 403),
    ("GET /api/generations/one", True, 403),
    ("GET /api/playground/v1/models", True, 403),
]
"""What comes of the tries: the call, whether the operator's cookie came with it, and the status."""
FRAMED = """(admin) => new Promise((resolve) => {
  const frame = document.createElement("iframe");
  frame.onload = () => resolve(frame.contentWindow.length);
  frame.src = admin + "/ui";
  document.body.append(frame);
})"""


@asynccontextmanager
async def foreign_page() -> AsyncIterator[str]:
    """A web server of somebody else's, on the same host; gives its address."""

    async def page(_request: web.BaseRequest) -> web.Response:
        return web.Response(text="<!doctype html><title>foreign</title><body></body>", content_type="text/html")

    runner = web.ServerRunner(web.Server(page))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Network:
    """What a page's browser sent and was answered, its scripts let in or not: below fetch, which tells them nothing."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._calls: dict[str, str] = {}
        self._sent: dict[str, bool] = {}
        self._statuses: dict[str, int] = {}

    async def listen(self, page: Page) -> None:
        """Note all from now on."""
        session = await page.context.new_cdp_session(page)
        session.on("Network.requestWillBeSent", self._begun)
        session.on("Network.requestWillBeSentExtraInfo", self._with_headers)
        session.on("Network.responseReceivedExtraInfo", self._answered)
        await session.send("Network.enable")

    def _begun(self, event: dict[str, Any]) -> None:
        request = event["request"]
        if request["url"].startswith(self._origin):
            self._calls[event["requestId"]] = f"{request['method']} {request['url'].removeprefix(self._origin)}"

    def _with_headers(self, event: dict[str, Any]) -> None:
        self._sent[event["requestId"]] = any(name.lower() == "cookie" for name in event["headers"])

    def _answered(self, event: dict[str, Any]) -> None:
        self._statuses[event["requestId"]] = event["statusCode"]

    @property
    def seen(self) -> list[tuple[str, bool, int]]:
        """Each call that was answered, in their order: what it was, whether the cookie came along, its status."""
        calls = [(each, call) for each, call in self._calls.items() if each in self._statuses and each in self._sent]
        return [(call, self._sent[each], self._statuses[each]) for each, call in calls]


async def is_logged_in(page: Page) -> bool:
    """Whether the operator's session is there still."""
    return (await page.context.request.get("/api/me")).ok


async def test_a_foreign_page_can_stop_and_read_nothing(tmp_path: Path) -> None:
    """Its calls are refused though the cookie comes with them, their answers can't be read, and the session stays."""
    async with talking_program(tmp_path) as scene, chromium() as browser, foreign_page() as origin:
        admin = scene.program.admin_url
        await scene.start("one")
        context = await browser.new_context(base_url=admin)
        page = await context.new_page()
        await log_in(page)
        await page.goto(origin)
        network = Network(admin)
        await network.listen(page)
        assert await page.evaluate(TRIES, admin) == ["TypeError"] * 6  # not even an answer that it could not look into
        await eventually(lambda: len(network.seen) >= len(REFUSED), what="all tries are answered")
        assert network.seen == REFUSED
        await page.evaluate(FORMS, [admin, POSTED])
        await eventually(lambda: len(network.seen) >= len(REFUSED) + len(POSTED), what="all forms are answered")
        assert sorted(network.seen[len(REFUSED) :]) == [(f"POST {path}", True, 403) for path in sorted(POSTED)]
        assert scene.is_open("one")
        assert await is_logged_in(page)
        assert ADMIN_TOKEN not in await page.content()


async def test_the_page_is_shown_in_no_frame(tmp_path: Path) -> None:
    """Nobody can put the page under their own, so that a click meant for theirs stops something."""
    async with talking_program(tmp_path) as scene, chromium() as browser, foreign_page() as origin:
        context = await browser.new_context(base_url=scene.program.admin_url)
        page = await context.new_page()
        await log_in(page)
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text))
        await page.goto(origin)
        await page.evaluate(FRAMED, scene.program.admin_url)
        assert [text for text in told if "frame-ancestors" in text], told
        assert all("/ui" not in frame.url for frame in page.frames)


async def test_a_form_without_scripts_logs_in(tmp_path: Path) -> None:
    """A plain form of the page's own origin is let in: its origin is null, as the page tells nobody its address."""
    async with talking_program(tmp_path) as scene, chromium() as browser:
        context = await browser.new_context(base_url=scene.program.admin_url, bypass_csp=True)
        page = await context.new_page()
        await page.goto("/ui/icon.svg")
        await page.goto("/ui")
        async with page.expect_response(lambda answer: answer.url.endswith("/ui/login")) as sent:
            await page.evaluate(
                """(token) => {
                    const form = document.createElement("form");
                    Object.assign(form, {method: "post", action: "/ui/login"});
                    const field = document.createElement("input");
                    Object.assign(field, {name: "token", value: token});
                    form.append(field);
                    document.body.append(form);
                    form.submit();
                }""",
                ADMIN_TOKEN,
            )
        answer = await sent.value
        assert answer.status == 303
        assert await answer.request.header_value("Origin") == "null"
        assert await is_logged_in(page)
