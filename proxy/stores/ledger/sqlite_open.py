"""Opening the ledger in one SQLite file: it is checked, migrated and recovered first (`open`), then written to."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

from proxy.core.record import TextPolicy
from proxy.stores.conversations.port import ASYNC_KEEP, CONVERSATIONS_KEEP
from proxy.stores.ledger.lock_file import LockFile
from proxy.stores.ledger.open import Left, open_file
from proxy.stores.ledger.place import path_of
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.write_queue import START_DEADLINE
from proxy.stores.ledger.writer import CLOSE_PATIENCE

MAX_PENDING: Final = 50_000
"""Writes that may wait for the disk: minutes of a busy proxy, some 100 MB."""


async def open_ledger(
    url: str,
    *,
    text: TextPolicy,
    keep: float,
    text_keep: float,
    now: float,
    replica: str,
    conversations_keep: float = CONVERSATIONS_KEEP,
    async_keep: float = ASYNC_KEEP,
    reserve: int = 0,
    max_pending: int = MAX_PENDING,
    start_deadline: float = START_DEADLINE,
    close_patience: float = CLOSE_PATIENCE,
) -> SqliteLedger:
    """Open the ledger, with what a dead process left running ended as `interrupted` at `now`.

    Args:
        url: `sqlite:///relative.db` or `sqlite:////absolute/path.db`.
        text: whose text stays after the end.
        keep: seconds after its end that a record stays.
        text_keep: seconds after its end that a record's text stays.
        now: seconds since the epoch.
        replica: this process's name, for the lock file.
        conversations_keep: seconds after its last change that a thread stays, with its messages.
        async_keep: seconds after its end that a message without a thread stays.
        reserve: bytes of the disk that must be free for a START to be taken.
        max_pending: how many writes may wait before `begin` refuses.
        start_deadline: seconds a START may take, and any write of the conversations that its caller waits for.
        close_patience: seconds `close` goes on trying while the disk refuses.

    Raises:
        LedgerOpenError: with what is wrong, where, and what to do.
        LedgerLockedError: another process has it; `pid` says which.
    """
    path = path_of(url)
    lock, left = await _on_own_thread(partial(open_file, path, text=text, now=now, replica=replica))
    ledger = SqliteLedger(
        path,
        lock,
        text=text,
        keep=keep,
        text_keep=text_keep,
        conversations_keep=conversations_keep,
        async_keep=async_keep,
        left=left,
        reserve=reserve,
        max_pending=max_pending,
        start_deadline=start_deadline,
        close_patience=close_patience,
    )
    try:
        await ledger.start()
    except BaseException:
        await ledger.close()
        raise
    return ledger


async def _on_own_thread(work: Callable[[], tuple[LockFile, Left]]) -> tuple[LockFile, Left]:
    with ThreadPoolExecutor(1, thread_name_prefix="ledger-open") as threads:
        return await asyncio.get_running_loop().run_in_executor(threads, work)
