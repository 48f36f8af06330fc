"""Upstreams that can't be reached, never answer, or answer with something else than an answer."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import aiohttp.resolver
import pytest
from structlog.testing import capture_logs

from support.chat import ask, chat_events, chat_object
from support.faults import fault_bench
from support.leaks import back_to_start, open_files
from support.scripts import endless_1xx, events_then_hang, hang, json_answer, raw_bytes, slow_headers, sse_stream
from support.tls import Kind, make_certificate
from support.upstream import Conn, Script, scripted_upstream
from support.wait import eventually, within

NOTHING_BILLED = (None, None, "none")
EVENTS = chat_events(4)
KEY = "sk-of-the-provider"


def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def black_hole() -> Iterator[int]:
    """A port that drops whatever wants to connect: its queue of connections is full and nobody takes from it."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(server.getsockname())
        try:
            yield server.getsockname()[1]
        finally:
            for each in waiting:
                each.close()


async def test_a_closed_port_is_a_502(tmp_path: Path) -> None:
    """U1: nobody listens: 502 upstream_unreachable, nothing billed."""
    async with fault_bench(tmp_path, base_url=f"http://127.0.0.1:{free_port()}/v1") as bench:
        seen = await bench.call()
    assert seen.ends == (502, True, "failed", "unreachable")
    assert (seen.error["code"], seen.error["type"]) == ("upstream_unreachable", "upstream_error")
    assert (seen.tokens, seen.errors, seen.text) == (NOTHING_BILLED, {"unreachable": 1}, "")
    assert seen.answer.header("X-Task-Id") == "call-1"


async def test_an_unknown_name_is_a_502(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """U2: a host name that can't be resolved: 502 upstream_dns, nothing billed."""

    async def fail(*_args: Any, **_options: Any) -> NoReturn:
        raise OSError(-2, "Name or service not known")

    monkeypatch.setattr(aiohttp.resolver.DefaultResolver, "resolve", fail)
    async with fault_bench(tmp_path, base_url="http://provider.invalid/v1") as bench:
        seen = await bench.call()
    assert seen.ends == (502, True, "failed", "dns")
    assert (seen.error["code"], seen.tokens, seen.errors) == ("upstream_dns", NOTHING_BILLED, {"dns": 1})


async def test_a_slow_resolver_ends_with_the_connect_timeout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """U2: a resolver that does not answer: 504 within the connect timeout."""
    answers = asyncio.Event()

    async def wait(*_args: Any, **_options: Any) -> NoReturn:
        await answers.wait()
        raise OSError(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(aiohttp.resolver.DefaultResolver, "resolve", wait)
    async with (
        fault_bench(tmp_path, base_url="http://provider.invalid/v1", timeouts={"connect": "200ms"}) as bench,
        back_to_start(),
    ):
        seen = await bench.call(keeps=True)
        answers.set()  # a lookup under way can't be called back, it ends by itself
    assert seen.ends == (504, True, "timed_out", "connect_timeout")
    assert (seen.error["code"], seen.errors) == ("upstream_connect_timeout", {"connect_timeout": 1})


async def test_a_black_hole_ends_with_the_connect_timeout(tmp_path: Path) -> None:
    """U3: nobody answers the handshake: 504 upstream_connect_timeout, nothing billed, the attempt is given up."""
    with black_hole() as port:
        async with fault_bench(
            tmp_path, base_url=f"http://127.0.0.1:{port}/v1", timeouts={"connect": "200ms"}
        ) as bench:
            seen = await bench.call()
    assert seen.ends == (504, True, "timed_out", "connect_timeout")
    assert (seen.error["code"], seen.tokens) == ("upstream_connect_timeout", NOTHING_BILLED)
    assert seen.errors == {"connect_timeout": 1}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("expired", "certificate has expired"),
        ("wrong_name", "certificate is not valid for"),
        ("unknown_authority", "self-signed certificate"),
    ],
)
async def test_a_certificate_that_does_not_hold_is_a_502(tmp_path: Path, kind: str, reason: str) -> None:
    """U4: expired, for another name, or by an unknown authority: 502 upstream_tls, logged why, no request was sent."""
    certificate = make_certificate(tmp_path, _made(kind))
    trust = {} if kind == "unknown_authority" else {"ca_file": str(certificate.cert)}
    async with fault_bench(tmp_path, tls=certificate.server_context(), upstream={"api_key": KEY} | trust) as bench:
        with capture_logs() as logged:
            seen = await bench.call()
        assert (bench.up.opened, bench.up.requests) == (1, [])
    assert seen.ends == (502, True, "failed", "tls")
    assert (seen.error["code"], seen.tokens, seen.errors) == ("upstream_tls", NOTHING_BILLED, {"tls": 1})
    assert "ca_file" in seen.error["message"]
    (why,) = [line["reason"] for line in logged if line["event"] == "upstream.tls_failed"]
    assert why.startswith("CERTIFICATE_VERIFY_FAILED: ")
    assert reason in why


def _made(kind: str) -> Kind:
    match kind:
        case "expired" | "wrong_name":
            return kind
        case _:
            return "good"


async def test_a_plain_answer_to_tls_is_a_502(tmp_path: Path) -> None:
    """U4: an upstream without TLS behind an https address: 502 upstream_tls, and no key in what it got."""
    got = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.extend(await reader.read(4096))
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        got.extend(await reader.read())
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        base_url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        async with fault_bench(tmp_path, base_url=base_url, upstream={"api_key": KEY}) as bench:
            with capture_logs() as logged:
                seen = await bench.call()
    assert seen.ends == (502, True, "failed", "tls")
    assert (seen.error["code"], seen.errors) == ("upstream_tls", {"tls": 1})
    assert [line["reason"] for line in logged if line["event"] == "upstream.tls_failed"] == ["WRONG_VERSION_NUMBER"]
    assert got
    assert KEY.encode() not in got


async def test_a_tls_handshake_that_stalls_ends_with_the_connect_timeout(tmp_path: Path) -> None:
    """U4: an upstream that never answers the TLS hello: 504 within the connect timeout, the connection closed."""
    async with scripted_upstream(hang(), begin="connect") as up:
        base_url = up.base_url.replace("http:", "https:")
        async with fault_bench(tmp_path, base_url=base_url, timeouts={"connect": "200ms"}) as bench:
            seen = await bench.call()
            conn = await up.conn()
            await conn.wait_closed()
    assert seen.ends == (504, True, "timed_out", "connect_timeout")
    assert not conn.closed_by_us
    assert seen.tokens == NOTHING_BILLED


async def test_a_trusted_certificate_lets_the_call_through(tmp_path: Path) -> None:
    """U4: the same with a certificate that holds: the stream passes, and the key goes up."""
    certificate = make_certificate(tmp_path)
    upstream = {"api_key": KEY, "ca_file": str(certificate.cert)}
    async with fault_bench(tmp_path, tls=certificate.server_context(), upstream=upstream) as bench:
        seen = await bench.call(sse_stream(EVENTS), keeps=True)
        assert bench.up.requests[0].header("Authorization") == f"Bearer {KEY}"
    assert seen.ends == (200, True, "completed", None)
    assert seen.answer.body == b"".join(EVENTS)


class Middle:
    """A hop that passes bytes both ways, until it is deaf towards the one who called."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = 0
        self.deaf = False
        self.gone = asyncio.Event()
        """Set when the caller's connection is gone."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        from_target, to_target = await asyncio.open_connection("127.0.0.1", self._target)

        async def back() -> None:
            while data := await from_target.read(65536):
                writer.write(data)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(back())
            while data := await reader.read(65536):
                if not self.deaf:
                    to_target.write(data)
            self.gone.set()
            task.cancel()
        for each in (writer, to_target):
            each.close()


async def test_a_tls_connection_is_closed_without_waiting_for_its_peer(tmp_path: Path) -> None:
    """An upstream that does not answer TLS's own goodbye, as one that only writes, is left at once all the same."""
    certificate = make_certificate(tmp_path)

    async def script(conn: Conn) -> None:
        middle.deaf = True
        await events_then_hang(EVENTS[:2])(conn)

    async with scripted_upstream(script, tls=certificate.server_context()) as up:
        middle = Middle(up.port)
        server = await asyncio.start_server(middle.serve, "127.0.0.1", 0)
        async with server:
            base_url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            upstream = {"ca_file": str(certificate.cert)}
            async with fault_bench(tmp_path, base_url=base_url, upstream=upstream, timeouts={"idle": "200ms"}) as bench:
                seen = await bench.call(keeps=True)
                await within(middle.gone.wait(), "the proxy's connection is gone")
    assert seen.ends == (200, False, "timed_out", "idle_timeout")


@pytest.mark.parametrize("script", [hang(), slow_headers(), endless_1xx()], ids=["silence", "slow_head", "endless_1xx"])
async def test_no_answer_is_a_504(tmp_path: Path, script: Script) -> None:
    """U5, U6: no head, an endless one, interim answers for ever: 504 at the deadline for the head as a whole."""
    async with fault_bench(tmp_path, timeouts={"first_byte": "200ms"}) as bench:
        seen = await bench.call(script)
        (conn,) = seen.conns
    assert seen.ends == (504, True, "timed_out", "header_timeout")
    assert seen.error["code"] == "upstream_header_timeout"
    assert seen.errors == {"header_timeout": 1}
    assert not conn.closed_by_us
    assert (seen.text, seen.answer.interim, len(seen.conns)) == ("", [], 1)


async def test_an_upstream_that_never_reads_keeps_no_connection(tmp_path: Path) -> None:
    """U5: a request that the upstream never takes in full is given up with its connection, unsent bytes and all."""
    sockets = []

    async def never_read(conn: Conn) -> None:
        conn._link.transport.pause_reading()
        sockets.append(open_files()["socket"])
        await conn.sleep_until_closed()

    async with fault_bench(tmp_path, begin="head", timeouts={"first_byte": "300ms"}) as bench:
        seen = await bench.call(never_read, ask("x" * (12 << 20)), keeps=True)
        await eventually(lambda: open_files()["socket"] == sockets[0] - 3, what="only the upstream's side is open")
    assert seen.ends == (504, True, "timed_out", "header_timeout")


async def test_a_call_that_is_not_streamed_times_out_the_same(tmp_path: Path) -> None:
    """U5: a plain call without an answer gets the same 504."""
    async with fault_bench(tmp_path, timeouts={"total": "200ms"}) as bench:
        seen = await bench.call(hang(), ask(stream=False))
    assert seen.ends == (504, True, "timed_out", "total_timeout")
    assert seen.error["code"] == "upstream_total_timeout"


async def test_interim_answers_are_not_passed_on(tmp_path: Path) -> None:
    """U30: 103 and 100 before the answer stay here, the answer passes."""

    async def script(conn: Conn) -> None:
        await conn.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        await json_answer(chat_object())(conn)

    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(script, ask(stream=False), keeps=True)
    assert seen.ends == (200, True, "completed", None)
    assert (seen.answer.interim, seen.answer.header("Link"), seen.answer.json()) == ([], None, chat_object())


async def test_a_switch_of_protocols_is_a_502(tmp_path: Path) -> None:
    """U30: 101 is answered with 502, nothing of the other protocol gets through, and the connection is closed."""
    switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\nsomething else"
    async with fault_bench(tmp_path) as bench:
        seen = await bench.call(raw_bytes(switch, then="hang"))
    assert seen.ends == (502, True, "failed", "upgraded")
    assert (seen.error["code"], seen.errors) == ("upstream_upgraded", {"upgraded": 1})
    assert seen.answer.header("Upgrade") is None
    assert b"something else" not in seen.answer.raw
    assert not seen.conns[0].closed_by_us
