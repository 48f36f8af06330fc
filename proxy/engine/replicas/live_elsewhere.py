"""The live tables of the other replicas: asking for them, and answering whoever asks for ours."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from proxy.core.chosen import Chosen
from proxy.core.letters import Listed, ListThese, Rows, Table
from proxy.core.live_row import SORTS, STATES, Live, LiveCounts, LiveSort, Order, live_of
from proxy.core.record import Record
from proxy.core.record_bytes import record_bytes, record_of
from proxy.engine.live import LiveHere
from proxy.engine.replicas.group import LOOK_SECONDS, Group, Missing
from proxy.engine.replicas.many import clipped

MOST: Final = 1000
"""Rows that one replica sends at the most."""


@dataclass(frozen=True, slots=True)
class TableThere:
    """What another replica says of its live table: rows in the order asked for, how many are chosen, what is over."""

    rows: Sequence[Live] = ()
    matched: int = 0
    counts: LiveCounts = field(default_factory=LiveCounts)
    over: Sequence[Record] = ()

    def has_first(self, most: int) -> bool:
        """Whether its first `most` rows are all here: no answer has more than `MOST`, however many were asked for."""
        return len(self.rows) >= min(most, self.matched)


@dataclass(slots=True)
class Tables(Missing):
    """The tables of the replicas that answered, by name."""

    by_replica: dict[str, TableThere] = field(default_factory=dict)


async def ask_tables(
    group: Group | None, chosen: Chosen, order: Order, most: int, *, over: Iterable[str] = ()
) -> Tables:
    """The first rows of every other replica's live table, each in this order; none where there is no bus.

    Args:
        group: the other replicas.
        chosen: which generations are meant.
        order: that of the rows.
        most: how many rows of each; at most `MOST` come.
        over: uids that were shown, and of which it is to be said how they ended.
    """
    tables = Tables()
    if group is None:
        return tables
    rows = Rows(sort=order.sort, falls=order.falls, over=tuple(over))

    def letter(replica: str) -> ListThese:
        return ListThese(**group.head(replica), chosen=chosen, before=None, most=min(most, MOST), text=0, rows=rows)

    for replica, said in (await group.ask_all(chosen, letter, LOOK_SECONDS, tables)).items():
        if isinstance(said, Listed):
            tables.by_replica[replica] = _read(said)
    return tables


def table_here(
    live: LiveHere, chosen: Chosen, asked: Rows, most: int, before: tuple[float, str] | None
) -> tuple[tuple[bytes, ...], Table]:
    """What another replica is told of this one's: the records, and what goes with them.

    An order that only a newer version knows is taken for the usual one. `before`: behind which place, in that one.
    """
    sort: LiveSort = asked.sort if asked.sort in SORTS else "age"
    place = None if before is None else (-before[0], before[0], before[1], None)
    rows, matched = live.page(chosen, Order(sort, asked.falls), most, place)
    counts = live.counts()
    table = Table(
        states=tuple(row.state for row in rows),
        over=tuple(map(_without_text, live.over(asked.over))),
        matched=matched,
        counts=(counts.live, counts.reading_on, counts.queued, counts.orphans),
    )
    return tuple(_without_text(row.record) for row in rows), table


def _without_text(record: Record) -> bytes:
    """A record that is told: tables show no texts, and what has just ended may have long ones."""
    return record_bytes(clipped(record, 0))


def _read(said: Listed) -> TableThere:
    """The table in an answer; a replica of an older version only has records."""
    records, table = [record_of(data) for data in said.records], said.table
    if table is None:
        rows = [live_of(record) for record in records if record is not None]
        return TableThere(rows, len(rows), LiveCounts(len(rows)))
    states: Mapping[int, str] = dict(enumerate(table.states))
    return TableThere(
        [_live(record, states.get(number, "")) for number, record in enumerate(records) if record is not None],
        table.matched,
        LiveCounts(*table.counts),
        [record for record in map(record_of, table.over) if record is not None],
    )


def _live(record: Record, state: str) -> Live:
    return Live(record, state) if state in STATES else live_of(record)
