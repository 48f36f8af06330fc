"""Leases and holds in PostgreSQL, and what becomes of what a dead owner left. Times are by the database's clock."""

from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Float,
    Text,
    TextClause,
    any_,
    bindparam,
    cast,
    delete,
    exists,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by, insert

from proxy.core.conversation import MessageStatus
from proxy.core.ids import new_id
from proxy.stores.conversations.sql import IN_PROGRESS, OPEN, PRESUMED, for_postgres, text, valued
from proxy.stores.tables import deletion, hold, item, lease, message, message_text, running

OWNER_LENGTH: Final = 16
"""Characters of an owner: each uid and token of its rows begins with them, and a point."""

_NOW: Final[ColumnElement[float]] = cast(func.extract("epoch", func.clock_timestamp()), Float)
_SECONDS: Final = valued(lease.c.until, "seconds")

_fresh: Final = insert(lease).from_select(
    list(lease.columns), select(text("owner"), text("place"), (_NOW + _SECONDS).label("until"))
)

RENEW: Final = for_postgres(
    _fresh.on_conflict_do_update(index_elements=[lease.c.owner], set_={"until": _fresh.excluded.until})
)
"""Values: owner, place, seconds. The owner lives for so long."""

_young: Final = exists().where(lease.c.owner == text("owner"), lease.c.until > _NOW + _SECONDS / 2)
_lasting: Final = insert(lease).from_select(
    list(lease.columns), select(text("owner"), text("place"), (_NOW + _SECONDS).label("until")).where(~_young)
)
LIVE: Final = for_postgres(
    _lasting.on_conflict_do_update(index_elements=[lease.c.owner], set_={"until": _lasting.excluded.until})
)
"""The same, unless more than half of that is left: then the row is not even locked, which would hold up `RENEW`."""

_LIVES: Final = hold.c.owner.in_(select(lease.c.owner).where(lease.c.until > _NOW - valued(lease.c.until, "grace")))


def _take() -> TextClause:
    taken = insert(hold).from_select(list(hold.columns), select(*map(valued, hold.columns)))
    free = or_(hold.c.owner == taken.excluded.owner, ~_LIVES)
    changed = {name: taken.excluded[name] for name in ("token", "owner", "label")}
    key = [hold.c.identity, hold.c.dialect, hold.c.key]
    return for_postgres(taken.on_conflict_do_update(index_elements=key, set_=changed, where=free))


TAKE: Final = _take()
"""Values: those of a hold, grace (for so many seconds behind its lease an owner counts as alive). A row, or none:
another owner has it. What is the owner's own is for it to know."""

LET_GO: Final = for_postgres(delete(hold).where(hold.c.token == text("token"), hold.c.owner == text("owner")))
"""Values: token, owner."""

OWN: Final = select(hold.c.token).where(hold.c.owner == text("owner"))
"""Values: owner. The tokens of its holds."""

LET_GO_OF: Final = for_postgres(
    delete(hold).where(hold.c.owner == text("owner"), hold.c.token == any_(bindparam("tokens", type_=ARRAY(Text))))
)
"""Values: owner, tokens."""

HELD: Final = select(hold.c.label).where(
    hold.c.identity == text("identity"),
    hold.c.dialect == text("dialect"),
    hold.c.key == text("key"),
    hold.c.owner != text("owner"),
    _LIVES,
)
"""Values: identity, dialect, key, the owner that asks, grace."""

_owner_of: Final = {
    table: func.substr(table.c.uid, literal_column("1"), literal_column(str(OWNER_LENGTH))) for table in (message, item)
}


def _without_lease(table: Any, goes_on: ColumnElement[bool]) -> Any:
    owner = _owner_of[table]
    return select(owner).where(goes_on, ~exists().where(lease.c.owner == owner))


DEAD: Final = (
    select(lease.c.owner.label("owner"))
    .where(lease.c.owner != text("owner"), lease.c.until <= _NOW - _SECONDS)
    .union(
        _without_lease(message, IN_PROGRESS),
        _without_lease(item, OPEN),
        select(hold.c.owner).where(~exists().where(lease.c.owner == hold.c.owner)),
    )
)
"""Values: the owner that asks, seconds. Owners whose lease has been over for so long, or that left something and have
no lease any more."""

CLAIM: Final = (
    select(lease.c.owner, lease.c.place)
    .where(lease.c.owner == text("owner"), lease.c.until <= _NOW)
    .with_for_update(skip_locked=True)
)
"""Values: an owner that is to be buried. Nothing while somebody else does it, or if it came back."""

FORMER: Final = select(lease.c.owner, lease.c.until).where(
    lease.c.place == text("place"), lease.c.owner != text("owner")
)
"""Values: the owner that asks, its place. Leases of the lives that this place had before, or has besides."""

CLAIM_FORMER: Final = (
    select(lease.c.owner)
    .where(lease.c.owner == text("owner"), lease.c.until == valued(lease.c.until, "until"))
    .with_for_update(skip_locked=True)
)
"""Values: one of them, until when its lease was. Nothing if it was renewed since, or while somebody else buries it."""

KEEP: Final = for_postgres(update(lease).where(lease.c.owner == text("owner")).values(until=_NOW + _SECONDS))
"""Values: an owner, seconds. Its lease, if there still is one, is over in so long."""

KNOWN: Final = select(lease.c.owner).where(lease.c.owner == text("owner"))
"""Values: an owner that may have a lease."""

_OF_IT: Final = (text("first"), text("last"))
_ended_text = (
    select(func.string_agg(message_text.c.piece, aggregate_order_by(literal_column("''"), message_text.c.offset)))
    .where(message_text.c.message == message.c.uid)
    .scalar_subquery()
)

BURY: Final = tuple(
    map(
        for_postgres,
        (
            update(message)
            .where(IN_PROGRESS, message.c.uid.between(*_OF_IT))
            .values(
                status=MessageStatus.INTERRUPTED.value,
                ended_at=_NOW,
                ended_by=PRESUMED,
                text=message.c.text + func.coalesce(_ended_text, literal_column("''")),
            ),
            delete(message_text).where(message_text.c.message.between(*_OF_IT)),
            update(item).where(OPEN, item.c.uid.between(*_OF_IT)).values(is_open=0, is_interrupted=1),
            delete(hold).where(hold.c.owner == text("owner")),
            delete(deletion).where(deletion.c.token.between(*_OF_IT)),
        ),
    )
)
"""Values: owner, and between which two texts its uids and tokens are. Its messages and items are interrupted, with what
there was of them; its thread keeps the time of its last change: this was none."""

END_LEASE: Final = for_postgres(
    delete(lease).where(lease.c.owner == text("owner"), ~exists().where(running.c.boot == text("owner")))
)
"""Values: owner. The lease goes, unless records of that life still run here: by it others find what to end."""


def new_owner() -> str:
    """A name for one life of a process."""
    return new_id().replace("-", "")[-OWNER_LENGTH:]


def span_of(owner: str) -> dict[str, str]:
    """Between which two texts are the uids and tokens of an owner."""
    return {"first": f"{owner}.", "last": f"{owner}/"}
