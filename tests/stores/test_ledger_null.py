from proxy.core.lifecycle import Outcome
from proxy.stores.ledger_null import NullLedger
from proxy.stores.ports import Ledger, Page, RecordFilter
from support.records import a_record


async def test_everything_is_durable_at_once_and_nothing_is_found() -> None:
    """The null ledger fulfils the port: every write is done when it returns, every question has the empty answer."""
    ledger: Ledger = NullLedger()
    assert ledger.begin(a_record()).done()
    ledger.append("u1", "text")
    assert ledger.end(a_record(outcome=Outcome.COMPLETED)).done()
    await ledger.wipe_text("u1")
    assert await ledger.find(None, "task-u1") is None
    assert await ledger.page(RecordFilter(), 10, None) == Page([], None)
    assert await ledger.usage(0.0, "model") == []
    assert await ledger.purge(1e12) == (0, 0)
    assert (ledger.pending, ledger.healthy) == (0, True)
    assert ledger.transactions == (0, 0)
    await ledger.close()
