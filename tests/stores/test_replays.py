"""Ten thousand replays of exports and forwarding: whoever drops the ids that it had counts everything once."""

import json
import random
from decimal import Decimal
from pathlib import Path
from typing import Any

from proxy.core.cloud_event import cloud_event
from proxy.core.settled import exported
from proxy.stores.ledger.outbox_sqlite import outbox_page
from proxy.stores.ledger.reports import read_only
from proxy.stores.ledger.sqlite import SqliteLedger
from proxy.stores.ledger.usage import Span, UsageQuery
from support.ledgers import a_ledger
from support.settled import over, settle, told

REPLAYS = 10_000
GROWS_EVERY = 100


class Receiver:
    """Bills from what it gets: the first revision of each id, once. What it gets again must be the same."""

    def __init__(self) -> None:
        self.had: dict[str, bytes] = {}
        self.tokens = 0
        self.cost = Decimal(0)

    def take(self, one_id: str, content: bytes, data: dict[str, Any]) -> None:
        """Take one version, for the first time or again."""
        if (before := self.had.get(one_id)) is not None:
            assert content == before, f"{one_id} has changed"
            return
        self.had[one_id] = content
        if data["revision"] == 1:
            self.tokens += data["completion_tokens"]
            self.cost += Decimal(data["cost"])


async def grow(ledger: SqliteLedger, number: int, chance: random.Random) -> None:
    """One more record, and something said of an older one; replays of what was said before are thrown in."""
    cost = Decimal(chance.randrange(10**15)).scaleb(-12)
    await settle(ledger, over(f"u{number}", completion_tokens=chance.randrange(1000), cost=cost))
    about = f"u{chance.randrange(number + 1)}"
    await ledger.truths.attach([told(about, completion_tokens=chance.randrange(3))])


async def test_no_replay_bills_twice(tmp_path: Path) -> None:
    """Exports and events, cut at any place, begun anew from any older position while the ledger grows: the sums agree.

    A receiver that is cut takes a part of a page and keeps the position that it had before.
    """
    chance = random.Random(7)
    path = tmp_path / "q.db"
    async with a_ledger(path) as ledger:
        export, sink = Receiver(), Receiver()
        positions = {export: 0, sink: 0}
        with read_only(path) as connection:
            for number in range(REPLAYS):
                if number % GROWS_EVERY == 0:
                    await grow(ledger, number // GROWS_EVERY, chance)
                receiver = chance.choice((export, sink))
                begin = chance.choice((positions[receiver], chance.randint(0, positions[receiver])))
                page = outbox_page(connection, begin, chance.randint(1, 20), Span(), text=False)
                connection.rollback()
                taken = page.settled[: chance.randint(0, len(page.settled))]
                for each in taken:
                    data = exported(each)
                    content = cloud_event(each, "quell") if receiver is sink else json.dumps(data).encode()
                    receiver.take(each.id, content, data)
                if len(taken) == len(page.settled):
                    positions[receiver] = max(positions[receiver], page.position)
            rest = outbox_page(connection, 0, 10**6, Span(), text=False).settled
        for receiver in (export, sink):
            for each in rest:
                data = exported(each)
                receiver.take(
                    each.id, cloud_event(each, "quell") if receiver is sink else json.dumps(data).encode(), data
                )
        (truth,) = await ledger.usage(UsageQuery(("route",)))
    assert truth.generations == REPLAYS // GROWS_EVERY
    assert [(r.tokens, r.cost) for r in (export, sink)] == [(truth.completion_tokens, truth.costs["USD"])] * 2
    assert export.had.keys() == sink.had.keys() == {each.id for each in rest}
    assert len(rest) > truth.generations
