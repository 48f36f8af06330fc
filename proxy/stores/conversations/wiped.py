"""Whose records lose their text with a deletion, for the replicas that have them: see the table `wiped`."""

from typing import Final

from sqlalchemy import Float, cast, func, select
from sqlalchemy.dialects.postgresql import insert

from proxy.stores.conversations.sql import TOKEN, for_postgres
from proxy.stores.tables import deletion, wiped

_NUMBERS: Final = 0x5175656C6C02
"""The advisory lock of whoever gives out numbers that others read in their order."""

LOCK_NUMBERS: Final = select(func.pg_advisory_xact_lock(_NUMBERS))

NOTE_WIPED: Final = for_postgres(
    insert(wiped)
    .from_select(
        [wiped.c.at, wiped.c.uid],
        select(cast(func.extract("epoch", func.clock_timestamp()), Float), deletion.c.generation)
        .where(deletion.c.token == TOKEN, deletion.c.generation.is_not(None))
        .order_by(deletion.c.number),
    )
    .on_conflict_do_nothing()
)
"""Values: the token of a deletion."""
