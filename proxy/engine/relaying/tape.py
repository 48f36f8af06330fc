"""The tape: the kept client-side bytes of one generation, from which every reader is served.

An open block of raw bytes is sealed at 16 KiB: compressed by itself (a live compressor would hold 82 KiB), indexed by
its position and the number of events before it. Little of it stays in memory, the rest goes to the spill file. A tape
over its bound forgets its oldest blocks; a reader that needs them has fallen behind.
"""

from proxy.core.sse import Framer, dispatched, slices
from proxy.engine.relaying.spill import Spill
from proxy.engine.relaying.tape_blocks import Blocks
from proxy.engine.relaying.tape_limits import BLOCK_BYTES, REST_BYTES


class FallenBehindError(Exception):
    """The bytes that a reader needs next are no longer on the tape."""


class Tape:
    """Append-only bytes with positions from 0; `end` is the position behind the last byte."""

    __slots__ = ("_blocks", "_bound", "_events", "_large", "_open", "_open_start", "_spill", "end", "sse")

    def __init__(self, spill: Spill, bound: int) -> None:
        """An empty tape.

        Args:
            spill: where blocks go that are too much for memory.
            bound: raw bytes kept at the most; older ones are forgotten.
        """
        self._spill = spill
        self._bound = bound
        self.sse = False
        """Whether the bytes are SSE events; else the whole tape is one event."""
        self._open: list[bytes] = []
        self._open_start = 0
        self._blocks: Blocks | None = None
        """Made at the first seal: most streams are short."""
        self._events = 0
        self._large = 0
        self.end = 0

    def lag(self, position: int) -> float:
        """How far a position is behind the end, as a part of what the tape keeps; from 1 on its bytes are forgotten."""
        return (self.end - position) / self._bound

    @property
    def start(self) -> int:
        """The position of the oldest byte still kept."""
        return self._blocks.start if self._blocks else self._open_start

    def append(self, data: bytes) -> None:
        """Add bytes; for SSE whole events."""
        self._open.append(data)
        self.end += len(data)
        if self.end - self._open_start >= BLOCK_BYTES:
            self.seal()

    def end_large_event(self, rest: bytes) -> None:
        """`rest`, about to be appended, ends an event that came in pieces: it counts as one, though none was whole."""
        self._large += 1 - dispatched(rest)

    def finish(self) -> None:
        """Nothing more comes: from now on the tape only waits for late readers, in little memory."""
        if self.end - self._open_start >= REST_BYTES:
            self.seal()

    def seal(self) -> None:
        """Compress the open block."""
        if not self._open:
            return
        raw, at_start = b"".join(self._open), self._open_start == 0
        self._open.clear()
        blocks = self._blocks = self._blocks or Blocks(self._spill)
        for start in range(0, len(raw), BLOCK_BYTES):
            blocks.add(self._open_start + start, self._events, raw[start : start + BLOCK_BYTES])
        self._open_start = self.end
        if self.sse:
            self._events += dispatched(raw, at_start=at_start) + self._large
            self._large = 0
        while blocks and self.end - blocks.start > self._bound:
            blocks.forget_oldest(whole_pieces=self.sse)

    def read(self, position: int) -> bytes:
        """The bytes from `position` to the end of its block; empty at the end of the tape.

        Raises:
            FallenBehindError: they are no longer kept.
        """
        if position >= self._open_start:
            return b"".join(self._open)[position - self._open_start :]
        if not self._blocks or position < self._blocks.start:
            raise FallenBehindError
        return self._blocks.read(position)

    def seek(self, events: int) -> tuple[int, int]:
        """A position before event number `events` + 1, and how many events lie before that position.

        Raises:
            FallenBehindError: that event is no longer kept.
        """
        if self._events <= events:
            return self._open_start, self._events
        found = self._blocks.seek(events) if self._blocks else None
        if found is None:
            raise FallenBehindError
        return found

    def behind(self, events: int) -> int | None:
        """The position right behind event number `events` (from 1; 0: the start); None: there are not so many yet.

        The bytes must be whole events.

        Raises:
            FallenBehindError: that event is no longer kept.
        """
        position, number = self.seek(events)
        at, framer = position, Framer()
        while number < events and at < self.end:
            data = self.read(at)
            at += len(data)
            for raw, counts in slices(framer.push(data), at_start=not position):
                position += len(raw)
                number += counts
                if number == events:
                    return position
        return position if number == events else None

    def close(self) -> None:
        """Forget everything and give the slots back."""
        if self._blocks:
            self._blocks.clear()
        self._open.clear()
        self._open_start = self.end
