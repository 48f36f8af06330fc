import pytest

from proxy.core.lifecycle import Outcome
from proxy.core.settled import Truth
from proxy.stores.ledger.null import NullLedger
from proxy.stores.ledger.outbox import ForeignPositionError, OutboxPage
from proxy.stores.ledger.port import Ledger, Page, RecordFilter
from proxy.stores.ledger.truths import Attached, Attachment, Told
from proxy.stores.ledger.usage import Span, UsageQuery
from support.records import a_record


async def test_everything_is_durable_at_once_and_nothing_is_found() -> None:
    """The null ledger fulfils the port: every write is done when it returns, every question has the empty answer."""
    ledger: Ledger = NullLedger()
    assert ledger.begin(a_record()).done()
    ledger.append("u1", "text")
    assert ledger.stop(a_record()).done()
    assert ledger.end(a_record(outcome=Outcome.COMPLETED)).done()
    await ledger.wipe_text("u1")
    assert await ledger.find(None, "task-u1") is None
    assert await ledger.page(RecordFilter(), 10, None) == Page([], None)
    assert await ledger.usage(UsageQuery(("model",))) == []
    assert await ledger.purge(1e12) == (0, 0)
    assert await ledger.outbox.after(0, 5) == OutboxPage([], 0, 0, more=False)
    with pytest.raises(ForeignPositionError):
        await ledger.outbox.after(1, 5)
    ledger.outbox.hold("sink", held=True)
    assert await ledger.outbox.advance("sink", 0) == 0
    assert await ledger.outbox.position("sink") == await ledger.outbox.pending(0) == 0
    told = Told("up-1", Truth("bill", 1.0, prompt_tokens=1))
    assert await ledger.truths.attach([told]) == [Attachment(Attached.UNKNOWN)]
    assert await ledger.truths.untold("openai", "bill", 0, 5, Span()) == []
    assert await ledger.truths.drift(Span()) == []
    assert (ledger.pending, ledger.healthy) == (0, True)
    assert ledger.transactions == (0, 0)
    await ledger.close()
