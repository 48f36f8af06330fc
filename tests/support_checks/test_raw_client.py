import asyncio
import socket

import pytest

from support.client import RawClient, request_bytes
from support.http_bytes import BodyReader, ChunkReader
from support.scripts import answer, endless_sse, hang, json_answer, raw_bytes
from support.upstream import scripted_upstream
from support.wait import eventually


async def test_pipelined_answers_are_told_apart() -> None:
    """Requests sent in one write get their answers one by one, and no byte is lost between them."""
    async with scripted_upstream(answer(200, b"abc")) as up, RawClient(up.port) as client:
        await client.send(request_bytes("GET", "/1") + request_bytes("GET", "/2"))
        first, second = await client.answer(), await client.answer()
    assert first.raw == second.raw == b"HTTP/1.1 200 Scripted\r\nContent-Length: 3\r\n\r\nabc"
    assert [request.target for request in up.requests] == ["/1", "/2"]
    assert client.buffer == b""


async def test_answers_without_a_body_end_at_their_head() -> None:
    """204, 304 and answers to HEAD have no body whatever their headers say."""
    head = b"HTTP/1.1 %d X\r\nContent-Length: 5\r\n\r\n"
    async with scripted_upstream(raw_bytes(head % 204, head % 304, head % 200)) as up, RawClient(up.port) as client:
        await client.get("/")
        assert [(await client.answer()).status for _ in range(2)] == [204, 304]
        assert (await client.answer(to_head=True)).body == b""


async def test_an_answer_can_be_cut_anywhere() -> None:
    """What came of a cut answer is given, marked as not complete; without a whole head there is no answer."""
    whole = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    border = whole.index(b"\r\n\r\n") + 4
    for end in (border, border + 1, border + 4, border + 6, len(whole) - 1, len(whole)):
        async with scripted_upstream(raw_bytes(whole[:end])) as up, RawClient(up.port) as client:
            await client.get("/")
            got = await client.answer()
        assert got.complete == (end == len(whole))
        assert b"abcde".startswith(got.body)
        assert got.raw == whole[:end]
    async with scripted_upstream(raw_bytes(whole[:20])) as up, RawClient(up.port) as client:
        await client.get("/")
        with pytest.raises(AssertionError, match="connection ended before"):
            await client.answer()


async def test_a_half_closed_client_still_reads() -> None:
    """After FIN the other side's end is still read, as FIN."""
    async with scripted_upstream(hang()) as up, RawClient(up.port) as client:
        await client.get("/")
        await up.conn()
        client.half_close()
        assert await client.rest() == b""
        assert client.ended
        assert not client.was_reset


async def test_a_client_that_reads_nothing_is_felt() -> None:
    """With a small receive buffer the sender soon waits; reading lets it go on."""
    async with scripted_upstream(endless_sse(b"x" * 65536)) as up, RawClient(up.port, receive_buffer=4096) as client:
        await client.get("/")
        conn = await up.conn()

        async def waits() -> bool:
            before = len(conn.sent)
            for _ in range(20):
                await asyncio.sleep(0)
            return conn.stalled and len(conn.sent) == before

        await eventually(waits, what="the upstream waits in its write")
        before = len(conn.sent)
        while len(conn.sent) == before:
            await client.receive()
            client.buffer.clear()


async def test_fin_is_not_an_rst() -> None:
    """Leaving with FIN while bytes wait unread is still seen as FIN by the other side."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        async with RawClient(server.getsockname()[1]) as client:
            other, _ = server.accept()
            with other:
                other.sendall(b"unread")
                await client.until(b"unread")
                other.sendall(b"more")
                client.fin()
                assert other.recv(10) == b""


async def test_silence_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that gets nothing for too long fails and shows what came before."""
    monkeypatch.setattr("support.client.PATIENCE", 0.05)
    async with scripted_upstream(hang()) as up, RawClient(up.port) as client:
        await client.get("/")
        with pytest.raises(AssertionError, match="nothing came"):
            await client.receive()


def test_requests_are_well_formed() -> None:
    """JSON bodies get type and length; given headers replace the usual ones; a chunked body gets no length."""
    assert request_bytes("GET", "/a") == b"GET /a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert request_bytes("POST", "/a", {"b": 1}, [("host", "c")]) == (
        b'POST /a HTTP/1.1\r\nhost: c\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"b": 1}'
    )
    assert b"Content-Length" not in request_bytes("POST", "/", b"0\r\n\r\n", [("Transfer-Encoding", "chunked")])


def test_broken_chunks_are_refused() -> None:
    """The reader of chunks does not guess."""
    with pytest.raises(ValueError, match="expected CR LF"):
        ChunkReader().take(bytearray(b"1\r\nabc"))
    with pytest.raises(ValueError, match="invalid literal"):
        ChunkReader().take(bytearray(b"zz\r\n"))


def test_any_cut_reads_the_same() -> None:
    """Chunks fed byte by byte, with extensions and trailers, give the same body and leave what follows."""
    wire = b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\nNEXT"
    reader = BodyReader([("Transfer-Encoding", "chunked")], without_framing=0)
    buffer = bytearray()
    for index in range(len(wire)):
        buffer += wire[index : index + 1]
        if not reader.complete:
            reader.take(buffer)
    assert (bytes(reader.content), reader.complete, bytes(buffer)) == (b"abcde", True, b"NEXT")


async def test_the_answer_to_json_is_read_as_json() -> None:
    """An answer's JSON and headers are at hand, header names without case."""
    async with scripted_upstream(json_answer({"a": 1}, 201, [("X-Y", "z")])) as up, RawClient(up.port) as client:
        await client.post("/", {})
        got = await client.answer()
        assert client.local_port > 0
    assert (got.status, got.json(), got.header("x-y"), got.header("none")) == (201, {"a": 1}, "z", None)
