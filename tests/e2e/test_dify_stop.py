"""Stopping what runs behind Dify's API: by its own routes, by the native one, by the operator, in every phase."""

import asyncio
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from proxy.core.conversation import Message
from proxy.stores.conversations.port import Owner
from support.chat import chat_events, text
from support.client import RawClient, request_bytes
from support.dify import SUCCESS, begin, body, error_of, said, send, served, text_of
from support.program import ADMIN_TOKEN
from support.proxy import RunningProxy
from support.scripts import events_then_hang, hang, headers_then_hang, in_turn, json_answer, sse_stream
from support.stops import Ask, call, record, settled, stop
from support.upstream import Script
from support.wait import eventually, within

SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""

APPS = [
    ("/completion-messages", "/completion-messages/{}/stop"),
    ("/chat-messages", "/chat-messages/{}/stop"),
    ("/workflows/run", "/workflows/tasks/{}/stop"),
]


async def running(proxy: RunningProxy, number: int = 1) -> None:
    """Wait until so many generations live."""
    await eventually(lambda: len(proxy.app.engine.registry) == number, what=f"{number} generations live")


async def stop_as(proxy: RunningProxy, route: str, user: str, ask: Ask | None = None) -> None:
    """Stop by one of Dify's routes; the answer is always the same."""
    got = await send(proxy, "POST", route, {"user": user}, ask or Ask())
    assert (got.status, got.json()) == (200, SUCCESS)


@pytest.mark.parametrize(("path", "route"), APPS)
async def test_mid_stream(tmp_path: Path, path: str, route: str) -> None:
    """A stop closes the upstream, ends the stream in Dify's way with the usage of what came, and keeps the text."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await begin(client, path, body(), "t-1")
        await client.until(b"data: ", 8 + 2 * (path == "/workflows/run"))
        await stop_as(proxy, route.format("t-1"), "ann")
        got = await client.answer()
        conn = await up.conn()
        await within(conn.closed.wait(), "the upstream sees the close")
        kept = await record(proxy, "t-1")
        await stop_as(proxy, route.format("t-1"), "ann")
    assert got.complete
    assert not conn.closed_by_us
    events = said(got)
    assert text_of(events) == text(8)
    last = events[-1]
    if path == "/workflows/run":
        assert [event["event"] for event in events[-2:]] == ["node_finished", "workflow_finished"]
        assert (last["data"]["status"], last["data"]["error"]) == ("stopped", "Stopped by user.")
        assert last["data"]["total_tokens"] > 0
    else:
        assert [event["event"] for event in events].count("message_end") == 1
        assert (last["event"], last["metadata"]["stop_reason"]) == ("message_end", "user_manual")
        assert last["metadata"]["usage"]["completion_tokens"] > 0
    assert (kept["outcome"], kept["cause"], kept["text"]) == ("cancelled", "client", text(8))


@pytest.mark.parametrize(("path", "route"), APPS)
async def test_somebody_elses_stop_does_nothing(tmp_path: Path, path: str, route: str) -> None:
    """Another user, or the same user under another key, gets success, and the generation goes on."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await begin(client, path, body(), "t-1", Ask("one"))
        await client.until(b"data: ", 8)
        await stop_as(proxy, route.format("t-1"), "bob", Ask("one"))
        await stop_as(proxy, route.format("t-1"), "ann", Ask("other"))
        assert (await record(proxy, "t-1", Ask("one")))["outcome"] == "running"
        assert not (await up.conn()).closed.is_set()
        await stop_as(proxy, route.format("t-1"), "ann", Ask("one"))
        got = await client.answer()
    assert got.complete


@pytest.mark.parametrize("task_id", ["unknown", "00000000-0000-0000-0000-000000000000", "a%20b", "%C3%A4", "..."])
async def test_unknown_tasks(tmp_path: Path, task_id: str) -> None:
    """The stop of a task that never was is a success, whatever its id looks like."""
    async with served(hang(), tmp_path) as (proxy, _):
        for _, route in APPS:
            await stop_as(proxy, route.format(task_id), "ann")


async def test_stop_without_a_user(tmp_path: Path) -> None:
    """A stop must say for whom; without a user nothing is stopped, under any id."""
    async with served(hang(), tmp_path) as (proxy, _):
        for _, route in APPS:
            got = await send(proxy, "POST", route.format("t-1"), {"user": ""})
            assert error_of(got) == (400, "invalid_param", "user")


@pytest.mark.parametrize(("script", "answers"), [(hang(), False), (headers_then_hang(), True)])
@pytest.mark.parametrize(("path", "route"), APPS)
async def test_before_the_first_token(tmp_path: Path, script: Script, answers: bool, path: str, route: str) -> None:
    """A stop while the upstream is silent closes it at once: 499 where nothing went out yet, else the ordinary end."""
    async with served(script, tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await begin(client, path, body(), "t-1")
        conn = await up.conn()
        has_begun = answers or path == "/workflows/run"
        if has_begun:
            await client.until(b"\r\n\r\n")
        await stop_as(proxy, route.format("t-1"), "ann")
        got = await client.answer()
        await within(conn.closed.wait(), "the upstream sees the close")
    if has_begun:
        assert (got.status, got.complete) == (200, True)
        assert said(got)[-1]["event"] in {"message_end", "workflow_finished"}
        assert text_of(said(got)) == ""
    else:
        assert error_of(got) == (499, "generation_cancelled", None)
        assert got.header("x-should-retry") == "false"


@pytest.mark.parametrize(("path", "route"), APPS)
async def test_ahead_of_its_generation(tmp_path: Path, path: str, route: str) -> None:
    """A stop that comes first stops its generation before the upstream is called, if it is that user's."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up):
        await stop_as(proxy, route.format("t-1"), "ann")
        async with RawClient(proxy.port) as client:
            await begin(client, path, body(user="bob"), "t-1")
            await client.until(b"data: ", 8)
            await stop_as(proxy, route.format("t-1"), "bob")
            assert (await client.answer()).status == 200
        assert up.opened == 1
        got = await send(proxy, "POST", path, body(), X_Task_Id="t-1")
        assert error_of(got) == (499, "generation_cancelled", None)
        assert up.opened == 1
        assert (await record(proxy, "t-1"))["user"] == "ann"


async def test_stop_ahead_leaves_no_open_message(tmp_path: Path) -> None:
    """The message of a generation that was stopped before it began is over too, not in progress for ever."""
    async with served(hang(), tmp_path) as (proxy, _):
        first = await send(proxy, "POST", "/chat-messages/t-1/stop", {"user": "ann"})
        assert first.json() == SUCCESS
        await send(proxy, "POST", "/chat-messages", body(), X_Task_Id="t-1")
        kept = await record(proxy, "t-1")
        message = await _message(proxy, kept["message_id"])
    assert message.status == "cancelled"


async def _message(proxy: RunningProxy, message_id: str) -> Message:
    owner = Owner("anonymous", "dify /v1")
    found = await proxy.app.engine.conversations.find_message(owner, message_id)
    assert found is not None
    return found


@pytest.mark.parametrize("path", [path for path, _ in APPS])
async def test_blocking_call(tmp_path: Path, path: str) -> None:
    """A blocking call is stopped by the id that its caller chose: its upstream is closed, and the partial is kept."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, up), RawClient(proxy.port) as client:
        await begin(client, path, body(response_mode="blocking"), "t-1")
        conn = await up.conn()
        await eventually(lambda: len(conn.sent) >= sum(map(len, SAID)), what="the words are sent")

        async def folded() -> bool:
            return bool((await record(proxy, "t-1"))["characters"] == len(text(8)))

        await eventually(folded, what="the words have come")
        receipt = (await stop(proxy, "t-1", body={"reason": "enough"})).json()
        got = await client.answer()
        await within(conn.closed.wait(), "the upstream sees the close")
        message = await _message(proxy, receipt["message_id"])
    assert error_of(got) == (499, "generation_cancelled", None)
    assert (receipt["result"], receipt["partial"]["text"]) == ("stopped", text(8))
    assert (message.status, message.text) == ("cancelled", text(8))


async def test_by_the_operator(tmp_path: Path) -> None:
    """The operator's stop ends the stream in Dify's way too."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await begin(client, "/workflows/run", body(), "t-1")
        await client.until(b"data: ", 10)
        async with RawClient(proxy.admin_port) as admin:
            headers = [("Authorization", f"Bearer {ADMIN_TOKEN}")]
            await admin.send(request_bytes("POST", "/api/generations/t-1/cancel", b"", headers))
            assert (await admin.answer()).json()["result"] == "stopped"
        got = await client.answer()
    assert said(got)[-1]["data"]["status"] == "stopped"


async def test_read_again(tmp_path: Path) -> None:
    """The events can be listed and read again through the native API, as the client got them."""
    async with served(sse_stream(chat_events(3)), tmp_path) as (proxy, _):
        got = await send(proxy, "POST", "/chat-messages", body(), X_Task_Id="t-1")
        await settled(proxy)
        again = await call(proxy, "GET", "/v1/generations/t-1/events")
        listed = (await call(proxy, "GET", "/v1/generations")).json()["data"]
    assert [line for line in again.body.split(b"\n") if line.startswith(b"data: ")] == [
        line for line in got.body.split(b"\n") if line.startswith(b"data: ")
    ]
    assert [each["task_id"] for each in listed] == ["t-1"]


async def test_stop_races_the_end(tmp_path: Path) -> None:
    """However a stop and the end meet, the stream has exactly one end."""
    async with served(sse_stream(chat_events(20), 0.001), tmp_path) as (proxy, _):
        for step in range(40):
            async with RawClient(proxy.port) as client:
                await begin(client, "/completion-messages", body(), f"t-{step}")
                await asyncio.sleep(0.01 + step * 0.0005)
                await stop_as(proxy, f"/completion-messages/t-{step}/stop", "ann")
                got = await client.answer()
            if got.status == 200:
                names = [event["event"] for event in said(got)]
                assert names.count("message_end") == 1
                assert names[-1] == "message_end"
                assert "error" not in names


async def test_what_really_happened_can_be_seen(tmp_path: Path) -> None:
    """Dify's answer says success to another user's stop; the metric and the log say whose it was not."""
    async with served(events_then_hang(SAID), tmp_path) as (proxy, _), RawClient(proxy.port) as client:
        await begin(client, "/chat-messages", body(), "t-1")
        await client.until(b"data: ", 3)
        with capture_logs() as logs:
            await stop_as(proxy, "/chat-messages/t-1/stop", "bob")
        async with RawClient(proxy.admin_port) as admin:
            await admin.get("/metrics", [("Host", f"127.0.0.1:{proxy.admin_port}")])
            metrics = (await admin.answer()).body.decode()
    assert 'quell_cancels_total{cause="client",dialect="dify",result="foreign_user"} 1.0' in metrics
    assert [line["id"] for line in logs if line["event"] == "cancel.foreign_user"] == ["t-1"]


async def test_the_providers_status_is_in_the_log(tmp_path: Path) -> None:
    """Whoever reads the log can tell a refused key, which is a warning, from a rate limit."""
    refusals = in_turn(json_answer({"error": {"message": "no"}}, 401), json_answer({"error": {"message": "no"}}, 429))
    async with served(refusals, tmp_path) as (proxy, _):
        with capture_logs() as logs:
            for _ in range(2):
                await send(proxy, "POST", "/completion-messages", body())
            await settled(proxy)
    ends = [(line["upstream_status"], line["log_level"]) for line in logs if line["event"] == "generation.end"]
    assert ends == [(401, "warning"), (429, "info")]
