"""One transaction of the forwarder: what a spool has, put into the shared ledger; and what the dead left there, ended.

All of it may be done again: an answer that was lost behind the commit doubles nothing. A record that has an end there
keeps it for ever. Where another replica gave it one, because its owner seemed dead, what the owner knows better comes
as a later truth beside it, see `known_later`; and its text, which has no version, takes its place.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.core.lifecycle import Outcome
from proxy.stores.column_types import escaped
from proxy.stores.conversations.holds_statements import LIVE
from proxy.stores.shared_ledger import forward_statements as sql
from proxy.stores.shared_ledger.known_later import SOURCE
from proxy.stores.shared_ledger.spool import Version, Wiped
from proxy.stores.tables import generation, truth

_NAMES: Final = tuple(column.name for column in generation.columns)
_SAID: Final = tuple(column.name for column in truth.columns)
_OUTCOME: Final = _NAMES.index("outcome")
_NUMBERS: Final = (*("prompt_tokens", "completion_tokens", "cached_tokens", "reasoning_tokens", "cost", "currency"),)
_JSON: Final = frozenset({"tags", "price"})
_NUL_IN_JSON: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""A NUL in JSON, which PostgreSQL takes in no text; the backslashes before it are each escaped by another."""
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose records these are: the spool's name, the replica's, and this life of its process."""

    spool: str
    replica: str
    boot: str
    lease: float
    """For so many seconds that life counts as alive once it has shared a start."""


@dataclass(slots=True)
class Load:
    """What goes in one transaction; `position` is how far the spool is forwarded then."""

    position: int
    versions: list[Version] = field(default_factory=list)
    starts: list[tuple[Any, ...]] = field(default_factory=list)
    wiped: list[Wiped] = field(default_factory=list)


async def forward(connection: AsyncConnection, whose: Whose, load: Load, now: float) -> int:
    """Put a load into the shared ledger, in the caller's transaction; gives how many ends others had given before."""
    if load.starts:
        await connection.execute(sql.STARTED, {"rows": _rows(load.starts)})
        uids = [row[0] for row in load.starts]
        await connection.execute(LIVE, {"owner": whose.boot, "place": whose.spool, "seconds": whose.lease})
        await connection.execute(sql.RUN, {"uids": uids, "whose": whose.replica, "life": whose.boot})
    ended = {version.uid: version for version in load.versions}
    taken: set[str] = set()
    if ended:
        rows = _rows([version.record for version in ended.values()])
        taken = set(await connection.scalars(sql.ENDED, {"rows": rows}))
        await connection.execute(sql.RUNS_NO_MORE, {"uids": list(ended)})
    known = await _known_better(connection, whose, [one for uid, one in ended.items() if uid not in taken], now)
    if ended or load.wiped:
        await connection.execute(sql.LOCK)
    if ended:
        await _settle(connection, load.versions, known)
    if load.wiped:
        uids = [each.uid for each in load.wiped]
        await connection.execute(sql.NOTE_WIPED, {"uids": uids})
        await connection.execute(sql.WIPE, {"uids": uids})
    await connection.execute(sql.PLACE, {"spool": whose.spool, "whose": whose.replica, "upto": load.position})
    return len(known)


async def interrupt_left(
    connection: AsyncConnection, replica: str, now: float, alive: str = ""
) -> list[tuple[str, str]]:
    """End as `interrupted` what a replica ran that is dead, once whoever does it; gives route and upstream of each.

    In the caller's transaction. The records are settled with what is known of them. A load of the owner that comes
    later changes none of them, see `forward`.

    Args:
        connection: of `Postgres.writing`.
        replica: the name of the dead one.
        now: seconds since the epoch.
        alive: the life of it that is not dead, where it has begun another one.
    """
    return await _interrupt(connection, sql.INTERRUPT, {"whose": replica, "life": alive, "at": now})


async def whose_life(connection: AsyncConnection, life: str) -> str | None:
    """The name of the replica whose life that is; None: nothing ran in it."""
    found: str | None = await connection.scalar(sql.WHOSE_LIFE, {"life": life})
    return found


async def interrupt_life(connection: AsyncConnection, life: str, now: float) -> list[tuple[str, str]]:
    """The same of what ran in one life of a replica's process, which is dead."""
    return await _interrupt(connection, sql.INTERRUPT_LIFE, {"life": life, "at": now})


async def _interrupt(
    connection: AsyncConnection, statements: tuple[Any, Any], values: dict[str, Any]
) -> list[tuple[str, str]]:
    end, run_no_more = statements
    ended = (await connection.execute(end, values)).all()
    await connection.execute(run_no_more, values)
    if ended:
        await connection.execute(sql.LOCK)
        await connection.execute(sql.SETTLED, {"uids": sorted(row.uid for row in ended)})
        await connection.execute(sql.NOTE_END)
    return [(row.route, row.upstream) for row in ended]


async def _settle(connection: AsyncConnection, versions: Sequence[Version], known: list[dict[str, Any]]) -> None:
    """Number the versions in the order of the spool, behind the lock."""
    ends = [version.uid for version in versions if version.truth is None]
    if ends:
        await connection.execute(sql.SETTLED, {"uids": ends})
    for version in versions:
        if version.truth is not None:
            said = dict(zip(_SAID, version.truth, strict=True))
            del said["revision"]
            known.append(said)
    for said in known:
        await connection.execute(sql.ATTACH_TRUTH, said)
        await connection.execute(sql.SETTLE_TRUTHS, {"uid": said["uid"]})
    await connection.execute(sql.STAY_WIPED, {"uids": [version.uid for version in versions]})
    await connection.execute(sql.NOTE_END)


async def _known_better(
    connection: AsyncConnection, whose: Whose, not_taken: Sequence[Version], now: float
) -> list[dict[str, Any]]:
    """What the owner knows of records that others have ended meanwhile. One that was merely sent before has no more."""
    if not not_taken:
        return []
    ours = {version.uid: dict(zip(_NAMES, version.record, strict=True)) for version in not_taken}
    known = []
    texts = []
    for row in await connection.execute(sql.OTHERS, {"uids": list(ours)}):
        own = ours[row.uid]
        if row[_OUTCOME] != Outcome.INTERRUPTED.value:
            continue
        if row.text is None and own["text"] is not None:
            texts.append(tuple(own.values()))
        if all(own[name] is None or own[name] == getattr(row, name) for name in _NUMBERS):
            continue
        numbers = {name: own[name] for name in _NUMBERS}
        known.append({"uid": row.uid, "source": f"{SOURCE}{whose.replica}", "at": now, **numbers})
    if texts:
        await connection.execute(sql.LATE_TEXTS, {"rows": _rows(texts)})
    return known


def _rows(records: Sequence[tuple[Any, ...]]) -> str:
    """The records as JSON. Their texts are escaped as the columns' type does it, which does not see them here."""
    return _encode(
        [{name: _as_held(name, each) for name, each in zip(_NAMES, row, strict=True)} for row in records]
    ).decode()


def _as_held(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return escaped(_NUL_IN_JSON.sub(r"\1\\ufffd", value) if name in _JSON else value)
