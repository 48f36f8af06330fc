"""Answers of an upstream: refusals, redirects, codings, wrong content types, broken framing, stale connections."""

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from support.chat import ask, chat_events, chat_object, text
from support.client import RawClient
from support.faults import fault_bench
from support.http_bytes import Headers
from support.scripts import (
    JSON,
    SSE,
    answer,
    cut_at,
    hang,
    json_answer,
    raw_bytes,
)
from support.upstream import scripted_upstream

EVENTS = chat_events(4)
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
