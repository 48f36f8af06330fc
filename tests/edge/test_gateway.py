"""What is let in, what reaches the upstream of it, and in which words the rest is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.chat import chat_object
from support.client import RawClient
from support.edge import bearer, refused, send
from support.http_bytes import Headers, header
from support.program import config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import by_path, hang, in_turn, json_answer
from support.stops import CHAT, PLAIN, STREAM, Ask, call, record, start, stop
from support.upstream import scripted_upstream


async def test_the_replica_has_its_bound(tmp_path: Path) -> None:
    """One generation more than limits.streams is 503 to be tried again, for whoever asks; other calls are served."""
    async with (
        scripted_upstream(by_path({"/v1/chat/completions": hang(), "/v1/models": json_answer({})})) as up,
        running_proxy(config_text(up.base_url, limits={"streams": 1}), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await up.conn()
        full = await call(proxy, "POST", CHAT, STREAM, Ask("another"))
        assert refused(full) == (503, "overloaded")
        assert full.header("Retry-After") == "1"
        assert await metric(proxy, 'quell_refusals_total{why="streams"}') == 1
        assert (await send(proxy, "GET", "/v1/models")).status == 200
        assert (await stop(proxy, "t-1")).status == 200
        assert (await send(proxy, "POST", "/v1/other")).status == 404
        assert await active(proxy) == 0


async def active(proxy: RunningProxy) -> float:
    """How many generations live, as the metrics have it."""
    return await metric(proxy, "quell_generations_active")


async def metric(proxy: RunningProxy, name: str) -> float:
    """The value of one series."""
    async with RawClient(proxy.admin_port) as client:
        await client.get("/metrics")
        lines = (await client.answer()).body.decode().splitlines()
    return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))


async def test_metrics_follow_each_call(tmp_path: Path) -> None:
    """The number of live generations is right as soon as each begins and ends; the overhead is seen once per call."""
    async with (
        scripted_upstream(by_path({"/v1/chat/completions": hang(), "/v1/models": json_answer({})})) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as one,
        RawClient(proxy.port) as two,
    ):
        await start(one, "t-1")
        await start(two, "t-2")
        await up.conn(1)
        assert await active(proxy) == 2
        await stop(proxy, "t-1")
        assert await active(proxy) == 1
        await stop(proxy, "t-2")
        assert await active(proxy) == 0
        await send(proxy, "GET", "/v1/models")
        await send(proxy, "GET", "/v1/generations")
        assert await metric(proxy, "quell_proxy_overhead_seconds_count") == 2


@pytest.mark.parametrize(
    ("only", "path", "allowed"),
    [
        (["/chat/completions"], "chat/completions", True),
        (["/chat/completions"], "chat/completions/x", True),
        (["/chat"], "chat/completions", True),
        (["/chat/"], "chat/completions", True),
        (["/chat/completions"], "chat", False),
        (["/chat"], "chatty", False),
        (["/chat"], "models", False),
        (["/chat"], "%63hat/completions", True),
        (["/models"], "Models", False),
        (["/"], "models", True),
        (["/"], "", True),
        (["/models", "/files"], "files/f-1/content", True),
    ],
)
async def test_only_what_the_route_names(tmp_path: Path, *, only: list[str], path: str, allowed: bool) -> None:
    """A route's `only` list names what is passed on, segment by segment; the rest is 403 and reaches nobody."""
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url, upstream={"api_key": "k"}, route={"only": only}), tmp_path) as proxy,
    ):
        answer = await send(proxy, "POST", f"/v1/{path}" if path else "/v1", PLAIN)
        assert (answer.status, len(up.requests)) == ((200, 1) if allowed else (403, 0))
        if not allowed:
            assert refused(answer) == (403, "path_not_allowed")
        assert (await send(proxy, "GET", "/v1/generations")).status == 200


@pytest.mark.parametrize(
    "task_id", ["a b", "a/b", "x" * 129, ".", "..", "é".encode().decode("latin-1"), "", "a,b", "ä"]
)
async def test_bad_task_ids(tmp_path: Path, task_id: str) -> None:
    """An id that can't be one is refused before anything is started."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        answer = await send(proxy, "POST", CHAT, STREAM, [("X-Task-Id", task_id)])
        code = "invalid_task_id" if task_id.isascii() else "invalid_header"
        assert refused(answer) == (400, code)
        assert not up.requests


@pytest.mark.parametrize("task_id", ["x" * 128, "A-z.0_9:", "...", "cancel"])
async def test_good_task_ids(tmp_path: Path, task_id: str) -> None:
    """An id of 1 to 128 letters, digits and `._:-` names the generation, and stands in the answer's header."""
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        answer = await send(proxy, "POST", CHAT, PLAIN, [("X-Task-Id", task_id)])
        assert (answer.status, answer.header("X-Task-Id")) == (200, task_id)
        if task_id != "cancel":
            assert (await record(proxy, task_id))["message_id"] == answer.header("X-Message-Id")


@pytest.mark.parametrize("name", ["X-Task-Id", "X-User-Id"])
async def test_a_header_that_is_there_twice(tmp_path: Path, name: str) -> None:
    """Of two ids or two users nobody could tell which one counts, so both are refused."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        answer = await send(proxy, "POST", CHAT, STREAM, [(name, "one"), (name, "two")])
        assert refused(answer) == (400, "invalid_header")
        assert not up.requests


@pytest.mark.parametrize(
    ("headers", "body", "user"),
    [
        ([("X-User-Id", "header")], {"user": "body"}, "header"),
        ([], {"user": "body"}, "body"),
        ([("X-User-Id", "")], {"user": "body"}, "body"),
        ([("X-User-Id", "header")], {}, "header"),
        ([], {}, None),
        ([], {"user": None}, None),
    ],
)
async def test_who_the_user_is(tmp_path: Path, headers: Headers, body: dict[str, Any], user: str | None) -> None:
    """X-User-Id names the end user before the body does, and stays with us; the body goes up as it came."""
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        await send(proxy, "POST", CHAT, {**PLAIN, **body}, [*headers, ("X-Task-Id", "t-1")])
        kept = await record(proxy, "t-1")
    assert (kept["user"], kept["model"]) == (user, "scripted")
    assert json.loads(up.requests[0].body) == {**PLAIN, **body}
    assert header(up.requests[0].headers, "X-User-Id") is None


BAD_BODIES = {
    "duplicate key": (b'{"model":"a","model":"b"}', "duplicate_key"),
    "NaN": (b'{"model":"a","temperature":NaN}', "invalid_json"),
    "infinite": (b'{"model":"a","temperature":1e999}', "invalid_json"),
    "stream is a string": (b'{"model":"a","stream":"true"}', "invalid_type"),
    "stream is a number": (b'{"model":"a","stream":1}', "invalid_type"),
    "array": (b"[]", "invalid_json"),
    "empty": (b"", "invalid_json"),
    "not JSON": (b"model=a", "invalid_json"),
    "not UTF-8": (b'{"model":"\xff"}', "invalid_json"),
    "model is a number": (b'{"model":7}', "invalid_type"),
    "model is too long": (b'{"model":"%b"}' % (b"m" * 257), "invalid_value"),
    "user is too long": (b'{"user":"%b"}' % (b"u" * 513), "invalid_value"),
    "user has control characters": (b'{"user":"a\\u0000"}', "invalid_value"),
    "large and broken": (b'{"model":"a","x":"' + b"x" * 300_000 + b'","x":1}', "duplicate_key"),
}


@pytest.mark.parametrize(("body", "code"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
async def test_bad_bodies_go_nowhere(tmp_path: Path, path: str, body: bytes, code: str) -> None:
    """A model call's body that could be read in two ways is 400; nothing of it reaches the upstream or the records."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        for content_type in ("application/json", "text/plain"):
            answer = await send(proxy, "POST", path, body, [("Content-Type", content_type)])
            assert refused(answer) == (400, code)
        assert not up.requests
        assert (await send(proxy, "GET", "/v1/generations")).json()["data"] == []


async def test_a_large_body_goes_up_as_it_came(tmp_path: Path) -> None:
    """A body of megabytes is checked beside the loop, and reaches the upstream byte for byte."""
    body = json.dumps({**PLAIN, "n": 1, "x": "ä" * 500_000}, ensure_ascii=False, indent=1).encode()
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        answer = await send(proxy, "POST", CHAT, body, [("X-Task-Id", "t-1")])
        assert (answer.status, (await record(proxy, "t-1"))["model"]) == (200, "scripted")
    assert up.requests[0].body == body


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_other_requests_go_by(tmp_path: Path, method: str) -> None:
    """What is no model call goes up with its method, its query and its escapes as they came, and leaves no record."""
    path = "/files/a%20b%3Ac?q=%2F&x=1&x=&y"
    async with (
        scripted_upstream(json_answer({"ok": True}, headers=[("X-Upstream", "yes")])) as up,
        running_proxy(config_text(f"{up.origin}/deep/base", upstream={"api_key": "sk-ours"}), tmp_path) as proxy,
    ):
        headers = [
            *bearer("acme-old"),
            ("X-Task-Id", "t-1"),
            ("X-User-Id", "u-1"),
            ("Connection", "close, X-Private"),
            ("X-Private", "secret"),
            ("TE", "trailers"),
            ("Keep-Alive", "timeout=5"),
            ("X-Kept", "yes"),
        ]
        body = b"some bytes" if method in {"POST", "PUT", "PATCH"} else b""
        answer = await send(proxy, method, f"/v1{path}", body, headers)
        assert (answer.status, answer.header("X-Upstream"), answer.header("X-Task-Id")) == (200, "yes", None)
        assert (await call(proxy, "GET", "/v1/generations", ask=Ask("acme-old"))).json()["data"] == []
    (request,) = up.requests
    sent = {name.lower() for name, _ in request.headers}
    assert (request.method, request.target, request.body) == (method, f"/deep/base{path}", body)
    assert header(request.headers, "Host") == f"127.0.0.1:{up.port}"
    assert header(request.headers, "X-Kept") == "yes"
    assert header(request.headers, "Authorization") == "Bearer sk-ours"
    assert not sent & {"x-task-id", "x-user-id", "x-private", "te", "keep-alive", "connection"}


@pytest.mark.parametrize("path", ["chat/completions", "%63hat/completions", "chat/%63ompletions", "chat/completions/"])
async def test_a_model_call_by_any_spelling_is_one(tmp_path: Path, path: str) -> None:
    """However its path is written, a model call is checked, recorded and stoppable: nobody gets around the records."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        async with RawClient(proxy.port) as client:
            await client.post(f"/v1/{path}?api-version=1", STREAM, [("X-Task-Id", "t-1")])
            await up.conn()
            assert (await stop(proxy, "t-1")).json()["result"] == "stopped"
        assert refused(await send(proxy, "POST", f"/v1/{path}", b"{")) == (400, "invalid_json")
    slash = "/" if path.endswith("/") else ""
    assert [request.target for request in up.requests] == [f"/v1/chat/completions{slash}?api-version=1"]


async def test_what_a_model_call_sends_up(tmp_path: Path) -> None:
    """A model call reaches the upstream's own host with what it needs, and nothing that is meant for us or one hop."""
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        headers = [("X-Task-Id", "t-1"), ("Keep-Alive", "1"), ("Cookie", "a=b"), ("OpenAI-Beta", "yes")]
        await send(proxy, "POST", CHAT, PLAIN, headers)
    (request,) = up.requests
    assert header(request.headers, "Host") == f"127.0.0.1:{up.port}"
    assert header(request.headers, "OpenAI-Beta") == "yes"
    assert not {name.lower() for name, _ in request.headers} & {"x-task-id", "keep-alive", "cookie", "connection"}


EMBEDDED = {"prompt_tokens": 8, "total_tokens": 8}


async def test_embeddings_are_generations(tmp_path: Path) -> None:
    """An embeddings call has an id, a record with the counts of its answer and their cost, and can be stopped."""
    body = {"model": "embedder", "input": ["a", "b"]}
    prices = 'version: "1"\ncurrency: USD\nmodels: {embedder: {input: "1", output: "0"}}\n'
    (tmp_path / "prices.yaml").write_text(prices)
    async with (
        scripted_upstream(in_turn(json_answer({"data": [], "usage": EMBEDDED}), hang())) as up,
        running_proxy(config_text(up.base_url, prices={"file": "prices.yaml"}), tmp_path) as proxy,
    ):
        done = await call(proxy, "POST", "/v1/embeddings", body, X_Task_Id="t-1")
        assert (done.status, done.header("X-Task-Id")) == (200, "t-1")
        kept = await record(proxy, "t-1")
        assert (kept["outcome"], kept["model"], kept["usage_source"]) == ("completed", "embedder", "upstream")
        assert (kept["prompt_tokens"], kept["completion_tokens"], kept["cost"]) == (8, 0, "0.000008")
        async with RawClient(proxy.port) as client:
            await client.post("/v1/embeddings", body, [("X-Task-Id", "t-2")])
            conn = await up.conn(1)
            assert (await stop(proxy, "t-2")).json()["result"] == "stopped"
            await conn.wait_closed()
            assert (await client.answer()).status == 499


async def test_a_form_is_a_generation_too(tmp_path: Path) -> None:
    """A transcription's form is passed on as it came, with an id and a record."""
    form = b'--x\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n--x--\r\n'
    headers = [("Content-Type", "multipart/form-data; boundary=x"), ("X-Task-Id", "t-1")]
    async with (
        scripted_upstream(json_answer({"text": "hello"})) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        assert (await send(proxy, "POST", "/v1/audio/transcriptions", form, headers)).status == 200
        kept = await record(proxy, "t-1")
    assert (kept["outcome"], kept["model"]) == ("completed", None)
    assert up.requests[0].body == form


async def test_unknown_routes(tmp_path: Path) -> None:
    """A path of no route is 404 in the error shape, and says that it is the path."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        for path in ("/", "/v2/models", "/v1x/models", "/V1/models"):
            answer = await send(proxy, "GET", path)
            assert refused(answer) == (404, "not_found")
            assert "No route of this proxy begins this path." in answer.json()["error"]["message"]
        assert not up.requests
