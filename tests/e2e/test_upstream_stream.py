"""Streams of an upstream that break, stall, lie, never end, or are written in unusual ways."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from support.chat import DONE, ask, chat_events, sse, text, word
from support.client import RawClient
from support.faults import CHAT, fault_bench
from support.scripts import SSE, How, cut_at, endless_sse, sse_stream
from support.upstream import Conn, Script

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


async def test_an_endless_stream_ends_at_the_total_deadline(tmp_path: Path) -> None:
    """U24: a stream that never ends is cut at the total deadline: timed_out, an error event, what came is kept."""
    async with fault_bench(tmp_path, timeouts={"total": "300ms"}) as bench:
        seen = await bench.call(endless_sse(EVENTS[1], 0.005))
    assert seen.ends == (200, False, "timed_out", "total_timeout")
    assert seen.error["code"] == "upstream_total_timeout"
    assert seen.text == word(0) * (len(seen.answer.events) - 1)
    assert seen.errors == {"total_timeout": 1}
    assert not seen.conns[0].closed_by_us
