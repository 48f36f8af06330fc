"""Answers of an upstream: refusals, redirects, codings, wrong content types, broken framing, stale connections."""

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.chat import ask, chat_events, chat_object, text
from support.client import RawClient
from support.faults import CHAT, Pieces, fault_bench
from support.http_bytes import Headers
from support.scripts import JSON, SSE, answer, cut_at, hang, in_turn, json_answer, raw_bytes, sse_stream
from support.upstream import Conn, Script, scripted_upstream

EVENTS = chat_events(4)
CUT = chat_events(4, finish=None, done=False)
STREAM = b"".join(EVENTS)
CLOSED = [("Connection", "close")]
REFUSED = {"error": {"message": "Slow down.", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}}
CHUNKED_SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def framed(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def deflated(data: bytes, window: int = zlib.MAX_WBITS) -> bytes:
    """Deflate, in a zlib frame or without one (a negative window)."""
    packer = zlib.compressobj(wbits=window)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("status", [400, 401, 404, 429])
async def test_a_refusal_of_the_upstream_passes(tmp_path: Path, status: int) -> None:
    """U12: a 4xx passes with its body and Retry-After; failed/rejected_upstream, nothing billed, not tried again."""
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(
            json_answer(REFUSED, status, [("Retry-After", "17"), ("X-Request-Id", "r1")]), keeps=True
        )
    assert seen.ends == (status, True, "failed", "rejected_upstream")
    assert seen.answer.json() == REFUSED
    assert [seen.answer.header(name) for name in ("Retry-After", "X-Request-Id")] == ["17", "r1"]
    assert (seen.tokens, seen.errors) == ((None, None, "none"), {"rejected_upstream": 1})
    assert len(seen.conns) == 1


@pytest.mark.parametrize(("status", "kind"), [(500, "text/html"), (502, "text/html"), (503, "application/json")])
async def test_a_failure_of_the_upstream_passes(tmp_path: Path, status: int, kind: str) -> None:
    """U13: a 5xx passes as it is, HTML too; failed/upstream_error."""
    body = b"<html>Bad Gateway</html>" if kind == "text/html" else b'{"error": {"message": "busy"}}'
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(answer(status, body, [("Content-Type", kind)]), keeps=True)
    assert seen.ends == (status, True, "failed", "upstream_error")
    assert (seen.answer.body, seen.answer.header("Content-Type")) == (body, kind)
    assert (seen.text, seen.record["completion_tokens"] or 0) == ("", 0)
    assert seen.errors == {"upstream_error": 1}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(tmp_path: Path, status: int) -> None:
    """U14: a redirect is a 502 without its Location, and its target is never contacted."""
    async with scripted_upstream(hang()) as target, fault_bench(tmp_path) as bench:
        headers = [("Location", f"{target.origin}/latest/meta-data"), ("Content-Type", "text/html")]
        seen = await bench.call(answer(status, b"see there", headers), keeps=True)
        assert target.opened == 0
    assert seen.ends == (502, True, "failed", "redirect")
    assert (seen.error["code"], seen.errors) == ("upstream_redirect", {"redirect": 1})
    assert seen.answer.header("Location") is None
    assert b"meta-data" not in seen.answer.raw


async def test_a_redirect_of_another_path_is_not_followed(tmp_path: Path) -> None:
    """U14: the same for requests that are just passed on."""
    async with (
        scripted_upstream(hang()) as target,
        fault_bench(tmp_path) as bench,
        RawClient(bench.proxy.port) as client,
    ):
        bench.up.script = answer(307, b"", [("Location", target.origin)])
        await client.get("/v1/models")
        got = await client.answer()
        assert target.opened == 0
    assert (got.status, got.json()["error"]["code"], got.header("Location")) == (502, "upstream_redirect", None)


@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", deflated),
        ("deflate", lambda data: deflated(data, -zlib.MAX_WBITS)),
    ],
    ids=["gzip", "x-gzip", "deflate", "raw_deflate"],
)
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_coded_answer_passes_unchanged_and_is_read(
    tmp_path: Path, coding: str, pack: Callable[[bytes], bytes], *, streamed: bool
) -> None:
    """U15: a compressed answer, though none was asked for, passes byte for byte; a decoded copy is folded."""
    body = pack(STREAM if streamed else json.dumps(chat_object(4)).encode())
    headers = [*(SSE if streamed else JSON), ("Content-Encoding", coding), *CLOSED]
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(cut_at(body, len(body), "end", headers=headers), ask(stream=streamed))
        assert bench.up.requests[0].header("Accept-Encoding") == "identity"
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.body, seen.answer.header("Content-Encoding")) == (body, coding)
    assert seen.text == text(4)
    assert seen.tokens == ((7, 4, "upstream") if not streamed else (*seen.tokens[:2], "tokenizer"))


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, br", "aes128gcm"])
async def test_an_unknown_coding_stays_opaque(tmp_path: Path, coding: str) -> None:
    """U15: what can't be decoded passes byte for byte; its end is judged by HTTP alone."""
    headers = [*SSE, ("Content-Encoding", coding), *CLOSED]
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(cut_at(b"\x0b\x02\x80hello\x03", 9, "end", headers=headers))
        broken = await bench.call(cut_at(b"\x0b\x02\x80hello\x03", 5, "fin", headers=headers))
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.body, seen.answer.header("Content-Encoding"), seen.text) == (
        b"\x0b\x02\x80hello\x03",
        coding,
        "",
    )
    assert broken.ends == (200, False, "failed", "truncated")
    assert broken.answer.body == b"\x0b\x02\x80he"


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_coding_that_is_cut_off_is_truncated(tmp_path: Path, *, streamed: bool) -> None:
    """U16: a gzip body that stops early under proper framing is no whole answer, unless its terminator was seen."""
    plain = STREAM if streamed else json.dumps(chat_object(4)).encode()
    packer = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    part = packer.compress(plain[:-60]) + packer.flush(zlib.Z_SYNC_FLUSH)
    whole = part + packer.compress(plain[-60:]) + packer.flush(zlib.Z_SYNC_FLUSH)
    headers = [*(SSE if streamed else JSON), ("Content-Encoding", "gzip"), *CLOSED]
    async with fault_bench(tmp_path) as bench:
        cut = await bench.call(cut_at(part, len(part), "end", headers=headers), ask(stream=streamed))
        ended = await bench.call(cut_at(whole, len(whole), "end", headers=headers), ask(stream=streamed))
    assert (cut.answer.complete, cut.answer.body) == (True, part)
    assert (cut.record["outcome"], cut.record["error_kind"]) == ("failed", "truncated")
    assert (ended.answer.body, ended.text) == (whole, text(4))
    assert ended.record["outcome"] == "completed"


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_bomb_is_not_unpacked(tmp_path: Path, *, streamed: bool) -> None:
    """U16: 50 MB in 50 KB: the client gets the bytes, the copy is given up early, what came before the bomb is kept."""
    filler = b'"' + b"x" * (50 << 20) + b'"'
    bomb = b"".join(EVENTS[:3]) + b"data: {" + filler if streamed else b'{"choices": [], "x": ' + filler + b"}"
    body = gzip.compress(bomb)
    headers = [*(SSE if streamed else JSON), ("Content-Encoding", "gzip"), *CLOSED]
    async with fault_bench(tmp_path) as bench:
        began = time.process_time()
        seen = await bench.call(cut_at(body, len(body), "end", headers=headers), ask(stream=streamed))
        spent = time.process_time() - began
    assert (seen.answer.status, seen.answer.complete) == (200, True)
    assert seen.answer.body == body
    assert seen.text == (text(2) if streamed else "")
    assert seen.record["outcome"] == ("failed" if streamed else "completed")
    assert spent < 5


async def test_a_flood_of_tiny_chunks_is_passed_in_pieces(tmp_path: Path) -> None:
    """U22: 200,000 chunks of one byte reach the client in far fewer writes, and others are served meanwhile."""
    events = chat_events(1000)
    body = b"".join(events)
    flood = b"".join(framed(body[at : at + 1]) for at in range(len(body))) + framed(b"")
    async with fault_bench(tmp_path) as bench:
        lags: list[float] = []

        async def watch() -> None:
            while True:
                before = time.perf_counter()
                await asyncio.sleep(0.005)
                lags.append(time.perf_counter() - before)

        watching = asyncio.get_running_loop().create_task(watch())
        seen = await bench.call(raw_bytes(CHUNKED_SSE + flood, then="fin"), keeps=True)
        watching.cancel()
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.body == body, seen.text == text(1000)) == (True, True)
    assert len(seen.answer.chunk_sizes) <= len(events) + 1
    assert max(lags) < 1


TYPES: list[tuple[str, Headers, bytes, bool]] = [
    ("json to a stream request", JSON, json.dumps(chat_object(4)).encode(), True),
    ("events to a plain request", SSE, STREAM, False),
    ("events with a charset", [("Content-Type", "Text/Event-Stream; charset=utf-8")], STREAM, True),
    ("untyped events to a stream request", [], STREAM, True),
    ("untyped json to a plain request", [], json.dumps(chat_object(4)).encode(), False),
]


@pytest.mark.parametrize(("headers", "body", "streamed"), [row[1:] for row in TYPES], ids=[row[0] for row in TYPES])
async def test_an_answer_is_read_by_its_content_type(
    tmp_path: Path, headers: Headers, body: bytes, *, streamed: bool
) -> None:
    """U23: the content type says what an answer is; without one, what was asked for does."""
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(cut_at(body, len(body), "end", headers=[*headers, *CLOSED]), ask(stream=streamed))
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.body, seen.text) == (body, text(4))


@pytest.mark.parametrize("body", [b"not json", b"", b"[1, 2]"], ids=["words", "nothing", "list"])
async def test_a_plain_answer_that_is_no_json_object_is_not_complete(tmp_path: Path, body: bytes) -> None:
    """U23: what calls itself JSON and is none passes, and is not taken for a whole answer."""
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(answer(200, body, JSON), ask(stream=False), keeps=True)
    assert seen.ends == (200, True, "failed", "truncated")
    assert seen.answer.body == body


async def test_a_short_answer_is_a_502(tmp_path: Path) -> None:
    """U29: fewer bytes than Content-Length promised: nothing went out yet, so the client gets a 502."""
    body = json.dumps(chat_object(4)).encode()

    async def script(conn: Conn) -> None:
        await conn.head(200, JSON, length=len(body) + 10)
        await conn.chunk(body)
        conn.fin()

    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(script, ask(stream=False))
    assert seen.record["error_kind"] in {"truncated", None}
    assert seen.answer.status == 502
    assert seen.error["code"] == "upstream_truncated"


BAD_HEADS = {
    "bad_chunk_size": CHUNKED_SSE + b"ZZ\r\nhello\r\n",
    "length_and_chunks": CHUNKED_SSE.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + framed(b"hello"),
    "two_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "nul_in_header": b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 5\r\n\r\nhello",
    "long_header": b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 9000 + b"\r\nContent-Length: 5\r\n\r\nhello",
    "many_headers": b"HTTP/1.1 200 OK\r\n" + b"X-A: a\r\n" * 200 + b"Content-Length: 5\r\n\r\nhello",
    "much_header": b"HTTP/1.1 200 OK\r\n" + (b"X-A: " + b"a" * 7000 + b"\r\n") * 60 + b"Content-Length: 5\r\n\r\nhello",
    "not_http": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "tls": b"\x15\x03\x01\x00\x02\x02\x46",
}


@pytest.mark.parametrize("head", BAD_HEADS.values(), ids=BAD_HEADS)
async def test_an_answer_that_is_no_http_is_a_502(tmp_path: Path, head: bytes) -> None:
    """U29: broken framing or headers: 502 and never the parser's 400, the connection closed, failed/bad_answer."""
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(raw_bytes(head, then="hang"))
    assert seen.ends == (502, True, "failed", "bad_answer")
    assert (seen.error["code"], seen.errors) == ("upstream_bad_answer", {"bad_answer": 1})
    assert not seen.conns[0].closed_by_us


@pytest.mark.parametrize("bad", [b"ZZ\r\nhello\r\n", b"-5\r\nhello\r\n", b"5\r\nhelloXX", b"fffffffffffffffff\r\n"])
async def test_framing_that_breaks_later_ends_the_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: bytes
) -> None:
    """U29: a bad chunk behind good ones ends the stream at once, not at a deadline; truncated with what came."""

    async def script(conn: Conn) -> None:
        await conn.head(200, SSE)
        await pieces.send(conn, *CUT)
        await conn.raw(bad)
        await conn.sleep_until_closed()

    async with fault_bench(tmp_path) as bench:
        pieces = Pieces(monkeypatch)
        seen = await bench.call(script)
    assert seen.ends == (200, False, "failed", "truncated")
    assert (seen.answer.events[:-1], seen.error["code"]) == (CUT, "upstream_truncated")
    assert (seen.text, seen.errors) == (text(4), {"truncated": 1})
    assert not seen.conns[0].closed_by_us


async def test_good_and_bad_chunks_in_one_segment(tmp_path: Path) -> None:
    """U29: the good bytes before a bad chunk are kept, also when both come at once."""
    async with fault_bench(tmp_path) as bench:

        async def script(conn: Conn) -> None:
            await conn.raw(CHUNKED_SSE)
            await conn.pause(0.05)  # so that the head is read first: with it in one segment nothing comes through
            await conn.raw(framed(b"".join(CUT)) + b"ZZ\r\n")
            await conn.sleep_until_closed()

        seen = await bench.call(script)
    assert seen.ends == (200, False, "failed", "truncated")
    assert seen.answer.events[:-1] == CUT
    assert seen.text == text(4)


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("path", [CHAT, "/v1/models"])
async def test_an_answer_without_a_body_has_none(tmp_path: Path, status: int, path: str) -> None:
    """U31: 204 and 304 have no body and no framing of one; the client's connection stays usable."""
    async with fault_bench(tmp_path) as bench, RawClient(bench.proxy.port) as client:
        bench.up.script = raw_bytes(b"HTTP/1.1 %d Nothing\r\nX-A: a\r\n\r\n" % status, then="end")
        for _ in range(2):
            if path == CHAT:
                await client.post(path, ask())
            else:
                await client.get(path)
            got = await client.answer()
            assert (got.status, got.body, got.header("X-A")) == (status, b"", "a")
            assert (got.header("Transfer-Encoding"), got.header("Content-Length")) == (None, None)


async def test_a_body_where_none_may_be_is_dropped(tmp_path: Path) -> None:
    """U31: bytes behind a 204 reach nobody: they are dropped, or the answer is a 502; the connection is closed."""
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(raw_bytes(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", then="hang"))
    assert seen.answer.status in {204, 502}
    assert b"hello" not in seen.answer.raw


async def test_the_answer_to_head_has_its_length_and_no_body(tmp_path: Path) -> None:
    """U31: the answer to a HEAD carries the upstream's Content-Length and no body."""
    async with fault_bench(tmp_path) as bench, RawClient(bench.proxy.port) as client:
        bench.up.script = raw_bytes(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n", then="end"
        )
        for _ in range(2):
            await client.send(b"HEAD /v1/files/a HTTP/1.1\r\nHost: a\r\n\r\n")
            got = await client.answer(to_head=True)
            assert (got.status, got.header("Content-Length"), got.body) == (200, "5", b"")


async def test_an_early_answer_passes(tmp_path: Path) -> None:
    """U32: an upstream that answers before it has read the request, and closes: the answer passes, nothing hangs."""

    async def script(conn: Conn) -> None:
        conn._link.transport.pause_reading()
        body = json.dumps(REFUSED).encode()
        await conn.head(413, [*JSON, *CLOSED], length=len(body))
        await conn.chunk(body)

    async with fault_bench(tmp_path, begin="head") as bench:
        seen = await bench.call(script, ask("x" * (12 << 20)), keeps=True)
    assert seen.ends == (413, True, "failed", "rejected_upstream")
    assert seen.answer.json() == REFUSED


async def test_a_stale_connection_costs_nothing(tmp_path: Path) -> None:
    """U33: a kept connection that the server closes instead of answering: the call is sent once more, on a new one."""
    async with fault_bench(tmp_path) as bench:
        await bench.call(json_answer(chat_object(1)), ask(stream=False), keeps=True)
        seen = await bench.call(in_turn(gone(), json_answer(chat_object(4))), ask(stream=False), keeps=True)
        assert [conn.number for conn in bench.up.conns] == [1, 1, 2]
        assert bench.up.requests[1].body == bench.up.requests[2].body
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.json(), seen.errors) == (chat_object(4), {})


def gone(how: str = "fin", said: bytes = b"") -> Script:
    """Take a request, and break the connection instead of answering."""

    async def script(conn: Conn) -> None:
        if said:
            await conn.raw(said)
        getattr(conn, how)()
        await conn.sleep_until_closed()

    return script


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_new_connection_that_breaks_is_not_tried_again(tmp_path: Path, how: str) -> None:
    """U33: on a connection of its own a call is never repeated: the server may have begun; 502 upstream_reset."""
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(gone(how))
        assert len(bench.up.requests) == 1
    assert seen.ends == (502, True, "failed", "reset")
    assert (seen.error["code"], seen.errors) == ("upstream_reset", {"reset": 1})


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\nX-", b""], ids=["half_a_head", "again_gone"])
async def test_a_stale_connection_is_tried_again_once_at_most(tmp_path: Path, said: bytes) -> None:
    """U33: not when a part of the answer came, and not a second time."""
    async with fault_bench(tmp_path) as bench:
        await bench.call(json_answer(chat_object(1)), ask(stream=False), keeps=True)
        seen = await bench.call(gone(said=said))
        assert len(bench.up.requests) == (2 if said else 3)
    assert seen.ends[0] == 502
    assert seen.record["outcome"] == "failed"


async def test_a_late_break_of_a_kept_connection_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """U33: a break that comes later than a round trip means that the server had begun: the call would bill twice."""
    monkeypatch.setattr("proxy.engine.connections.STALE_SECONDS", 0.01)

    async def script(conn: Conn) -> None:
        await conn.pause(0.05)
        conn.fin()
        await conn.sleep_until_closed()

    async with fault_bench(tmp_path) as bench:
        await bench.call(json_answer(chat_object(1)), ask(stream=False), keeps=True)
        seen = await bench.call(script)
        assert len(bench.up.requests) == 2
    assert seen.ends == (502, True, "failed", "reset")


def folded(**more: Any) -> dict[str, Any]:
    """A route on which plain calls are asked for as streams."""
    return {"route": {"blocking": "stream"} | more}


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
async def test_a_folded_answer(tmp_path: Path, coding: str | None) -> None:
    """A plain call that is asked for as a stream gets one answer, also from a stream that came compressed."""
    body = {None: STREAM, "gzip": gzip.compress(STREAM), "deflate": deflated(STREAM)}[coding]
    headers = [*SSE, *CLOSED, *([("Content-Encoding", coding)] if coding else [])]
    async with fault_bench(tmp_path, **folded()) as bench:
        seen = await bench.call(cut_at(body, len(body), "end", headers=headers), ask(stream=False))
    assert seen.ends == (200, True, "completed", None)
    assert seen.answer.json()["choices"][0]["message"]["content"] == text(4)
    assert (seen.answer.header("Content-Type"), seen.answer.header("Content-Encoding")) == ("application/json", None)
    assert seen.text == text(4)


@pytest.mark.parametrize(
    ("script", "status", "code", "kind"),
    [
        (sse_stream(CUT, then="reset"), 502, "upstream_truncated", "truncated"),
        (sse_stream(CUT, headers=[*SSE, *CLOSED]), 502, "upstream_truncated", "truncated"),
        (sse_stream(CUT, then="hang"), 504, "upstream_idle_timeout", "idle_timeout"),
        (
            sse_stream([*CUT, b'data: {"error": {"message": "no"}}\n\n'], headers=[*SSE, *CLOSED]),
            502,
            "upstream_error",
            "upstream_error",
        ),
        (
            sse_stream([*CUT[:2], b"data: " + b"x" * (3 << 19) + b"\n\n", *EVENTS[2:]], headers=[*SSE, *CLOSED]),
            502,
            "answer_too_large",
            "answer_too_large",
        ),
        (
            sse_stream([b"..."], headers=[*SSE, *CLOSED, ("Content-Encoding", "br")]),
            502,
            "upstream_bad_answer",
            "upstream_bad_answer",
        ),
    ],
    ids=["reset", "no_terminator", "stall", "error_event", "huge_event", "unknown_coding"],
)
async def test_a_folded_answer_that_is_not_whole_is_an_error(
    tmp_path: Path, script: Script, status: int, code: str, kind: str
) -> None:
    """Nothing of a folded answer goes out before it is whole, so every fault is a plain error."""
    async with fault_bench(tmp_path, timeouts={"idle": "200ms"}, **folded()) as bench:
        seen = await bench.call(script, ask(stream=False))
    assert seen.ends[:2] == (status, True)
    assert (seen.error["code"], seen.record["error_kind"]) == (code, kind)
    assert seen.record["outcome"] in {"failed", "timed_out"}
