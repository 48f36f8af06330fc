"""The spill file: where sealed blocks of tapes go that are too much for memory. Unlinked, so it dies with us."""

import errno
import os
import tempfile

from proxy.engine.relaying.tape_limits import SLOT_BYTES


class Spill:
    """Slots of a fixed size in one sparse file; a freed slot is used again, so the file stays as small as its peak."""

    def __init__(self) -> None:
        self._fd: int | None = None
        self._free: list[int] = []
        self._next = 0

    @property
    def used(self) -> int:
        """Slots in use."""
        return self._next - len(self._free)

    def write(self, data: bytes) -> int:
        """Keep `data` (at most a slot) and give the slot's number.

        Raises:
            OSError: the disk is full or broken.
        """
        if self._fd is None:
            with tempfile.TemporaryFile(prefix="quell-tape-") as file:
                self._fd = os.dup(file.fileno())
        slot = self._free.pop() if self._free else self._next
        self._next = max(self._next, slot + 1)
        written = 0
        try:
            written = os.pwrite(self._fd, data, slot * SLOT_BYTES)
        finally:
            if written != len(data):
                self.free(slot)
        if written != len(data):
            raise OSError(errno.ENOSPC, "only a part was written")
        return slot

    def read(self, slot: int, size: int) -> bytes:
        """The first `size` bytes of a slot."""
        if self._fd is None:
            raise RuntimeError("nothing was spilled")
        return os.pread(self._fd, size, slot * SLOT_BYTES)

    def free(self, slot: int) -> None:
        """Give a slot back."""
        self._free.append(slot)

    def close(self) -> None:
        """Let the file go."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
