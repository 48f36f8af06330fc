"""Undoing a content coding on the tee's copy of a body. The client's bytes pass as they are.

Only what the standard library reads (gzip, deflate; RFC 9110, section 8.4.1); a body in anything else stays opaque.
"""

import zlib
from typing import Final, Literal

PLAIN_CODINGS: Final = frozenset({"", "identity"})
"""Codings that change nothing."""

MAX_OUTPUT = 32 << 20
"""Bytes decoded of one body: far more text than any answer has."""
MAX_RATIO = 500
"""Plain bytes for one coded byte. A repetitive stream of events reaches some 40 to 100, a bomb 1,000."""

_FREE = 1 << 20
"""Below this the ratio means nothing: a short stream of equal events may compress very well."""
_STEP = 64 * 1024
_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB_HEADER = 2


class Decoder:
    """Decodes as bytes come. Never raises: what cannot be decoded gives nothing, and `failed` says why."""

    __slots__ = ("_ends", "_gzip", "_in", "_inflate", "_max_output", "_out", "_start", "failed")

    def __init__(self, coding: Literal["gzip", "deflate"], max_output: int = MAX_OUTPUT) -> None:
        self._gzip = coding == "gzip"
        self._max_output = max_output
        self._inflate = zlib.decompressobj(_GZIP) if self._gzip else None
        self._start = b""
        self._in = self._out = 0
        self._ends = False
        self.failed: Literal["damaged", "bomb"] | None = None

    @property
    def whole(self) -> bool:
        """Whether the coding's own end was reached; False at the end of a body means that it was cut off."""
        return self._ends and self.failed is None

    def feed(self, data: bytes) -> bytes:
        """The plain bytes that `data` adds."""
        self._in += len(data)
        if self._inflate is None:
            data = self._start + data
            if len(data) < _ZLIB_HEADER:
                self._start = data
                return b""
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS if _has_zlib_header(data) else -zlib.MAX_WBITS)
        plain: list[bytes] = []
        more = False
        while (data or more) and self.failed is None:
            if self._ends:
                if not self._gzip:
                    break
                self._inflate, self._ends = zlib.decompressobj(_GZIP), False  # a gzip body may have several members
            try:
                plain.append(self._inflate.decompress(data, _STEP))
            except zlib.error:
                self.failed = "damaged"
                break
            self._out += len(plain[-1])
            self._ends = self._inflate.eof
            data = self._inflate.unused_data if self._ends else self._inflate.unconsumed_tail
            more = not self._ends and len(plain[-1]) == _STEP  # output may wait although all input was taken
            self._guard()
        return b"".join(plain)

    def _guard(self) -> None:
        if self._out > self._max_output or self._out > max(_FREE, MAX_RATIO * self._in):
            self.failed = "bomb"


def _has_zlib_header(data: bytes) -> bool:
    """Whether deflate came as RFC 9110 asks, in a zlib frame (RFC 1950, section 2.2); many servers leave it out."""
    return data[0] & 0x0F == zlib.DEFLATED and int.from_bytes(data[:2]) % 31 == 0


def decoder_for(content_encoding: str) -> Decoder | None:
    """The decoder for a `Content-Encoding`; None when we cannot read it, or it names several."""
    match content_encoding.strip().lower():
        case "gzip" | "x-gzip":
            return Decoder("gzip")
        case "deflate":
            return Decoder("deflate")
        case _:
            return None
