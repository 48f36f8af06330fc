"""The admin listener against a running proxy: probes, metrics, the token, and an operator's view of generations."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from proxy.core.record import Record
from proxy.edge.admin.errors import ReloadError
from proxy.edge.admin.listener import make_admin_runner
from proxy.edge.runtime import Runtime
from proxy.stores.ledger.null import NullLedger
from proxy.stores.ledger.port import Ledger, LedgerUnavailableError, Page, RecordFilter
from proxy.stores.ledger.usage import UsageQuery, UsageRow
from support.chat import ask, chat_events, chat_object, sse
from support.client import Answer, RawClient
from support.http_bytes import Headers
from support.leaks import back_to_start
from support.program import ADMIN_TOKEN, config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import events_then_hang, json_answer
from support.tiny_server import error_of
from support.upstream import ScriptedUpstream, scripted_upstream
from support.wait import eventually

BEARER: Headers = [("Authorization", f"Bearer {ADMIN_TOKEN}")]
CHAT = "/v1/chat/completions"
TWO_KEYS: list[dict[str, Any]] = [
    {"id": "acme", "hash": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"},
    {"id": "globex", "hash": "fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9"},
]
"""The SHA-256 of foo and of bar."""

PATHS = ("generations", "generations/x", "generations/x/events", "usage", "upstreams", "budgets", "config", "nonsense")


@asynccontextmanager
async def a_proxy(
    folder: Path, *, ledger: Ledger | None = None, **config: Any
) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """A proxy whose upstream sends five words and then nothing."""
    script = events_then_hang(chat_events(5, finish=None, done=False))
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, **config), folder, ledger=ledger) as proxy,
    ):
        yield proxy, up


async def call(
    port: int, method: str, path: str, body: Any = b"", headers: Headers | None = None, version: str = "HTTP/1.1"
) -> Answer:
    """One request on a connection of its own, with the admin token unless headers are given."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [("Host", "127.0.0.1"), ("Content-Length", str(len(content))), *(BEARER if headers is None else headers)]
    if any(name == "Host" for name, _ in headers or ()):
        lines.pop(0)
    head = "".join(f"{name}: {value}\r\n" for name, value in lines if value)
    async with RawClient(port) as client:
        await client.send(f"{method} {path} {version}\r\n{head}\r\n".encode() + content)
        return await client.answer(to_head=method == "HEAD")


@asynccontextmanager
async def streams(proxy: RunningProxy, *calls: tuple[str, Headers]) -> AsyncIterator[list[RawClient]]:
    """Streaming model calls, each with the task id given and more headers; all have got their five words."""
    clients = []
    try:
        for task_id, headers in calls:
            client = await RawClient(proxy.port).connect()
            clients.append(client)
            await client.post(CHAT, ask(), [("X-Task-Id", task_id), *headers])
            await client.until(b"data: ", 6)
        yield clients
    finally:
        for client in clients:
            client.fin()


def as_user(user: str) -> Headers:
    """The header that names the end user."""
    return [("X-User-Id", user)]


def with_key(key: str) -> Headers:
    """The header that carries a caller's key."""
    return [("Authorization", f"Bearer {key}")]


async def test_probes_and_metrics_need_no_token(tmp_path: Path) -> None:
    """Liveness, readiness and metrics are answered to whoever reaches the listener, and never call the upstream."""
    async with a_proxy(tmp_path) as (proxy, up):
        for path in ("/livez", "/healthz", "/readyz"):
            assert (await call(proxy.admin_port, "GET", path, headers=[])).status == 200, path
            assert (await call(proxy.admin_port, "HEAD", path, headers=[])).status == 200, path
        verbose = await call(proxy.admin_port, "GET", "/readyz?verbose", headers=[])
        assert all(verbose.json()["checks"].values())
        metrics = await call(proxy.admin_port, "GET", "/metrics", headers=[])
        assert metrics.header("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
        assert b"quell_generations_active 0.0" in metrics.body
        assert not up.requests


async def test_a_probe_without_host_is_answered(tmp_path: Path) -> None:
    """Load balancers probe with HTTP/1.0 and no Host: that is no web page's request."""
    async with a_proxy(tmp_path) as (proxy, _):
        answer = await call(proxy.admin_port, "GET", "/livez", headers=[("Host", "")], version="HTTP/1.0")
        assert answer.status == 200
        assert (await call(proxy.admin_port, "GET", "/livez", headers=[("Host", "")])).status == 400


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text"),
        ("application/openmetrics-text;version=nonsense", "text/plain"),
        ("text/html", "text/plain"),
    ],
)
async def test_metrics_come_in_the_scrapers_format(tmp_path: Path, accept: str, content_type: str) -> None:
    """A scraper gets OpenMetrics when it asks for it properly, and Prometheus' text otherwise."""
    async with a_proxy(tmp_path) as (proxy, _):
        answer = await call(proxy.admin_port, "GET", "/metrics", headers=[("Accept", accept)])
        assert answer.status == 200
        assert str(answer.header("Content-Type")).startswith(content_type)


async def test_not_ready_while_draining_and_without_a_ledger(tmp_path: Path) -> None:
    """Readiness is 503 as soon as one check fails, and says which; liveness stays 200."""
    checks = {"ledger": True, "not_draining": True}
    async with a_proxy(tmp_path) as (proxy, _), an_admin(proxy, checks=checks) as port:
        for name in checks:
            checks[name] = False
            answer = await call(port, "GET", "/readyz?verbose", headers=[])
            assert (answer.status, answer.json()["checks"]) == (503, checks)
            answer = await call(port, "GET", "/readyz", headers=[])
            assert (answer.status, answer.json()) == (503, {"status": "not_ready", "checks": {name: False}})
            assert (await call(port, "GET", "/livez", headers=[])).status == 200
            checks[name] = True
        assert (await call(port, "GET", "/readyz", headers=[])).status == 200


@asynccontextmanager
async def an_admin(
    proxy: RunningProxy, *, checks: dict[str, bool] | None = None, problems: list[str] | None = None
) -> AsyncIterator[int]:
    """A second admin listener on the same engine, with readiness checks and a reload of the test's own."""

    async def reload() -> list[str]:
        if problems is not None:
            raise ReloadError(problems)
        return ["listen"]

    def current() -> Runtime:
        return proxy.app.gateway.runtime

    runner = make_admin_runner(
        proxy.app.engine,
        current,
        token=ADMIN_TOKEN,
        reload=reload,
        ready=lambda: checks or {},
        host_names=["Quell.Example"],
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("path", PATHS)
async def test_every_api_path_needs_the_token(tmp_path: Path, path: str) -> None:
    """Without the token, or with a wrong one, every path below /api is 401 and tells nothing else (Z4)."""
    wrong = [[], with_key(ADMIN_TOKEN[:-1]), with_key(""), [("Authorization", f"Basic {ADMIN_TOKEN}")]]
    async with a_proxy(tmp_path) as (proxy, _):
        for headers in wrong:
            for method in ("GET", "POST"):
                answer = await call(proxy.admin_port, method, f"/api/{path}", headers=headers)
                assert answer.status == 401
                assert error_of(answer.body)["code"] == "invalid_admin_token"
                assert answer.header("WWW-Authenticate") == "Bearer"


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8485", 200),
        ("[::1]:8485", 200),
        ("localhost:1", 200),
        ("LOCALHOST.", 200),
        ("quell.example:8485", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("127.0.0.1.evil.example:8485", 421),
        ("0x7f.1", 421),
    ],
)
async def test_a_foreign_host_is_refused(tmp_path: Path, host: str, status: int) -> None:
    """Only the listener's own names and addresses are served, so a page can't rebind its name to it, token or not."""
    async with a_proxy(tmp_path) as (proxy, _), an_admin(proxy) as port:
        for path in ("/metrics", "/api/upstreams"):
            assert (await call(port, "GET", path, headers=[("Host", host), *BEARER])).status == status


async def test_unknown_paths_and_methods(tmp_path: Path) -> None:
    """An unknown path is 404 and a wrong method 405 with what is allowed, in the error shape."""
    async with a_proxy(tmp_path) as (proxy, _):
        for path in ("/api", "/api/", "/api/generations/", "/api/generations/x/y", "/v1/models", "/livez/x"):
            answer = await call(proxy.admin_port, "GET", path)
            assert (answer.status, error_of(answer.body)["code"]) == (404, "not_found"), path
        for method, path, allowed in (
            ("POST", "/livez", "GET, HEAD"),
            ("GET", "/api/reload", "POST"),
            ("GET", "/api/generations/cancel", "POST"),
            ("DELETE", "/api/generations/x", "GET, HEAD"),
        ):
            answer = await call(proxy.admin_port, method, path)
            assert (answer.status, answer.header("Allow")) == (405, allowed)


async def test_live_generations_are_listed_and_filtered(tmp_path: Path) -> None:
    """Live generations of all callers are listed newest first, without their texts, and by every filter."""
    async with (
        a_proxy(tmp_path, keys=TWO_KEYS, route={"tags": {"team": "search"}}) as (proxy, _),
        streams(proxy, ("one", [*with_key("foo"), *as_user("u1")]), ("two", with_key("bar"))),
    ):

        async def ids(query: str) -> list[str]:
            answer = await call(proxy.admin_port, "GET", f"/api/generations?{query}")
            assert answer.status == 200, answer.body
            return [record["task_id"] for record in answer.json()["data"]]

        listed = await call(proxy.admin_port, "GET", "/api/generations?state=live")
        assert [(each["task_id"], each["phase"], "text" in each) for each in listed.json()["data"]] == [
            ("two", "streaming", False),
            ("one", "streaming", False),
        ]
        for state in ("state=live&", ""):
            assert await ids(f"{state}user=u1") == ["one"]
            assert await ids(f"{state}key=globex") == ["two"]
            assert await ids(f"{state}route=/v1&model=scripted") == ["two", "one"]
            assert await ids(f"{state}model=other") == []
            assert await ids(f"{state}tag=team:search") == ["two", "one"]
            assert await ids(f"{state}tag=team:find") == []
            assert await ids(f"{state}older_than=1h") == []
            assert await ids(f"{state}older_than=0s&key=acme") == ["one"]
        assert await ids("state=ended") == []


async def test_pages_of_live_and_of_all(tmp_path: Path) -> None:
    """Each page goes on behind the one before it, to the last one."""
    async with a_proxy(tmp_path) as (proxy, _), streams(proxy, ("a", []), ("b", []), ("c", [])):
        for state in ("&state=live", ""):
            cursor, seen = "", []
            for _ in range(4):
                more = f"&cursor={cursor}" if cursor else ""
                page = (await call(proxy.admin_port, "GET", f"/api/generations?limit=1{state}{more}")).json()
                seen += [record["task_id"] for record in page["data"]]
                cursor = page["next_cursor"]
                if cursor is None:
                    break
            assert seen == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("usr=u1", "unknown_parameter", "did you mean 'user'?"),
        ("zzz=u1", "unknown_parameter", "known: cursor, key, limit"),
        ("user=", "invalid_parameter", "user is empty"),
        ("user=a&user=b", "invalid_parameter", "given twice"),
        ("state=alive", "invalid_parameter", "Did you mean live?"),
        ("older_than=10", "invalid_parameter", "older_than must be a duration such as 30s"),
        ("tag=team", "invalid_parameter", "tag must be name:value"),
        ("limit=101", "invalid_parameter", "from 1 to 100"),
        ("limit=0", "invalid_parameter", "from 1 to 100"),
        ("cursor=nonsense", "invalid_cursor", "not given out here"),
        ("cursor=nonsense&state=live", "invalid_cursor", "not given out here"),
    ],
)
async def test_a_bad_query_is_explained(tmp_path: Path, query: str, code: str, words: str) -> None:
    """Every wrong parameter is refused with what was expected."""
    async with a_proxy(tmp_path) as (proxy, _):
        answer = await call(proxy.admin_port, "GET", f"/api/generations?{query}")
        error = error_of(answer.body)
        assert (answer.status, error["code"]) == (400, code)
        assert words in error["message"]


async def test_one_record_has_its_text(tmp_path: Path) -> None:
    """One record, live or over, comes with its text and what says how it is stopped; an unknown id is 404."""
    async with a_proxy(tmp_path) as (proxy, up):
        async with streams(proxy, ("one", [])):
            await eventually(lambda: seen_text(proxy, "one"), what="the text was folded")
            one = (await call(proxy.admin_port, "GET", "/api/generations/one")).json()
            assert (one["outcome"], one["aliases"], one["format"]) == ("running", [], "openai")
        await up.no_connections()
        ended = await call(proxy.admin_port, "GET", "/api/generations/one")
        assert ended.json()["outcome"] in {"running", "client_gone"}
        assert ended.json()["text"] == "Rain fell all night on "
        unknown = await call(proxy.admin_port, "GET", "/api/generations/nobodys")
        assert (unknown.status, error_of(unknown.body)["code"]) == (404, "generation_not_found")


async def test_one_record_without_its_text(tmp_path: Path) -> None:
    """Whoever does not want the text, such as a page that looks each second, is not noted as somebody who saw it."""
    async with a_proxy(tmp_path) as (proxy, _):
        async with streams(proxy, ("one", [])):
            await eventually(lambda: seen_text(proxy, "one"), what="the text was folded")
            with capture_logs() as logs:
                answer = await call(proxy.admin_port, "GET", "/api/generations/one?text=no")
            assert answer.json()["task_id"] == "one"
            assert "text" not in answer.json()
            assert [line["event"] for line in logs if line["event"] == "text.viewed"] == []
        refused = await call(proxy.admin_port, "GET", "/api/generations/one?text=maybe")
        assert (refused.status, error_of(refused.body)["param"]) == (400, "text")


async def seen_text(proxy: RunningProxy, task_id: str) -> bool:
    """Whether the record shows all five words."""
    record = (await call(proxy.admin_port, "GET", f"/api/generations/{task_id}")).json()
    return bool(record["text"] == "Rain fell all night on ")


async def test_an_operator_stops_anybodys(tmp_path: Path) -> None:
    """The operator's stop closes the upstream, ends the client's stream properly, and is in the record with its why."""
    async with (
        a_proxy(tmp_path) as (proxy, up),
        back_to_start(),
        streams(proxy, ("one", with_key("sk-alices"))) as (client,),
    ):
        answer = await call(proxy.admin_port, "POST", "/api/generations/one/cancel", {"reason": "loops"})
        receipt = answer.json()
        assert answer.status == 200
        assert (receipt["result"], receipt["cause"], receipt["phase"]) == ("stopped", "operator", "streaming")
        assert receipt["partial"]["text"] == "Rain fell all night on "
        await up.no_connections()
        assert (await client.answer()).body.endswith(b"data: [DONE]\n\n")
        record = (await call(proxy.admin_port, "GET", "/api/generations/one")).json()
        assert (record["cancelled_by"], record["reason"]) == ("admin", "loops")
        again = await call(proxy.admin_port, "POST", "/api/generations/one/cancel")
        assert again.json()["result"] == "stopped"
        metrics = await call(proxy.admin_port, "GET", "/metrics", headers=[])
        assert b'quell_cancels_total{cause="operator",dialect="admin",result="stopped"} 2.0' in metrics.body


async def test_a_stop_of_nothing_is_not_found(tmp_path: Path) -> None:
    """An id that nobody has is 404, and is not remembered: who uses it next is not stopped."""
    async with a_proxy(tmp_path) as (proxy, _):
        answer = await call(proxy.admin_port, "POST", "/api/generations/one/cancel")
        assert (answer.status, error_of(answer.body)["code"]) == (404, "generation_not_found")
        async with streams(proxy, ("one", [])):
            record = (await call(proxy.admin_port, "GET", "/api/generations/one")).json()
            assert record["outcome"] == "running"


async def test_an_id_of_two_callers_stops_neither(tmp_path: Path) -> None:
    """Two live generations with one id are not guessed between; each is named by its message id."""
    async with a_proxy(tmp_path) as (proxy, _), streams(proxy, ("chat", with_key("a")), ("chat", with_key("b"))):
        answer = await call(proxy.admin_port, "POST", "/api/generations/chat/cancel")
        error = error_of(answer.body)
        assert (answer.status, error["code"]) == (400, "ambiguous_id")
        listed = (await call(proxy.admin_port, "GET", "/api/generations?state=live")).json()["data"]
        messages = [record["message_id"] for record in listed]
        assert len(messages) == 2
        assert all(message in error["message"] for message in messages)
        stopped = await call(proxy.admin_port, "POST", f"/api/generations/{messages[0]}/cancel")
        assert stopped.json()["result"] == "stopped"
        left = (await call(proxy.admin_port, "GET", "/api/generations?state=live")).json()["data"]
        assert [record["message_id"] for record in left] == messages[1:]


async def test_many_are_stopped_by_filter(tmp_path: Path) -> None:
    """A dry run says which would be stopped and stops none; then exactly these are stopped."""
    calls = (("a", as_user("u1")), ("b", as_user("u2")), ("c", as_user("u1")))
    async with a_proxy(tmp_path, route={"tags": {"team": "search"}}) as (proxy, up), streams(proxy, *calls):
        path = "/api/generations/cancel"
        dry = (await call(proxy.admin_port, "POST", path, {"user": "u1", "dry_run": True})).json()
        assert (sorted(dry["matched"]), dry["stopped"], dry["count"]) == (["a", "c"], [], 0)
        assert up.connections == 3
        done = (await call(proxy.admin_port, "POST", path, {"user": "u1", "tag": {"team": "search"}})).json()
        assert (sorted(done["stopped"]), done["unconfirmed"], done["count"]) == (["a", "c"], [], 2)
        assert up.connections == 1
        none = (await call(proxy.admin_port, "POST", path, {"tag": "team:find"})).json()
        assert (none["matched"], none["count"]) == ([], 0)
        rest = (await call(proxy.admin_port, "POST", path, {"all": True, "reason": "maintenance"})).json()
        assert rest["stopped"] == ["b"]
        await up.no_connections()


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (b"", "invalid_selection", "at least one of user, key"),
        ({"all": False}, "invalid_selection", "at least one of"),
        ({"all": True, "user": "u1"}, "invalid_selection", "without any of them"),
        ({"state": "live"}, "invalid_selection", "at least one of"),
        ({"state": "ended", "all": True}, "invalid_parameter", "Only live generations"),
        ({"users": "u1"}, "unknown_parameter", "did you mean 'user'?"),
        ({"user": 7}, "invalid_parameter", "user must be a string"),
        ({"user": "u1", "dry_run": "yes"}, "invalid_parameter", "dry_run must be true or false"),
        ({"tag": {"a": "b", "c": "d"}}, "invalid_parameter", "tag must be"),
        ({"user": "u1", "reason": "x" * 501}, "invalid_reason", "at most 500"),
        ([], "invalid_json", "must be a JSON object"),
        (b"{", "invalid_json", "must be a JSON object"),
    ],
)
async def test_a_bad_bulk_stop_stops_nothing(tmp_path: Path, body: Any, code: str, words: str) -> None:
    """A bulk stop that is not understood is refused as a whole."""
    async with a_proxy(tmp_path) as (proxy, up), streams(proxy, ("a", as_user("u1"))):
        answer = await call(proxy.admin_port, "POST", "/api/generations/cancel", body)
        error = error_of(answer.body)
        assert (answer.status, error["code"]) == (400, code)
        assert words in error["message"]
        assert up.connections == 1


async def test_watching_does_not_hold_a_generation(tmp_path: Path) -> None:
    """An operator sees the numbered events live, and the generation still ends when its client leaves."""
    async with a_proxy(tmp_path) as (proxy, up), RawClient(proxy.admin_port) as watcher:
        async with streams(proxy, ("one", [])):
            await watcher.get("/api/generations/one/events?after=1", BEARER)
            seen = await watcher.until(b"id: ", 5)
            assert b"text/event-stream" in seen
            assert b"id: 1\n" not in seen
            assert b"id: 6\n" in seen
        assert (await watcher.answer()).complete
        await up.no_connections()


async def test_watching_ends_with_the_watcher(tmp_path: Path) -> None:
    """A watcher that leaves in the middle changes nothing, and leaves nothing open."""
    async with a_proxy(tmp_path) as (proxy, up), streams(proxy, ("one", [])):
        async with back_to_start(), RawClient(proxy.admin_port) as watcher:
            await watcher.get("/api/generations/one/events", BEARER)
            await watcher.until(b"id: ", 6)
        assert up.connections == 1


async def test_bad_watching(tmp_path: Path) -> None:
    """Events of an unknown id are 404; a number that is none is 400."""
    async with a_proxy(tmp_path) as (proxy, _), streams(proxy, ("one", [])):
        assert (await call(proxy.admin_port, "GET", "/api/generations/two/events")).status == 404
        assert (await call(proxy.admin_port, "GET", "/api/generations/one/events?after=x")).status == 400
        last = [*BEARER, ("Last-Event-ID", "-1")]
        assert (await call(proxy.admin_port, "GET", "/api/generations/one/events", headers=last)).status == 400


async def test_usage_and_upstreams(tmp_path: Path) -> None:
    """Usage sums the ledger by a group; upstreams say what runs there now, without calling them."""
    answers = json_answer(chat_object(5))
    async with scripted_upstream(answers) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        done = await call(proxy.port, "POST", CHAT, ask(stream=False), [("Content-Type", "application/json")])
        assert done.status == 200

        async def row() -> Any:
            data = (await call(proxy.admin_port, "GET", "/api/usage?since=1h&by=outcome")).json()["data"]
            return data[0] if data and data[0]["group"] == {"outcome": "completed"} else None

        found = await eventually(row, what="the end is in the ledger")
        assert (found["generations"], found["prompt_tokens"], found["completion_tokens"]) == (1, 7, 5)
        assert (found["total_tokens"], found["unknown"]) == (12, 0)
        wrong = await call(proxy.admin_port, "GET", "/api/usage?by=models")
        assert error_of(wrong.body)["message"].endswith("Did you mean model?")
        listed = (await call(proxy.admin_port, "GET", "/api/upstreams")).json()["data"]
        expected = {"name": "up", "base_url": up.base_url, "calls": 0, "slots": None, "waiting": 0, "reading_on": 0}
        told = {"bills_after_close": "unknown", "on_stop": "close", "format": "openai", "errors": {}}
        well = {"state": "ok", "last_error": None, "last_success_at": listed[0]["last_success_at"]}
        assert listed == [{**expected, **told, **well}]
        assert len(up.requests) == 1


async def test_upstreams_count_calls_and_the_queue(tmp_path: Path) -> None:
    """A call that has its slot counts as a call, the next one as waiting."""
    async with (
        a_proxy(tmp_path, upstream={"slots": 1}) as (proxy, _),
        streams(proxy, ("one", [])),
        RawClient(proxy.port) as second,
    ):
        await second.post(CHAT, ask())

        async def queued() -> bool:
            one = (await call(proxy.admin_port, "GET", "/api/upstreams")).json()["data"][0]
            return bool((one["calls"], one["slots"], one["waiting"]) == (1, 1, 1))

        await eventually(queued, what="one call and one in the queue")


async def test_the_config_shows_no_secret(tmp_path: Path) -> None:
    """The settings in force are shown with every secret masked."""
    key = "not-to-be-seen"
    async with a_proxy(tmp_path, upstream={"api_key": key}) as (proxy, _):
        answer = await call(proxy.admin_port, "GET", "/api/config")
        assert answer.json()["settings"]["upstreams"]["up"]["api_key"] == "**********"
        assert answer.header("Cache-Control") == "no-store"
        assert key.encode() not in answer.raw
        assert ADMIN_TOKEN.encode() not in answer.raw


async def test_reload(tmp_path: Path) -> None:
    """A reload says what waits for a restart; one that is rejected says why, line by line."""
    async with a_proxy(tmp_path) as (proxy, _):
        async with an_admin(proxy) as port:
            assert (await call(port, "POST", "/api/reload")).json()["needs_restart"] == ["listen"]
        async with an_admin(proxy, problems=["quell.yaml:4:5: unknown key 'bse_url'", "quell.yaml:9:1: more"]) as port:
            answer = await call(port, "POST", "/api/reload")
            error = error_of(answer.body)
            assert (answer.status, error["code"]) == (422, "config_rejected")
            assert error["message"].splitlines()[1:] == [
                "quell.yaml:4:5: unknown key 'bse_url'",
                "quell.yaml:9:1: more",
            ]


class Unreadable(NullLedger):
    """A ledger that takes every write and can't be read."""

    async def find(self, _identity: str | None, _any_id: str) -> Record | None:
        """Fail."""
        raise LedgerUnavailableError("broken")

    async def page(self, _which: RecordFilter, _limit: int, _cursor: str | None) -> Page:
        """Fail."""
        raise LedgerUnavailableError("broken")

    async def usage(self, _query: UsageQuery) -> list[UsageRow]:
        """Fail."""
        raise LedgerUnavailableError("broken")


async def test_a_ledger_that_cant_be_read_is_503(tmp_path: Path) -> None:
    """Without a readable ledger lists and sums are 503, and a live generation is still shown and stopped."""
    async with a_proxy(tmp_path, ledger=Unreadable()) as (proxy, up), streams(proxy, ("one", [])):
        for path in ("usage", "generations", "generations/none", "generations/none/events"):
            answer = await call(proxy.admin_port, "GET", f"/api/{path}")
            assert (answer.status, error_of(answer.body)["code"]) == (503, "ledger_unavailable"), path
        listed = (await call(proxy.admin_port, "GET", "/api/generations?state=live")).json()["data"]
        assert [record["task_id"] for record in listed] == ["one"]
        stopped = await call(proxy.admin_port, "POST", "/api/generations/one/cancel")
        assert stopped.json()["result"] == "stopped"
        await up.no_connections()


async def test_a_list_has_what_the_ledger_does_not_have_yet(tmp_path: Path) -> None:
    """A live generation is listed as it is now, once, whether or not the ledger has it, where the filters take it."""
    async with a_proxy(tmp_path, ledger=NullLedger()) as (proxy, _), streams(proxy, ("one", []), ("two", [])):
        for query, expected in (
            ("", ["two", "one"]),
            ("?route=/v1", ["two", "one"]),
            ("?route=/v2", []),
            ("?state=ended", []),
            ("?limit=1", ["two"]),
        ):
            page = (await call(proxy.admin_port, "GET", f"/api/generations{query}")).json()
            assert [(one["task_id"], one["phase"]) for one in page["data"]] == [(t, "streaming") for t in expected]
        rest = (await call(proxy.admin_port, "GET", f"/api/generations?limit=1&cursor={page['next_cursor']}")).json()
        assert ([one["task_id"] for one in rest["data"]], rest["next_cursor"]) == (["one"], None)


async def test_a_large_body_is_refused(tmp_path: Path) -> None:
    """The admin listener takes small bodies only."""
    async with a_proxy(tmp_path) as (proxy, _):
        body = sse("x" * 70_000)
        assert (await call(proxy.admin_port, "POST", "/api/generations/x/cancel", body)).status == 413
