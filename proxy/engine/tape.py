"""The tape: the kept client-side bytes of one generation, from which every reader is served.

An open block of raw bytes is sealed at 16 KiB: compressed by itself (a live compressor would hold 82 KiB), indexed by
its position and the number of events before it. Little of it stays in memory, the rest goes to the spill file. A tape
over its bound forgets its oldest blocks; a reader that needs them has fallen behind.
"""

import zlib
from bisect import bisect_right
from dataclasses import dataclass

from proxy.core.sse import dispatched
from proxy.engine.spill import Spill
from proxy.engine.tape_limits import BLOCK_BYTES, MEMORY_BYTES, REST_BYTES


class FallenBehindError(Exception):
    """The bytes that a reader needs next are no longer on the tape."""


@dataclass(slots=True)
class Block:
    """A sealed block: where it starts, its compressed bytes or their slot, and how many events lie before it.

    Of a large piece that was sealed as several blocks, all have the number of events before the first one.
    """

    start: int
    length: int
    events_before: int
    packed_size: int
    packed: bytes | None
    slot: int = -1


class Tape:
    """Append-only bytes with positions from 0; `end` is the position behind the last byte."""

    __slots__ = ("_blocks", "_bound", "_events", "_large", "_memory", "_open", "_open_start", "_spill", "end", "sse")

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
        self._blocks: list[Block] = []
        self._events = 0
        self._memory = 0
        self._large = 0
        self.end = 0

    def lag(self, position: int) -> float:
        """How far a position is behind the end, as a part of what the tape keeps; from 1 on its bytes are forgotten."""
        return (self.end - position) / self._bound

    @property
    def start(self) -> int:
        """The position of the oldest byte still kept."""
        return self._blocks[0].start if self._blocks else self._open_start

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
        for start in range(0, len(raw), BLOCK_BYTES):
            piece = raw[start : start + BLOCK_BYTES]
            packed = zlib.compress(piece, 1)
            self._blocks.append(Block(self._open_start + start, len(piece), self._events, len(packed), packed))
            self._memory += len(packed)
            if self._memory > MEMORY_BYTES:
                self._spill_oldest()
        self._open_start = self.end
        if self.sse:
            self._events += dispatched(raw, at_start=at_start) + self._large
            self._large = 0
        while self._blocks and self.end - self._blocks[0].start > self._bound:
            events_before = self._blocks[0].events_before
            self._forget(self._blocks.pop(0))
            while self.sse and self._blocks and self._blocks[0].events_before == events_before:
                self._forget(self._blocks.pop(0))  # the rest of the same piece: it may begin within an event

    def _spill_oldest(self) -> None:
        for block in self._blocks:
            if block.packed is None:
                continue
            try:
                block.slot = self._spill.write(block.packed)
            except OSError:  # a full disk costs late readers the oldest bytes, never the generation
                self._forget(self._blocks.pop(0))
                return
            block.packed = None
            self._memory -= block.packed_size
            if self._memory <= MEMORY_BYTES:
                return

    def _forget(self, block: Block) -> None:
        if block.packed is None:
            self._spill.free(block.slot)
        else:
            self._memory -= block.packed_size

    def read(self, position: int) -> bytes:
        """The bytes from `position` to the end of its block; empty at the end of the tape.

        Raises:
            FallenBehindError: they are no longer kept.
        """
        if position >= self._open_start:
            return b"".join(self._open)[position - self._open_start :]
        if position < self.start:
            raise FallenBehindError
        block = self._blocks[bisect_right(self._blocks, position, key=lambda b: b.start) - 1]
        return self._unpack(block)[position - block.start :]

    def _unpack(self, block: Block) -> bytes:
        packed = self._spill.read(block.slot, block.packed_size) if block.packed is None else block.packed
        return zlib.decompress(packed)

    def seek(self, events: int) -> tuple[int, int]:
        """A position before event number `events` + 1, and how many events lie before that position.

        Raises:
            FallenBehindError: that event is no longer kept.
        """
        if self._events <= events:
            return self._open_start, self._events
        index = bisect_right(self._blocks, events, key=lambda b: b.events_before) - 1
        if index < 0:
            raise FallenBehindError
        while index and self._blocks[index - 1].events_before == self._blocks[index].events_before:
            index -= 1
        return self._blocks[index].start, self._blocks[index].events_before

    def close(self) -> None:
        """Forget everything and give the slots back."""
        for block in self._blocks:
            self._forget(block)
        self._blocks.clear()
        self._open.clear()
        self._open_start = self.end
