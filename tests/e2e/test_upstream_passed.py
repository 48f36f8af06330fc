"""Faults under requests that are no model calls: passed on with the same deadlines, and nothing is recorded."""

from pathlib import Path

import pytest

from support.client import Answer, RawClient
from support.faults import Bench, fault_bench
from support.leaks import back_to_start
from support.scripts import JSON, answer, cut_at, endless_1xx, hang, raw_bytes, short_of_length
from support.upstream import Script

SWITCH = b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"
OCTETS = [("Content-Type", "application/octet-stream")]


async def get(bench: Bench, script: Script) -> Answer:
    """Ask for a file; everything must be closed afterwards."""
    bench.up.script = script
    async with back_to_start(), RawClient(bench.proxy.port) as client:
        await client.get("/v1/files/a/content")
        got = await client.answer()
        await bench.up.no_connections()
    return got


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (hang(), 504, "upstream_header_timeout"),
        (endless_1xx(), 504, "upstream_header_timeout"),
        (raw_bytes(b"no http\r\n\r\n", then="hang"), 502, "upstream_bad_answer"),
        (
            raw_bytes(b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", then="hang"),
            502,
            "upstream_upgraded",
        ),
    ],
    ids=["silence", "endless_1xx", "no_http", "switch"],
)
async def test_no_usable_answer(tmp_path: Path, script: Script, status: int, code: str) -> None:
    """Silence is a 504 and nonsense a 502; the upstream's connection is closed."""
    async with fault_bench(tmp_path, timeouts={"first_byte": "200ms"}) as bench:
        got = await get(bench, script)
        async with RawClient(bench.proxy.port) as client:
            await client.get("/v1/generations")
            assert (await client.answer()).json()["data"] == []
    assert (got.status, got.json()["error"]["code"]) == (status, code)


@pytest.mark.parametrize(
    "script",
    [
        short_of_length(b"x" * 1000, 10, "fin", headers=OCTETS),
        short_of_length(b"x" * 1000, 10, "hang", headers=OCTETS),
        cut_at(b"x" * 1000, 1000, "reset", headers=OCTETS),
        cut_at(b"x" * 1000, 1000, "hang", headers=OCTETS),
    ],
    ids=["short_fin", "short_hang", "chunked_reset", "chunked_hang"],
)
async def test_a_body_that_breaks_is_broken_off(tmp_path: Path, script: Script) -> None:
    """A body that breaks, or stalls beyond the idle deadline, is broken off, so that nobody takes it for whole."""
    async with fault_bench(tmp_path, timeouts={"idle": "200ms"}) as bench:
        got = await get(bench, script)
    assert (got.status, got.complete, got.body == b"x" * 1000 or not got.body) == (200, False, True)


async def test_a_large_body_passes_both_ways(tmp_path: Path) -> None:
    """Some megabytes pass unchanged up and down."""
    data = bytes(range(256)) * (3 << 12)
    async with fault_bench(tmp_path) as bench, RawClient(bench.proxy.port) as client:
        bench.up.script = answer(201, data, JSON)
        await client.post("/v1/files", data, [("Content-Type", "application/octet-stream")])
        got = await client.answer()
        assert bench.up.requests[0].body == data
    assert (got.status, got.body == data, got.complete) == (201, True, True)
