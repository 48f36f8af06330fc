"""Ended records and later truths for the tests of exports, the sink and sums."""

from decimal import Decimal
from typing import Any

from proxy.core.lifecycle import Outcome, Phase
from proxy.core.record import Record, UsageSource
from proxy.core.settled import Truth
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.truths import Told
from support.records import a_record


def over(uid: str = "u1", **facts: Any) -> Record:
    """An ended record with numbers and a cost; its upstream's id is made from the uid."""
    known: dict[str, Any] = {
        "outcome": Outcome.COMPLETED,
        "phase": Phase.FINISHED,
        "ended_at": 1001.0,
        "upstream_id": f"up-{uid}",
        "model": "m",
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "usage_source": UsageSource.UPSTREAM,
        "cost": Decimal("0.25"),
        "currency": "USD",
        "price": '{"input":"1"}',
    }
    return a_record(uid, **(known | facts))


async def settle(ledger: SqliteLedger, *records: Record) -> None:
    """Put ended records into the ledger, in this order."""
    for record in records:
        await ledger.end(record)


def told(uid: str = "u1", source: str = "bill", **numbers: Any) -> Told:
    """What a source says of the record of that uid."""
    return Told(f"up-{uid}", Truth(source, 2000.0, **(numbers or {"completion_tokens": 6})))
