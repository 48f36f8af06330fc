"""Who gets in on the admin listener and may do what: tokens, roles, texts, on every path by the table."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.core.roles import Role
from proxy.edge.admin import access as admin_access
from proxy.edge.admin.routes import AdminRoute, AdminRoutes, without_name
from proxy.edge.admin.table import AdminTable
from support.admin import MAIN, PEOPLE, call, log_in, refused, secret_of, token_of
from support.chat import ask, chat_events, text
from support.client import RawClient
from support.http_bytes import Headers
from support.program import config_text
from support.proxy import RunningProxy, running_proxy, settings_of
from support.scripts import events_then_hang
from support.upstream import scripted_upstream
from support.wait import eventually

SAID = text(5).strip()
ROLES = {MAIN: Role.ADMIN, **{each["name"]: Role(each["role"]) for each in PEOPLE}}
SEE_TEXT = {MAIN, *(each["name"] for each in PEOPLE if each.get("text"))}
NO_PARAMETER = "nonsense=1"
"""Makes a call that is let in fail, so that nothing is changed."""


@asynccontextmanager
async def a_stream(folder: Path, **config: Any) -> AsyncIterator[RunningProxy]:
    """A proxy with tokens of every kind, on which the stream `t-1` has said five words and goes on."""
    admin = {"tokens": PEOPLE} | config.pop("admin", {})
    script = events_then_hang(chat_events(5, finish=None, done=False))
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, admin=admin, **config), folder) as proxy,
        RawClient(proxy.port) as client,
    ):
        await client.post("/v1/chat/completions", ask(), [("X-Task-Id", "t-1")])
        await client.until(b"data: ", 6)
        yield proxy


def table(proxy: RunningProxy) -> list[AdminRoute]:
    """Every path of the admin listener."""
    app = proxy.app
    return list(AdminTable(app.engine, lambda: app.gateway.runtime, reload=app.reload, ready=dict).routes)


def target(route: AdminRoute, name: str = "t-1") -> str:
    """A request's path for a route."""
    return route.path.replace("{id}", name).replace("{path}", f"v1/generations/{name}")


async def test_every_path_below_api_has_a_role(tmp_path: Path) -> None:
    """Only the probes and the metrics are for everybody; below /api each path names the role that it needs."""
    async with a_stream(tmp_path) as proxy:
        routes = table(proxy)
        assert {route.path for route in routes if route.role is None} == {"/livez", "/healthz", "/readyz", "/metrics"}
        assert all(route.summary.endswith(".") and route.methods for route in routes)
        assert len({route.path for route in routes}) == len(routes)
        changes = {route.path: route.role for route in routes if "POST" in route.methods}
        assert Role.VIEWER not in changes.values()


def test_a_path_below_api_without_a_role_is_a_mistake() -> None:
    """Nobody can add a path that is open by oversight."""

    async def serve(*_: Any) -> dict[str, Any]:
        return {}

    with pytest.raises(ValueError, match="/api/x needs a role"):
        AdminRoute("/api/x", ("GET",), None, without_name(serve), "Nothing.")


def test_the_more_exact_path_goes_first() -> None:
    """A path without a name in it is not taken for one with a name, and a name takes one segment, `{path}` all."""

    async def serve(*_: Any) -> dict[str, Any]:
        return {}

    paths = ("/api/x/{id}", "/api/x/cancel", "/api/x/{id}/events", "/api/y/{path}")
    routes = AdminRoutes(AdminRoute(path, ("GET",), Role.VIEWER, serve, "Nothing.") for path in paths)

    def found(path: str) -> tuple[str, str] | None:
        match = routes.find(path)
        return None if match is None else (match[0].path, match[1])

    assert found("/api/x/cancel") == ("/api/x/cancel", "")
    assert found("/api/x/cancel/events") == ("/api/x/{id}/events", "cancel")
    assert found("/api/x/a.b") == ("/api/x/{id}", "a.b")
    assert found("/api/y/a/b%20c/d") == ("/api/y/{path}", "a/b%20c/d")
    assert [found(path) for path in ("/api/x/", "/api/x/a/b", "/api/y/", "/api", "/api/xxcancel")] == [None] * 5


@pytest.mark.parametrize("who", sorted(ROLES))
async def test_a_role_may_what_the_table_says(tmp_path: Path, who: str) -> None:
    """On every path and by every method, a token whose role is not enough is refused, and changes nothing."""
    async with a_stream(tmp_path) as proxy:
        for route in table(proxy):
            if route.role is None:
                continue
            for method in route.methods:
                path = f"{target(route)}?{NO_PARAMETER}"
                answer = await call(proxy.admin_port, method, path, headers=token_of(who))
                is_role_refused = answer.status == 403 and (
                    method == "HEAD" or refused(answer)[1] == "role_not_allowed"
                )
                assert is_role_refused != ROLES[who].may(route.role), (method, path, answer.status)
                assert answer.status != 401
        assert len(list(proxy.app.engine.registry)) == 1


@pytest.mark.parametrize("who", [MAIN, *(each["name"] for each in PEOPLE)])
async def test_nobody_sees_text_without_the_right(tmp_path: Path, who: str) -> None:
    """No path tells what a model wrote to a token that may not see it, whatever its role; each view is logged."""
    async with a_stream(tmp_path) as proxy:
        one = "/api/generations/t-1"

        async def is_folded() -> bool:
            return SAID in ((await call(proxy.admin_port, "GET", one, headers=token_of(MAIN))).json()["text"] or "")

        await eventually(is_folded, what="the record has the text")
        seen, refusals = set[str](), set[str]()
        with capture_logs() as logs:
            for route in [each for each in table(proxy) if "GET" in each.methods]:
                async with RawClient(proxy.admin_port) as client:
                    await client.get(target(route), token_of(who))
                    answer = await first_of(client)
                if b"text_not_allowed" in answer:
                    refusals.add(route.path)
                if SAID.split()[1].encode() in answer:
                    seen.add(route.path)
        viewed = [line for line in logs if line["event"] == "text.viewed"]
        relayed = "/api/playground/{path}"
        if who in SEE_TEXT:
            expected = {"/api/generations/{id}", "/api/generations/{id}/events"}
            assert seen - {relayed} == expected
            assert [(line["who"], line["task_id"]) for line in viewed] == [(who, "t-1")] * len(expected)
            assert (relayed in seen) == ROLES[who].may(Role.OPERATOR)
        else:
            assert (seen, viewed) == (set(), [])
            assert "/api/generations/{id}/events" in refusals
            assert (relayed in refusals) == ROLES[who].may(Role.OPERATOR)
            hidden = (await call(proxy.admin_port, "GET", one, headers=token_of(who))).json()
            assert (hidden["text"], hidden["text_hidden"], hidden["task_id"]) == (None, True, "t-1")


async def test_who_was_shown_nothing_has_seen_nothing(tmp_path: Path) -> None:
    """A stream that is no longer kept or begins behind a wrong event, and a HEAD, are not logged as looks at a text."""
    async with a_stream(tmp_path) as proxy:
        port, one, registry = proxy.admin_port, "/api/generations/t-1", proxy.app.engine.registry
        await call(port, "POST", f"{one}/cancel", {}, token_of("otto"))
        await eventually(lambda: not len(registry), what="it is over")
        with capture_logs() as logs:
            head = await call(port, "HEAD", one, headers=token_of("tess"))
            assert (head.status, head.body) == (200, b"")
            wrong = await call(port, "GET", f"{one}/events?after=x", headers=token_of("tess"))
            assert refused(wrong) == (400, "invalid_parameter")
            registry.expire(proxy.app.engine.now() + 10_000)
            gone = await call(port, "GET", f"{one}/events", headers=token_of("tess"))
            assert refused(gone) == (410, "events_gone")
        assert [line for line in logs if line["event"] == "text.viewed"] == []


async def first_of(client: RawClient) -> bytes:
    """A whole answer, or of a stream what comes at first: the words of one that has them."""
    head, _, _ = (await client.until(b"\r\n\r\n")).lower().partition(b"\r\n\r\n")
    if b"text/event-stream" not in head:
        answer = await client.answer()
        return answer.body
    await client.until(b"data: ")
    if b"event: page" not in client.buffer:
        await client.until(b"data: ", 6)
    return bytes(client.buffer)


@pytest.mark.parametrize(("who", "is_told"), [("otto", False), ("olga", True), ("ada", False), (MAIN, True)])
async def test_a_stop_names_who_stopped_and_hides_the_text(tmp_path: Path, who: str, *, is_told: bool) -> None:
    """The record of a stopped generation names the token, and its receipt has the text for whoever may see it."""
    async with a_stream(tmp_path) as proxy:
        with capture_logs() as logs:
            answer = await call(proxy.admin_port, "POST", "/api/generations/t-1/cancel", {}, token_of(who))
        receipt = answer.json()
        assert (receipt["result"], receipt["partial"]["characters"]) == ("stopped", len(text(5)))
        assert receipt["partial"]["text"] == (text(5) if is_told else None)
        assert receipt["partial"].get("text_hidden", False) != is_told
        assert [line["who"] for line in logs if line["event"] == "text.viewed"] == [who] * is_told
        record = (await call(proxy.admin_port, "GET", "/api/generations/t-1", headers=token_of(MAIN))).json()
        assert (record["cancelled_by"], record["cause"]) == (who, "operator")


async def test_a_bulk_stop_names_who_stopped(tmp_path: Path) -> None:
    """So does each record of a bulk stop."""
    async with a_stream(tmp_path) as proxy:
        answer = await call(proxy.admin_port, "POST", "/api/generations/cancel", {"all": True}, token_of("otto"))
        assert answer.json()["stopped"] == ["t-1"]
        record = (await call(proxy.admin_port, "GET", "/api/generations/t-1", headers=token_of("vera"))).json()
        assert record["cancelled_by"] == "otto"


async def test_an_export_with_texts_needs_the_right(tmp_path: Path) -> None:
    """An export without texts is for every viewer; with texts it is refused without the right, else each is logged."""
    async with a_stream(tmp_path) as proxy:
        port = proxy.admin_port
        await call(port, "POST", "/api/generations/t-1/cancel", {}, token_of(MAIN))
        assert (await call(port, "GET", "/api/ledger/export", headers=token_of("vera"))).status == 200
        with_text = "/api/ledger/export?text=true"
        assert refused(await call(port, "GET", with_text, headers=token_of("ada"))) == (403, "text_not_allowed")
        with capture_logs() as logs:
            answer = await call(port, "GET", with_text, headers=token_of("tess"))
        assert SAID.encode() in answer.body
        assert [(each["who"], each["task_id"]) for each in logs if each["event"] == "text.viewed"] == [("tess", "t-1")]


async def test_everybody_is_told_who_they_are(tmp_path: Path) -> None:
    """`/api/me` has the name, the role and what follows from it, so that the page shows no button in vain."""
    async with a_stream(tmp_path) as proxy:
        for who, role in ROLES.items():
            me = (await call(proxy.admin_port, "GET", "/api/me", headers=token_of(who))).json()
            operates, reloads = role is not Role.VIEWER, role is Role.ADMIN
            can = {"stop": operates, "reload": reloads, "text": who in SEE_TEXT, "playground": operates}
            assert (me["name"], me["role"], me["text"], me["can"]) == (who, role, who in SEE_TEXT, can)
            assert (me["replica"], me["demo"], me["replicas"]) == (proxy.app.replica, False, False)
            assert me["started_at"].endswith("Z")
            assert me["version"]
        assert refused(await call(proxy.admin_port, "GET", "/api/me")) == (401, "invalid_admin_token")


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", f"Basic {secret_of(MAIN)}")],
        [("Authorization", secret_of(MAIN))],
        [("Authorization", f"Bearer {secret_of(MAIN)}x")],
        [("Authorization", f"Bearer {secret_of(MAIN)[:-1]}")],
        [("Authorization", f"Bearer {secret_of(MAIN).upper()}")],
        [("X-API-Key", secret_of(MAIN))],
        [("Cookie", f"quell_session={secret_of(MAIN)}")],
        [("Cookie", "quell_session=; quell_session==;;; quell_session")],
    ],
)
async def test_what_is_no_token_lets_nobody_in(tmp_path: Path, headers: Headers) -> None:
    """Neither another scheme, nor half a token, nor the token in another place."""
    async with a_stream(tmp_path) as proxy:
        assert refused(await call(proxy.admin_port, "GET", "/api/me", headers=headers)) == (401, "invalid_admin_token")


async def test_two_tokens_in_one_request_are_refused(tmp_path: Path) -> None:
    """Nobody could say which of the two was meant, by us or by a proxy in front."""
    async with a_stream(tmp_path) as proxy:
        answer = await call(proxy.admin_port, "GET", "/api/me", headers=[*token_of("vera"), *token_of(MAIN)])
        assert refused(answer) == (400, "invalid_header")


async def test_guessing_is_slowed_and_logged_without_the_token(tmp_path: Path) -> None:
    """After ten wrong tokens every further one is 429, also a right one; the log has the address and no token."""
    async with a_stream(tmp_path) as proxy:
        port = proxy.admin_port
        with capture_logs() as logs:
            for number in range(10):
                answer = await call(port, "GET", "/api/me", headers=[("Authorization", f"Bearer guess-{number}")])
                assert refused(answer) == (401, "invalid_admin_token")
            for name in ("vera", MAIN):
                answer = await call(port, "GET", "/api/me", headers=token_of(name))
                assert refused(answer) == (429, "too_many_attempts")
                assert 0 < int(answer.header("Retry-After") or 0) <= 5
        failed = [line for line in logs if line["event"] == "admin.login_failed"]
        assert [(line["way"], line["address"]) for line in failed] == [("bearer", "127.0.0.1")] * 10
        assert "guess" not in repr(logs)
        assert (await call(port, "GET", "/livez")).status == 200
        assert (await call(port, "GET", "/metrics")).status == 200


async def test_the_same_wrong_token_again_is_no_guess(tmp_path: Path) -> None:
    """A script with a token of yesterday is refused again and again, and locks out nobody who has a right one."""
    async with a_stream(tmp_path) as proxy:
        old = [("Authorization", "Bearer token-of-yesterday")]
        with capture_logs() as logs:
            for _ in range(25):
                assert (await call(proxy.admin_port, "GET", "/api/me", headers=old)).status == 401
        assert len([line for line in logs if line["event"] == "admin.login_failed"]) == 1
        assert (await call(proxy.admin_port, "GET", "/api/me", headers=token_of("vera"))).status == 200


async def test_no_token_at_all_is_no_guess(tmp_path: Path) -> None:
    """A page that asks who it is before its login, or comes with the cookie of yesterday, uses up no tries."""
    async with a_stream(tmp_path) as proxy:
        for _ in range(15):
            assert (await call(proxy.admin_port, "GET", "/api/me")).status == 401
            assert (
                await call(proxy.admin_port, "GET", "/api/me", headers=[("Cookie", "quell_session=old")])
            ).status == 401
        assert (await call(proxy.admin_port, "GET", "/api/me", headers=token_of(MAIN))).status == 200


async def test_an_address_that_a_trusted_proxy_names_is_the_one_that_is_slowed(tmp_path: Path) -> None:
    """Behind a proxy that is trusted, one who guesses does not lock out everybody else."""
    async with a_stream(tmp_path, trusted_proxies=["127.0.0.1"]) as proxy:

        async def status(address: str, token: str) -> int:
            headers = [("X-Forwarded-For", address), ("Authorization", f"Bearer {token}")]
            return (await call(proxy.admin_port, "GET", "/api/me", headers=headers)).status

        assert [await status("192.0.2.1", f"guess-{number}") for number in range(11)] == [401] * 10 + [429]
        assert await status("192.0.2.2", secret_of("vera")) == 200


async def test_a_reload_takes_new_tokens_and_ends_what_it_removes(tmp_path: Path) -> None:
    """A token that is removed from the file, or has another role there, counts so from the reload on."""
    async with a_stream(tmp_path) as proxy:
        port = proxy.admin_port
        changed = [
            {"name": "vera", "role": "admin", "token": secret_of("vera")},
            {"name": "nora", "role": "viewer", "token": "nora-0123456789abcdef"},
        ]
        config = config_text(proxy.settings.upstreams["up"].base_url, admin={"tokens": changed})
        proxy.app._reread = lambda: settings_of(config, tmp_path)
        answer = await call(port, "POST", "/api/reload", headers=token_of("ada"))
        assert answer.json()["needs_restart"] == []
        assert (await call(port, "GET", "/api/me", headers=token_of("otto"))).status == 401
        assert (await call(port, "GET", "/api/me", headers=token_of("vera"))).json()["role"] == "admin"
        nora = [("Authorization", "Bearer nora-0123456789abcdef")]
        assert (await call(port, "GET", "/api/me", headers=nora)).json()["name"] == "nora"
        assert (await call(port, "GET", "/api/me", headers=token_of(MAIN))).status == 200


@pytest.mark.parametrize("path", ["/api/generations/t-1/events", "/api/feed"])
@pytest.mark.parametrize("by_cookie", [False, True], ids=["token", "session"])
async def test_a_stream_ends_with_the_token_that_it_was_opened_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, *, by_cookie: bool
) -> None:
    """Whoever is let in no more sees no more: a stream that is open is broken off soon after the reload."""
    monkeypatch.setattr(admin_access, "LOOK_SECONDS", 0.01)
    async with a_stream(tmp_path) as proxy:
        port = proxy.admin_port
        ways = {who: await log_in(port, who) if by_cookie else token_of(who) for who in ("tess", "olga")}
        async with RawClient(port) as gone, RawClient(port) as kept:
            await gone.get(path, ways["tess"])
            await kept.get(path, ways["olga"])
            await gone.until(b"data: ")
            await kept.until(b"data: ")
            left = [each for each in PEOPLE if each["name"] != "tess"]
            config = config_text(proxy.settings.upstreams["up"].base_url, admin={"tokens": left})
            proxy.app._reread = lambda: settings_of(config, tmp_path)
            assert (await call(port, "POST", "/api/reload", headers=token_of(MAIN))).status == 200
            await gone.rest()
            assert not (await gone.answer()).complete
            await call(port, "POST", "/api/generations/t-1/cancel", {}, token_of(MAIN))
            await kept.until(b"[DONE]" if "events" in path else b'"gone"')


async def test_a_token_can_be_given_as_its_hash(tmp_path: Path) -> None:
    """The file need not have the token: its SHA-256 is enough, two while it is exchanged; the hash lets nobody in."""
    foo = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    bar = "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9"
    tokens = [{"name": "hana", "role": "viewer", "hash": f"{foo}\n{bar}  -\n"}]
    async with a_stream(tmp_path, admin={"tokens": tokens}) as proxy:
        for token, status in (("foo", 200), ("bar", 200), (foo, 401)):
            headers = [("Authorization", f"Bearer {token}")]
            assert (await call(proxy.admin_port, "GET", "/api/me", headers=headers)).status == status


async def test_the_settings_that_are_shown_have_no_token(tmp_path: Path) -> None:
    """`/api/config` names the tokens and their roles, and has neither token nor hash."""
    async with a_stream(tmp_path) as proxy:
        answer = await call(proxy.admin_port, "GET", "/api/config", headers=token_of("vera"))
        shown = answer.json()["settings"]["admin"]["tokens"]
        assert [each["name"] for each in shown] == [each["name"] for each in PEOPLE]
        for name in ROLES:
            assert secret_of(name).encode() not in answer.body


async def test_a_stop_by_a_viewer_leaves_the_stream_alone(tmp_path: Path) -> None:
    """A viewer's stop, of one or of all, is refused, and what runs runs on."""
    async with a_stream(tmp_path) as proxy:
        for path, body in (("/api/generations/t-1/cancel", {}), ("/api/generations/cancel", {"all": True})):
            answer = await call(proxy.admin_port, "POST", path, body, token_of("tess"))
            assert refused(answer) == (403, "role_not_allowed")
        assert proxy.app.engine.registry.find("anonymous", "t-1") is not None
        await call(proxy.admin_port, "POST", "/api/generations/t-1/cancel", {}, token_of("otto"))
        await eventually(lambda: not list(proxy.app.engine.registry), what="the stream was stopped")
