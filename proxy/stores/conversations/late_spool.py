"""What the shared conversations have yet to be told: kept in the replica's own file, in the order in which it came."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import structlog
from sqlalchemy import Row, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from proxy.stores.conversations import deletions, items_statements, statements
from proxy.stores.conversations.acts import a_token
from proxy.stores.conversations.sql import Act, Statement, compiled, text, valued
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.reads import LedgerReads
from proxy.stores.ledger.write_queue import WriteQueue
from proxy.stores.tables import late

MOST: Final = 50_000
"""So many calls may wait; further ones fail."""

MOST_BYTES: Final = 256 * 2**20
"""So much of the disk they may take; a call that comes at or behind that fails."""

_PUT: Final = compiled(
    insert(late).from_select([late.c.token, late.c.acts], select(text("token"), text("acts"))).on_conflict_do_nothing()
)
_DROP: Final = compiled(delete(late).where(late.c.number == valued(late.c.number)))

_log = structlog.get_logger("quell.ledger")

Late: TypeAlias = tuple[int, list[Act]]
"""A number, by which to drop it once it is written, and what is to be written."""


class LateSpool:
    """The spool in an open SQLite ledger."""

    def __init__(self, queue: WriteQueue, reads: LedgerReads) -> None:
        self._queue = queue
        self._reads = reads
        self._count = 0
        self._bytes = 0
        self._sizes: dict[int, int] = {}
        """Of what was read and is not dropped yet."""
        self._aside: set[int] = set()
        """The numbers of what this version does not know: it stays for one that does."""
        self._past = 0
        """Up to this number there is nothing else."""
        self._logged: set[str] = set()

    def __len__(self) -> int:
        """How many calls wait that can be written, as far as is known."""
        return self._count

    async def open(self) -> None:
        """Find out how many an earlier process left.

        Raises:
            LedgerUnavailableError: the file can't be read.
        """
        async with self._reads.reading() as connection:
            asked = select(func.count(), func.coalesce(func.sum(func.length(late.c.acts)), 0)).select_from(late)
            self._count, self._bytes = (await connection.execute(asked)).one()

    async def put(self, acts: Sequence[Act]) -> None:
        """Keep them; on disk when this returns.

        Raises:
            LedgerUnavailableError: too many wait already, or the disk does not take it.
        """
        if self._count + len(self._aside) >= MOST:
            raise LedgerUnavailableError(f"{MOST} writes wait for PostgreSQL already")
        if self._bytes >= MOST_BYTES:
            raise LedgerUnavailableError(f"writes of {MOST_BYTES >> 20} MiB wait for PostgreSQL already")
        said = json.dumps([[_NAMES[statement], dict(values)] for statement, values in acts])  # in ASCII
        self._count += 1
        self._bytes += len(said)
        (chore,) = self._queue.chores((_PUT.sqlite, {"token": a_token(), "acts": said}), always=True)
        await asyncio.shield(chore.changed)

    async def first(self, many: int) -> list[Late]:
        """The oldest of them that this version knows, at most so many. What it does not know stays in the file.

        Raises:
            LedgerUnavailableError: the file can't be read.
        """
        while True:
            asked = select(late).where(late.c.number > self._past).order_by(late.c.number).limit(many)
            async with self._reads.reading() as connection:
                rows = (await connection.execute(asked)).all()
            found = [(row.number, acts) for row in rows if (acts := self._known(row)) is not None]
            if found or not rows:
                self._count = max(self._count, len(found))
                return found
            self._past = rows[-1].number

    async def drop(self, number: int) -> None:
        """It is written."""
        (chore,) = self._queue.chores((_DROP.sqlite, {"number": number}), always=True)
        await asyncio.shield(chore.changed)
        self._count = max(self._count - 1, 0)
        self._bytes -= self._sizes.pop(number, 0)

    def _known(self, row: Row[Any]) -> list[Act] | None:
        """The acts of a row, None where another version wrote one that this one does not have."""
        said: list[tuple[str, Mapping[str, str | int | float | None]]] = json.loads(row.acts)
        if unknown := {name for name, _ in said if name not in _STATEMENTS}:
            self._set_aside(row.number, unknown)
            return None
        self._sizes[row.number] = len(row.acts)
        return [(_STATEMENTS[name], values) for name, values in said]

    def _set_aside(self, number: int, unknown: set[str]) -> None:
        if number not in self._aside:
            self._aside.add(number)
            self._count = max(self._count - 1, 0)
        for name in sorted(unknown - self._logged):
            _log.error("conversations.write_of_another_version", write=name, what_to_do="run the version that wrote it")
        self._logged |= unknown


_MODULES: Final = {
    "conversations_statements": statements,
    "conversations_deletions": deletions,
    "items_statements": items_statements,
}
"""Under which name a module's statements are on disk: another program reads them there, so the names never change."""


def _named() -> dict[str, Statement]:
    named: dict[str, Statement] = {}
    for prefix, module in _MODULES.items():
        for name, value in vars(module).items():
            several = value if isinstance(value, tuple) else (value,)
            for number, each in enumerate(several):
                if isinstance(each, Statement):
                    named[f"{prefix}.{name}.{number}"] = each
    return named


_STATEMENTS: Final = _named()
_NAMES: Final = {statement: name for name, statement in _STATEMENTS.items()}
