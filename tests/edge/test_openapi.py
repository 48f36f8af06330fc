"""The description of the HTTP API: valid, whole, and true of the real answers."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from proxy.app import App
from proxy.core.errors import Refusal
from proxy.core.settings.route import DIALECT_NAMES
from proxy.dialects import DIALECTS
from proxy.edge.asked import SMALL_BODY
from proxy.edge.openapi.admin import ADMIN, shape
from proxy.engine.dialect import PassThrough, Refuse, who_serves
from support.chat import ask, chat_events
from support.client import Answer, RawClient
from support.feed import feed
from support.http_bytes import Headers
from support.program import ADMIN_TOKEN, config_data
from support.proxy import RunningProxy, running_proxy
from support.scripts import events_then_hang
from support.upstream import scripted_upstream
from support.wait import eventually

BEARER: Headers = [("Authorization", f"Bearer {ADMIN_TOKEN}")]
CHAT = "/v1/chat/completions"
KEY = {"id": "acme", "hash": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"}


@asynccontextmanager
async def a_proxy(folder: Path, *routes: dict[str, Any], **config: Any) -> AsyncIterator[RunningProxy]:
    """A proxy with these routes, or with a route of OpenAI's API; its upstream sends five words and then nothing."""
    async with scripted_upstream(events_then_hang(chat_events(5, finish=None, done=False))) as up:
        data = config_data(up.base_url, **config)
        if routes:
            data["routes"] = [{"upstream": "up", **route} for route in routes]
        async with running_proxy(json.dumps(data), folder) as proxy:
            yield proxy


async def call(proxy: RunningProxy, method: str, path: str, body: Any = b"") -> Answer:
    """One call of the admin listener."""
    async with RawClient(proxy.admin_port) as client:
        if method == "post":
            await client.post(path, body, BEARER)
        else:
            await client.get(path, BEARER)
        return await client.answer()


async def description(proxy: RunningProxy) -> dict[str, Any]:
    """The description that a proxy gives of itself."""
    answer = await call(proxy, "get", "/api/openapi.json")
    assert answer.status == 200
    found: dict[str, Any] = answer.json()
    return found


def check(document: dict[str, Any], name: str, value: Any) -> None:
    """Make sure that a value is what the schema of this name says."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    problems = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(value)]
    assert problems == [], f"{name}: {problems}"


ALL_DIALECTS: list[dict[str, Any]] = [
    {"path": "/v1", "dialect": ["assistants", "openai", "aitronos"], "responses": "emulate"},
    {"path": "/v1/plain", "dialect": "openai"},
    {"path": "/dify", "dialect": "dify"},
    {"path": "/async", "dialect": "async_messages"},
    {"path": "/aitronos", "dialect": "aitronos"},
]


@pytest.mark.parametrize(
    ("routes", "config"),
    [
        ([], {}),
        (ALL_DIALECTS, {}),
        ([{"path": "/", "dialect": "openai"}], {"keys": [KEY]}),
        ([{"path": "/api", "dialect": "openai"}], {}),
        ([{"path": "/v1beta", "dialect": "openai"}], {"upstream": {"format": "gemini", "api_key": "x"}}),
        ([{"path": "/a", "dialect": "anthropic"}], {"upstream": {"format": "anthropic"}}),
    ],
)
async def test_it_is_valid(tmp_path: Path, routes: list[dict[str, Any]], config: dict[str, Any]) -> None:
    """Whatever is configured, the description is valid OpenAPI 3.1, and every operation has a name of its own."""
    async with a_proxy(tmp_path, *routes, **config) as proxy:
        document = await description(proxy)
    assert [str(error) for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
    idents = [operation["operationId"] for operation in operations(document).values()]
    assert len(idents) == len(set(idents))


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The operations of a description, by method and path."""
    return {
        (method, path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "servers"
    }


async def test_no_call_of_the_admin_listener_is_missing(tmp_path: Path) -> None:
    """Every call that the admin listener serves is described, and each is described in its own words."""
    async with a_proxy(tmp_path) as proxy:
        document = await description(proxy)
        found = {(method, shape(path)) for method, path in operations(document) if path.startswith("/api")}
        for method, path in sorted(found):
            assert (method, path) in ADMIN, f"{method} {path}: say what it takes and answers in openapi/admin.py"
            if path == "/api/feed" or "playground" in path:  # it does not end, or answers for somebody else
                continue
            answer = await call(proxy, method, path.replace("{}", "nobodys"))
            assert answer.status not in (404, 405) or b"generation_not_found" in answer.body, path
        for path in ("/api/nothing", "/api/ledger"):
            assert (await call(proxy, "get", path)).status == 404


async def test_it_says_who_may(tmp_path: Path) -> None:
    """Each call names the role that it needs, or that it needs no token; refusals for want of a right are there."""
    async with a_proxy(tmp_path) as proxy:
        document = await description(proxy)
    found = operations(document)
    assert found["get", "/livez"]["security"] == []
    assert "needs no token" in found["get", "/metrics"]["description"]
    assert found["get", "/api/summary"]["description"] == "It needs the role viewer."
    assert found["post", "/api/reload"]["description"] == "It needs the role admin."
    assert "the right to see texts" in found["get", "/api/generations/{id}/events"]["description"]
    codes = set(document["components"]["responses"]["Error403"]["content"]["application/json"]["examples"])
    assert codes == {"role_not_allowed", "text_not_allowed", "cross_site"}


async def test_real_answers_fit(tmp_path: Path) -> None:
    """What each call of the admin API really answers is what the description says, field by field."""
    budgets = [{"per": "key", "window": "1d", "completion_tokens": 6}, {"per": "request", "seconds": 3600}]
    async with (
        a_proxy(tmp_path, budgets=budgets, route={"tags": {"team": "a"}}) as proxy,
        RawClient(proxy.port) as client,
        RawClient(proxy.port) as other,
    ):
        document = await description(proxy)
        for which, ident in ((client, "one"), (other, "two")):
            await which.post(CHAT, ask(max_tokens=99), [("X-Task-Id", ident)])
            await which.until(b"data: ", 5)
        answers: list[tuple[str, str, Any]] = [
            ("get", "/api/generations?state=live&sort=tokens", None),
            ("get", "/api/generations/one", None),
            ("post", "/api/generations/one/cancel", {"reason": "enough"}),
            ("post", "/api/generations/cancel", {"all": True, "dry_run": True}),
            ("post", "/api/generations/cancel", {"all": True}),
            ("get", "/api/generations", None),
            ("get", "/api/generations?state=ended", None),
            ("get", "/api/playground-seen/one", None),
            ("get", "/api/summary", None),
            ("get", "/api/usage?by=model,cause,hour", None),
            ("get", "/api/upstreams", None),
            ("get", "/api/health", None),
            ("get", "/api/budgets", None),
            ("get", "/api/config", None),
            ("get", "/api/openapi.json", None),
            ("post", "/api/reload", {}),
            ("post", "/api/ledger/truths", {"truths": [{"upstream_id": "x", "source": "s", "completion_tokens": 1}]}),
            ("get", "/api/ledger/untold?upstream=up&source=s", None),
            ("get", "/api/ledger/drift", None),
            ("post", "/api/ledger/purge", {"dry_run": True}),
            ("get", "/livez", None),
            ("get", "/readyz?verbose", None),
        ]
        described = operations(document)
        answers += [("get", path, None) for path in ("/api/me", "/api/playground") if ("get", path) in described]
        called = set()
        for method, target, body in answers:
            path = target.partition("?")[0].replace("/one", "/{id}")
            answer = await call(proxy, method, target, body or b"")
            assert answer.status == 200, (target, answer.body)
            content = described[method, path]["responses"]["200"]["content"]["application/json"]
            check(document, content["schema"]["$ref"].rpartition("/")[2], answer.json())
            called.add((method, shape(path)))
        streams = {("get", "/api/feed"), ("get", "/api/generations/{}/events"), ("get", "/api/ledger/export")}
        ours = {(method, shape(path)) for method, path in described if path.startswith("/api")}
        elsewhere = {place for place in ours if place[1].startswith("/api/playground/")}
        assert ours - called - streams - elsewhere == set()


async def test_the_native_answers_fit(tmp_path: Path) -> None:
    """What the control API below a route answers is what the description says."""
    async with a_proxy(tmp_path) as proxy, RawClient(proxy.port) as client, RawClient(proxy.port) as other:
        document = await description(proxy)
        described = operations(document)
        await client.post(CHAT, ask(), [("X-Task-Id", "one")])
        await client.until(b"data: ", 5)
        for method, target, body in (
            ("get", "/v1/generations", None),
            ("get", "/v1/generations/one", None),
            ("post", "/v1/generations/one/cancel", {"reason": "enough"}),
            ("post", "/v1/generations/cancel", {"all": True}),
            ("get", "/v1/generations?limit=1", None),
        ):
            await (other.post(target, body) if method == "post" else other.get(target))
            answer = await other.answer()
            assert answer.status == 200, answer.body
            path = target.partition("?")[0].replace("/one", "/{id}")
            content = described[method, path]["responses"]["200"]["content"]["application/json"]
            check(document, content["schema"]["$ref"].rpartition("/")[2], answer.json())


async def test_what_is_streamed_fits(tmp_path: Path) -> None:
    """The feed's events and the lines of an export are what the description says of them."""
    async with a_proxy(tmp_path) as proxy, feed(proxy) as reader:
        document = await description(proxy)
        async with RawClient(proxy.port) as client:
            await client.post(CHAT, ask(), [("X-Task-Id", "one")])
            await client.until(b"data: ", 5)
            await reader.until(lambda: reader.tasks == ["one"] and reader.summary, "the row and the summary")
        await reader.until(lambda: reader.gone, "the row goes")
        media = operations(document)["get", "/api/feed"]["responses"]["200"]["content"]["text/event-stream"]
        schemas = {name: schema["$ref"].rpartition("/")[2] for name, schema in media["x-events"].items()}
        assert {event.name for event in reader.events if event.name} == set(schemas)
        for event in reader.events:
            if event.name:
                check(document, schemas[event.name], event.data)

        async def lines() -> list[bytes]:
            return (await call(proxy, "get", "/api/ledger/export?text=true")).body.splitlines()

        for line in await eventually(lines, what="the record is exported"):
            check(document, "Exported", json.loads(line))


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("get", "/api/usage?by=size", 400),
        ("get", "/api/generations/nobodys", 404),
        ("get", "/api/playground-seen/nobodys", 404),
        ("get", "/api/feed?limit=0", 400),
        ("post", "/api/generations/cancel", 413),
        ("post", "/api/generations/nobodys/cancel", 413),
        ("post", "/api/ledger/purge", 413),
    ],
)
async def test_real_refusals_fit(tmp_path: Path, method: str, target: str, status: int) -> None:
    """A refusal is what the description says, which has an example of each."""
    async with a_proxy(tmp_path) as proxy:
        document = await description(proxy)
        answer = await call(proxy, method, target, b" " * (2 * SMALL_BODY) if status == 413 else b"")
        assert answer.status == status
        operation = document["paths"][target.partition("?")[0].replace("nobodys", "{id}")][method]
        assert str(status) in operation["responses"]
        check(document, "Error", answer.json())
        described = document["components"]["responses"][f"Error{status}"]["content"]["application/json"]
        for example in described["examples"].values():
            check(document, "Error", example["value"])


async def test_a_probe_that_fails_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the proxy takes no new work its probe says so with 503, in the words of the description."""
    monkeypatch.setattr(App, "_ready", lambda _app: {"ledger": False, "not_draining": True})
    async with a_proxy(tmp_path) as proxy:
        document = await description(proxy)
        described = document["paths"]["/readyz"]["get"]["responses"]["503"]["content"]["application/json"]
        answer = await call(proxy, "get", "/readyz")
        assert answer.status == 503
        check(document, described["schema"]["$ref"].rpartition("/")[2], answer.json())


async def test_only_what_is_configured_is_described(tmp_path: Path) -> None:
    """The calls of a route are those of its dialects, an earlier one's first, with the native ones below each."""
    async with a_proxy(tmp_path, *ALL_DIALECTS) as proxy:
        found = operations(await description(proxy))
    for path in ("/v1", "/v1/plain", "/dify", "/async", "/aitronos"):
        assert ("post", f"{path}/generations/{{id}}/cancel") in found
    assert ("post", "/dify/chat-messages/{task_id}/stop") in found
    assert ("post", "/async/messages/async/{message_id}/cancel") in found
    assert ("post", "/v1/messages/async") not in found
    assert "chat completion of the upstream" in found["post", "/v1/responses"]["summary"]
    assert "byte for byte" in found["post", "/v1/plain/responses"]["summary"]
    shared = found["get", "/v1/threads/{thread_id}"]
    assert "aitronos" in shared["description"]
    assert "aitronos" not in found["post", "/v1/threads"]["description"]
    assert ("post", "/v1/model/response") in found


async def test_who_must_send_a_key_is_told_so(tmp_path: Path) -> None:
    """A route with a key of its own and no callers' keys needs none; else the caller's credential is named."""
    async with a_proxy(tmp_path, upstream={"api_key": "sk-x"}) as proxy:
        assert operations(await description(proxy))["post", CHAT]["security"] == [{}]
    (tmp_path / "keys").mkdir()
    async with a_proxy(tmp_path / "keys", upstream={"api_key": "sk-x"}, keys=[KEY]) as proxy:
        assert operations(await description(proxy))["post", CHAT]["security"] == [{"caller": []}]


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_every_described_call_is_served(name: str) -> None:
    """What a dialect says that it serves it takes as its own, and refuses by every other method it does not name."""
    dialect = DIALECTS[name]
    by_path: dict[str, set[str]] = {}
    for operation in dialect.operations:
        found, endpoint = who_serves([dialect], operation.method, operation.sample)
        assert found is dialect, operation
        assert not isinstance(endpoint, PassThrough | Refuse), operation
        by_path.setdefault(operation.sample, set()).add(operation.method)
    for path, methods in by_path.items():
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - methods:
            try:
                endpoint_or_none = dialect.endpoint(method, path)
            except Refusal as refusal:
                allowed = refusal.headers.get("Allow", "")
                assert set(allowed.replace(" ", "").split(",")) == methods, (method, path)
            else:
                assert endpoint_or_none is None or isinstance(endpoint_or_none, PassThrough), (method, path)


def test_every_dialect_describes_itself() -> None:
    """No word for `dialect` is without a description, and each can be stopped in its own words or the native ones."""
    assert set(DIALECT_NAMES) <= set(DIALECTS)
    for name, dialect in DIALECTS.items():
        kinds = {operation.does for operation in dialect.operations}
        assert "starts" in kinds, name
        assert "stops" in kinds or name == "gemini", name
