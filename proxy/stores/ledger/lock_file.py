"""The lock beside the ledger: one process writes, everybody may read.

SQLite's own exclusive mode would keep out backups and the `sqlite3` shell too, so a file of our own is locked.
The kernel drops the lock with the process, however that ends; the file itself stays and means nothing.
"""

import fcntl
import os
import time
from pathlib import Path
from typing import Final, Self

from proxy.stores.ledger.errors import LedgerLockedError

_LINE_MAX = 4096

_LOOK_SECONDS: Final = 0.2
"""Seconds that a lock is asked for: `is_held` holds it for a moment, and is no reason to refuse a start."""


class LockFile:
    """An exclusive lock, held from `acquire` to `release`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, path: Path, replica: str) -> Self:
        """Lock `path` and write who holds it.

        Raises:
            LedgerLockedError: another process holds it.
            OSError: the file can't be made or written.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {replica}\n".encode(errors="replace"), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, _LINE_MAX, 0).decode(errors="replace")
            os.close(descriptor)
            raise _locked(path, holder) from None
        except BaseException:
            os.close(descriptor)
            raise
        return cls(descriptor)

    def release(self) -> None:
        """Let the next process in; a second call does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(path: Path) -> bool:
    """Whether a process holds that lock; the file is not changed, nor made.

    Raises:
        OSError: it is there, and can't be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _lock(descriptor: int) -> None:
    ends = time.monotonic() + _LOOK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= ends:
                raise
            time.sleep(0.01)
        else:
            return


def _locked(path: Path, holder: str) -> LedgerLockedError:
    pid, _, replica = holder.strip().partition(" ")
    known = pid.isdecimal()
    who = f"process {pid} (replica {replica})" if known else "another process"
    return LedgerLockedError(
        f"{path.with_suffix('')}: in use by {who}. One process writes a ledger: stop that one first, "
        "or give this one a ledger.url of its own.",
        int(pid) if known else None,
    )
