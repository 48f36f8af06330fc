"""The record of an ended generation with its text, which the registry only keeps when it is short."""

from proxy.core.lifecycle import Outcome
from proxy.core.record import Record
from proxy.engine.relaying.finished import Finished
from proxy.stores.ledger.port import Ledger, LedgerUnavailableError


async def whole_record(finished: Finished, ledger: Ledger) -> Record:
    """The whole record as the ledger has it; what is kept in memory when the ledger doesn't know how it ended."""
    kept = finished.record
    if finished.whole:
        return kept
    try:
        found = await ledger.find(kept.identity, kept.message_id)
    except LedgerUnavailableError:
        return kept
    is_it = found is not None and found.uid == kept.uid and found.outcome is not Outcome.RUNNING
    return found if found is not None and is_it else kept
