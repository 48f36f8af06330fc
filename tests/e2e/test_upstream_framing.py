"""Answers whose HTTP framing is broken, missing, or not what was announced."""

import json
from pathlib import Path

import pytest

from proxy.engine.relaying.receive import HELD_BYTES
from support.chat import ask, chat_events, chat_object, text
from support.faults import Pieces, fault_bench
from support.scripts import (
    SSE,
    How,
    raw_bytes,
    short_of_length,
)
from support.upstream import Conn

EVENTS = chat_events(4)
CUT = chat_events(4, finish=None, done=False)
CHUNKED_SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def framed(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.mark.parametrize("how", ["fin", "hang"])
@pytest.mark.parametrize("size", [4, 80_000], ids=["small", "large"])
async def test_a_short_answer_is_not_taken_for_whole(tmp_path: Path, size: int, how: How) -> None:
    """U29: fewer bytes than Content-Length promised: a 502 or 504 as long as nothing went out, else broken off.

    That holds although the JSON in it is whole; its usage is billed, since the upstream bills it.
    """
    whole = chat_object(4)
    whole["choices"][0]["message"]["content"] = text(size)
    body = json.dumps(whole, separators=(",", ":")).encode() + b" " * 10
    script = short_of_length(body[:-5], 5, how)
    async with fault_bench(tmp_path, timeouts={"idle": "200ms"}, limits={"partial_text": "1MiB"}) as bench:
        seen = await bench.call(script, ask(stream=False))
    late = how == "hang"
    assert (seen.record["outcome"], seen.record["error_kind"]) == (
        ("timed_out", "idle_timeout") if late else ("failed", "truncated")
    )
    assert seen.tokens == (7, 4, "upstream")
    if size == 4:
        assert (seen.answer.status, seen.answer.complete) == (504 if late else 502, True)
    else:
        assert (seen.answer.status, seen.answer.complete) == (200, False)
        assert len(body) > HELD_BYTES


BAD_HEADS = {
    "bad_chunk_size": CHUNKED_SSE + b"ZZ\r\nhello\r\n",
    "length_and_chunks": CHUNKED_SSE.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n") + framed(b"hello"),
    "two_lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "nul_in_header": b"HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 5\r\n\r\nhello",
    "long_header": b"HTTP/1.1 200 OK\r\nX-A: " + b"a" * 9000 + b"\r\nContent-Length: 5\r\n\r\nhello",
    "many_headers": b"HTTP/1.1 200 OK\r\n" + b"X-A: a\r\n" * 200 + b"Content-Length: 5\r\n\r\nhello",
    "much_header": b"HTTP/1.1 200 OK\r\n" + (b"X-A: " + b"a" * 7000 + b"\r\n") * 60 + b"Content-Length: 6\r\n\r\nhello",
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
