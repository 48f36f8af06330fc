"""The tee: what the relay keeps of the bytes that went by, until they are folded in a batch."""

from typing import Protocol

from proxy.core.partial import Partial
from proxy.core.sse import Framer
from proxy.core.usage import usage_at_end

FOLD_BYTES = 16 * 1024
"""So much is kept before a fold is due: about 65 events of 250 bytes, 0.1 ms of parsing at a time."""

END_BYTES = 16 * 1024
"""So much is kept of the end of an answer that is too large: its usage stands there."""


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

    @property
    def whole(self) -> bool:
        """Whether the coding's own end was reached."""
        ...

    @property
    def failed(self) -> str | None:
        """Why nothing more comes out: `damaged` or `bomb`; None as long as all is well."""
        ...

    def feed(self, data: bytes) -> bytes:
        """The plain bytes that `data` adds."""
        ...


class Tee:
    """Keeps chunks in a list, joined once at the fold. `keep` parses nothing.

    What could not be folded is noted on the partial: `oversize` when it was too large, `bad_events` when its coding
    was damaged or cut off.
    """

    __slots__ = ("_bound", "_chunks", "_decoder", "_framer", "_over", "_partial", "_size", "_streamed", "_wire")

    def __init__(
        self, wire: Fold, partial: Partial, *, streamed: bool, bound: int, decoder: Decoder | None = None
    ) -> None:
        """Keep for `partial`.

        Args:
            wire: the wire format of the bytes.
            partial: what they are folded into.
            streamed: whole SSE events arrive (or a coded copy of them), else one JSON answer.
            bound: bytes kept of an answer; of a longer one, marked `oversize`, only the usage at its end is read.
            decoder: for a coded body.
        """
        self._wire = wire
        self._partial = partial
        self._streamed = streamed
        self._bound = bound
        self._decoder = decoder
        self._framer = Framer() if decoder else None
        self._over = False
        self._chunks: list[bytes] = []
        self._size = 0

    def keep(self, chunk: bytes) -> bool:
        """Keep bytes that went by; True when a fold is due now."""
        if not self._streamed and (self._partial.oversize or self._size + len(chunk) > self._bound):
            self._partial.oversize = True
            self._chunks = [] if self._decoder else [b"".join((*self._chunks, chunk))[-END_BYTES:]]
            return False
        self._chunks.append(chunk)
        self._size += len(chunk)
        return self._streamed and self._size >= FOLD_BYTES

    def go_on(self, partial: Partial) -> None:
        """Fold what comes from now on into another partial; what was kept still belongs to the one before."""
        self.fold()
        self._partial = partial

    def fold(self, *, final: bool = False) -> None:
        """Fold what was kept; an answer only as a whole, at the end. The first final fold is the last one."""
        if self._over:
            return
        self._over = final
        if self._streamed:
            self._fold_events(final=final)
        elif final:
            self._fold_answer()

    def _fold_events(self, *, final: bool) -> None:
        data = self._taken()
        if self._framer is not None:
            data = self._framed(self._framer, data, final=final)
        if data:
            self._wire.fold(data, self._partial)
        if final:
            self._note_coding()

    def _framed(self, framer: Framer, data: bytes, *, final: bool) -> bytes:
        whole = framer.whole(framer.push(data))
        if framer.oversize:
            self._partial.oversize = True
        return whole + framer.flush() if final else whole

    def _fold_answer(self) -> None:
        body = self._taken()
        if self._decoder is not None and self._decoder.failed == "bomb":
            self._partial.oversize = True
        if not self._partial.oversize:
            self._wire.fold_answer(body, self._partial)
            self._note_coding()
        elif usage := usage_at_end(body):
            self._wire.fold_answer(usage, self._partial)

    def _note_coding(self) -> None:
        """Say what the coding hid: a bomb's events were too large, of a cut or damaged body nobody knows the rest."""
        decoder = self._decoder
        if decoder is None or decoder.whole:
            return
        if decoder.failed == "bomb":
            self._partial.oversize = True
        else:
            self._partial.bad_events += 1
            self._partial.ends_with_body = False

    def _taken(self) -> bytes:
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        return self._decoder.feed(data) if self._decoder is not None and data else data
