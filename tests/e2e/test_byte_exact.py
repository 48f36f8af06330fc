"""What passes through passes byte for byte: random streams cut anywhere, answers of every kind, and requests."""

import asyncio
import gzip
import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from support.chat import chat_events
from support.client import Answer, RawClient, request_bytes
from support.http_bytes import Headers
from support.lag import shrink_send_buffers
from support.program import config_text
from support.proxy import running_proxy
from support.scripts import SSE, hang, sse_stream
from support.stops import CHAT, STREAM, call, record, settled
from support.upstream import Conn, Script, scripted_upstream

STREAMS = 200

PIECES = ("a", "ß", "\u20ac", "\U0001f600", "\\", '"', "\n", "\r", "\u2028", " ", "\x7f", ".[DONE]", "data: ", "id")


class RandomStream:
    """One stream, made from its number: its bytes, where they are cut, and how its client reads."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.chance = random.Random(number)
        self.line = self.chance.choice(("\n", "\n", "\r\n", "\r"))
        self.slow = number % 5 == 0
        events = [self._event() for _ in range(self.chance.randrange(1, 300 if self.slow else 60))]
        start = "\ufeff" if number % 7 == 0 else ""
        end = self.chance.choice((f"data: [DONE]{self.line * 2}", "", "data: unfinished", ": the end"))
        self.body = (start + "".join(events) + end).encode("utf-8", "surrogatepass")

    def _event(self) -> str:
        chance, line = self.chance, self.line
        match chance.randrange(10):
            case 0:
                fields = [f": {self._word()}"]
            case 1:
                fields = ["event: thing", f"data:{self._word()}", f"data: {self._word()}", "data"]
            case 2:
                fields = [f"id: {chance.randrange(99)}", "retry: 10", "data: {}"]
            case 3:
                fields = ["nonsense", f"data: {json.dumps({'choices': 7, 'x': self._word()})}"]
            case 4 if self.slow:
                fields = [f"data: {chance.randbytes(chance.randrange(20_000)).hex()}"]
            case _:
                delta = {"choices": [{"index": 0, "delta": {"content": self._word()}}]}
                fields = [f"data: {json.dumps(delta, ensure_ascii=chance.random() < 0.5)}"]
        return line.join(fields) + line * chance.choice((2, 2, 2, 3))

    def _word(self) -> str:
        word = "".join(self.chance.choices(PIECES, k=self.chance.randrange(8)))
        return word.replace("\n", "").replace("\r", "")

    async def serve(self, conn: Conn) -> None:
        """Send it in pieces, some of them together, some one by one."""
        await conn.head(200, SSE, until_close=self.number % 3 == 0)
        at = 0
        while at < len(self.body):
            size = self.chance.choice((1, 7, 100, 3000, 40_000))
            await conn.chunk(self.body[at : at + size])
            at += size
            if self.chance.random() < 0.2:
                await conn.pause(0.001)
        await conn.end()

    async def read(self, port: int) -> Answer:
        """Get it, as fast or as slowly as its client is."""
        async with RawClient(port, receive_buffer=16_384 if self.slow else None) as client:
            await client.post(CHAT, STREAM, [("X-Number", str(self.number)), ("X-Task-Id", f"t-{self.number}")])
            while self.slow and len(client.buffer) < len(self.body) / 2 and not client.ended:
                await client.receive(10_000)
                await asyncio.sleep(0.002)
            return await client.answer()


async def test_random_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred random streams, cut anywhere, some read slowly, arrive byte for byte; `/events` has the same."""
    shrink_send_buffers(monkeypatch)
    streams = [RandomStream(number) for number in range(STREAMS)]

    async def script(conn: Conn) -> None:
        await streams[int(conn.request.header("X-Number") or 0)].serve(conn)

    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        for at in range(0, STREAMS, 20):
            some = streams[at : at + 20]
            for stream, received in zip(some, await asyncio.gather(*(s.read(proxy.port) for s in some)), strict=True):
                assert received.complete, stream.number
                assert received.body == stream.body, stream.number


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer, both of which must arrive as they were sent."""

    path: str
    body: bytes = b'{"model":"m","input":"x"}'
    type: str = "application/json"
    status: int = 200
    answer: bytes = b"{}"
    answer_type: str = "application/json"
    headers: Headers = field(default_factory=list)
    framing: Literal["length", "chunked", "close"] = "length"


PRETTY = (
    b'{\r\n  "id":"c-1",\t"choices":[{"index":0,"finish_reason":"stop","message":{"content":"\xe2\x82\xac\\ud83d"}}]\n}'
)
HTML = b"<html><body>\xff bad gateway</body></html>"
AUDIO = random.Random(3).randbytes(400_000)
FORM = (
    b'--b0\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
    b'--b0\r\nContent-Disposition: form-data; name="file"; filename="\xc3\xa4.wav"\r\n\r\n'
    + AUDIO[:100_000]
    + b"\r\n--b0--\r\n"
)
ODD_JSON = b'{ "model":"m" ,"messages":[ ],"n":1.0,"x":"\\u00e9\xc3\xa9", "seed": 12345678901234567890 }\n'
FORM_TYPE = "multipart/form-data; boundary=b0"

EXCHANGES = {
    "chat": Exchange("/chat/completions", ODD_JSON, answer=PRETTY),
    "chat, chunked": Exchange("/chat/completions", answer=PRETTY, framing="chunked"),
    "chat, until close": Exchange("/chat/completions", answer=PRETTY, framing="close"),
    "completions": Exchange("/completions", answer=PRETTY, headers=[("X-Request-Id", "r-1"), ("Openai-Model", "m")]),
    "bad request": Exchange("/chat/completions", status=400, answer=b'{"error": {"message": "no"}}'),
    "limited": Exchange("/chat/completions", status=429, answer=b'{"error":{}}', headers=[("Retry-After", "7")]),
    "failed": Exchange("/chat/completions", status=500, answer=HTML, answer_type="text/html"),
    "empty failure": Exchange("/chat/completions", status=503, answer=b""),
    "stream refused": Exchange("/chat/completions", b'{"stream":true}', status=401, answer=b'{"error":"key"}'),
    "JSON for a stream": Exchange("/chat/completions", b'{"stream":true}', answer=PRETTY),
    "compressed": Exchange("/chat/completions", answer=gzip.compress(PRETTY), headers=[("Content-Encoding", "gzip")]),
    "embeddings": Exchange("/embeddings", answer=json.dumps({"data": [0.1] * 40_000}).encode()),
    "upload": Exchange("/audio/transcriptions", FORM, FORM_TYPE, answer=b"Hi\n", answer_type="text/plain"),
    "speech": Exchange("/audio/speech", answer=AUDIO, answer_type="audio/mpeg", framing="chunked"),
    "speech with a length": Exchange("/audio/speech", answer=AUDIO, answer_type="audio/mpeg"),
    "another path": Exchange("/files?purpose=a%2Fb", FORM, FORM_TYPE),
    "moderation": Exchange("/moderations", answer=PRETTY, headers=[("X-Twice", "1"), ("X-Twice", "2")]),
}


def serving(exchange: Exchange) -> Script:
    """Answer as the exchange says."""

    async def script(conn: Conn) -> None:
        headers = [("Content-Type", exchange.answer_type), *exchange.headers]
        length = len(exchange.answer) if exchange.framing == "length" else None
        await conn.head(exchange.status, headers, length=length, until_close=exchange.framing == "close")
        for at in range(0, len(exchange.answer), 30_011):
            await conn.chunk(exchange.answer[at : at + 30_011])
        if length is None:
            await conn.end()

    return script


def folded(headers: Headers) -> Headers:
    """The headers with their names in lower case."""
    return [(name.lower(), value) for name, value in headers]


async def test_every_kind_of_call(tmp_path: Path) -> None:
    """Requests go up and answers come down byte for byte, with status and headers, whatever endpoint and framing."""
    async with scripted_upstream(hang()) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        for name, exchange in EXCHANGES.items():
            up.script = serving(exchange)
            async with RawClient(proxy.port) as client:
                await client.post(f"/v1{exchange.path}", exchange.body, [("Content-Type", exchange.type)])
                received = await client.answer()
            sent = up.requests[-1]
            assert (sent.method, sent.target, sent.body) == ("POST", f"/v1{exchange.path}", exchange.body), name
            assert sent.header("Content-Type") == exchange.type, name
            assert received.complete, name
            assert (received.status, received.body) == (exchange.status, exchange.answer), name
            assert received.header("Content-Type") == exchange.answer_type, name
            names = {key for key, _ in folded(exchange.headers)}
            assert [pair for pair in folded(received.headers) if pair[0] in names] == folded(exchange.headers), name


@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"])
async def test_other_methods(tmp_path: Path, method: str) -> None:
    """Calls that are none to a model pass with their method, their query as it is, and no framing of our own."""
    target = "/v1/files/f-1?after=%41%2f&&b=a+b&c=&=&c=%C3%A9"
    body = b"" if method in {"GET", "DELETE", "HEAD", "OPTIONS"} else b'{"a":1}'
    whole = b"x" * 1000

    async def script(conn: Conn) -> None:
        await conn.head(200, [("Content-Type", "text/x-thing"), ("ETag", '"e"')], length=len(whole))
        if method != "HEAD":
            await conn.chunk(whole)
        else:
            await conn.wait_closed()

    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        await client.send(request_bytes(method, target, body))
        received = await client.answer(to_head=method == "HEAD")
        sent = up.requests[0]
        assert (sent.method, sent.target, sent.body) == (method, target, body)
        assert (sent.header("Content-Length") or "0") == str(len(body))
        assert received.body == (b"" if method == "HEAD" else whole)
        assert (received.header("ETag"), received.header("Content-Type")) == ('"e"', "text/x-thing")
        if method == "HEAD":
            assert received.header("Content-Length") == "1000"


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body(tmp_path: Path, status: int) -> None:
    """An answer that has no body by its status has none here either, and the connection goes on."""

    async def script(conn: Conn) -> None:
        await conn.raw(b"HTTP/1.1 %d Scripted\r\nETag: x\r\n\r\n" % status)

    async with (
        scripted_upstream(script) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
        RawClient(proxy.port) as client,
    ):
        for _ in range(2):
            await client.get("/v1/things")
            received = await client.answer()
            assert (received.status, received.body, received.header("ETag")) == (status, b"", "x")
            assert received.header("Transfer-Encoding") is None


async def test_headers_both_ways(tmp_path: Path) -> None:
    """What a provider and an SDK tell each other in headers passes; what is about the connection or ours does not."""
    up_pass = [("User-Agent", "sdk/1"), ("X-Stainless-Lang", "python"), ("OpenAI-Organization", "o"), ("Accept", "*/*")]
    up_drop = [
        ("Cookie", "a=b"),
        ("Keep-Alive", "5"),
        ("TE", "trailers"),
        ("X-User-Id", "u"),
        ("Accept-Encoding", "br"),
    ]
    down_pass = [("X-Request-Id", "r"), ("X-Ratelimit-Remaining-Tokens", "9"), ("Openai-Processing-Ms", "3")]
    down_drop = [("Set-Cookie", "a=b"), ("Keep-Alive", "5"), ("X-Task-Id", "fake"), ("Strict-Transport-Security", "1")]

    async def script(conn: Conn) -> None:
        await conn.head(200, [*SSE, *down_pass, *down_drop])
        await conn.chunk(b"".join(chat_events()))
        await conn.end()

    async with scripted_upstream(script) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        async with RawClient(proxy.port) as client:
            await client.post(CHAT, STREAM, [*up_pass, *up_drop, ("X-Task-Id", "t-1"), ("Authorization", "Bearer k")])
            received = await client.answer()
        sent = up.requests[0]
    up_pass += [("Authorization", "Bearer k"), ("Accept-Encoding", "identity")]
    assert set(folded(up_pass)) <= set(folded(sent.headers))
    assert not set(folded(up_drop)) & set(folded(sent.headers))
    assert sent.header("X-Task-Id") is None
    assert set(folded(down_pass)) <= set(folded(received.headers))
    assert not set(folded(down_drop)) & set(folded(received.headers))
    assert (received.header("X-Task-Id"), received.header("Cache-Control")) == ("t-1", "no-cache, no-transform")
    assert received.header("X-Message-Id")


async def test_added_usage_is_taken_out_again(tmp_path: Path) -> None:
    """With `usage: final` the upstream is asked for usage, the client sees none, and all other bytes are the same."""
    events = chat_events(5, usage=True)
    async with (
        scripted_upstream(sse_stream(events)) as up,
        running_proxy(config_text(up.base_url, upstream={"usage": "final"}), tmp_path) as proxy,
    ):
        plain = await call(proxy, "POST", CHAT, STREAM, X_Task_Id="t-1")
        asked = await call(proxy, "POST", CHAT, {**STREAM, "stream_options": {"include_usage": True}}, X_Task_Id="t-2")
        await settled(proxy)
        kept = [await record(proxy, task_id) for task_id in ("t-1", "t-2")]
    assert [request.json()["stream_options"] for request in up.requests] == [{"include_usage": True}] * 2
    assert plain.body == b"".join([*events[:-2], events[-1]])
    assert asked.body == b"".join(events)
    assert [(each["usage_source"], each["completion_tokens"]) for each in kept] == [("upstream", 5)] * 2


async def test_usage_that_nobody_asked_for_stays(tmp_path: Path) -> None:
    """An upstream that sends usage by itself is not thereby known to take the wish for it: nothing is added or cut."""
    events = chat_events(5, usage=True)
    async with scripted_upstream(sse_stream(events)) as up, running_proxy(config_text(up.base_url), tmp_path) as proxy:
        for _ in range(2):
            assert (await call(proxy, "POST", CHAT, STREAM)).body == b"".join(events)
            await settled(proxy)
    assert all("stream_options" not in request.json() for request in up.requests)
