"""nginx with TLS in front of the admin listener, as the page about access shows it: logins, changes, streams.

The TLS itself is left out: what Quell sees of it is the header that says so.
"""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.admin import FROM_PAGE, PEOPLE, call, cookie_of, cookies_in, form, refused, secret_of
from support.balancer import quiet_port
from support.client import RawClient
from support.fronts import replaced, running_front, whole_nginx
from support.program import ROOT, Program, config_text, running_program

OPS = [("Host", "ops.example")]
STOP_ALL = "/api/generations/cancel"


@asynccontextmanager
async def behind_nginx(folder: Path) -> AsyncIterator[tuple[Program, int]]:
    """The program, and the port of an nginx that has the page's piece in its server."""
    page = (ROOT / "deploy" / "docs" / "access.md").read_text()
    (piece,) = re.findall(r"^```nginx\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    config = config_text("http://127.0.0.1:9/v1", admin={"tokens": PEOPLE}, trusted_proxies=["127.0.0.1"])
    async with running_program(config, folder) as program:
        own = quiet_port()
        piece = replaced(piece, {"http://127.0.0.1:8485;": f"http://127.0.0.1:{program.admin_port};"})
        text = whole_nginx(f"server {{ listen 127.0.0.1:{own};\n{piece}}}")
        async with running_front("nginx", text, own, folder):
            yield program, own


async def test_an_operator_works_behind_tls(tmp_path: Path) -> None:
    """The cookie is Secure, the page's own changes pass under the name that the browser knows, and others do not."""
    async with behind_nginx(tmp_path) as (_, port):
        answer = await form(port, secret_of("otto"), OPS)
        assert (answer.status, answer.header("Location")) == (303, "/ui"), answer.body
        (cookie,) = cookies_in(answer)
        assert {"Secure", "HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
        mine = [*OPS, *cookie_of(answer), *FROM_PAGE]
        for origin, status in (("https://ops.example", 200), ("https://evil.example", 403)):
            sent = [*mine, ("Origin", origin)]
            assert (await call(port, "POST", STOP_ALL, {"all": True, "dry_run": True}, sent)).status == status
        async with RawClient(port) as client:
            await client.get("/api/feed", mine)
            await client.until(b"event: page")


async def test_who_guesses_is_told_apart_behind_a_front(tmp_path: Path) -> None:
    """A client's own word about its address is not believed: nginx says who it is, and that one is slowed."""
    async with behind_nginx(tmp_path) as (program, port):
        for number in range(11):
            claimed = ("X-Forwarded-For", f"192.0.2.{number}")
            answer = await form(port, f"wrong-{number}", [*OPS, claimed])
        assert refused(answer) == (429, "too_many_attempts")
        direct = [("X-Forwarded-For", "198.51.100.7")]
        assert (await form(program.admin_port, secret_of("otto"), direct)).status == 303
