"""Which ledger the settings name: a file of its own, or one that it shares in PostgreSQL."""

from typing import TYPE_CHECKING, Final

from proxy.core.settings.sections import ConversationSettings, LedgerSettings
from proxy.stores.ledger.errors import LedgerOpenError
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.sqlite_open import open_ledger

if TYPE_CHECKING:
    from proxy.stores.shared_ledger.ledger import SharedLedger

NOT_INSTALLED: Final = "ledger.url: postgresql needs the package asyncpg: install quell[distributed]"


async def open_chosen(
    kept: LedgerSettings, talk: ConversationSettings, replica: str, now: float, lease: float
) -> "SqliteLedger | SharedLedger":
    """Open the ledger, with what a dead process left in its file ended at `now`, in seconds since the epoch.

    A replica that was not heard of for `lease` seconds is dead.

    Raises:
        LedgerOpenError: with what is wrong, where, and what to do.
    """
    if kept.is_shared:
        try:
            from proxy.stores.shared_ledger.open import open_shared  # noqa: PLC0415 the package is an extra
        except ImportError as error:
            raise LedgerOpenError(NOT_INSTALLED) from error
    local = await open_ledger(
        kept.file_url,
        text=kept.text,
        keep=kept.keep,
        text_keep=kept.text_keep,
        now=now,
        replica=replica,
        conversations_keep=talk.keep,
        async_keep=talk.async_keep,
        reserve=kept.reserve,
    )
    if not kept.is_shared:
        return local
    return await open_shared(
        local,
        kept.url,
        replica,
        keep=kept.keep,
        text_keep=kept.text_keep,
        backlog=kept.backlog,
        conversations_keep=talk.keep,
        async_keep=talk.async_keep,
        lease=lease,
    )
