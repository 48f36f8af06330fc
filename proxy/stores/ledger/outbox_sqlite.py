"""The outbox in the ledger's file: the table `settled`, in the order of its numbers."""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, and_, func, null, select

from proxy.core.money import cost_of
from proxy.core.settled import Settled, Truth
from proxy.stores.ledger.outbox import EVERYTHING, ForeignPositionError, OutboxPage
from proxy.stores.ledger.reports import Reports
from proxy.stores.ledger.rows import record_of
from proxy.stores.ledger.statements import ADVANCE
from proxy.stores.ledger.usage import Span
from proxy.stores.ledger.usage_sqlite import within
from proxy.stores.ledger.write_queue import WriteQueue
from proxy.stores.tables import consumer, generation, settled, truth

END: Final = "settled"
"""The consumer under whose name a shared ledger keeps the last number that was committed."""

_WIDTH: Final = len(generation.columns)


class SqliteOutbox:
    """See `proxy.stores.ledger.outbox.Outbox`."""

    def __init__(self, queue: WriteQueue, reports: Reports) -> None:
        self.grew = asyncio.Event()
        self.held: set[str] = set()
        """The consumers whose unserved records a purge spares."""
        self._queue = queue
        self._reports = reports

    async def after(self, position: int, limit: int, span: Span = EVERYTHING, *, text: bool = False) -> OutboxPage:
        """See `Outbox.after`."""
        return await self._reports.ask(partial(outbox_page, position=position, limit=limit, span=span, text=text))

    async def position(self, consumer: str) -> int:
        """See `Outbox.position`."""
        return await self._reports.ask(partial(consumed, name=consumer))

    def advance(self, consumer: str, position: int) -> "asyncio.Future[int]":
        """See `Outbox.advance`."""
        return self._queue.chore(ADVANCE, consumer, position)

    async def pending(self, position: int) -> int:
        """See `Outbox.pending`."""
        asked = select(func.count()).where(settled.c.number > position)
        return await self._reports.ask(lambda connection: connection.scalar(asked) or 0)

    def hold(self, consumer: str, *, held: bool) -> None:
        """See `Outbox.hold`."""
        if held:
            self.held.add(consumer)
        else:
            self.held.discard(consumer)

    def grown(self, _durable: object = None) -> None:
        """Something may have settled."""
        self.grew.set()


def outbox_page(connection: Connection, position: int, limit: int, span: Span, *, text: bool) -> OutboxPage:
    """The next versions behind a position.

    Raises:
        ForeignPositionError: there was never so much in this ledger.
    """
    end = last_number(connection)
    if position > end:
        raise ForeignPositionError
    rows = connection.execute(
        versions(text=text).where(settled.c.number > position, *within(span)).limit(limit + 1)
    ).all()
    page, more = [_settled(row) for row in rows[:limit]], len(rows) > limit
    return OutboxPage(page, page[-1].number if more else end, end, more)


def truth_of(row: Sequence[Any]) -> Truth:
    """The truth of a row of its table."""
    return Truth(
        source=row[2],
        at=row[3],
        prompt_tokens=row[4],
        completion_tokens=row[5],
        cached_tokens=row[6],
        reasoning_tokens=row[7],
        cost=None if row[8] is None else cost_of(row[8]),
        currency=row[9],
    )


def versions(*, text: bool) -> Select[Any]:
    """All versions in their order: the columns of the record, those of the truth, the number, the revision."""
    record = (column if text or column is not generation.c.text else null() for column in generation.columns)
    same = and_(truth.c.uid == settled.c.uid, truth.c.revision == settled.c.revision)
    joined = settled.join(generation, generation.c.uid == settled.c.uid).outerjoin(truth, same)
    asked = select(*record, *truth.columns, settled.c.number, settled.c.revision)
    return asked.select_from(joined).order_by(settled.c.number)


def _settled(row: Row[Any]) -> Settled:
    values = tuple(row)
    *later, number, revision = values[_WIDTH:]
    return Settled(number, revision, record_of(values[:_WIDTH]), None if later[0] is None else truth_of(later))


def last_number(connection: Connection) -> int:
    """The last number that was given out; its row may have been deleted since."""
    if connection.dialect.name != "sqlite":  # its sequences run ahead of what is committed
        return consumed(connection, END)
    asked = "SELECT seq FROM sqlite_sequence WHERE name = 'settled'"
    return int(connection.exec_driver_sql(asked).scalar() or 0)


def consumed(connection: Connection, name: str) -> int:
    """How far a consumer has been served."""
    return connection.scalar(select(consumer.c.number).where(consumer.c.name == name)) or 0
