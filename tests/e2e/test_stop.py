"""A stop from another connection: in every phase, by every id, as often as one likes."""

import asyncio
import json
from pathlib import Path

import pytest

from support.chat import DONE, chat_events, text
from support.client import RawClient
from support.leaks import back_to_start
from support.program import ADMIN_TOKEN, config_text
from support.proxy import running_proxy
from support.scripts import events_then_hang, hang, headers_then_hang, json_answer, short_of_length, sse_stream
from support.stops import CHAT, PLAIN, STREAM, Ask, call, record, settled, start, stop
from support.upstream import Conn, Script, scripted_upstream
from support.wait import eventually, within

SAID = chat_events(8)[:-2]
"""A stream that is not over: role and eight words, no finish reason."""


async def test_mid_stream_stop_ends_everything_properly(tmp_path: Path) -> None:
    """X5: a stop mid-stream closes the upstream, ends the client's stream cleanly and keeps the partial."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        receipt = (await stop(proxy, "t-1", body={"reason": "enough"})).json()
        answer = await client.answer()
        conn = await up.conn()
        await within(conn.closed.wait(), "the upstream sees the close")
        kept = await record(proxy, "t-1")
    assert answer.complete
    assert answer.events[: len(SAID)] == SAID
    assert answer.events[-3] == b": quell: task_id=t-1 cause=client\n\n"
    last = json.loads(answer.events[-2].removeprefix(b"data: "))
    assert last["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]
    assert last["id"] == "chatcmpl-scripted-1"
    assert answer.events[-1] == DONE
    assert answer.header("X-Task-Id") == "t-1"
    assert not conn.closed_by_us
    assert {name: receipt[name] for name in ("result", "status", "cause", "phase")} == {
        "result": "stopped",
        "status": "cancelled",
        "cause": "client",
        "phase": "streaming",
    }
    assert receipt["partial"] == {"characters": len(text(8)), "text": text(8)}
    assert receipt["upstream_closed_ms"] is not None
    assert (kept["outcome"], kept["reason"], kept["text"]) == ("cancelled", "enough", text(8))


async def test_stopped_stream_has_the_asked_usage(tmp_path: Path) -> None:
    """A client that asked for usage gets a usage chunk at the end of its stopped stream, as the receipt says it."""
    body = {**STREAM, "stream_options": {"include_usage": True}}
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1", body)
        await client.until(b"data:", len(SAID))
        receipt = (await stop(proxy, "t-1")).json()
        answer = await client.answer()
    usage = json.loads(answer.events[-2].removeprefix(b"data: "))
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == receipt["usage"]["completion_tokens"] > 0
    assert answer.events[-1] == DONE


@pytest.mark.parametrize("body", [STREAM, PLAIN], ids=["streaming", "non-streaming"])
async def test_silent_upstream(tmp_path: Path, body: dict[str, object]) -> None:
    """X4: a stop while the upstream is silent closes it and answers 499, which SDKs do not retry."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        async with RawClient(proxy.port) as client:
            await start(client, "t-1", body)
            conn = await up.conn()
            receipt = (await stop(proxy, "t-1")).json()
            answer = await client.answer()
            await within(conn.closed.wait(), "the upstream sees the close")
            kept = await record(proxy, "t-1")
    assert (answer.status, answer.header("x-should-retry")) == (499, "false")
    assert answer.json()["error"]["code"] == "generation_cancelled"
    assert answer.header("X-Task-Id") == "t-1"
    assert (receipt["result"], receipt["phase"]) == ("stopped", "waiting")
    assert (kept["outcome"], kept["characters"]) == ("cancelled", 0)


async def test_after_the_header_before_the_first_event(tmp_path: Path) -> None:
    """A stop after the header and before the first event ends the stream properly, with ids of ours."""
    async with scripted_upstream(headers_then_hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        async with RawClient(proxy.port) as client:
            await start(client, "t-1")
            await client.until(b"\r\n\r\n")
            receipt = (await stop(proxy, "t-1")).json()
            answer = await client.answer()
    assert answer.complete
    assert answer.events[-1] == DONE
    last = json.loads(answer.events[-2].removeprefix(b"data: "))
    assert last["choices"][0]["finish_reason"] == "stop"
    assert last["id"] == answer.header("X-Message-Id")
    assert (receipt["phase"], receipt["partial"]["characters"]) == ("waiting", 0)


async def test_waiting_for_a_slot(tmp_path: Path) -> None:
    """X1: a stop of a call that waits for a slot never reaches the upstream, and the queue goes on."""
    config = {"upstream": {"slots": 1}}
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url, **config), tmp_path) as proxy,
        RawClient(proxy.port) as first,
        RawClient(proxy.port) as second,
    ):
        await start(first, "t-1")
        await first.until(b"data:", len(SAID))
        await start(second, "t-2")
        await eventually(lambda: len(proxy.app.engine.registry) == 2, what="the second call is admitted")
        receipt = (await stop(proxy, "t-2")).json()
        answer = await second.answer()
        await stop(proxy, "t-1")
        await first.answer()
        assert up.opened == 1
        assert (receipt["result"], receipt["phase"], receipt["usage"]["prompt_tokens"]) == ("stopped", "queued", None)
        assert answer.status == 499
        await start(first, "t-3")
        await first.until(b"data:", len(SAID))
        assert (await stop(proxy, "t-3")).json()["phase"] == "streaming"


async def test_during_the_tls_handshake(tmp_path: Path) -> None:
    """X2, X3: a stop while the connection is being made ends the attempt at once."""

    async def never_shakes_hands(conn: Conn) -> None:
        await conn.sleep_until_closed()

    async with scripted_upstream(never_shakes_hands, begin="connect") as up:
        base_url = up.base_url.replace("http://", "https://")
        async with running_proxy(config_text(base_url), tmp_path) as proxy, RawClient(proxy.port) as client:
            await start(client, "t-1")
            conn = await up.conn()
            receipt = (await stop(proxy, "t-1")).json()
            await within(conn.closed.wait(), "the upstream sees the close")
            answer = await client.answer()
    assert (receipt["result"], receipt["phase"]) == ("stopped", "connecting")
    assert answer.status == 499


async def test_hundred_stops_at_once(tmp_path: Path) -> None:
    """X7: a hundred stops at once make one transition, and all of them get the same answer."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        answers = await asyncio.gather(*(stop(proxy, "t-1") for _ in range(100)))
        await client.answer()
        again = await stop(proxy, "t-1")
        metrics = await call_admin(proxy.admin_port, "/metrics")
    assert {answer.body for answer in answers} == {again.body}
    assert again.json()["result"] == "stopped"
    assert b'quell_generations_total{outcome="cancelled",route="/v1",upstream="up"} 1.0' in metrics


async def call_admin(port: int, path: str) -> bytes:
    """The body of an admin answer."""
    async with RawClient(port) as client:
        await client.get(path, [("Authorization", f"Bearer {ADMIN_TOKEN}")])
        return (await client.answer()).body


async def test_after_the_end(tmp_path: Path) -> None:
    """X8: a stop after the end answers 200 already_finished, and the record stays as it was."""
    async with scripted_upstream(sse_stream(chat_events(3))) as up:
        async with running_proxy(config_text(up.base_url), tmp_path) as proxy:
            answer = await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
            await settled(proxy)
            late = await stop(proxy, "t-1")
            kept = await record(proxy, "t-1")
    assert answer.body == b"".join(chat_events(3))
    assert late.status == 200
    assert (late.json()["result"], late.json()["status"], late.json()["phase"]) == (
        "already_finished",
        "completed",
        "finished",
    )
    assert (kept["outcome"], kept["cause"]) == ("completed", None)


async def test_same_answer_after_a_restart(tmp_path: Path) -> None:
    """A repeated stop gives the same answer from the ledger, after the proxy was started again."""
    async with scripted_upstream(events_then_hang(SAID)) as up:
        config = config_text(up.base_url)
        async with running_proxy(config, tmp_path) as proxy, RawClient(proxy.port) as client:
            await start(client, "t-1")
            await client.until(b"data:", len(SAID))
            first = (await stop(proxy, "t-1")).json()
        async with running_proxy(config, tmp_path) as proxy:
            again = (await stop(proxy, "t-1")).json()
    assert again == first


@pytest.mark.parametrize("route", ["generations", "chat/completions", "completions"])
@pytest.mark.parametrize("name", ["task_id", "message_id", "upstream_id"])
async def test_every_id_on_every_route(tmp_path: Path, route: str, name: str) -> None:
    """X9: task id, message id and the upstream's id name the same generation on every stop route."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        any_id = (await record(proxy, "t-1"))[name]
        answer = await call(proxy, "POST", f"/v1/{route}/{any_id}/cancel")
        assert (await client.answer()).events[-1] == DONE
        again = await call(proxy, "POST", f"/v1/generations/{any_id}/cancel")
    assert answer.json()["task_id"] == "t-1"
    assert again.body == answer.body


async def test_a_shared_upstream_id_stops_nothing(tmp_path: Path) -> None:
    """An upstream id that two live generations of one caller share looks unknown and stops neither."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as one,
        RawClient(proxy.port) as two,
    ):
        for client, task_id in ((one, "t-1"), (two, "t-2")):
            await start(client, task_id)
            await client.until(b"data:", len(SAID))
        assert (await stop(proxy, "chatcmpl-scripted-1")).status == 404
        assert {(await record(proxy, task_id))["outcome"] for task_id in ("t-1", "t-2")} == {"running"}


async def test_cancel_before_its_generation(tmp_path: Path) -> None:
    """X19: a stop for an id that has not arrived yet looks unknown, and stops it before the upstream is called."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        early = await stop(proxy, "t-1")
        foreign = await call(proxy, "POST", "/v1/generations/t-2/cancel", ask=Ask("somebody-else"))
        answer = await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        kept = await record(proxy, "t-1")
        async with RawClient(proxy.port) as client:
            await start(client, "t-2")
            await client.until(b"data:", len(SAID))
            opened = up.opened
    assert (early.status, foreign.status) == (404, 404)
    assert answer.status == 499
    assert (kept["outcome"], kept["phase"], kept["cause"]) == ("cancelled", "queued", "client")
    assert opened == 1


async def test_an_id_in_use_is_refused(tmp_path: Path) -> None:
    """X20: an id that a live generation of the same caller has is refused; another caller may use it."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as one,
        RawClient(proxy.port) as two,
    ):
        await start(one, "t-1")
        await one.until(b"data:", len(SAID))
        refused = await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        await start(two, "t-1", ask=Ask("another"))
        await two.until(b"data:", len(SAID))
        await stop(proxy, "t-1")
        assert (await one.answer()).events[-1] == DONE
        other = await record(proxy, "t-1", ask=Ask("another"))
        await start(one, "t-1")
        await one.until(b"data:", len(SAID))
        newest = await record(proxy, "t-1")
    assert (refused.status, refused.json()["error"]["code"]) == (400, "task_id_in_use")
    assert (other["outcome"], newest["outcome"]) == ("running", "running")


async def test_foreign_ids_look_unknown(tmp_path: Path) -> None:
    """X14, X15: somebody else's id is answered byte for byte like an unknown one, on every route, and lives on."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1", ask=Ask("owner"))
        await client.until(b"data:", len(SAID))
        stranger = Ask("stranger")
        for method, path in (
            ("POST", "/v1/generations/{}/cancel"),
            ("POST", "/v1/chat/completions/{}/cancel"),
            ("GET", "/v1/generations/{}"),
            ("GET", "/v1/generations/{}/events"),
        ):
            answers = [await call(proxy, method, path.format(any_id), ask=stranger) for any_id in ("t-1", "no-such")]
            assert answers[0].status == 404
            assert without_date(answers[0].raw) == without_date(answers[1].raw)
        assert (await call(proxy, "GET", "/v1/generations", ask=stranger)).json()["data"] == []
        assert (await record(proxy, "t-1", ask=Ask("owner")))["outcome"] == "running"


def without_date(raw: bytes) -> bytes:
    """An answer without its Date, which tells nothing."""
    return b"\r\n".join(line for line in raw.split(b"\r\n") if not line.startswith(b"Date:"))


@pytest.mark.parametrize(
    "any_id", ["..", "%2e%2e", "a%00b", "x" * 9000, "a%0d%0ab", "*", "t-*", "%C3%A9", "t-1%2Fx", "a\\b", "t-[1]"]
)
async def test_malformed_ids(tmp_path: Path, any_id: str) -> None:
    """X16: a malformed id is refused with 400, 404 or 414 and stops nothing."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        answer = await stop(proxy, any_id)
        assert answer.status in {400, 404, 414}
        assert (await record(proxy, "t-1"))["outcome"] == "running"


async def test_bulk_stops_mean_own_ones_only(tmp_path: Path) -> None:
    """X22: a bulk stop by user, tag or all stops the caller's own matching generations and nobody else's."""
    config = config_text("{}", route={"tags": {"team": "search"}})
    async with scripted_upstream(events_then_hang(SAID)) as up:
        async with running_proxy(config.replace("'{}'", up.base_url), tmp_path) as proxy:
            clients = [RawClient(proxy.port) for _ in range(4)]
            askers = [Ask("a"), Ask("a"), Ask("a"), Ask("b")]
            for number, (client, ask) in enumerate(zip(clients, askers, strict=True)):
                await client.connect()
                user = "u-1" if number != 1 else "u-2"
                await client.post(CHAT, {**STREAM, "user": user}, ask.headers(X_Task_Id=f"t-{number}"))
                await client.until(b"data:", len(SAID))
            path = "/v1/generations/cancel"
            by_user = (await call(proxy, "POST", path, {"user": "u-1"}, Ask("a"))).json()
            by_tag = (await call(proxy, "POST", path, {"tag": {"team": "other"}}, Ask("a"))).json()
            by_all = (await call(proxy, "POST", path, {"all": True}, Ask("a"))).json()
            unclear = await call(proxy, "POST", path, {"user": "u-1", "all": True}, Ask("a"))
            other = await record(proxy, "t-3", ask=Ask("b"))
            for client in clients:
                client.reset()
    assert (sorted(by_user["stopped"]), by_user["count"]) == (["t-0", "t-2"], 2)
    assert by_tag["count"] == 0
    assert by_all["stopped"] == ["t-1"]
    assert unclear.status == 400
    assert other["outcome"] == "running"


async def test_stop_against_the_last_chunk(tmp_path: Path) -> None:
    """X6: whatever wins, stop and end give one outcome that record, receipt and the client's stream agree on."""
    events = chat_events(2)
    async with scripted_upstream(sse_stream(events)) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        seen: set[str] = set()
        for number in range(150):
            async with RawClient(proxy.port) as client:
                await start(client, f"t-{number}")
                for _ in range(number % 30):
                    await asyncio.sleep(0)
                receipt = await stop(proxy, f"t-{number}")
                answer = await client.answer()
            await settled(proxy)
            kept = await record(proxy, f"t-{number}")
            if receipt.status == 404:  # it came first: the tombstone stopped the call
                assert (answer.status, kept["outcome"]) == (499, "cancelled")
                continue
            result = receipt.json()["result"]
            seen.add(result)
            assert kept["outcome"] == {"stopped": "cancelled", "already_finished": "completed"}[result]
            assert answer.status == 499 or (answer.complete and answer.events[-1] == DONE)
            if kept["outcome"] == "completed":
                assert answer.body.startswith(b"".join(events[:-1]))


async def test_storm(tmp_path: Path) -> None:
    """X17 in small: three hundred streams stopped at once all end properly, and nothing stays open."""
    number = 300
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        await call(proxy, "GET", "/v1/generations")
        async with back_to_start():
            clients = [await RawClient(proxy.port).connect() for _ in range(number)]
            for index, client in enumerate(clients):
                await start(client, f"t-{index}")
            for client in clients:
                await client.until(b"data:", len(SAID))
            bulk = (await call(proxy, "POST", "/v1/generations/cancel", {"all": True})).json()
            answers = [await client.answer() for client in clients]
            for client in clients:
                client.fin()
            await up.no_connections()
            await settled(proxy)
    assert bulk["count"] == number
    assert all(answer.complete and answer.events[-1] == DONE for answer in answers)


async def test_non_streaming_answer_that_was_faster(tmp_path: Path) -> None:
    """A plain answer that is whole goes out whole, and a later stop says already_finished."""
    whole = {"id": "c-1", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop"}]}
    async with scripted_upstream(json_answer(whole)) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        answer = await call(proxy, "POST", CHAT, PLAIN, X_Task_Id="t-1")
        await settled(proxy)
        late = (await stop(proxy, "c-1")).json()
    assert answer.json() == whole
    assert late["result"] == "already_finished"


async def test_stop_through_the_operator(tmp_path: Path) -> None:
    """The operator stops anybody's generation, on the admin listener only; the record names the operator as cause."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        async with RawClient(proxy.port) as client, RawClient(proxy.admin_port) as admin:
            await start(client, "t-1", ask=Ask("owner"))
            await client.until(b"data:", len(SAID))
            refused = await call(proxy, "POST", "/v1/generations/t-1/cancel", ask=Ask(ADMIN_TOKEN))
            await admin.post(
                "/api/generations/t-1/cancel", {"reason": "loop"}, [("Authorization", f"Bearer {ADMIN_TOKEN}")]
            )
            receipt = (await admin.answer()).json()
            assert (await client.answer()).events[-1] == DONE
            kept = await record(proxy, "t-1", ask=Ask("owner"))
    assert refused.status == 404
    assert receipt["result"] == "stopped"
    assert (kept["cause"], kept["reason"], kept["outcome"]) == ("operator", "loop", "cancelled")


@pytest.mark.parametrize("script", [hang(), short_of_length(b'{"id":"c', 500, "hang")], ids=["silent", "begun"])
async def test_what_nobody_could_read_is_not_zero(tmp_path: Path, script: Script) -> None:
    """A non-streaming call that is stopped may have made any number of tokens: that is unknown, not 0."""
    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1", PLAIN)
        await up.conn()
        receipt = (await stop(proxy, "t-1")).json()
    assert receipt["result"] == "stopped"
    assert receipt["usage"]["completion_tokens"] is None
    assert receipt["usage"]["prompt_tokens"] > 0
