"""The provider's own abort call (`on_stop: call`): after our connection is closed, with the ids that it needs."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from support.chat import DONE, UPSTREAM_ID, chat_events, chat_object
from support.client import RawClient
from support.http_bytes import header
from support.leaks import back_to_start
from support.program import ADMIN_TOKEN, config_text
from support.proxy import RunningProxy, running_proxy
from support.scripts import by_path, events_then_hang, hang, json_answer, sse_stream
from support.stops import ANYBODY, CHAT, PLAIN, STREAM, Ask, call, record, settled, start, stop
from support.upstream import Conn, Script, ScriptedUpstream, scripted_upstream
from support.upstream_link import Request
from support.wait import eventually, within

SAID = chat_events(8)[:-2]
ABORT = {"path": "/abort/{{upstream_id}}"}
RID = '{"rid": "{{upstream_id}}", "task": "{{task_id}}"}'


@asynccontextmanager
async def served(
    folder: Path,
    script: Script | None = None,
    abort: dict[str, Any] | None = None,
    answer: Script | None = None,
    **config: Any,
) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream]]:
    """A proxy whose upstream has an abort call; `answer` is what it gives to that."""
    script, answer = script or events_then_hang(SAID), answer or json_answer({})
    scripts: dict[str, Script] = {CHAT: script, "/v1/responses": script, "/v1/abort/" + UPSTREAM_ID: answer}
    scripts |= dict.fromkeys(("/abort_request", "/v1/tasks/t-1", "/v1/responses/resp_1/cancel"), answer)
    async with scripted_upstream(by_path(scripts)) as up:
        given = {name: value.replace("ORIGIN", up.origin) for name, value in (abort or ABORT).items()}
        upstream = {"on_stop": "call", "abort": given, **config.pop("upstream", {})}
        async with running_proxy(config_text(up.base_url, upstream=upstream, **config), folder) as proxy:
            yield proxy, up


async def said(proxy: RunningProxy, client: RawClient, ask: Ask = ANYBODY) -> None:
    """Start a stream, and read all that is said."""
    await start(client, "t-1", ask=ask)
    await client.until(b"data:", len(SAID))


async def aborts(proxy: RunningProxy) -> dict[str, float]:
    """How many abort calls had which result."""
    await settled(proxy)
    found = [sample for family in proxy.app.engine.metrics.aborts.collect() for sample in family.samples]
    return {each.labels["result"]: each.value for each in found if each.name.endswith("_total") and each.value}


async def aborted(up: ScriptedUpstream) -> Request:
    """The abort call that the upstream got."""
    await eventually(lambda: len(up.requests) > 1, what="the abort is called")
    await within(up.requests[1].arrived.wait(), "its body arrives")
    return up.requests[1]


@pytest.mark.parametrize(
    ("abort", "method", "target", "body"),
    [
        (ABORT, "POST", f"/v1/abort/{UPSTREAM_ID}", b""),
        (
            {"path": "ORIGIN/abort_request", "body": RID},
            "POST",
            "/abort_request",
            json.dumps({"rid": UPSTREAM_ID, "task": "t-1"}).encode(),
        ),
        ({"method": "DELETE", "path": "/tasks/{{task_id}}"}, "DELETE", "/v1/tasks/t-1", b""),
    ],
)
async def test_the_call(tmp_path: Path, abort: dict[str, str], method: str, target: str, body: bytes) -> None:
    """A stop closes our connection, then makes the provider's own call, with the caller's credential only."""
    async with served(tmp_path, abort=abort) as (proxy, up), RawClient(proxy.port) as client:
        await said(proxy, client, Ask("sk-owner"))
        receipt = (await stop(proxy, "t-1", Ask("sk-owner"))).json()
        request = await aborted(up)
        conn = await up.conn()
        assert conn.closed.is_set()
        assert await aborts(proxy) == {"ok": 1}
    assert receipt["result"] == "stopped"
    assert (request.method, request.target, request.body) == (method, target, body)
    assert header(request.headers, "Authorization") == "Bearer sk-owner"
    assert header(request.headers, "Host") == f"127.0.0.1:{up.port}"
    assert header(request.headers, "Content-Type") == ("application/json" if body else None)
    assert {name.lower() for name, _ in request.headers} <= {
        *("authorization", "host", "accept", "content-type", "content-length"),
    }


async def test_our_own_credential(tmp_path: Path) -> None:
    """Where the upstream has an api_key, the abort goes up with it."""
    async with served(tmp_path, upstream={"api_key": "sk-ours"}) as (proxy, up), RawClient(proxy.port) as client:
        await said(proxy, client)
        await stop(proxy, "t-1")
        request = await aborted(up)
    assert header(request.headers, "Authorization") == "Bearer sk-ours"


@pytest.mark.parametrize("how", ["disconnect", "operator", "timeout", "shutdown"])
async def test_every_stop_calls_it(tmp_path: Path, how: str) -> None:
    """Whoever stops, and whichever deadline of ours does, the provider is told."""
    timeouts = {"timeouts": {"idle": "500ms"}} if how == "timeout" else {}
    async with served(tmp_path, upstream=timeouts) as (proxy, up), RawClient(proxy.port) as client:
        await said(proxy, client)
        match how:
            case "disconnect":
                client.reset()
            case "operator":
                async with RawClient(proxy.admin_port) as admin:
                    token = [("Authorization", f"Bearer {ADMIN_TOKEN}")]
                    await admin.post("/api/generations/t-1/cancel", b"", token)
                    await admin.answer()
            case "shutdown":
                await within(proxy.app.stop(drain=False), "the process ends")
        request = await aborted(up)
    assert request.target == f"/v1/abort/{UPSTREAM_ID}"


@pytest.mark.parametrize(
    ("script", "until", "results"),
    [
        (hang(), None, {"unnamed": 1}),
        (sse_stream(chat_events(3)), DONE, {}),
        (events_then_hang(chat_events(3)[:-1]), b'"finish_reason":"stop"', {}),
    ],
    ids=["nothing has come", "it is over", "all but its end has come"],
)
async def test_no_call_where_there_is_nothing_to_abort(
    tmp_path: Path, script: Script, until: bytes | None, results: dict[str, float]
) -> None:
    """Without the upstream's id none is made, and that is counted; nor is one for an answer that is complete."""
    async with served(tmp_path, script) as (proxy, up), RawClient(proxy.port) as client:
        await start(client, "t-1")
        await up.conn()
        if until is not None:
            await client.until(until)
        await stop(proxy, "t-1")
        assert await aborts(proxy) == results
        assert len(up.requests) == 1


async def test_no_call_for_what_never_went_up(tmp_path: Path) -> None:
    """A call that waits for its slot, or for its connection, is nothing to the provider."""

    async def never_shakes_hands(conn: Conn) -> None:
        await conn.sleep_until_closed()

    abort = {"path": "/tasks/{{task_id}}"}
    async with scripted_upstream(never_shakes_hands, begin="connect") as up:
        base_url = up.base_url.replace("http://", "https://")
        config = config_text(base_url, upstream={"on_stop": "call", "abort": abort, "slots": 1})
        async with (
            running_proxy(config, tmp_path) as proxy,
            RawClient(proxy.port) as connecting,
            RawClient(proxy.port) as queued,
        ):
            await start(connecting, "t-1")
            await up.conn()
            await start(queued, "t-2")
            phases = [(await stop(proxy, task_id)).json()["phase"] for task_id in ("t-2", "t-1")]
            assert await aborts(proxy) == {}
    assert phases == ["queued", "connecting"]


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (json_answer({"error": "none"}, 404), "refused"),
        (json_answer({}, 302, [("Location", "http://elsewhere/")]), "redirect"),
    ],
)
async def test_a_call_that_fails_changes_nothing(tmp_path: Path, answer: Script, result: str) -> None:
    """What the provider says to it is in the metrics; the stop is what it was."""
    async with served(tmp_path, answer=answer) as (proxy, _), RawClient(proxy.port) as client:
        await said(proxy, client)
        receipt = (await stop(proxy, "t-1")).json()
        assert await aborts(proxy) == {result: 1}
        kept = await record(proxy, "t-1")
    assert (receipt["result"], kept["outcome"], kept["error_kind"]) == ("stopped", "cancelled", None)


async def test_a_provider_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stop does not wait for the call, and the call does not wait for ever."""
    monkeypatch.setattr("proxy.engine.upstreams.abort.ANSWER_SECONDS", 0.2)
    async with served(tmp_path, answer=hang(), upstream={"timeouts": {"connect": "100ms"}}) as (proxy, up):
        async with RawClient(proxy.port) as client:
            await said(proxy, client)
            receipt = (await within(stop(proxy, "t-1"), "the stop is answered")).json()
        assert await aborts(proxy) == {"timeout": 1}
        await up.no_connections()
    assert receipt["result"] == "stopped"


async def test_a_background_response(tmp_path: Path) -> None:
    """A background response that is streamed goes on by itself when it is closed: a native stop cancels it there."""
    created = {"type": "response.created", "response": {"id": "resp_1", "object": "response", "status": "in_progress"}}
    event = b"event: response.created\ndata: " + json.dumps(created).encode() + b"\n\n"
    abort = {"path": "/responses/{{upstream_id}}/cancel"}
    async with served(tmp_path, events_then_hang([event]), abort) as (proxy, up), RawClient(proxy.port) as client:
        body = {"model": "m", "input": "Tell me.", "background": True, "stream": True}
        await client.post("/v1/responses", body, [("X-Task-Id", "t-1")])
        await client.until(b"resp_1")
        await stop(proxy, "t-1")
        request = await aborted(up)
    assert (request.method, request.target) == ("POST", "/v1/responses/resp_1/cancel")


async def test_a_blocking_call_has_no_name_yet(tmp_path: Path) -> None:
    """A non-streaming call is named by its answer only: a stop before that can't be told to the provider."""
    async with served(tmp_path, hang()) as (proxy, up), RawClient(proxy.port) as client:
        await start(client, "t-1", PLAIN)
        await up.conn()
        await stop(proxy, "t-1")
        assert await aborts(proxy) == {"unnamed": 1}
    assert chat_object(1)["id"] == UPSTREAM_ID


async def test_an_id_that_would_be_another_path(tmp_path: Path) -> None:
    """The upstream's id is one segment of the path, whatever is in it; one of dots is no id."""
    results = []
    for upstream_id, target in (("a/../b?c=d", "/v1/abort/a%2F..%2Fb%3Fc%3Dd"), ("..", None)):
        script = events_then_hang(chat_events(8, upstream_id=upstream_id)[:-2])
        async with served(tmp_path, script) as (proxy, up), RawClient(proxy.port) as client:
            await said(proxy, client)
            await stop(proxy, "t-1")
            if target is not None:
                assert (await aborted(up)).target == target
            results.append(await aborts(proxy))
    assert results == [{"refused": 1}, {"unnamed": 1}]


async def test_nothing_is_left(tmp_path: Path) -> None:
    """Many stops at once leave no task and no connection behind, and each is told once."""

    async def one(proxy: RunningProxy, number: int) -> None:
        async with RawClient(proxy.port) as client:
            await client.post(CHAT, STREAM, [("X-Task-Id", f"m-{number}")])
            await client.until(b"data:", len(SAID))
            await asyncio.gather(stop(proxy, f"m-{number}"), stop(proxy, f"m-{number}"))
            await client.answer()

    closing = json_answer({}, 200, [("Connection", "close")])
    async with served(tmp_path, answer=closing) as (proxy, _):
        await one(proxy, 0)
        await settled(proxy)
        async with back_to_start():
            await asyncio.gather(*(one(proxy, number) for number in range(1, 40)))
            await settled(proxy)
        assert await aborts(proxy) == {"ok": 40}
        assert (await call(proxy, "GET", "/v1/generations")).status == 200
