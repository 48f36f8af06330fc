"""The scripted upstream, a process of its own: raw protocols on uvloop, so that it costs little beside a proxy.

`python upstream.py PORT`. It speaks just enough HTTP/1.1. Each call says in its body what it gets (see `script`); of
each call with an id it keeps when its close was seen and when its events were written, on the monotonic clock that all
processes share. `GET /bench/state?GROUP` counts the group's calls by state, `GET /bench/report?GROUP` gives and forgets
them.
"""

import asyncio
import json
import sys
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any, Final, cast

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from bench import script
from bench.script import Script

KEPT_TIMES: Final = 256
"""So many times of last events are kept of a call with an id: 5 s at 50 tokens a second."""

STREAM_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)
JSON_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
END: Final = b"0\r\n\r\n"


class Served:
    """One call with an id."""

    __slots__ = ("closed", "events", "ident", "state", "times")

    def __init__(self, ident: str) -> None:
        self.ident = ident
        self.state = "arrived"
        self.events = 0
        self.closed = 0.0
        self.times: deque[float] = deque(maxlen=KEPT_TIMES)


CALLS: dict[str, Served] = {}


class Connection(asyncio.Protocol):
    """One connection of a proxy: a call at a time."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._in = b""
        self._script: Script | None = None
        self._served: Served | None = None
        self._sent = 0
        self._prefix = b""
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._full = False
        self._pieces: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Serve a request once it is whole."""
        self._in += data
        head, border, rest = self._in.partition(b"\r\n\r\n")
        if not border or len(rest) < (length := _content_length(head)):
            return
        self._in = rest[length:]
        if head.startswith(b"GET /bench/"):
            self._control(head)
        else:
            self._serve(script.script_of(rest[:length]))

    def eof_received(self) -> None:
        """The proxy closed: note when."""
        self._closed()

    def connection_lost(self, _error: Exception | None) -> None:
        """The same, for a connection that broke."""
        self._closed()

    def pause_writing(self) -> None:
        """The proxy takes no more for now."""
        self._full = True

    def resume_writing(self) -> None:
        """It does again."""
        self._full = False
        self._go_on()

    def _closed(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._served is not None and not self._served.closed:
            self._served.closed = time.monotonic()
            self._served.state = "closed"
        self._script = self._served = None

    def _control(self, head: bytes) -> None:
        path = head.split(b" ", 2)[1].decode()
        verb, _, group = path.removeprefix("/bench/").partition("?")
        calls = [call for ident, call in CALLS.items() if ident.startswith(group + "-")]
        if verb == "state":
            answer: Any = Counter(call.state for call in calls)
        else:
            answer = {call.ident: [call.state, call.closed, call.events, list(call.times)] for call in calls}
            for call in calls:
                del CALLS[call.ident]
        body = json.dumps(answer).encode()
        self._transport.write(JSON_HEAD % len(body) + body)

    def _serve(self, asked: Script) -> None:
        self._script, self._sent = asked, 0
        if asked.ident:
            self._served = CALLS[asked.ident] = Served(asked.ident)
        if asked.hold == "head":
            return
        if asked.kind == "json":
            self._answer(asked)
            return
        self._transport.write(STREAM_HEAD)
        if asked.kind == "random":
            self._pieces = script.random_cuts(script.random_stream(asked.seed), asked.seed)
            self._piece()
            return
        self._prefix = script.prefix(asked.ident or f"{id(self):x}")
        self._due = self._loop.time()
        if asked.hold != "body":
            self._go_on()

    def _answer(self, asked: Script) -> None:
        body = script.short_answer(asked.ident)
        head = JSON_HEAD % len(body)
        shown = {"body": 0, "middle": len(body) // 2}.get(asked.hold, len(body))
        self._transport.write(head + body[:shown])
        if not asked.hold:
            self._over()

    def _over(self) -> None:
        if self._served is not None:
            self._served.state = "done"
        self._script = self._served = None

    def _go_on(self) -> None:
        asked = self._script
        if asked is None or self._full or asked.hold in {"head", "body"}:
            return
        if asked.kind == "random":
            self._piece()
        elif asked.kind == "stream" and asked.every:
            self._beat()
        elif asked.kind == "stream":
            self._burst(asked)

    def _beat(self) -> None:
        """One event, and the next when it is due; late ones are not sent in a bunch."""
        asked = self._script
        if asked is None or self._full:
            return
        if self._timer is not None:
            self._timer.cancel()
        if self._sent >= asked.events:
            self._finish()
            return
        self._transport.write(b"fa\r\n%b%b\r\n" % (self._prefix, script.RESTS[self._sent % len(script.RESTS)]))
        self._count(1)
        self._due = max(self._due + asked.every, self._loop.time())
        self._timer = self._loop.call_at(self._due, self._beat)

    def _burst(self, asked: Script) -> None:
        """Events back to back, each a chunk of its own, as fast as they are taken."""
        while not self._full and self._sent < asked.events:
            size = min(script.BATCH, asked.events - self._sent)
            first, rests = self._sent, script.RESTS
            self._transport.write(
                b"".join(b"fa\r\n%b%b\r\n" % (self._prefix, rests[n % len(rests)]) for n in range(first, first + size))
            )
            self._count(size)
        if self._sent >= asked.events and not self._full:
            self._finish()

    def _count(self, events: int) -> None:
        self._sent += events
        if self._served is not None:
            self._served.events = self._sent
            self._served.times.append(time.monotonic())

    def _finish(self) -> None:
        self._transport.write(b"%x\r\n%b\r\n%b" % (len(script.LAST), script.LAST, END))
        self._over()

    def _piece(self) -> None:
        asked = self._script
        if asked is None or self._full:
            return
        piece = next(self._pieces, None)
        if piece is None:
            self._transport.write(END)
            self._over()
            return
        self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self._timer = self._loop.call_later(asked.pause, self._piece)


def _content_length(head: bytes) -> int:
    at = head.lower().find(b"\r\ncontent-length:")
    return 0 if at < 0 else int(head[at + 17 :].split(b"\r\n", 1)[0])


async def _main(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=8192)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
