"""Plain calls that are asked for as streams, and what the faults of those streams look like."""

import gzip
import zlib
from pathlib import Path
from typing import Any

import pytest

from support.chat import ask, chat_events, text
from support.faults import fault_bench
from support.scripts import (
    SSE,
    cut_at,
    sse_stream,
)
from support.upstream import Script

EVENTS = chat_events(4)
CUT = chat_events(4, finish=None, done=False)
STREAM = b"".join(EVENTS)
CLOSED = [("Connection", "close")]


def deflated(data: bytes, window: int = zlib.MAX_WBITS) -> bytes:
    """Deflate, in a zlib frame or without one (a negative window)."""
    packer = zlib.compressobj(wbits=window)
    return packer.compress(data) + packer.flush()


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
