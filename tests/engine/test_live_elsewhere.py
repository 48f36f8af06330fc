"""What another replica is told of this one's live table."""

from types import SimpleNamespace
from typing import Any

from proxy.core.chosen import Chosen
from proxy.core.letters import Rows
from proxy.core.live_row import Live, LiveCounts
from proxy.core.record_bytes import record_of
from proxy.engine.replicas.live_elsewhere import table_here
from support.records import a_record

ASKED = Rows(sort="age", falls=False, over=("over",))


def test_no_text_goes_to_another_replica() -> None:
    """What has just ended still has its text here; tables show none, so none is sent."""
    row, over = (a_record(uid, text="what a model wrote", characters=18) for uid in ("row", "over"))
    live: Any = SimpleNamespace(
        page=lambda *_: ([Live(row, "streaming")], 1), over=lambda _uids: [over], counts=lambda: LiveCounts(1)
    )
    records, table = table_here(live, Chosen(), ASKED, 10, None)
    told = [record_of(data) for data in (*records, *table.over)]
    assert [(each.uid, each.characters, each.text) for each in told if each] == [("row", 18, None), ("over", 18, None)]
