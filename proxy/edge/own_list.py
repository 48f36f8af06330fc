"""A caller's own generations, newest first."""

from proxy.core.chosen import Chosen
from proxy.core.receipt import LIST_TEXT
from proxy.edge.newest_first import Listing, newest_first
from proxy.engine.engine import Engine
from proxy.stores.ledger.port import RecordFilter


async def own_list(engine: Engine, identity: str, limit: int, cursor: str | None) -> Listing:
    """One page of a caller's generations.

    Raises:
        Refusal: 400, the cursor is none that was given out here.
        LedgerUnavailableError: the ledger can't be read.
    """
    which, chosen = RecordFilter(identity=identity), Chosen(identity=identity)
    return await newest_first(engine, which, chosen, limit, cursor, LIST_TEXT)
