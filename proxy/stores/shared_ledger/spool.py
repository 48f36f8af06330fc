"""The local file as the spool of a shared ledger: what of it is still to be forwarded, and how far that has come."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple
from uuid import uuid4

from sqlalchemy import Connection, select

from proxy.stores.ledger.outbox_sqlite import consumed, last_number, versions
from proxy.stores.ledger.reports import Reports
from proxy.stores.ledger.statements import (
    DROP_PIECES,
    FORGET_WIPED,
    NAME_SPOOL,
    REWIND,
    WIPE_TEXT,
)
from proxy.stores.ledger.write_queue import WriteQueue
from proxy.stores.tables import generation, settled, spool, wiped

FORWARDER: Final = "forwarder"
"""The consumer of the outbox that forwards it; purges spare what it has not forwarded."""

HEARD: Final = "wiped"
"""The consumer of the shared ledger's wiped texts that deletes them here too."""

_WIDTH: Final = len(generation.columns)
_TEXT: Final = _WIDTH - 1


class Version(NamedTuple):
    """One row of the outbox: the values of its record, and those of a later truth (None where it is the end)."""

    record: tuple[Any, ...]
    truth: tuple[Any, ...] | None
    number: int

    @property
    def uid(self) -> str:
        """Whose version it is."""
        return str(self.record[0])


class Wiped(NamedTuple):
    """A record whose text was deleted, and when it was noted as such."""

    number: int
    uid: str


@dataclass(frozen=True, slots=True)
class Begun:
    """Where forwarding begins.

    `id` is the spool's own name, `forwarded` the last number that is known to be shared, `heard` the last of the
    shared ledger's wiped texts that was followed here, `end` the spool's last number.
    """

    id: str
    forwarded: int
    heard: int
    end: int


@dataclass(frozen=True, slots=True)
class Spooled:
    """The next versions. `position` is behind them, `end` the last there is, `more`: there already are others."""

    versions: list[Version]
    position: int
    end: int
    more: bool


class Spool:
    """See above. Reads and writes the ledger's file by the connections that the ledger has."""

    def __init__(self, queue: WriteQueue, reports: Reports) -> None:
        self._queue = queue
        self._reports = reports

    async def begin(self, replica: str) -> Begun:
        """Where to go on. The file gets its name when it is first asked.

        Raises:
            LedgerUnavailableError: it can't be read or written.
        """
        await self._queue.chore(NAME_SPOOL, uuid4().hex, replica)
        return await self._reports.ask(_begun)

    async def next(self, position: int, most: int, most_characters: int) -> Spooled:
        """The next versions behind a position: at most so many, and of so much text; at least one if there is one.

        Raises:
            LedgerUnavailableError: the file can't be read.
        """
        return await self._reports.ask(partial(_next, position=position, most=most, most_characters=most_characters))

    async def wiped(self, most: int) -> list[Wiped]:
        """Whose text was deleted here, and the shared ledger may not know it yet.

        Raises:
            LedgerUnavailableError: the file can't be read.
        """
        asked = select(wiped.c.number, wiped.c.uid).order_by(wiped.c.number).limit(most)
        return await self._reports.ask(lambda connection: [Wiped(*row) for row in connection.execute(asked)])

    async def forwarded(self, position: int, wiped: int) -> None:
        """Note that versions up to `position`, and deletions of texts up to the number `wiped`, are shared now.

        Raises:
            LedgerUnavailableError: it can't be written; they are forwarded once more.
        """
        steps = [(REWIND, (FORWARDER, position)), (FORGET_WIPED, (wiped,))]
        await asyncio.gather(*(chore.changed for chore in self._queue.chores(*steps)))

    async def hear(self, uids: list[str], position: int) -> None:
        """Delete texts that were deleted elsewhere, and note how far that was heard.

        Raises:
            LedgerUnavailableError: it can't be written.
        """
        for uid in uids:
            self._queue.wipe(uid)
        steps = [(statement, (uid,)) for uid in uids for statement in (DROP_PIECES, WIPE_TEXT)]
        chores = self._queue.chores(*steps, (REWIND, (HEARD, position)))
        await asyncio.gather(*(chore.changed for chore in chores))


def _begun(connection: Connection) -> Begun:
    name = connection.scalar(select(spool.c.id))
    return Begun(str(name), consumed(connection, FORWARDER), consumed(connection, HEARD), last_number(connection))


def _next(connection: Connection, position: int, most: int, most_characters: int) -> Spooled:
    end = last_number(connection)
    rows = connection.execute(versions(text=True).where(settled.c.number > position).limit(most + 1))
    found: list[Version] = []
    room, more = most_characters, False
    while (row := rows.fetchone()) is not None:  # one by one: their texts may be larger than the memory
        room -= len(row[_TEXT] or "")
        if found and (room < 0 or len(found) == most):
            more = True
            break
        truth = None if row[_WIDTH] is None else tuple(row[_WIDTH:-2])
        found.append(Version(tuple(row[:_WIDTH]), truth, row[-2]))
    rows.close()
    return Spooled(found, found[-1].number if found else end, end, more)
