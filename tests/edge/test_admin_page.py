"""The page on the admin listener: its files and their headers, getting in and out, calls that come with its cookie."""

import gzip
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.edge.admin import sessions as admin_sessions
from proxy.edge.admin.page import FOLDER, read_page
from support.admin import (
    FROM_PAGE,
    MAIN,
    PEOPLE,
    call,
    cookie_of,
    cookies_in,
    form,
    log_in,
    refused,
    secret_of,
    token_of,
)
from support.client import Answer
from support.http_bytes import Headers
from support.program import ROOT, config_text
from support.proxy import RunningProxy, running_proxy, settings_of

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
STOP_ALL = "/api/generations/cancel"


def config(**more: object) -> str:
    """A proxy with tokens of every kind, and an upstream that nobody calls."""
    return config_text("http://127.0.0.1:9/v1", admin={"tokens": PEOPLE}, **more)


def assert_guarded(answer: Answer) -> None:
    """An answer has what every one below /ui has."""
    assert answer.header("Content-Security-Policy") == POLICY
    assert answer.header("Referrer-Policy") == "no-referrer"
    assert answer.header("X-Content-Type-Options") == "nosniff"
    assert answer.header("Cross-Origin-Opener-Policy") == "same-origin"
    assert answer.header("Cache-Control") in {"no-cache", "no-store"}


async def test_the_page_needs_no_login_and_every_answer_is_guarded(tmp_path: Path) -> None:
    """Each file is served to whoever reaches the listener; files, refusals and redirects have the strict headers."""
    async with running_proxy(config(), tmp_path) as proxy:
        port = proxy.admin_port
        files = {"/ui", *(f"/ui/{name}" for name in read_page())}
        assert "/ui/index.html" in files
        for path in files:
            for method in ("GET", "HEAD"):
                answer = await call(port, method, path)
                assert_guarded(answer)
                assert (answer.status, answer.header("Cache-Control")) == (200, "no-cache")
                assert answer.header("ETag")
            assert answer.header("Set-Cookie") is None
        for method, path, status in (
            ("GET", "/", 303),
            ("GET", "/ui/", 303),
            ("GET", "/ui/nothere.js", 404),
            ("GET", "/ui/login", 405),
            ("GET", "/ui/logout", 405),
            ("POST", "/ui", 405),
            ("POST", "/ui/login", 400),
            ("POST", "/ui/logout", 403),
            ("GET", "/ui?once=wrong", 303),
        ):
            answer = await call(port, method, path)
            assert_guarded(answer)
            assert (answer.status, cookies_in(answer)) == (status, []), path
        index = await call(port, "GET", "/ui")
        assert index.header("Content-Type") == "text/html; charset=utf-8"
        assert b"quell" in index.body.lower()


async def test_a_file_that_the_browser_has_is_not_sent_again(tmp_path: Path) -> None:
    """The tag of a file is that of its content: the browser asks each time, and gets 304 while it has the right one."""
    async with running_proxy(config(), tmp_path) as proxy:
        tag = (await call(proxy.admin_port, "GET", "/ui")).header("ETag")
        assert tag is not None
        same = await call(proxy.admin_port, "GET", "/ui", headers=[("If-None-Match", tag)])
        assert (same.status, same.body, same.header("ETag")) == (304, b"", tag)
        assert_guarded(same)
        other = await call(proxy.admin_port, "GET", "/ui", headers=[("If-None-Match", '"x"')])
        assert other.status == 200


async def test_the_page_travels_packed(tmp_path: Path) -> None:
    """Who takes gzip gets each file in it, under a tag of its own; all together they are under 150 kB then."""
    async with running_proxy(config(), tmp_path) as proxy:
        travelled = 0
        for name, file in read_page().items():
            for asked in ("br, gzip", "gzip;q=0", "identity"):
                answer = await call(proxy.admin_port, "GET", f"/ui/{name}", headers=[("Accept-Encoding", asked)])
                packs = asked == "br, gzip"
                assert (answer.header("Content-Encoding"), answer.header("Vary")) == (
                    "gzip" if packs else None,
                    "Accept-Encoding",
                )
                assert (gzip.decompress(answer.body) if packs else answer.body) == file.body
                assert answer.header("ETag") == f'"{file.tag}{"-gzip" if packs else ""}"'
                travelled += len(answer.body) * packs
        assert 0 < travelled < 150_000


@pytest.mark.parametrize(
    "path",
    [
        "/ui/../index.html",
        "/ui/..%2findex.html",
        "/ui/%2e%2e/index.html",
        "/ui/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/ui/..%5c..%5cquell.yaml",
        "/ui//etc/passwd",
        "/ui/./index.html",
        "/ui/index.html%00.js",
        "/ui/sub/index.html",
        "/ui/INDEX.HTML",
        "/ui/%69ndex.html",
        "/ui/admin_page.py",
        "/uix/index.html",
    ],
)
async def test_only_known_names_are_served(tmp_path: Path, path: str) -> None:
    """Files are looked up by their whole name among those read at the start: no path leads out of the folder."""
    async with running_proxy(config(), tmp_path) as proxy:
        answer = await call(proxy.admin_port, "GET", path)
        assert answer.status in {400, 404}
        assert b"html" not in answer.body.lower()


def test_the_page_has_no_script_or_style_of_its_own_in_its_html() -> None:
    """What the policy keeps from running must not be there: inline scripts, styles, handlers, foreign addresses."""
    kept_out = r"<script(?![^>]*\bsrc=)[^>]*>|<style|\sstyle=|\son[a-z]+=|javascript:|https?://"
    for path in FOLDER.glob("*.html"):
        assert not re.search(kept_out, path.read_text()), path


def test_the_wheel_has_the_page(tmp_path: Path) -> None:
    """Whoever installs the package gets every file of the page with it."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        assert {f"proxy/page/{name}" for name in read_page()} <= set(packed.namelist())


async def test_a_login_begins_a_session(tmp_path: Path) -> None:
    """The right token gives a cookie that scripts can't read and other sites don't send; with it the API is reached."""
    async with running_proxy(config(), tmp_path) as proxy:
        port = proxy.admin_port
        with capture_logs() as logs:
            answer = await form(port, secret_of("vera"))
        assert_guarded(answer)
        assert (answer.status, answer.header("Location")) == (303, "/ui")
        (cookie,) = cookies_in(answer)
        name, *flags = cookie.split("; ")
        assert name.startswith("quell_session=")
        assert sorted(flags) == ["HttpOnly", f"Max-Age={12 * 3600}", "Path=/", "SameSite=Strict"]
        assert secret_of("vera") not in cookie
        me = await call(port, "GET", "/api/me", headers=cookie_of(answer))
        assert me.json()["name"] == "vera"
        assert [(line["who"], line["way"]) for line in logs if line["event"] == "admin.login"] == [("vera", "form")]
        assert secret_of("vera") not in repr(logs)
        assert name.partition("=")[2] not in repr(logs)


async def test_a_script_logs_in_with_json(tmp_path: Path) -> None:
    """A login as JSON is answered with who one is now, and a wrong one with 401."""
    async with running_proxy(config(), tmp_path) as proxy:
        port = proxy.admin_port
        answer = await call(port, "POST", "/ui/login", {"token": f" {secret_of('otto')}\n"})
        assert (answer.status, answer.json()["name"]) == (200, "otto")
        assert answer.header("Cache-Control") == "no-store"
        me = await call(port, "GET", "/api/me", headers=cookie_of(answer))
        assert me.json() == answer.json()
        wrong = await call(port, "POST", "/ui/login", {"token": "wrong\ud800"})
        assert refused(wrong) == (401, "invalid_admin_token")
        assert cookies_in(wrong) == []
        for body in ({}, {"token": ""}, {"token": 1}, {"tokne": "x"}, [1], b"{", b"\xff"):
            assert (await call(port, "POST", "/ui/login", body)).status == 400, body


async def test_a_form_with_a_wrong_token_leads_back_to_the_page(tmp_path: Path) -> None:
    """The page says that it was wrong; too many wrong ones are 429, for the right one too."""
    async with running_proxy(config(), tmp_path) as proxy:
        port = proxy.admin_port
        for number in range(10):
            answer = await form(port, f"wrong-{number}")
            assert (answer.status, answer.header("Location"), cookies_in(answer)) == (303, "/ui?login=wrong", [])
        answer = await form(port, secret_of(MAIN))
        assert refused(answer) == (429, "too_many_attempts")
        assert answer.header("Retry-After")
        assert_guarded(answer)


async def test_a_session_survives_an_attack_from_its_own_address(tmp_path: Path) -> None:
    """Whoever is in already is not slowed by wrong tokens: a session can't be guessed."""
    async with running_proxy(config(), tmp_path) as proxy:
        cookie = await log_in(proxy.admin_port)
        statuses = [(await form(proxy.admin_port, f"wrong-{number}")).status for number in range(11)]
        assert statuses == [303] * 10 + [429]
        answer = await call(proxy.admin_port, "POST", STOP_ALL, {"all": True}, [*cookie, *FROM_PAGE])
        assert answer.status == 200


async def test_behind_tls_the_cookie_is_secure(tmp_path: Path) -> None:
    """Where a trusted proxy says that the browser came by https, the cookie goes nowhere else."""
    https = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "ops.example")]
    async with running_proxy(config(trusted_proxies=["127.0.0.1"]), tmp_path) as proxy:
        (cookie,) = cookies_in(await form(proxy.admin_port, secret_of(MAIN), https))
        assert "Secure" in cookie.split("; ")
        (cookie,) = cookies_in(await form(proxy.admin_port, secret_of(MAIN)))
        assert "Secure" not in cookie.split("; ")
    async with running_proxy(config(), tmp_path) as proxy:
        (cookie,) = cookies_in(await form(proxy.admin_port, secret_of(MAIN), https))
        assert "Secure" not in cookie.split("; ")


async def test_listeners_of_one_host_have_cookies_of_their_own(tmp_path: Path) -> None:
    """A browser keeps one jar for all ports of a host, so the name has the port: workers don't log each other out."""
    async with running_proxy(config(), tmp_path) as proxy:
        names = []
        for host in ("127.0.0.1:8485", "127.0.0.1:8486", "127.0.0.1", "[::1]", "[::1]:8485"):
            (cookie,) = cookies_in(await form(proxy.admin_port, secret_of(MAIN), [("Host", host)]))
            names.append(cookie.partition("=")[0])
        assert names == [f"quell_session{port}" for port in ("_8485", "_8486", "", "", "_8485")]


async def test_the_link_of_the_banner_lets_in_once(tmp_path: Path) -> None:
    """The first use of the code gives the main token's session and leads away from the code, a further one nothing."""
    async with running_proxy(config(), tmp_path) as proxy:
        port, code = proxy.admin_port, proxy.app.make_login_code()
        assert (await call(port, "HEAD", f"/ui?once={code}")).status == 200
        with capture_logs() as logs:
            answer = await call(port, "GET", f"/ui?once={code}")
            assert (answer.status, answer.header("Location"), answer.body) == (303, "/ui", b"")
            assert_guarded(answer)
            cookie = cookie_of(answer)
            again = await call(port, "GET", f"/ui?once={code}")
            assert (again.status, again.header("Location")) == (303, "/ui?login=once_used")
            assert cookies_in(again) == []
            back = await call(port, "GET", f"/ui?once={code}", headers=cookie)
            assert (back.status, back.header("Location"), cookies_in(back)) == (303, "/ui", [])
        me = await call(port, "GET", "/api/me", headers=cookie)
        assert (me.json()["name"], me.json()["role"]) == (MAIN, "admin")
        assert code not in repr(logs)
        assert [line["way"] for line in logs if line["event"] == "admin.login_failed"] == ["once"]


async def test_guessed_codes_are_slowed(tmp_path: Path) -> None:
    """A wrong code is a wrong token: after ten of them the right one is not looked at."""
    async with running_proxy(config(), tmp_path) as proxy:
        for number in range(10):
            await call(proxy.admin_port, "GET", f"/ui?once=guess-{number}")
        answer = await call(proxy.admin_port, "GET", f"/ui?once={proxy.app.make_login_code()}")
        assert (refused(answer), cookies_in(answer)) == ((429, "too_many_attempts"), [])


async def test_a_login_ends_the_session_that_the_browser_brought(tmp_path: Path) -> None:
    """A session that somebody planted in a browser never becomes the session of who logs in there."""
    async with running_proxy(config(), tmp_path) as proxy:
        port = proxy.admin_port
        planted = await log_in(port, "vera")
        own = await log_in(port, MAIN, planted)
        assert own != planted
        assert (await call(port, "GET", "/api/me", headers=own)).json()["name"] == MAIN
        assert (await call(port, "GET", "/api/me", headers=planted)).status == 401
        chosen = [("Cookie", "quell_session=chosen-by-somebody-else")]
        assert (await log_in(port, MAIN, chosen)) != chosen
        assert (await call(port, "GET", "/api/me", headers=chosen)).status == 401


async def test_a_logout_ends_the_session(tmp_path: Path) -> None:
    """Afterwards the cookie lets nobody in, also when it was kept; a page elsewhere can't log somebody out."""
    async with running_proxy(config(), tmp_path) as proxy:
        port = proxy.admin_port
        cookie = await log_in(port)
        assert refused(await call(port, "POST", "/ui/logout", headers=cookie)) == (403, "cross_site")
        assert (await call(port, "GET", "/api/me", headers=cookie)).status == 200
        answer = await call(port, "POST", "/ui/logout", headers=[*cookie, *FROM_PAGE])
        assert answer.status == 200
        assert "Max-Age=0" in cookies_in(answer)[0]
        assert (await call(port, "GET", "/api/me", headers=cookie)).status == 401


async def test_a_session_ends_with_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time the cookie lets nobody in."""
    async with running_proxy(config(), tmp_path) as proxy:
        monkeypatch.setattr(admin_sessions, "LIFE", 0)
        cookie = await log_in(proxy.admin_port)
        assert refused(await call(proxy.admin_port, "GET", "/api/me", headers=cookie)) == (401, "invalid_admin_token")


async def test_a_session_ends_with_its_token(tmp_path: Path) -> None:
    """When a token is removed from the settings, who logged in with it is out; a changed role counts at once."""
    async with running_proxy(config(), tmp_path) as proxy:
        port = proxy.admin_port
        otto, vera = await log_in(port, "otto"), await log_in(port, "vera")
        kept = [{**each, "role": "operator"} for each in PEOPLE if each["name"] == "vera"]
        fresh = config_text("http://127.0.0.1:9/v1", admin={"tokens": kept})
        proxy.app._reread = lambda: settings_of(fresh, tmp_path)
        assert (await call(port, "POST", "/api/reload", headers=token_of(MAIN))).status == 200
        assert (await call(port, "GET", "/api/me", headers=otto)).status == 401
        assert (await call(port, "GET", "/api/me", headers=vera)).json()["role"] == "operator"


SAME = [("Sec-Fetch-Site", "same-origin")]


@pytest.mark.parametrize(
    ("headers", "passes"),
    [
        ([], False),
        ([("X-Quell-Page", "0")], False),
        (FROM_PAGE, True),
        ([*FROM_PAGE, *SAME, ("Origin", "http://127.0.0.1:{port}")], True),
        ([*FROM_PAGE, ("Origin", "HTTP://127.0.0.1:{port}")], True),
        ([*FROM_PAGE, ("Origin", "https://127.0.0.1:{port}")], True),
        ([*FROM_PAGE, ("Sec-Fetch-Site", "same-site")], False),
        ([*FROM_PAGE, ("Sec-Fetch-Site", "cross-site")], False),
        ([*FROM_PAGE, ("Sec-Fetch-Site", "none")], False),
        ([*FROM_PAGE, *SAME, ("Origin", "http://127.0.0.1:1")], False),
        ([*FROM_PAGE, ("Origin", "http://evil.example")], False),
        ([*FROM_PAGE, ("Origin", "http://127.0.0.1:{port}.evil.example")], False),
        ([*FROM_PAGE, ("Origin", "null")], False),
        ([*FROM_PAGE, ("Origin", "")], False),
        ([*SAME, ("Origin", "http://127.0.0.1:{port}")], False),
    ],
)
async def test_a_change_with_the_cookie_must_come_from_the_page(
    tmp_path: Path, headers: Headers, *, passes: bool
) -> None:
    """It needs the page's header, and must not say that another page sent it; the token itself needs neither."""
    async with running_proxy(config(), tmp_path) as proxy:
        port = proxy.admin_port
        host = [("Host", f"127.0.0.1:{port}")]
        cookie = await log_in(port, "otto", host)
        sent = [*cookie, *host, *((name, value.format(port=port)) for name, value in headers)]
        answer = await call(port, "POST", STOP_ALL, {"all": True, "dry_run": True}, sent)
        assert answer.status == (200 if passes else 403), answer.body
        assert passes or refused(answer) == (403, "cross_site")
        assert (await call(port, "GET", "/api/upstreams", headers=[*cookie, *host])).status == 200
        bearer = [*token_of("otto"), ("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")]
        assert (await call(port, "POST", STOP_ALL, {"all": True, "dry_run": True}, bearer)).status == 200


async def test_the_origin_is_that_which_a_trusted_proxy_names(tmp_path: Path) -> None:
    """Behind a proxy that changes the Host, the page's origin is the one that the proxy passed on."""
    front = [("X-Forwarded-Host", "ops.example"), ("X-Forwarded-Proto", "https")]
    async with running_proxy(config(trusted_proxies=["127.0.0.1"]), tmp_path) as proxy:
        cookie = await log_in(proxy.admin_port, "otto", front)
        for origin, status in (
            ("https://ops.example", 200),
            ("https://ops.example:443", 200),
            ("http://x.example", 403),
        ):
            sent = [*cookie, *front, *FROM_PAGE, ("Origin", origin)]
            answer = await call(proxy.admin_port, "POST", STOP_ALL, {"all": True, "dry_run": True}, sent)
            assert answer.status == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("Origin", "null")], 303),
        ([("Origin", "null"), ("Sec-Fetch-Site", "same-origin")], 303),
        ([("Origin", "null"), ("Sec-Fetch-Site", "cross-site")], 403),
        ([("Origin", "http://evil.example")], 403),
        ([("Sec-Fetch-Site", "same-site")], 403),
    ],
)
async def test_another_page_can_not_log_a_browser_in(tmp_path: Path, headers: Headers, status: int) -> None:
    """A form elsewhere is refused; that of our page has the origin null, because the page tells nobody its address."""
    async with running_proxy(config(), tmp_path) as proxy:
        assert (await form(proxy.admin_port, secret_of("vera"), headers)).status == status


async def test_basic_authentication_in_front_does_not_hide_the_session(tmp_path: Path) -> None:
    """A proxy in front may ask for a password of its own: its header is not ours, and the cookie counts."""
    async with running_proxy(config(), tmp_path) as proxy:
        cookie = await log_in(proxy.admin_port, "vera")
        sent = [*cookie, ("Authorization", "Basic dmVyYTp4")]
        assert (await call(proxy.admin_port, "GET", "/api/me", headers=sent)).json()["name"] == "vera"
        wrong = [*cookie, ("Authorization", "Bearer wrong")]
        assert (await call(proxy.admin_port, "GET", "/api/me", headers=wrong)).status == 401


async def test_a_foreign_host_gets_no_page_and_no_session(tmp_path: Path) -> None:
    """A name that was pointed at this address is refused below /ui as everywhere, before any code is looked at."""
    async with running_proxy(config(), tmp_path) as proxy:
        port, code = proxy.admin_port, proxy.app.make_login_code()
        evil = [("Host", "evil.example")]
        for method, path in (("GET", "/ui"), ("GET", f"/ui?once={code}"), ("POST", "/ui/login")):
            assert (await call(port, method, path, headers=evil)).status == 421
        assert (await call(port, "GET", f"/ui?once={code}")).status == 303


async def test_each_worker_has_sessions_of_its_own(tmp_path: Path) -> None:
    """Sessions are in the memory of one process: a cookie of one listener is nobody's on another one."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()

    async def status(proxy: RunningProxy, cookie: Headers) -> int:
        return (await call(proxy.admin_port, "GET", "/api/me", headers=cookie)).status

    async with running_proxy(config(), tmp_path / "one") as one, running_proxy(config(), tmp_path / "two") as two:
        cookie = await log_in(one.admin_port)
        assert (await status(one, cookie), await status(two, cookie)) == (200, 401)
