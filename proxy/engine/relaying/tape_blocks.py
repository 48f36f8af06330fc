"""The sealed blocks of one tape: compressed, the newest in memory, the older ones in the spill file.

A long tape has hundreds of blocks, and there may be thousands of tapes: what is known of a block (its position, the
events before it, its size and its slot) are numbers in columns. An object for each would take 280 bytes a block, more
than its compressed bytes do.
"""

import zlib
from array import array
from bisect import bisect_right

from proxy.engine.relaying.spill import Spill
from proxy.engine.relaying.tape_limits import MEMORY_BYTES


class Blocks:
    """Sealed blocks in order. Of a large piece sealed as several, all have the number of events before the first."""

    __slots__ = ("_events", "_packed", "_sizes", "_slots", "_spill", "_starts", "memory")

    def __init__(self, spill: Spill) -> None:
        self._spill = spill
        self._starts = array("Q")
        self._events = array("Q")
        self._sizes = array("H")
        self._slots = array("I")
        """The slots of the spilled blocks: the oldest ones, as many as there are slots here."""
        self._packed: list[bytes] = []
        """The other ones' compressed bytes."""
        self.memory = 0
        """Compressed bytes in memory."""

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def start(self) -> int:
        """The position of the oldest block; there must be one."""
        return self._starts[0]

    def add(self, start: int, events_before: int, piece: bytes) -> None:
        """Keep one more block, which begins at position `start`."""
        packed = zlib.compress(piece, 1)
        self._starts.append(start)
        self._events.append(events_before)
        self._sizes.append(len(packed))
        self._packed.append(packed)
        self.memory += len(packed)
        while self.memory > MEMORY_BYTES and self._spill_one():
            pass

    def _spill_one(self) -> bool:
        """Move the oldest block in memory to the spill file; False when its disk refuses."""
        try:
            slot = self._spill.write(self._packed[0])
        except OSError:  # a full disk costs late readers the oldest bytes, never the generation
            self._forget_first()
            return False
        self._slots.append(slot)
        self.memory -= len(self._packed.pop(0))
        return True

    def forget_oldest(self, *, whole_pieces: bool) -> None:
        """Let the oldest block go; with `whole_pieces` the rest of its piece too: it may begin within an event."""
        events_before = self._events[0]
        self._forget_first()
        while whole_pieces and self._events and self._events[0] == events_before:
            self._forget_first()

    def _forget_first(self) -> None:
        if self._slots:
            self._spill.free(self._slots.pop(0))
        else:
            self.memory -= len(self._packed.pop(0))
        for column in (self._starts, self._events, self._sizes):
            del column[0]

    def read(self, position: int) -> bytes:
        """The bytes from `position` to the end of its block; it is not before `start`."""
        index = bisect_right(self._starts, position) - 1
        spilled = len(self._slots)
        if index < spilled:
            packed = self._spill.read(self._slots[index], self._sizes[index])
        else:
            packed = self._packed[index - spilled]
        return zlib.decompress(packed)[position - self._starts[index] :]

    def seek(self, events: int) -> tuple[int, int] | None:
        """The position of the piece with event number `events` + 1, and the events before it; None: it is forgotten."""
        index = bisect_right(self._events, events) - 1
        if index < 0:
            return None
        while index and self._events[index - 1] == self._events[index]:
            index -= 1
        return self._starts[index], self._events[index]

    def clear(self) -> None:
        """Forget all, and give the slots back."""
        for slot in self._slots:
            self._spill.free(slot)
        for column in (self._starts, self._events, self._sizes, self._slots):
            del column[:]
        self._packed.clear()
        self.memory = 0
