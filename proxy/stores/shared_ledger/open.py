"""Opening the ledger that replicas share, on a local one that is open already."""

from typing import Final

import structlog

from proxy.core.ledger_address import parse_ledger_address
from proxy.stores.conversations.holds_statements import new_owner
from proxy.stores.conversations.port import ASYNC_KEEP, CONVERSATIONS_KEEP
from proxy.stores.conversations.postgres import LEASE, PostgresConversations
from proxy.stores.ledger.port import LedgerUnavailableError
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.write_queue import START_DEADLINE
from proxy.stores.postgres import Postgres
from proxy.stores.shared_ledger.forwarder import Forwarder
from proxy.stores.shared_ledger.ledger import SharedLedger

TALKERS: Final = 8
"""Connections of the conversations."""

READERS: Final = 4
"""Connections for questions; the forwarder and the lease have one each."""

_log = structlog.get_logger("quell.ledger")


async def open_shared(
    local: SqliteLedger,
    url: str,
    replica: str,
    *,
    keep: float,
    text_keep: float,
    backlog: int,
    conversations_keep: float = CONVERSATIONS_KEEP,
    async_keep: float = ASYNC_KEEP,
    lease: float = LEASE,
) -> SharedLedger:
    """Share an opened local ledger; PostgreSQL may be away.

    Args:
        local: opened; closed with the shared one, and if this fails.
        url: `postgresql://…`.
        replica: this process's name, which no other has.
        keep: seconds after its end that a record stays.
        text_keep: seconds after its end that a record's text stays.
        backlog: how many records may wait for PostgreSQL.
        conversations_keep: seconds after its last change that a thread stays.
        async_keep: seconds after its end that a message without a thread stays.
        lease: seconds after which a replica that was not heard of is dead.

    Raises:
        LedgerOpenError: the database is not one for this program.
    """
    address = parse_ledger_address(url)
    reading = Postgres(address, size=READERS, name=f"quell {replica}")
    forwarding = Postgres(address, size=1, name=f"quell {replica} forwarder")
    life = new_owner()
    forwarder = Forwarder(local.spool, forwarding, replica, life, lease)

    async def is_behind() -> bool:
        return forwarder.pending > 0 or bool(await local.unsettled(1))

    conversations = PostgresConversations(
        Postgres(address, size=TALKERS, answer=START_DEADLINE, name=f"quell {replica} conversations"),
        Postgres(address, size=1, answer=START_DEADLINE, name=f"quell {replica} lease"),
        local.late,
        (await local.spool.begin(replica)).id,
        life,
        lease=lease,
        keep=conversations_keep,
        async_keep=async_keep,
        patience=START_DEADLINE,
        is_behind=is_behind,
    )
    shared = SharedLedger(local, reading, forwarder, conversations, backlog=backlog, keep=keep, text_keep=text_keep)
    try:
        await forwarder.open()
        try:
            await reading.prepare()
        except LedgerUnavailableError as error:
            if error.hint:
                _log.error("ledger.postgresql_refuses", why=str(error), hint=error.hint)
            else:
                _log.warning("ledger.postgresql_away_at_start", why=str(error))
        await conversations.open()
    except BaseException:
        await shared.close()
        raise
    return shared
