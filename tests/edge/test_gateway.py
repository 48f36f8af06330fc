"""What is let in, as whom, what reaches the upstream of it, and in which words the rest is refused."""

import json
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from support.chat import DONE, ask, chat_events, chat_object, usage_object
from support.client import Answer, RawClient
from support.edge import bearer, refused, send
from support.http_bytes import Headers, header
from support.program import ADMIN_TOKEN, config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import by_path, hang, in_turn, json_answer, sse_stream
from support.stops import CHAT, PLAIN, STREAM, Ask, call, record, settled, start, stop
from support.upstream import ScriptedUpstream, scripted_upstream
from support.wait import eventually


def hash_of(key: str) -> str:
    """The SHA-256 of a key as the settings have it."""
    return sha256(key.encode()).hexdigest()


KEYS: list[dict[str, Any]] = [
    {"id": "acme", "hash": f"{hash_of('acme-old')}\n{hash_of('acme-new')}", "limits": {"streams": 2}},
    {"id": "globex", "hash": hash_of("globex-key")},
]


async def test_only_keys_get_in(tmp_path: Path) -> None:
    """With keys, a missing or unknown credential is 401 in the dialect's shape everywhere, and goes nowhere."""
    async with (
        scripted_upstream(json_answer({"ok": True})) as up,
        running_proxy(config_text(up.base_url, keys=KEYS), tmp_path) as proxy,
    ):
        for headers in ([], bearer("nobodys"), bearer(hash_of("globex-key")), bearer(ADMIN_TOKEN), bearer("")):
            for method, path in (("POST", CHAT), ("GET", "/v1/models"), ("GET", "/v1/generations"), ("POST", "/v1/x")):
                answer = await send(proxy, method, path, headers=headers)
                assert refused(answer) == (401, "invalid_api_key")
                assert answer.header("WWW-Authenticate") == "Bearer"
        assert not up.requests


@pytest.mark.parametrize("where", ["Authorization", "X-API-Key", "api-key"])
async def test_a_key_is_its_id(tmp_path: Path, where: str) -> None:
    """While a key is exchanged both its hashes are one caller, known by the key's id; the key goes up to nobody."""
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url, keys=KEYS), tmp_path) as proxy,
    ):
        for number, key in enumerate(("acme-old", "acme-new")):
            value = f"Bearer {key}" if where == "Authorization" else key
            done = await send(proxy, "POST", CHAT, PLAIN, [(where, value), ("X-Task-Id", f"t-{number}")])
            assert done.status == 200
            assert (await send(proxy, "GET", "/v1/models", headers=[(where, value)])).status == 200
        listed = await call(proxy, "GET", "/v1/generations", ask=Ask("acme-new"))
        assert [(one["task_id"], one["key_id"]) for one in listed.json()["data"]] == [
            ("t-1", "acme"),
            ("t-0", "acme"),
        ]
        assert (await stop(proxy, "t-0", Ask("globex-key"))).status == 404
    assert len(up.requests) == 4
    for request in up.requests:
        assert not {"authorization", "x-api-key", "api-key"} & {name.lower() for name, _ in request.headers}


async def test_the_configured_key_goes_up_instead(tmp_path: Path) -> None:
    """With an api_key the caller's credential is replaced by it, in every place where one may stand."""
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url, upstream={"api_key": "sk-ours"}), tmp_path) as proxy,
    ):
        await send(proxy, "POST", CHAT, PLAIN, [("X-API-Key", "mine")])
        await send(proxy, "GET", "/v1/models", headers=bearer("mine"))
    for request in up.requests:
        sent = [(name.lower(), value) for name, value in request.headers if "key" in name.lower() or value == "mine"]
        assert sent == []
        assert header(request.headers, "Authorization") == "Bearer sk-ours"


async def test_without_keys_the_own_credential_goes_up(tmp_path: Path) -> None:
    """Without keys and api_key the caller's own credential goes up, and its hash is the identity shown."""
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        await send(proxy, "POST", CHAT, PLAIN, [*bearer("sk-mine"), ("X-Task-Id", "t-1")])
        kept = await record(proxy, "t-1", Ask("sk-mine"))
    assert header(up.requests[0].headers, "Authorization") == "Bearer sk-mine"
    assert kept["key_id"] == hash_of("sk-mine")[:12]


async def test_two_credentials_that_differ(tmp_path: Path) -> None:
    """Two credentials that differ are refused, whichever of them is right; twice the same one is that one."""
    async with (
        scripted_upstream(json_answer(chat_object(1))) as up,
        running_proxy(config_text(up.base_url, keys=KEYS), tmp_path) as proxy,
    ):
        for other in ("X-API-Key", "api-key", "Authorization"):
            headers = [*bearer("globex-key"), (other, "another")]
            assert refused(await send(proxy, "POST", CHAT, PLAIN, headers)) == (400, "conflicting_credentials")
        assert not up.requests
        both = [*bearer("globex-key"), ("X-API-Key", "globex-key")]
        assert (await send(proxy, "POST", CHAT, PLAIN, both)).status == 200


async def test_a_key_has_its_bound(tmp_path: Path) -> None:
    """A key runs as many generations at once as its limit says, the next is 429 to be tried again."""
    async with (
        scripted_upstream(hang()) as up,
        running_proxy(config_text(up.base_url, keys=KEYS), tmp_path) as proxy,
        AsyncExitStack() as stack,
    ):
        for number, key in enumerate(("acme-old", "acme-new")):
            client = await stack.enter_async_context(RawClient(proxy.port))
            await start(client, f"t-{number}", ask=Ask(key))
            await up.conn(number)
        full = await call(proxy, "POST", CHAT, STREAM, Ask("acme-old"))
        assert refused(full) == (429, "rate_limit_exceeded")
        assert full.header("Retry-After") == "1"
        for number, key in enumerate(("globex-key",) * 3):
            client = await stack.enter_async_context(RawClient(proxy.port))
            await start(client, f"g-{number}", ask=Ask(key))
            await up.conn(2 + number)
        assert (await stop(proxy, "t-0", Ask("acme-new"))).json()["result"] == "stopped"
        again = await stack.enter_async_context(RawClient(proxy.port))
        await start(again, "t-2", ask=Ask("acme-new"))
        await up.conn(5)


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
        running_proxy(config_text(f"{up.origin}/deep/base", keys=KEYS), tmp_path) as proxy,
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
    assert not sent & {"x-task-id", "x-user-id", "x-private", "te", "keep-alive", "connection", "authorization"}


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


async def test_embeddings_are_generations(tmp_path: Path) -> None:
    """An embeddings call has an id and a record, and can be stopped."""
    body = {"model": "embedder", "input": ["a", "b"]}
    async with (
        scripted_upstream(in_turn(json_answer({"data": []}), hang())) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        done = await call(proxy, "POST", "/v1/embeddings", body, X_Task_Id="t-1")
        assert (done.status, done.header("X-Task-Id")) == (200, "t-1")
        kept = await record(proxy, "t-1")
        assert (kept["outcome"], kept["model"], kept["usage_source"]) == ("completed", "embedder", "none")
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
    """A path of no route is 404 in the error shape."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        for path in ("/", "/v2/models", "/v1x/models", "/V1/models"):
            assert refused(await send(proxy, "GET", path)) == (404, "not_found")
        assert not up.requests


# Asking for usage.

WITH_USAGE = {**STREAM, "stream_options": {"include_usage": True}}


def asked(up: ScriptedUpstream, index: int) -> Any:
    """The stream options that the upstream got."""
    return json.loads(up.requests[index].body).get("stream_options")


async def streamed(proxy: RunningProxy, task_id: str, body: Any = STREAM) -> Answer:
    """One streamed call to its end."""
    answer = await call(proxy, "POST", CHAT, body, X_Task_Id=task_id)
    await settled(proxy)
    return answer


async def test_usage_auto_asks_what_was_seen_to_work(tmp_path: Path) -> None:
    """An unknown upstream is not asked for usage until a client's own question was answered; then it is, unseen."""
    plain, counted = chat_events(3), chat_events(3, usage=True)
    script = in_turn(sse_stream(plain), sse_stream(plain), sse_stream(counted))
    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        assert (await streamed(proxy, "t-0")).events == plain
        await streamed(proxy, "t-1", WITH_USAGE)
        assert (await streamed(proxy, "t-2", WITH_USAGE)).events == counted
        assert (await streamed(proxy, "t-3")).events == plain
        assert (await streamed(proxy, "t-4", {**STREAM, "stream_options": {"include_usage": False}})).events == plain
        await call(proxy, "POST", CHAT, PLAIN)
        records = [await record(proxy, f"t-{number}") for number in range(5)]
    yes = {"include_usage": True}
    assert [asked(up, index) for index in range(6)] == [None, yes, yes, yes, yes, None]
    assert [one["usage_source"] for one in records] == ["tokenizer", "tokenizer", "upstream", "upstream", "upstream"]


@pytest.mark.parametrize(("usage", "asks"), [("final", {"include_usage": True}), ("none", None)])
async def test_usage_as_configured(tmp_path: Path, usage: str, asks: Any) -> None:
    """With `final` every stream is asked for its usage, with `none` none is; the client's stream is the same."""
    script = sse_stream(chat_events(3, usage=usage == "final"))
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url, upstream={"usage": usage}), tmp_path) as proxy,
    ):
        assert (await streamed(proxy, "t-0")).events == chat_events(3)
        kept = await record(proxy, "t-0")
    assert asked(up, 0) == asks
    assert kept["usage_source"] == ("upstream" if usage == "final" else "tokenizer")
    assert kept["completion_tokens"]


async def test_the_own_question_is_left_alone(tmp_path: Path) -> None:
    """A client that asks for usage by itself gets its answer byte for byte, also where nothing is asked for us."""
    counted = chat_events(3, usage=True)
    body = json.dumps({**ask(), "stream_options": {"include_usage": True, "own": 1}}, indent=3).encode()
    async with (
        scripted_upstream(sse_stream(counted)) as up,
        running_proxy(config_text(up.base_url, upstream={"usage": "none"}), tmp_path) as proxy,
    ):
        answer = await streamed(proxy, "t-0", body)
        await eventually(lambda: len(up.requests) == 1)
    assert up.requests[0].body == body
    assert answer.events == counted
    assert answer.events[-1] == DONE
    assert json.loads(answer.events[-2].removeprefix(b"data: "))["usage"] == usage_object(7, 3)
