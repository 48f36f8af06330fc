"""How items are put in and changed: what the writer is told, see `sql`."""

from typing import Final

from sqlalchemy import ColumnElement, and_, delete, literal_column, update

from proxy.stores.conversations.sql import added, all_or_none, compiled, has_its_thread, of_one_call, text, valued
from proxy.stores.tables import item

NAMED: Final[ColumnElement[bool]] = and_(
    item.c.identity == text("identity"),
    item.c.dialect == text("dialect"),
    item.c.kind == text("kind"),
    item.c.id == text("id"),
)
"""It is the item that is meant. Values: see `rows.named`."""

ADD_ITEM: Final = added(item, [item.c.identity, item.c.dialect, item.c.kind, item.c.id], has_its_thread())
"""Values: an item's. No row if the id is taken, or its thread is not there."""

ALL_OR_NONE: Final = all_or_none(item)
"""Values: the first and the last uid, how many there are between. Takes items out if not all of them went in."""

TAKE_BACK: Final = compiled(delete(item).where(of_one_call(item.c.uid)))
"""Values: the first and the last uid of items that came to the disk after their caller had been told they failed."""

UPDATE_ITEM: Final = compiled(
    update(item)
    .where(NAMED)
    .values(
        body=valued(item.c.body),
        is_open=valued(item.c.is_open),
        is_interrupted=literal_column("0"),
        expires_at=valued(item.c.expires_at),
    )
)
"""Values: the item's name, body, is_open, expires_at (may be None)."""
