"""What can go wrong when a ledger is opened. Each message names the file and what to do."""


class LedgerOpenError(Exception):
    """The ledger can't be opened; nothing in it was changed."""


class LedgerLockedError(LedgerOpenError):
    """Another process has the ledger open; `pid` is its process id, None if it could not be read."""

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid
