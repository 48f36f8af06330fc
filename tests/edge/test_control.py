"""The native control API: what the owner of generations gets, in every method and with every kind of input."""

import json
from pathlib import Path
from typing import Any

import pytest

from proxy.core.record import Record
from proxy.stores.ledger.null import NullLedger
from proxy.stores.ledger.port import LedgerUnavailableError, Page, RecordFilter
from support.chat import chat_events, text
from support.client import RawClient, request_bytes
from support.edge import bearer, refused, send
from support.http_bytes import Headers
from support.program import config_text
from support.proxy import running_proxy
from support.scripts import events_then_hang, hang, in_turn, json_answer, sse_stream
from support.stops import CHAT, STREAM, call, record, settled, start, stop
from support.upstream import scripted_upstream

SAID = chat_events(8)[:-2]
"""A stream that is not over."""

FIELDS = {
    "task_id",
    "message_id",
    "upstream_id",
    "dialect",
    "route",
    "upstream",
    "model",
    "key_id",
    "user",
    "tags",
    "replica",
    "started_at",
    "first_token_at",
    "ended_at",
    "outcome",
    "cause",
    "cancelled_by",
    "reason",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "reasoning_tokens",
    "usage_source",
    "cost",
    "currency",
    "characters",
    "text",
    "text_clipped",
    "error_kind",
    "phase",
    "elapsed_seconds",
    "upstream_closed_ms",
    "upstream_model",
    "settlement",
    "price",
    "encoding",
    "max_tokens",
    "late_tokens",
    "saved_most",
    "saved_typical",
}
"""The record's fields, as users read of them."""


async def test_a_record_has_exactly_its_fields(tmp_path: Path) -> None:
    """A record shows every field it is documented with and nothing of our own keys, live and ended alike."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url, route={"tags": {"team": "search"}}), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1", {**STREAM, "user": "u-1"})
        await client.until(b"data:", len(SAID))
        live = await record(proxy, "t-1")
        await stop(proxy, "t-1", body={"reason": "enough"})
        ended = await record(proxy, "t-1")
    assert set(live) == set(ended) == {"object"} | FIELDS
    assert (live["object"], live["outcome"], live["phase"]) == ("generation", "running", "streaming")
    known = {
        "task_id": "t-1",
        "dialect": "openai",
        "route": "/v1",
        "upstream": "up",
        "model": "scripted",
        "user": "u-1",
    }
    assert {name: ended[name] for name in known} == known
    assert (ended["tags"], ended["key_id"], ended["upstream_id"]) == (
        {"team": "search"},
        "anonymous",
        "chatcmpl-scripted-1",
    )
    assert (ended["cancelled_by"], ended["reason"], ended["text"]) == ("anonymous", "enough", text(8))
    assert ended["started_at"] <= ended["first_token_at"] <= ended["ended_at"]
    assert ended["ended_at"].endswith("Z")
    assert ended["cost"] is ended["cached_tokens"] is ended["error_kind"] is None


async def test_the_receipt_has_exactly_its_fields(tmp_path: Path) -> None:
    """The answer of a cancel has the documented shape, and the same numbers as the record."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        receipt = (await stop(proxy, "t-1")).json()
        kept = await record(proxy, "t-1")
    usage = {name: kept[name] for name in ("prompt_tokens", "completion_tokens")}
    assert receipt == {
        "object": "generation.cancel",
        "task_id": "t-1",
        "message_id": kept["message_id"],
        "result": "stopped",
        "status": "cancelled",
        "cause": "client",
        "phase": "streaming",
        "elapsed_seconds": kept["elapsed_seconds"],
        "upstream_closed_ms": kept["upstream_closed_ms"],
        "partial": {"characters": len(text(8)), "text": text(8)},
        "usage": {**usage, "total_tokens": sum(usage.values()), "source": "tokenizer"},
        "late_tokens": None,
        "saved_tokens": {"most": None, "typical": None},
    }


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_nothing_below_generations_goes_up(tmp_path: Path, method: str) -> None:
    """Whatever the method, and however it is escaped, a path at or below /generations never reaches the upstream."""
    paths = ["", "/", "/cancel", "/t-1", "/t-1/", "/t-1/cancel", "/t-1/events", "/t-1/other", "/t-1/cancel/now"]
    async with (
        scripted_upstream(json_answer({"from": "upstream"})) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        for path in paths:
            for root in ("generations", "%67enerations"):
                answer = await send(proxy, method, f"/v1/{root}{path}")
                assert answer.status in {200, 400, 404, 405}, path
                assert b"upstream" not in answer.body
        assert (await send(proxy, method, "/v1/generations2")).status == 200
    assert [request.target for request in up.requests] == ["/v1/generations2"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/generations", "GET, HEAD"),
        ("DELETE", "/v1/generations/t-1", "GET, HEAD"),
        ("GET", "/v1/generations/cancel", "POST"),
        ("GET", "/v1/generations/t-1/cancel", "POST"),
        ("HEAD", "/v1/generations/t-1/events", "GET"),
        ("OPTIONS", "/v1/generations", "GET, HEAD"),
        ("GET", "/v1/chat/completions/t-1/cancel", "POST"),
        ("DELETE", "/v1/completions/t-1/cancel", "POST"),
    ],
)
async def test_wrong_methods(tmp_path: Path, method: str, path: str, allowed: str) -> None:
    """A path of ours that takes another method says which, and the upstream hears nothing of it."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        answer = await send(proxy, method, path)
        assert (answer.status, answer.header("Allow")) == (405, allowed)
        assert not up.requests


async def test_head_is_get_without_its_body(tmp_path: Path) -> None:
    """HEAD of a list or a record answers as GET does, without the body."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        listed, head = [await send(proxy, method, "/v1/generations") for method in ("GET", "HEAD")]
        assert (head.status, head.header("Content-Length")) == (200, str(len(listed.body)))
        assert (await send(proxy, "HEAD", "/v1/generations/nobodys")).status == 404


EMPTY: dict[str, Headers] = {
    "no content type": [],
    "application/json": [("Content-Type", "application/json")],
    "form": [("Content-Type", "application/x-www-form-urlencoded")],
}


@pytest.mark.parametrize("headers", EMPTY.values(), ids=EMPTY.keys())
@pytest.mark.parametrize("route", ["generations", "chat/completions", "completions"])
async def test_a_cancel_needs_no_body(tmp_path: Path, route: str, headers: Headers) -> None:
    """SDKs send a stop without a body, with or without a content type and a length: all of them stop."""
    async with (
        scripted_upstream(hang()) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        for length in ([], [("Content-Length", "0")]):
            async with RawClient(proxy.port) as client, RawClient(proxy.port) as other:
                await start(client, "t-1")
                await up.conn(len(length))
                lines = [("Host", "127.0.0.1"), *headers, *length]
                head = "".join(f"{name}: {value}\r\n" for name, value in lines)
                await other.send(f"POST /v1/{route}/t-1/cancel HTTP/1.1\r\n{head}\r\n".encode())
                answer = await other.answer()
                assert (answer.status, answer.json()["result"]) == (200, "stopped")
                assert (await client.answer()).status == 499


BAD_BODIES: list[tuple[Any, str]] = [
    ({"reason": "x" * 501}, "invalid_reason"),
    ({"reason": 7}, "invalid_reason"),
    ({"reason": ["x"]}, "invalid_reason"),
    ([], "invalid_json"),
    (["t-1"], "invalid_json"),
    (b'"now"', "invalid_json"),
    (b"null", "invalid_json"),
    (b"{", "invalid_json"),
    (b"\xff\xfe", "invalid_json"),
    (b'{"reason": "\xed\xa0\x80"}', "invalid_json"),
    ('{"reason": "x"}'.encode("utf-16"), "invalid_json"),
    (b"[" * 60_000, "invalid_json"),
]


@pytest.mark.parametrize(("body", "code"), BAD_BODIES)
async def test_a_bad_body_stops_nothing(tmp_path: Path, body: Any, code: str) -> None:
    """A cancel whose body is not understood is refused on every stop route, and stops nothing."""
    async with (
        scripted_upstream(hang()) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await up.conn()
        for path in ("generations/t-1", "chat/completions/t-1", "generations"):
            assert refused(await send(proxy, "POST", f"/v1/{path}/cancel", body)) in {
                (400, code),
                (400, "invalid_selection"),
            }
        assert (await record(proxy, "t-1"))["outcome"] == "running"
        most = await stop(proxy, "t-1", body={"reason": "x" * 500, "more": 1})
        assert most.json()["result"] == "stopped"


async def test_a_large_cancel_is_refused(tmp_path: Path) -> None:
    """A stop's body is small: more than 64 KiB is 413 on every stop route, whatever limits.body is."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        for path in ("generations/t-1", "completions/t-1", "generations"):
            answer = await send(proxy, "POST", f"/v1/{path}/cancel", b" " * 65_537)
            assert refused(answer) == (413, "request_too_large")


@pytest.mark.parametrize("body", [{}, {"all": False}, {"user": 7}, {"tag": {}}, {"tag": "a"}, {"users": "u"}])
async def test_a_bulk_cancel_says_what_it_means(tmp_path: Path, body: Any) -> None:
    """A bulk cancel means exactly one of user, tag and all; anything else stops nothing."""
    async with (
        scripted_upstream(hang()) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await up.conn()
        answer = await send(proxy, "POST", "/v1/generations/cancel", {**body, "reason": "r"})
        assert refused(answer) == (400, "invalid_selection")
        assert (await record(proxy, "t-1"))["outcome"] == "running"
        every = (await send(proxy, "POST", "/v1/generations/cancel", {"all": True, "reason": "r"})).json()
        assert every == {
            "object": "generation.cancel_many",
            "stopped": ["t-1"],
            "count": 1,
            "unconfirmed": [],
            "complete": True,
            "unreachable": [],
        }
        assert (await record(proxy, "t-1"))["reason"] == "r"


async def test_unknown_ids(tmp_path: Path) -> None:
    """An id that nobody has is 404 in the dialect's shape, on every call."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        for method, path in (
            ("GET", "generations/t-1"),
            ("GET", "generations/t-1/events"),
            ("POST", "generations/t-1/cancel"),
            ("POST", "chat/completions/t-1/cancel"),
            ("POST", "completions/t-1/cancel"),
        ):
            assert refused(await send(proxy, method, f"/v1/{path}")) == (404, "not_found")
        assert not up.requests


async def test_an_escaped_id_is_the_same_id(tmp_path: Path) -> None:
    """A browser escapes the colon of an id in a path: it names the same generation on every call."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        for number, route in enumerate(("generations", "chat/completions")):
            async with RawClient(proxy.port) as client:
                await start(client, f"chat:{number}")
                await up.conn(number)
                assert (await record(proxy, f"chat%3A{number}"))["outcome"] == "running"
                answer = await send(proxy, "POST", f"/v1/{route}/chat%3a{number}/cancel")
                assert answer.json()["result"] == "stopped"


async def test_an_alias_of_two_live_ones_looks_unknown(tmp_path: Path) -> None:
    """An upstream id of two live generations names none, also where an ended one had it before; each end frees it."""
    async with (
        scripted_upstream(in_turn(sse_stream(chat_events(3)), events_then_hang(SAID))) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as one,
        RawClient(proxy.port) as two,
    ):
        await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-0")
        await settled(proxy)
        for client, task_id in ((one, "t-1"), (two, "t-2")):
            await start(client, task_id)
            await client.until(b"data:", len(SAID))
        for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
            answer = await send(proxy, method, f"/v1/generations/chatcmpl-scripted-1{path}")
            assert refused(answer) == (404, "not_found")
        assert (await stop(proxy, "t-1")).json()["result"] == "stopped"
        assert (await record(proxy, "chatcmpl-scripted-1"))["task_id"] == "t-2"
        assert (await stop(proxy, "chatcmpl-scripted-1")).json()["task_id"] == "t-2"
        assert (await record(proxy, "chatcmpl-scripted-1"))["task_id"] == "t-2"


@pytest.mark.parametrize(
    ("query", "headers", "first"),
    [
        ("", [], b"id: 1\n"),
        ("?after=2", [], b"id: 3\n"),
        ("", [("Last-Event-ID", "2")], b"id: 3\n"),
        ("?after=1", [("Last-Event-ID", "3")], b"id: 4\n"),
    ],
)
async def test_events_go_on_behind_the_last_one(tmp_path: Path, query: str, headers: Headers, first: bytes) -> None:
    """Events go on behind `after` or `Last-Event-ID`; a browser that comes back sends both, and has the header's."""
    async with (
        scripted_upstream(sse_stream(chat_events(3))) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        answer = await send(proxy, "GET", f"/v1/generations/t-1/events{query}", headers=headers)
        assert first in answer.events[0]
        for wrong in ("-1", "x", "1.5", "9" * 17):
            bad = await send(proxy, "GET", "/v1/generations/t-1/events", headers=[("Last-Event-ID", wrong)])
            assert refused(bad) == (400, "invalid_parameter")


async def test_events_that_are_gone(tmp_path: Path) -> None:
    """After a restart only the record is left: its events are 410, which no client tries again."""
    async with scripted_upstream(sse_stream(chat_events(3))) as up:
        config = config_text(up.base_url)
        async with running_proxy(config, tmp_path) as proxy:
            await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        async with running_proxy(config, tmp_path) as proxy:
            assert refused(await send(proxy, "GET", "/v1/generations/t-1/events")) == (410, "events_gone")
            assert (await record(proxy, "t-1"))["outcome"] == "completed"
            assert refused(await send(proxy, "GET", "/v1/generations/t-1", headers=bearer("x"))) == (404, "not_found")


class Unreadable(NullLedger):
    """A ledger that takes every write and can't be read."""

    async def find(self, _identity: str | None, _any_id: str) -> Record | None:
        """Fail."""
        raise LedgerUnavailableError("broken")

    async def page(self, _which: RecordFilter, _limit: int, _cursor: str | None) -> Page:
        """Fail."""
        raise LedgerUnavailableError("broken")


async def test_a_ledger_that_cant_be_read_is_503(tmp_path: Path) -> None:
    """While the ledger can't be read, what asks it is 503 to be tried again; what lives is shown and stopped."""
    async with (
        scripted_upstream(events_then_hang(SAID)) as up,
        running_proxy(config_text(up.base_url), tmp_path, ledger=Unreadable()) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.until(b"data:", len(SAID))
        for method, path in (("GET", ""), ("GET", "/x"), ("GET", "/x/events"), ("POST", "/x/cancel")):
            answer = await send(proxy, method, f"/v1/generations{path}")
            assert refused(answer) == (503, "ledger_unavailable")
            assert answer.header("Retry-After")
        assert (await record(proxy, "t-1"))["outcome"] == "running"
        assert (await stop(proxy, "t-1")).json()["result"] == "stopped"


async def test_queued_control_calls_are_answered_in_turn(tmp_path: Path) -> None:
    """Control calls on one connection are answered one after the other, each with its own length."""
    async with (
        scripted_upstream(hang()) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        paths = ["/v1/generations", "/v1/generations/x", "/v1/generations"]
        await client.send(b"".join(request_bytes("GET", path) for path in paths))
        assert [(await client.answer()).status for _ in paths] == [200, 404, 200]


async def test_a_reason_with_half_a_character_is_kept(tmp_path: Path) -> None:
    """A reason may hold whatever JSON can say; it does not hurt the record."""
    async with (
        scripted_upstream(hang()) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await up.conn()
        await send(proxy, "POST", "/v1/generations/t-1/cancel", json.dumps({"reason": "half \ud83d"}).encode())
        kept = await record(proxy, "t-1")
    assert kept["reason"].startswith("half ")
    assert kept["outcome"] == "cancelled"
