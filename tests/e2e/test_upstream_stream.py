"""Streams of an upstream that break, stall, lie, never end, or are written in unusual ways."""

import asyncio
import json
from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from support.chat import DONE, ask, chat_events, sse, text, usage_object, word
from support.client import RawClient
from support.faults import CHAT, Pieces, fault_bench
from support.scripts import SSE, How, cut_at, endless_sse, events_then_hang, json_answer, sse_stream
from support.upstream import Conn, Script
from support.wait import eventually, within

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


async def test_a_stall_ends_with_an_error_event(tmp_path: Path) -> None:
    """U7: silence mid-stream: whole events, an error event, no proper end; timed_out with what came."""
    body = b"".join(CUT) + EVENTS[2][:40]
    async with fault_bench(tmp_path, timeouts={"idle": "200ms"}) as bench:
        seen = await bench.call(cut_at(body, len(body), "hang"))
    assert seen.ends == (200, False, "timed_out", "idle_timeout")
    assert seen.error["code"] == "upstream_idle_timeout"
    assert seen.answer.events[:-1] == CUT
    assert seen.text == text(4)
    assert (seen.tokens[2], seen.errors) == ("tokenizer", {"idle_timeout": 1})
    assert not seen.conns[0].closed_by_us


async def test_a_stall_of_a_plain_answer_is_a_504(tmp_path: Path) -> None:
    """U7: silence in the middle of a JSON answer: nothing of it went out, so the client gets a 504."""
    script = cut_at(b'{"id": "x", "choices": [', 20, "hang", headers=[("Content-Type", "application/json")])
    async with fault_bench(tmp_path, timeouts={"idle": "200ms"}) as bench:
        seen = await bench.call(script, ask(stream=False))
    assert seen.ends == (504, True, "timed_out", "idle_timeout")
    assert seen.error["code"] == "upstream_idle_timeout"


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_a_break_ends_with_an_error_event(tmp_path: Path, how: How) -> None:
    """U8: FIN or RST in the middle of an event: whole events, an error event, no proper end; truncated, text kept."""
    body = b"".join(CUT) + EVENTS[2][:40]
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(cut_at(body, len(body), how))
    assert seen.ends == (200, False, "failed", "truncated")
    assert seen.error["code"] == "upstream_truncated"
    assert seen.answer.events[:-1] == CUT
    assert (seen.text, seen.errors) == (text(4), {"truncated": 1})


async def test_a_break_loses_nothing_that_had_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """U8: what had arrived when the upstream broke is kept and passed on, although the START was not on disk yet."""
    async with fault_bench(tmp_path) as bench:
        ledger, broken = bench.proxy.app.engine.ledger, asyncio.Event()
        begin = ledger.begin

        def late(record: Any) -> "asyncio.Future[None]":
            started = begin(record)

            async def on_disk() -> None:
                await started
                await broken.wait()

            return asyncio.ensure_future(on_disk())  # noqa: TID251 stands in for the ledger's own future

        async def script(conn: Conn) -> None:
            await conn.head(200, SSE)
            await conn.chunk(b"".join(CUT))
            conn.reset()
            await asyncio.sleep(0.05)  # the RST is read in its own time, and nothing tells of it
            broken.set()

        monkeypatch.setattr(ledger, "begin", late)
        seen = await bench.call(script)
    assert seen.ends == (200, False, "failed", "truncated")
    assert seen.answer.events[:-1] == CUT
    assert seen.text == text(4)


async def test_a_break_while_the_client_reads_nothing_loses_nothing(tmp_path: Path) -> None:
    """U8: a client that lags does not make the ledger lose bytes: the record has all that the upstream sent."""
    tokens = 3000
    script = sse_stream(chat_events(tokens, finish=None, done=False), then="fin")
    async with fault_bench(tmp_path) as bench, RawClient(bench.proxy.port, receive_buffer=4096) as client:
        bench.up.script = script
        await client.post(CHAT, ask(), [("X-Task-Id", "lagging")])
        record = await bench.record("lagging")
    assert (record["outcome"], record["error_kind"]) == ("failed", "truncated")
    assert record["text"] == text(tokens)


@pytest.mark.parametrize(
    ("events", "outcome", "kind"),
    [
        (CUT, "failed", "truncated"),
        ([], "failed", "truncated"),
        (EVENTS[:-1], "completed", None),
        ([*CUT, DONE], "completed", None),
        (chat_events(2, n=2)[:-2], "failed", "truncated"),
        ([*CUT, EVENTS[-2][:-1]], "failed", "truncated"),
    ],
    ids=["no_ending", "nothing", "finish_reason_only", "done_only", "one_choice_open", "last_border_missing"],
)
async def test_an_end_without_terminator(tmp_path: Path, events: list[bytes], outcome: str, kind: str | None) -> None:
    """U9: a body that just ends passes as it was with a proper end; it is complete by its finish reasons or [DONE]."""
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(stream(b"".join(events)))
    assert seen.ends == (200, True, outcome, kind)
    assert seen.answer.body == b"".join(events)


@pytest.mark.parametrize("how", ["fin", "reset"])
async def test_finish_reasons_complete_a_body_that_breaks(tmp_path: Path, how: How) -> None:
    """A stream whose every choice has its finish reason is completed, even when the body then breaks before [DONE]."""
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(sse_stream(EVENTS[:-1], then=how))
    assert seen.record["outcome"] == "completed"
    assert seen.answer.body.startswith(b"".join(EVENTS[:-1]))
    assert seen.text == text(4)
    assert seen.errors == {}


async def test_done_alone_does_not_complete_a_body_that_breaks(tmp_path: Path) -> None:
    """[DONE] without finish reasons counts only together with a proper end of the body."""
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(sse_stream([*CUT, DONE], then="reset"))
    assert (seen.record["outcome"], seen.record["error_kind"]) == ("failed", "truncated")
    assert seen.answer.body.startswith(b"".join([*CUT, DONE]))


async def test_a_close_delimited_body_cut_anywhere(tmp_path: Path) -> None:
    """U10: cut at every byte, a body that ends with its connection is complete only from its terminator on."""
    words = ("Grüße ", 'an "alle"')
    body = b"".join(chat_events(words=words, finish="stop"))

    async def script(conn: Conn) -> None:
        offset = int(conn.request.header("X-Offset") or 0)
        await cut_at(body, offset, "end", until_close=True)(conn)

    def expected(offset: int) -> tuple[str, str]:
        whole = body[: body.rfind(b"\n\n", 0, offset) + 2] if b"\n\n" in body[:offset] else b""
        said = "".join(each for each in words if json.dumps(each, ensure_ascii=False).encode() in whole)
        return ("completed" if b'"finish_reason":"stop"' in whole else "failed"), said

    async with fault_bench(tmp_path, limits={"streams": 5000}) as bench:
        bench.up.script = script

        async def cut(offset: int) -> None:
            task_id = f"cut-{offset}"
            async with RawClient(bench.proxy.port) as client:
                await client.post(CHAT, ask(), [("X-Task-Id", task_id), ("X-Offset", str(offset))])
                answer = await client.answer()
            assert (answer.status, answer.complete, answer.body) == (200, True, body[:offset])
            record = await bench.record(task_id)
            assert (record["outcome"], record["text"]) == expected(offset), offset

        for first in range(0, len(body) + 1, 40):
            await asyncio.gather(*(cut(offset) for offset in range(first, min(first + 40, len(body) + 1))))


@pytest.mark.parametrize(
    "error",
    [
        sse({"error": {"message": "overloaded", "type": "server_error", "code": "overloaded"}}),
        b'event: error\ndata: {"message": "overloaded", "code": 503}\n\n',
        sse({"error": "overloaded"}),
    ],
    ids=["object", "event", "words"],
)
@pytest.mark.parametrize("rest", [[], [DONE], EVENTS[-2:]], ids=["ends", "done", "finished"])
async def test_an_error_event_passes_and_fails_the_generation(tmp_path: Path, error: bytes, rest: list[bytes]) -> None:
    """U11: an error in the stream passes as it came; failed/upstream_error with the text up to it."""
    body = b"".join([*CUT, error, *rest])
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(stream(body))
    assert seen.ends == (200, True, "failed", "upstream_error")
    assert (seen.answer.body, seen.text, seen.errors) == (body, text(4), {"upstream_error": 1})


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


async def test_an_endless_stream_ends_at_the_total_deadline(tmp_path: Path) -> None:
    """U24: a stream that never ends is cut at the total deadline: timed_out, an error event, what came is kept."""
    async with fault_bench(tmp_path, timeouts={"total": "300ms"}) as bench:
        seen = await bench.call(endless_sse(EVENTS[1], 0.005))
    assert seen.ends == (200, False, "timed_out", "total_timeout")
    assert seen.error["code"] == "upstream_total_timeout"
    assert seen.text == word(0) * (len(seen.answer.events) - 1)
    assert seen.errors == {"total_timeout": 1}
    assert not seen.conns[0].closed_by_us


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
    monkeypatch.setattr("proxy.engine.receive.DONE_SECONDS", 0.1)
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(events_then_hang(EVENTS))
    assert seen.ends == (200, True, "completed", None)
    assert not seen.conns[0].closed_by_us


async def test_an_answer_that_nobody_asked_for_reaches_nobody(tmp_path: Path) -> None:
    """U25: a second answer behind the first one is not taken for the answer to the next call, maybe of another key."""
    stray = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\nstolen"
    read = asyncio.Event()

    async def script(conn: Conn) -> None:
        await json_answer({"choices": []})(conn)
        await within(read.wait(), "the client reads its answer")
        await conn.raw(stray)
        await conn.sleep_until_closed()

    async with fault_bench(tmp_path) as bench:
        await bench.call(script, ask(stream=False), keeps=True)
        read.set()
        upstream = bench.proxy.app.gateway.runtime.upstreams["up"]
        (pooled,) = next(iter(upstream._session.connector._conns.values()))  # type: ignore[union-attr]  # it is open
        await eventually(lambda: pooled[0].should_close, what="the stray answer arrives")
        seen = await bench.call(json_answer({"choices": [], "own": True}), ask(stream=False), keeps=True)
        assert bench.up.opened == 2
    assert seen.answer.json() == {"choices": [], "own": True}


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
