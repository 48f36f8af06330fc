"""Pricing: which price counts for an ended generation, and what it costs. The price is frozen into its record."""

from decimal import Decimal
from typing import Final, Protocol

import structlog

from proxy.core.generation import Generation, Priced
from proxy.core.price_list import PriceList
from proxy.core.prices import Price, cost, frozen
from proxy.core.record import Record, UsageSource
from proxy.core.settlement import costs_nothing
from proxy.core.usage import Usage

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

    def find(self, generation: Generation, base_url: str, usage: Usage | None = None) -> Price | None:
        """The unit prices that count for a generation as far as it is; None: nobody knows any.

        The price list goes before the fallback, also where it only has a bare `*`. `usage`: see `price`.
        """
        facts, prompt_tokens = generation.facts, (usage or generation.counted.usage).prompt_tokens
        answered = generation.partial.upstream_model
        return self._find(facts.upstream, base_url, facts.model, answered, facts.started_wall, prompt_tokens)

    def _find(
        self,
        upstream: str,
        base_url: str,
        asked: str | None,
        answered: str | None,
        at: float,
        prompt_tokens: int | None,
    ) -> Price | None:
        found = None if self._table is None else self._table.find(asked, answered, upstream, at)
        if found is None and self._fallback is not None:
            found = self._fallback.find(
                base_url=base_url, asked=asked, answered=answered, at=at, prompt_tokens=prompt_tokens
            )
        return found

    def price(self, generation: Generation, base_url: str, usage: Usage | None = None) -> Priced:
        """What an ended and counted generation costs; `usage`: with these counts instead of its own.

        A stopped one whose settlement is void costs 0, whatever is known. Else the cost is unknown without a price, or
        without counts: also where the upstream was never called or has refused the call.
        """
        price = self.find(generation, base_url, usage)
        if costs_nothing(generation.facts.settlement, stopped=generation.was_stopped):
            if price is None:
                return Priced(Decimal(0), self.currency)
            return Priced(Decimal(0), price.currency, frozen(price))
        if price is None:
            self._warn(generation)
            return Priced()
        return _priced(price, usage or generation.counted.usage, generation.facts.task_id)

    def price_left(self, record: Record, base_url: str) -> Priced:
        """What a record costs that a process left unsettled, as far as its counts are known."""
        asked, answered = record.model, record.upstream_model
        price = self._find(record.upstream, base_url, asked, answered, record.started_at, record.prompt_tokens)
        usage = Usage(record.prompt_tokens, record.completion_tokens, record.cached_tokens, record.reasoning_tokens)
        return Priced() if price is None else _priced(price, usage, record.task_id)

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


def _priced(price: Price, usage: Usage, task_id: str) -> Priced:
    try:
        amount = cost(price, usage)
    except ValueError as error:  # counts that no provider can mean
        log.warning("price.out_of_range", task_id=task_id, error=str(error))
        amount = None
    return Priced(amount, None if amount is None else price.currency, frozen(price))
