"""One streaming call through the front, read in a thread of its own: what came when, and how it ended."""

import contextlib
import socket
import threading
import time
import zlib
from collections.abc import Callable, Mapping
from http.client import HTTPConnection, HTTPResponse
from typing import Any, Final

from proxy.cli.doctor.front import Front, FrontError, headers_of, told_plainly, version_of
from proxy.core.sse import Framer, events

DONE: Final = b"[DONE]"
LARGEST_ERROR: Final = 4000
LEAVE_SECONDS: Final = 2.0
_READ: Final = 65536
_GZIP: Final = 16 + zlib.MAX_WBITS
_OK: Final = 200


class Stream:
    """A streaming call. Its fields are filled in by its thread; times are on the monotonic clock."""

    def __init__(
        self, front: Front, path: str, body: Mapping[str, Any], headers: Mapping[str, str], patience: float
    ) -> None:
        """Begin it; `patience`: seconds without a byte after which it is given up."""
        self._front, self._path, self._body, self._headers = front, path, body, headers
        self._connection: HTTPConnection = front.connect(patience)
        self._socket: socket.socket | None = None
        self._patience = patience
        self._news = threading.Condition()
        self._is_dropped = False
        self.began = time.monotonic()
        self.status: int | None = None
        """None until the head has come."""
        self.headers: dict[str, str] = {}
        self.version = ""
        self.event_times: list[float] = []
        """When each event came."""
        self.piece_times: list[float] = []
        """When the connection gave something with an event in it."""
        self.last_data = b""
        self.body = b""
        """Of an answer that is no stream of events."""
        self.ended_at: float | None = None
        self.failure = ""
        """How it ended, if not properly."""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes."""
        return self.ended_at is not None

    @property
    def ended_well(self) -> bool:
        """Whether it ended as this API's streams do."""
        return self.is_over and not self.failure and self.last_data == DONE

    def wait(self, until: Callable[[], bool], seconds: float) -> bool:
        """Wait until something is true of this stream; gives whether it is."""
        with self._news:
            return self._news.wait_for(until, seconds)

    def drop(self) -> float:
        """Leave as a closed tab does; gives when."""
        self._is_dropped = True
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # the thread wakes, and closes it for good
        now = time.monotonic()
        self._thread.join(LEAVE_SECONDS)
        return now

    def _run(self) -> None:
        failure = ""
        try:
            with told_plainly(self._patience):
                self._connection.connect()
                self._socket = self._connection.sock
                with self._front.send(self._connection, "POST", self._path, self._body, self._headers) as response:
                    self._has_head(response)
                    self._read(response)
        except FrontError as error:
            failure = str(error)
        except zlib.error:
            failure = "its compression can't be read"
        finally:
            self._connection.close()
        with self._news:
            self.ended_at, self.failure = time.monotonic(), "" if self._is_dropped else failure
            self._news.notify_all()

    def _has_head(self, response: HTTPResponse) -> None:
        with self._news:
            self.headers, self.version = headers_of(response), version_of(response)
            self.status = response.status
            self._news.notify_all()

    @property
    def is_stream(self) -> bool:
        """Whether what comes is a stream of events."""
        return self.status == _OK and self.headers.get("content-type", "").startswith("text/event-stream")

    def _read(self, response: HTTPResponse) -> None:
        is_packed = self.headers.get("content-encoding") == "gzip"
        unpack = zlib.decompressobj(_GZIP).decompress if is_packed else bytes
        framer = Framer()
        while data := response.read1(_READ):
            plain = unpack(data)
            with self._news:
                if self.is_stream:
                    self._count(framer.push(plain))
                elif len(self.body) < LARGEST_ERROR:
                    self.body += plain
                self._news.notify_all()

    def _count(self, block: bytes) -> None:
        found, now = events(block), time.monotonic()
        if found:
            self.piece_times.append(now)
            self.event_times += [now] * len(found)
            self.last_data = found[-1].data
