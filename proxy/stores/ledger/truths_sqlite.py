"""Later truths in the ledger's file: the table `truth`, each row noted in `settled` in the same transaction."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection, Row, and_, case, func, null, select

from proxy.core.lifecycle import Outcome
from proxy.core.money import COST_PART, cost_of, cost_units
from proxy.core.record import Record
from proxy.core.settled import TRUTH_COUNTS, Truth
from proxy.stores.ledger.gather import Step, Value
from proxy.stores.ledger.outbox_sqlite import SqliteOutbox, truth_of
from proxy.stores.ledger.reports import Reports
from proxy.stores.ledger.rows import clean, record_of
from proxy.stores.ledger.statements import ATTACH_TRUTH, SETTLE_TRUTHS, UNSETTLED
from proxy.stores.ledger.truths import Attached, Attachment, Drift, Told, Untold
from proxy.stores.ledger.usage import Span
from proxy.stores.ledger.usage_sqlite import within
from proxy.stores.ledger.write_queue import WriteQueue
from proxy.stores.tables import generation, settled, truth

_at = generation.c
_ASKED_AT_ONCE: Final = 500
"""Values of one `IN`."""


class SqliteTruths:
    """See `proxy.stores.ledger.truths.Truths`."""

    def __init__(self, queue: WriteQueue, reports: Reports, outbox: SqliteOutbox) -> None:
        self._queue = queue
        self._reports = reports
        self._outbox = outbox

    async def attach(self, told: Sequence[Told], *, dry_run: bool = False) -> list[Attachment]:
        """See `Truths.attach`. Of two equal ones in one call, the second is unchanged."""
        found = await self._reports.ask(partial(looked_up, told=told))
        if not dry_run:
            await self._write(told, found)
        return found

    async def _write(self, told: Sequence[Told], found: list[Attachment]) -> None:
        steps: list[Step] = []
        places = []
        for place, (one, attachment) in enumerate(zip(told, found, strict=True)):
            if attachment.result is Attached.ATTACHED and attachment.record is not None:
                steps += _steps(attachment.record.uid, one.truth)
                places.append(place)
        if not steps:
            return
        chores = self._queue.chores(*steps)
        for place, chore in zip(places, chores[::2], strict=True):
            if not await chore.changed:  # the same was attached meanwhile
                found[place] = replace(found[place], result=Attached.UNCHANGED)
        self._outbox.grown()

    async def untold(self, upstream: str, source: str, position: int, limit: int, span: Span) -> list[Untold]:
        """See `Truths.untold`."""
        asked = partial(untold_rows, upstream=upstream, source=source, position=position, limit=limit, span=span)
        return await self._reports.ask(asked)

    async def drift(self, span: Span) -> list[Drift]:
        """See `Truths.drift`. Upstreams, models and sources in the order of their names."""
        return await self._reports.ask(partial(drift_rows, span=span))


def untold_rows(
    connection: Connection, upstream: str, source: str, position: int, limit: int, span: Span
) -> list[Untold]:
    """Ended records of an upstream of which a source has said nothing, in the order in which they settled."""
    told = select(truth.c.uid).where(truth.c.uid == settled.c.uid, truth.c.source == clean(source)).exists()
    asked = (
        select(settled.c.number, _at.upstream_id)
        .join(generation, _at.uid == settled.c.uid)
        .where(settled.c.number > position, settled.c.revision == 1, ~told, *within(span))
        .where(_at.upstream == clean(upstream), _at.upstream_id.is_not(None))
        .order_by(settled.c.number)
        .limit(limit)
    )
    return [Untold(*row) for row in connection.execute(asked)]


def looked_up(connection: Connection, told: Sequence[Told]) -> list[Attachment]:
    """What will become of each truth, as the ledger is now; nothing is written."""
    records = defaultdict(list)
    ids = sorted({clean(one.upstream_id) for one in told})
    columns = [null() if column is _at.text else column for column in generation.columns]
    for begin in range(0, len(ids), _ASKED_AT_ONCE):
        asked = select(*columns).where(_at.upstream_id.in_(ids[begin : begin + _ASKED_AT_ONCE]))
        for row in connection.execute(asked):
            record = record_of(row)
            records[record.upstream_id].append(record)
    said: dict[tuple[str, str], list[Truth]] = {}
    return [_looked_at(connection, one, records[clean(one.upstream_id)], said) for one in told]


def _looked_at(
    connection: Connection, told: Told, records: list[Record], said: dict[tuple[str, str], list[Truth]]
) -> Attachment:
    """What will become of one truth; `said` has what each source has said of a record, with the truths before it."""
    meant = [record for record in records if told.upstream in (None, record.upstream)]
    if len(meant) != 1:
        return Attachment(Attached.AMBIGUOUS if meant else Attached.UNKNOWN)
    record = meant[0]
    if record.outcome is Outcome.RUNNING or _is_unsettled(connection, record.uid):
        return Attachment(Attached.NOT_ENDED, record)
    about = record.uid, clean(told.truth.source)
    if about not in said:
        asked = select(truth).where(truth.c.uid == about[0], truth.c.source == about[1]).order_by(truth.c.revision)
        said[about] = [truth_of(row) for row in connection.execute(asked)]
    before = said[about]
    last = before[-1] if before else None
    if _numbers(told.truth) in map(_numbers, before):
        return Attachment(Attached.UNCHANGED, record, last)
    before.append(told.truth)
    return Attachment(Attached.ATTACHED, record, last)


def _is_unsettled(connection: Connection, uid: str) -> bool:
    """Whether it was cut off and is still to be counted: its own numbers are given out first."""
    return connection.scalar(select(_at.uid).where(_at.uid == uid, UNSETTLED)) is not None


def _numbers(said: Truth) -> tuple[Any, ...]:
    cost = None if said.cost is None else cost_units(said.cost)
    return (*(getattr(said, name) for name in TRUTH_COUNTS), cost, said.currency)


def said_values(uid: str, said: Truth) -> dict[str, Value]:
    """The values of `statements.ATTACH_TRUTH`."""
    return {
        "uid": uid,
        "source": clean(said.source),
        "at": said.at,
        **{name: getattr(said, name) for name in TRUTH_COUNTS},
        "cost": None if said.cost is None else cost_units(said.cost),
        "currency": said.currency,
    }


def _steps(uid: str, said: Truth) -> tuple[Step, Step]:
    return (ATTACH_TRUTH, said_values(uid, said)), (SETTLE_TRUTHS, {"uid": uid})


def drift_rows(connection: Connection, span: Span) -> list[Drift]:
    """Our numbers beside the newest truth of each source, in the order of upstreams, models and sources."""
    revision = func.max(truth.c.revision).label("revision")
    newest = select(truth.c.uid, revision).group_by(truth.c.uid, truth.c.source).subquery()
    latest = and_(truth.c.uid == newest.c.uid, truth.c.revision == newest.c.revision)
    parts = _at.upstream, _at.model, truth.c.source, truth.c.currency
    asked = (
        select(*parts, func.count().label("records"), *_compared())
        .select_from(newest.join(truth, latest).join(generation, _at.uid == newest.c.uid))
        .where(*within(span))
        .group_by(*parts)
        .order_by(*parts)
    )
    found: dict[tuple[str, str | None, str], Drift] = {}
    for row in connection.execute(asked):
        whose = row.upstream, row.model, row.source
        _add(found.setdefault(whose, Drift(*whose)), row)
    return list(found.values())


def _compared() -> list[Any]:
    sums: list[Any] = []
    for name in ("prompt", "completion"):
        ours, theirs = _at[f"{name}_tokens"], truth.c[f"{name}_tokens"]
        both = and_(ours.is_not(None), theirs.is_not(None))
        sums += [
            func.sum(case((both, ours))).label(f"{name}_ours"),
            func.sum(case((both, theirs))).label(f"{name}_theirs"),
        ]
    known = and_(_at.completion_tokens.is_not(None), truth.c.completion_tokens.is_not(None))
    sums.append((func.count() - func.count().filter(known)).label("not_compared"))
    priced = and_(_at.cost.is_not(None), truth.c.cost.is_not(None), _at.currency == truth.c.currency)
    for name, cost in (("ours", _at.cost), ("theirs", truth.c.cost)):
        sums += [
            func.sum(case((priced, cost.op("/")(COST_PART)))).label(f"{name}_high"),
            func.sum(case((priced, cost % COST_PART))).label(f"{name}_low"),
        ]
    return sums


def _add(into: Drift, row: Row[Any]) -> None:
    into.records += row.records
    into.not_compared += row.not_compared
    for name in ("prompt_ours", "prompt_theirs", "completion_ours", "completion_theirs"):
        more = getattr(row, name)
        if more is not None:
            setattr(into, name, (getattr(into, name) or 0) + int(more))
    if row.ours_high is not None:
        ours, theirs = (
            cost_of(int(high) * COST_PART + int(low))
            for high, low in ((row.ours_high, row.ours_low), (row.theirs_high, row.theirs_low))
        )
        into.costs[row.currency] = (ours, theirs)
