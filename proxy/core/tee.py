"""The tee: what the relay keeps of the bytes that went by, until they are folded in a batch."""

from typing import Protocol

from proxy.core.partial import Partial
from proxy.core.sse import Framer

FOLD_BYTES = 16 * 1024
"""So much is kept before a fold is due: about 65 events of 250 bytes, 0.1 ms of parsing at a time."""


class Fold(Protocol):
    """The part of a wire format that the tee needs."""

    def fold(self, block: bytes, partial: Partial) -> None:
        """Fold whole SSE events."""
        ...

    def fold_answer(self, body: bytes, partial: Partial) -> None:
        """Fold one non-streaming answer."""
        ...


class Decoder(Protocol):
    """Undoes a content coding on the kept copy; the client's bytes stay as they are."""

    def feed(self, data: bytes) -> bytes:
        """The plain bytes that `data` adds."""
        ...


class Tee:
    """Keeps chunks in a list, joined once at the fold. `keep` parses nothing."""

    __slots__ = ("_bound", "_chunks", "_decoder", "_folded", "_framer", "_partial", "_size", "_streamed", "_wire")

    def __init__(
        self, wire: Fold, partial: Partial, *, streamed: bool, bound: int, decoder: Decoder | None = None
    ) -> None:
        """Keep for `partial`.

        Args:
            wire: the wire format of the bytes.
            partial: what they are folded into.
            streamed: whole SSE events arrive (or a coded copy of them), else one JSON answer.
            bound: bytes kept of an answer; more is let go and marked `oversize`.
            decoder: for a coded body.
        """
        self._wire = wire
        self._partial = partial
        self._streamed = streamed
        self._bound = bound
        self._decoder = decoder
        self._framer = Framer() if decoder else None
        self._folded = False
        self._chunks: list[bytes] = []
        self._size = 0

    def keep(self, chunk: bytes) -> bool:
        """Keep bytes that went by; True when a fold is due now."""
        if not self._streamed and self._size + len(chunk) > self._bound:
            self._partial.oversize = True
            return False
        self._chunks.append(chunk)
        self._size += len(chunk)
        return self._streamed and self._size >= FOLD_BYTES

    def fold(self, *, final: bool = False) -> None:
        """Fold what was kept; an answer only as a whole, at the end."""
        if self._streamed:
            self._fold_events(final=final)
        elif final and not self._folded and not self._partial.oversize:
            self._folded = True
            self._wire.fold_answer(self._taken(), self._partial)

    def _fold_events(self, *, final: bool) -> None:
        data = self._taken()
        if self._framer is not None:
            data = self._framer.push(data) + (self._framer.flush() if final else b"")
        if data:
            self._wire.fold(data, self._partial)

    def _taken(self) -> bytes:
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        return self._decoder.feed(data) if self._decoder is not None and data else data
