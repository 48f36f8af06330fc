"""Pricing: which price counts for an ended generation, and what it costs. The price is frozen into its record."""

from decimal import Decimal
from typing import Final, Protocol

import structlog

from proxy.core.generation import Generation, Priced
from proxy.core.price_list import PriceList
from proxy.core.prices import Price, cost, frozen
from proxy.core.record import Settlement, UsageSource

log = structlog.get_logger()

WARNED: Final = 256
"""So many models without a price are warned about, each once: names come from callers."""


class Fallback(Protocol):
    """Prices for what the price list does not have."""

    def find(
        self, *, base_url: str, asked: str | None, answered: str | None, at: float, prompt_tokens: int | None
    ) -> Price | None:
        """The price of a model at the provider with this address, `at` seconds since the epoch; None: unknown.

        Some prices depend on how long the prompt is.
        """
        ...


class Pricing:
    """The prices of one loaded config. A generation keeps the one that it began with, also over a reload."""

    def __init__(self, currency: str, table: PriceList | None = None, fallback: Fallback | None = None) -> None:
        """With neither a price list nor a fallback every cost is unknown."""
        self.currency = currency
        self._table = table
        self._fallback = fallback
        self._warned: set[tuple[str, str | None]] = set()

    @property
    def models(self) -> set[str]:
        """The models that the price list names."""
        return set() if self._table is None else self._table.models

    def find(self, generation: Generation, base_url: str) -> Price | None:
        """The unit prices that count for a generation as far as it is; None: nobody knows any.

        The price list goes before the fallback, also where it only has a bare `*`.
        """
        facts, answered = generation.facts, generation.partial.upstream_model
        found = None
        if self._table is not None:
            found = self._table.find(facts.model, answered, facts.upstream, facts.started_wall)
        if found is None and self._fallback is not None:
            found = self._fallback.find(
                base_url=base_url,
                asked=facts.model,
                answered=answered,
                at=facts.started_wall,
                prompt_tokens=generation.counted.usage.prompt_tokens,
            )
        return found

    def price(self, generation: Generation, base_url: str) -> Priced:
        """What an ended and counted generation costs.

        A stopped one whose settlement is void costs 0, whatever is known. Else the cost is unknown without a price, or
        without counts: also where the upstream was never called or has refused the call.
        """
        price = self.find(generation, base_url)
        kept = None if price is None else frozen(price)
        if generation.facts.settlement is Settlement.VOID and generation.was_stopped:
            return Priced(Decimal(0), self.currency if price is None else price.currency, kept)
        if price is None:
            self._warn(generation)
            return Priced()
        try:
            amount = cost(price, generation.counted.usage)
        except ValueError as error:  # counts that no provider can mean
            log.warning("price.out_of_range", task_id=generation.facts.task_id, error=str(error))
            amount = None
        return Priced(amount, None if amount is None else price.currency, kept)

    def _warn(self, generation: Generation) -> None:
        """Say once of each model that it has no price, where there would have been a cost."""
        if (self._table is None and self._fallback is None) or generation.counted.source is UsageSource.NONE:
            return
        facts = generation.facts
        known = facts.upstream, facts.model
        if known in self._warned or len(self._warned) >= WARNED:
            return
        self._warned.add(known)
        log.warning(
            "price.unknown",
            task_id=facts.task_id,
            upstream=facts.upstream,
            model=facts.model,
            upstream_model=generation.partial.upstream_model,
        )
