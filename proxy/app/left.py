"""What the last process left is settled: counted, priced and charged to budgets by the settings that hold now."""

from proxy.core.encodings import AUTO, EncodingSetting
from proxy.core.generation import Priced
from proxy.core.record import Record
from proxy.edge.gateway import Gateway
from proxy.engine.engine import Engine
from proxy.engine.settling.counting import Counter
from proxy.engine.settling.forwarding import Forwarding
from proxy.engine.settling.left_records import settle_left_records
from proxy.stores.ledger.open import Left


async def settle_left(
    left: Left, engine: Engine, gateway: Gateway, counter: Counter, forwarding: Forwarding | None
) -> None:
    """Count what the last process left, then end what it ran and its file does not know."""
    if left.unsettled:
        await _settle_records(engine, gateway, counter)
    if forwarding is not None:
        await forwarding.end_last_life()


async def _settle_records(engine: Engine, gateway: Gateway, counter: Counter) -> None:
    """Settle the records that were left; returns when all are."""

    def encoding_of(upstream: str) -> EncodingSetting:
        found = gateway.runtime.settings.upstreams.get(upstream)
        return AUTO if found is None else found.encoding

    def price_of(record: Record) -> Priced:
        runtime = gateway.runtime
        found = runtime.settings.upstreams.get(record.upstream)
        return runtime.pricing.price_left(record, "" if found is None else found.base_url)

    def settled_as(before: Record, after: Record) -> None:
        engine.budgets.count_left(before, after)
        engine.metrics.left_settled(after)

    await settle_left_records(engine.ledger, counter, encoding_of, price_of, settled_as, lambda: engine.budgets.summing)
