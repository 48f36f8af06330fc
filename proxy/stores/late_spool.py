"""What the shared conversations have yet to be told: kept in the replica's own file, in the order in which it came."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from proxy.stores import conversations_deletions, conversations_statements, items_statements
from proxy.stores.conversations_acts import a_token
from proxy.stores.conversations_sql import Act, Statement, compiled, text, valued
from proxy.stores.ledger_reads import LedgerReads
from proxy.stores.ledger_writer import LedgerWriter
from proxy.stores.ports import LedgerUnavailableError
from proxy.stores.tables import late

MOST: Final = 50_000
"""So many calls may wait; further ones fail. With answers of 4 KiB these are some 200 MiB of the disk."""

_PUT: Final = compiled(
    insert(late).from_select([late.c.token, late.c.acts], select(text("token"), text("acts"))).on_conflict_do_nothing()
)
_DROP: Final = compiled(delete(late).where(late.c.number == valued(late.c.number)))

Late: TypeAlias = tuple[int, list[Act]]
"""A number, by which to drop it once it is written, and what is to be written."""


class LateSpool:
    """The spool in an open SQLite ledger."""

    def __init__(self, writer: LedgerWriter, reads: LedgerReads) -> None:
        self._writer = writer
        self._reads = reads
        self._count = 0

    def __len__(self) -> int:
        """How many calls wait, as far as is known."""
        return self._count

    async def open(self) -> None:
        """Find out how many an earlier process left.

        Raises:
            LedgerUnavailableError: the file can't be read.
        """
        async with self._reads.reading() as connection:
            self._count = (await connection.execute(select(func.count()).select_from(late))).scalar_one()

    async def put(self, acts: Sequence[Act]) -> None:
        """Keep them; on disk when this returns.

        Raises:
            LedgerUnavailableError: too many wait already, or the disk does not take it.
        """
        if self._count >= MOST:
            raise LedgerUnavailableError(f"{MOST} writes wait for PostgreSQL already")
        said = json.dumps([[_NAMES[statement], dict(values)] for statement, values in acts])
        self._count += 1
        (chore,) = self._writer.chores((_PUT.sqlite, {"token": a_token(), "acts": said}), always=True)
        await asyncio.shield(chore.changed)

    async def first(self, many: int) -> list[Late]:
        """The oldest of them. What this version doesn't know comes without acts.

        Raises:
            LedgerUnavailableError: the file can't be read.
        """
        async with self._reads.reading() as connection:
            rows = (await connection.execute(select(late).order_by(late.c.number).limit(many))).all()
        self._count = max(self._count, len(rows))
        return [(row.number, _acts(row.acts)) for row in rows]

    async def drop(self, number: int) -> None:
        """It is written."""
        (chore,) = self._writer.chores((_DROP.sqlite, {"number": number}), always=True)
        await asyncio.shield(chore.changed)
        self._count = max(self._count - 1, 0)


def _acts(said: str) -> list[Act]:
    found: list[tuple[str, Mapping[str, str | int | float | None]]] = json.loads(said)
    if any(name not in _STATEMENTS for name, _ in found):
        return []
    return [(_STATEMENTS[name], values) for name, values in found]


def _named() -> dict[str, Statement]:
    named: dict[str, Statement] = {}
    for module in (conversations_statements, conversations_deletions, items_statements):
        for name, value in vars(module).items():
            several = value if isinstance(value, tuple) else (value,)
            for number, each in enumerate(several):
                if isinstance(each, Statement):
                    named[f"{module.__name__.rpartition('.')[2]}.{name}.{number}"] = each
    return named


_STATEMENTS: Final = _named()
_NAMES: Final = {statement: name for name, statement in _STATEMENTS.items()}
