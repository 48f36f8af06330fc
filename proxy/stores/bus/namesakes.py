"""Other processes that have this replica's name, which none should."""

from typing import Any, Final

from sqlalchemy import Float, bindparam, cast, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from proxy.stores.column_types import TEXT
from proxy.stores.tables import lease, running, spool

_WHOSE: Final = bindparam("whose", type_=TEXT)

_ASKED: Final[Any] = select(lease.c.owner, lease.c.until).where(
    lease.c.owner != bindparam("life", type_=TEXT),
    lease.c.until > cast(func.extract("epoch", func.clock_timestamp()), Float),
    or_(
        lease.c.place.in_(select(spool.c.id).where(spool.c.replica == _WHOSE)),
        lease.c.owner.in_(select(running.c.boot).where(running.c.replica == _WHOSE)),
    ),
)


async def namesakes(connection: AsyncConnection, replica: str, life: str) -> dict[str, float]:
    """The other lives of that name that have a lease, each with its end by the database's clock.

    That of a process which has died stands for a while too; that of one which lives is renewed.
    """
    rows = await connection.execute(_ASKED, {"whose": replica, "life": life})
    return {row.owner: row.until for row in rows}
