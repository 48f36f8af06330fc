"""Streams written in unusual ways: their bytes pass unchanged, and their text is read by the rules."""

import asyncio
import json
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from support.chat import DONE, ask, chat_events, sse, text, usage_object
from support.client import RawClient
from support.faults import CHAT, Pieces, fault_bench
from support.scripts import SSE, How, cut_at, events_then_hang, sse_stream
from support.upstream import Conn, Script
from support.wait import within

EVENTS = chat_events(4)
CUT = chat_events(4, finish=None, done=False)
"""The same stream, up to its last word."""
CLOSED = [("Connection", "close")]


def chunk(content: str, finish: str | None = None) -> bytes:
    """The data of one chunk."""
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return json.dumps({"id": "c", "object": "chat.completion.chunk", "choices": [choice]}).encode()


def stream(body: bytes, then: How = "end") -> Script:
    """A stream of these bytes on a connection that is not used again."""
    return sse_stream([body], then=then, headers=[*SSE, *CLOSED])


def written(line: bytes) -> bytes:
    """The stream with another line end."""
    return b"".join(EVENTS).replace(b"\n", line)


@pytest.mark.parametrize(
    "body",
    [
        written(b"\r\n"),
        written(b"\r"),
        b"".join(event.replace(b"\n", end) for event, end in zip(EVENTS, (b"\r", b"\n", b"\r\n") * 3, strict=False)),
        b"".join(event[:-2] + b"\r\n\n" for event in EVENTS),
    ],
    ids=["crlf", "cr", "mixed", "crlf_lf"],
)
async def test_every_line_end_is_read(tmp_path: Path, body: bytes) -> None:
    """U17: lines that end with CR LF, CR, or a mixture, give the same text and the same end, byte for byte."""
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(stream(body))
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.body, seen.text) == (body, text(4))
    assert seen.record["upstream_id"] == "chatcmpl-scripted-1"


@pytest.mark.parametrize(
    "body",
    [
        b"data:" + chunk("Hello") + b"\n\n",
        b'data: {"choices": [{"index": 0, "delta":\ndata: {"content": "Hello"}}]}\n\n',
        b"data:\n\ndata\n\ndata: " + chunk("Hello") + b"\n\n",
        b"foo: bar\nunknown\ndata: " + chunk("Hello") + b"\nretry: 10\n\n",
        b"id: a\0b\ndata: " + chunk("Hello") + b"\n\nid: 7\nevent: message\ndata: " + chunk("") + b"\n\n",
        b"event: chunk\ndata: " + chunk("Hello") + b"\n\n\n\n\n",
    ],
    ids=["no_space", "lines_of_data", "empty_data", "unknown_fields", "ids", "blank_lines"],
)
async def test_every_way_to_write_an_event_is_read(tmp_path: Path, body: bytes) -> None:
    """U18: what the SSE standard allows is read by its rules, and passes byte for byte."""
    whole = body + b"data: " + chunk("", "stop") + b"\n\n" + DONE
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(stream(whole))
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.body, seen.text) == (whole, "Hello")


async def test_a_byte_order_mark_is_ignored_once(tmp_path: Path) -> None:
    """U19: a byte order mark at the start is no part of the first event; it passes."""
    body = b"\xef\xbb\xbf" + b"".join(EVENTS)
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(stream(body))
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.body, seen.text) == (body, text(4))
    assert seen.record["upstream_id"] == "chatcmpl-scripted-1"


async def test_comments_pass_and_keep_a_stream_alive(tmp_path: Path) -> None:
    """U19: comments are passed, are no text, and restart the idle deadline."""
    events = [EVENTS[0], EVENTS[1], *repeat(b": still thinking\n\n", 6), *EVENTS[2:]]
    async with fault_bench(tmp_path, timeouts={"idle": "250ms"}) as bench:
        seen = await bench.call(sse_stream(events, 0.07, headers=[*SSE, *CLOSED]))
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.body, seen.text) == (b"".join(events), text(4))


async def test_a_split_at_any_byte_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """U20: two reads instead of one, cut at every byte, inside UTF-8, escapes and line ends: same bytes, same text."""
    words = ("Grüße ", "\U0001f600 ", 'a\\"b\n')
    events = chat_events(words=words)
    body = events[0] + b": hm\r\n\r\n" + b"".join(event.replace(b"\n", b"\r\n") for event in events[1:3])
    body += b"".join(events[3:])
    async with fault_bench(tmp_path) as bench:
        pieces = Pieces(monkeypatch)

        async def script(conn: Conn) -> None:
            offset = int(conn.request.header("X-Offset") or 0)
            await conn.head(200, SSE)
            await pieces.send(conn, body[:offset], body[offset:])
            await conn.end()

        bench.up.script = script
        async with RawClient(bench.proxy.port) as client:
            for offset in range(1, len(body)):
                await client.post(CHAT, ask(), [("X-Task-Id", f"split-{offset}"), ("X-Offset", str(offset))])
                answer = await client.answer()
                assert (answer.body, answer.complete) == (body, True), offset
        for offset in range(1, len(body)):
            record = await bench.record(f"split-{offset}")
            assert (record["outcome"], record["text"]) == ("completed", "".join(words)), offset


async def test_a_huge_event_passes_raw(tmp_path: Path) -> None:
    """U21: an event of 10 MB is not held back as a whole: it goes on as it comes; the text around it is kept."""
    huge = b"data: " + chunk("x" * (10 << 20)) + b"\n\n"
    half = 3 << 20

    async with fault_bench(tmp_path, limits={"tape": "32MiB"}) as bench, RawClient(bench.proxy.port) as client:
        passed = asyncio.Event()

        async def script(conn: Conn) -> None:
            await conn.head(200, [*SSE, *CLOSED])
            await conn.chunk(b"".join(CUT))
            await conn.chunk(huge[:half])
            await within(passed.wait(), "the first half of the event reaches the client")
            await conn.chunk(huge[half:] + b"".join(EVENTS[-2:]))
            await conn.end()

        bench.up.script = script
        await client.post(CHAT, ask(), [("X-Task-Id", "huge")])
        while len(client.buffer) < half - (1 << 20):
            await client.receive(1 << 20)
        passed.set()
        raw = client.buffer
        while not client.ended and not raw.endswith(b"0\r\n\r\n"):
            await client.receive(1 << 20)
        got = await client.answer()
        record = await bench.record("huge")
    assert got.complete
    assert got.body == b"".join(CUT) + huge + b"".join(EVENTS[-2:])
    assert (record["outcome"], record["text"]) == ("completed", text(4))


async def test_a_terminator_within_a_huge_event_is_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """U21: the last line of an event that goes raw is not taken for an event of its own, be it `data: [DONE]`."""
    async with fault_bench(tmp_path) as bench:
        pieces = Pieces(monkeypatch)
        parts = [b"data: " + b"x" * (2 << 20) + b"\n", DONE, b"".join(EVENTS)]

        async def script(conn: Conn) -> None:
            await conn.head(200, [*SSE, *CLOSED])
            await pieces.send(conn, *parts)
            await conn.end()

        seen = await bench.call(script)
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.body == b"".join(parts), seen.text) == (True, text(4))


async def test_a_break_within_a_huge_event_is_only_broken_off(tmp_path: Path) -> None:
    """U21: in the middle of an event that goes raw nothing can be said: the connection just breaks off."""
    body = b"".join(CUT) + b"data: " + chunk("x" * (2 << 20))[:-20]
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(cut_at(body, len(body), "fin"))
    assert seen.ends == (200, False, "failed", "truncated")
    assert (seen.answer.body == body, seen.text) == (True, text(4))


async def test_a_break_behind_a_huge_event_has_its_error_event(tmp_path: Path) -> None:
    """U21: once the huge event is over, a break is told by an error event again."""
    body = b"data: " + chunk("x" * (2 << 20)) + b"\n\n" + b"".join(CUT)
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(cut_at(body + EVENTS[2][:30], len(body) + 30, "fin"))
    assert seen.ends == (200, False, "failed", "truncated")
    assert seen.answer.body.startswith(body + b'data: {"error":')
    assert seen.text == text(4)


@pytest.mark.parametrize("apart", [True, False])
async def test_what_follows_done_is_not_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, apart: bool
) -> None:
    """U25: data behind [DONE] is not forwarded and not folded; the stream is over."""
    more = b"data: " + chunk("behind the end") + b"\n\ndata: [DONE]\n\ngarbage"
    async with fault_bench(tmp_path) as bench:
        pieces = Pieces(monkeypatch)

        async def script(conn: Conn) -> None:
            await conn.head(200, [*SSE, *([] if apart else CLOSED)])
            if apart:
                await pieces.send(conn, b"".join(EVENTS))
                await conn.chunk(more)
            else:
                await conn.chunk(b"".join(EVENTS) + more)
            await conn.end()

        seen = await bench.call(script)
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.body, seen.text) == (b"".join(EVENTS), text(4))
    assert not apart or not seen.conns[0].closed_by_us, "the connection was kept for more"


async def test_an_end_that_does_not_come_behind_done_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """U25: behind [DONE] the end of the body may take a short while, then the connection is closed."""
    monkeypatch.setattr("proxy.engine.relaying.receive.DONE_SECONDS", 0.1)
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(events_then_hang(EVENTS))
    assert seen.ends == (200, True, "completed", None)
    assert not seen.conns[0].closed_by_us


@pytest.mark.parametrize(
    ("events", "counts"),
    [
        ([*CUT, *EVENTS[-2:], DONE], None),
        ([*CUT, EVENTS[-2], EVENTS[-2].replace(b"stop", b"length"), DONE], None),
        ([*CUT, EVENTS[-2], *(sse({"choices": [], "usage": usage_object(7, n)}) for n in (40, 41)), DONE], (7, 41)),
        ([*CUT, EVENTS[-2], *(sse({"choices": [], "usage": usage_object(7, n)}) for n in (41, 40)), DONE], (7, 41)),
    ],
    ids=["two_dones", "two_finish_reasons", "usage_grows", "usage_shrinks"],
)
async def test_what_comes_twice_counts_once(
    tmp_path: Path, events: Sequence[bytes], counts: tuple[int, int] | None
) -> None:
    """U26: two [DONE], two finish reasons, usage twice: one completed generation, the larger usage once."""
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(stream(b"".join(events)))
    assert seen.ends == (200, True, "completed", None)
    assert seen.text == text(4)
    if counts:
        assert seen.tokens == (*counts, "upstream")


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        "many",
        [1, 2],
        {"prompt_tokens": 7, "completion_tokens": None},
        {"prompt_tokens": 7, "completion_tokens": -4},
        {"prompt_tokens": 7, "completion_tokens": 2**63},
        {"prompt_tokens": 7, "completion_tokens": 4.5},
        {"prompt_tokens": 7, "completion_tokens": "4"},
        {"prompt_tokens": 7, "completion_tokens": True},
    ],
    ids=str,
)
async def test_usage_that_is_none_is_counted_here(tmp_path: Path, usage: Any) -> None:
    """U27: usage that is missing or no count is not billed: the tokenizer counts, and the bytes pass."""
    body = b"".join([*EVENTS[:-1], sse({"choices": [], "usage": usage}), DONE])
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(stream(body))
    assert seen.ends == (200, True, "completed", None)
    assert seen.answer.body == body
    prompt, completion, source = seen.tokens
    assert source == "tokenizer"
    assert (prompt or 0) > 0
    assert completion == 5


@pytest.mark.parametrize(
    "bad",
    [b"data: {not json}\n\n", b"data: \xff\xfe\n\n", b'data: "text"\n\n', b"data: " + b"[" * 5000 + b"\n\n"],
    ids=["no_json", "no_utf8", "no_object", "deep"],
)
async def test_data_that_is_no_json_passes(tmp_path: Path, bad: bytes) -> None:
    """U28: an event that can't be read passes as it is, and costs none of the text around it."""
    body = b"".join([*EVENTS[:3], bad, *EVENTS[3:]])
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(stream(body))
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.body, seen.text) == (body, text(4))
