"""Opening the ledger that the settings name, and what the last process left in it."""

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from proxy.core.settings.settings import Settings
from proxy.stores.ledger.choice import open_chosen
from proxy.stores.ledger.open import Left
from proxy.stores.ledger.port import Ledger
from proxy.stores.ledger.sqlite import SqliteLedger

if TYPE_CHECKING:
    from proxy.stores.shared_ledger.ledger import SharedLedger  # its package is an extra


@dataclass(frozen=True, slots=True)
class Opened:
    """An open ledger; `shared` is the same one, where replicas share it."""

    ledger: Ledger
    left: Left = field(default_factory=lambda: Left([], unsettled=False))
    shared: "SharedLedger | None" = None


async def open_named(settings: Settings, replica: str) -> Opened:
    """Open the ledger.

    Raises:
        LedgerOpenError: it can't be opened; with what is wrong, where, and what to do.
    """
    opened = await open_chosen(settings.ledger, settings.conversations, replica, time.time(), settings.bus.lease)
    return Opened(opened, opened.left, None if isinstance(opened, SqliteLedger) else opened)
