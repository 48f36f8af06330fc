"""A caller's own generations, newest first."""

from proxy.edge.newest_first import newest_first
from proxy.engine.engine import Engine
from proxy.stores.ports import Page, RecordFilter


async def own_list(engine: Engine, identity: str, limit: int, cursor: str | None) -> Page:
    """One page of a caller's generations.

    Raises:
        Refusal: 400, the cursor is none that was given out here.
        LedgerUnavailableError: the ledger can't be read.
    """
    live = [relay for relay in engine.registry if relay.generation.facts.identity.name == identity]
    return await newest_first(engine, RecordFilter(identity=identity), live, limit, cursor)
