"""HTTP/1.1 framing for tests, read from bytes: just enough to be independent of every library under test."""

Headers = list[tuple[str, str]]

HEAD_END = b"\r\n\r\n"


def header(headers: Headers, name: str) -> str | None:
    """The first value of a header, names compared without case; None when there is none."""
    return next((value for key, value in headers if key.lower() == name.lower()), None)


def parse_head(head: bytes) -> tuple[str, Headers]:
    """Split a head (without its closing empty line) into its start line and its headers, in order.

    Raises:
        ValueError: a header line has no colon.
    """
    start, *lines = head.decode("latin-1").split("\r\n")
    headers: Headers = []
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ValueError(f"header line without a colon: {line!r}")
        headers.append((name, value.strip(" \t")))
    return start, headers


class ChunkReader:
    """Takes the chunked transfer coding apart (RFC 9112, section 7.1), as its bytes come in."""

    def __init__(self) -> None:
        self.done = False
        self.sizes: list[int] = []
        self._left = 0
        self._in_trailers = False

    def take(self, buffer: bytearray) -> bytes:
        """Remove from the front of `buffer` what can be read by now; give the content in it.

        Raises:
            ValueError: the framing is broken.
        """
        content = bytearray()
        while not self.done:
            if self._left:
                if not self._take_data(buffer, content):
                    break
            elif (line := _take_line(buffer)) is None:
                break
            elif self._in_trailers:
                self.done = not line
            else:
                size = int(line.partition(b";")[0], 16)
                self.sizes.append(size)
                self._in_trailers = not size
                self._left = size + 2 if size else 0
        return bytes(content)

    def _take_data(self, buffer: bytearray, content: bytearray) -> bool:
        """Take chunk data; `_left` counts the line end behind it too. False when more bytes are needed."""
        if self._left > 2:
            piece = buffer[: self._left - 2]
            content += piece
            del buffer[: len(piece)]
            self._left -= len(piece)
        if self._left > 2 or len(buffer) < 2:
            return False
        if buffer[:2] != b"\r\n":
            raise ValueError(f"chunk data ends in {bytes(buffer[:2])!r}, expected CR LF")
        del buffer[:2]
        self._left = 0
        return True


def _take_line(buffer: bytearray) -> bytes | None:
    end = buffer.find(b"\r\n")
    if end < 0:
        return None
    line = bytes(buffer[:end])
    del buffer[: end + 2]
    return line


class BodyReader:
    """Reads one message body by its own framing: chunked, Content-Length, or up to the end of the connection."""

    def __init__(self, headers: Headers, *, without_framing: int | None) -> None:
        """`without_framing` is the length when no header gives one; None means up to the end of the connection."""
        self.content = bytearray()
        self.chunks = ChunkReader() if "chunked" in (header(headers, "transfer-encoding") or "").lower() else None
        length = header(headers, "content-length")
        self._length = int(length) if length is not None else without_framing
        self.complete = self.chunks is None and self._length == 0

    def take(self, buffer: bytearray) -> None:
        """Remove this body's bytes from the front of `buffer`; what follows the body stays there."""
        if self.chunks is not None:
            self.content += self.chunks.take(buffer)
            self.complete = self.chunks.done
            return
        wanted = len(buffer) if self._length is None else self._length - len(self.content)
        self.content += buffer[:wanted]
        del buffer[:wanted]
        self.complete = len(self.content) == self._length

    def end_of_connection(self) -> None:
        """The connection ended: that completes a body without any other framing, and no other."""
        if self.chunks is None and self._length is None:
            self.complete = True
