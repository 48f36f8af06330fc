"""What a live generation has used so far, as far as that is known without counting anything anew.

It is for people who look on. What is billed is counted once, at the end, by the settler.
"""

import math
from decimal import Decimal
from typing import Final

from proxy.core.prices import MILLION_DIGITS, Price, cost
from proxy.core.record import Record, UsageSource
from proxy.core.usage import CHARACTERS_A_TOKEN, Usage
from proxy.engine.limits.budgets import Budgets
from proxy.engine.registry import Registry
from proxy.engine.relaying.relay import Relay

_SLACK: Final = 100
"""So many prices may be kept of what has ended, before they are looked through."""


class SoFar:
    """The numbers so far of this replica's live generations."""

    def __init__(self, registry: Registry, budgets: Budgets) -> None:
        self._registry = registry
        self._budgets = budgets
        self._prices: dict[str, tuple[str | None, Price | None]] = {}
        """By uid; with the model that had answered when it was looked for."""

    def record(self, relay: Relay, now: float, *, text: bool = False) -> Record:
        """Its record with these numbers; one that is written stays as it is written."""
        record = relay.generation.record(now, text=text)
        if relay.settled.done():
            return record
        usage, record.usage_source, record.cost, record.currency = self.numbers(relay)
        record.prompt_tokens, record.completion_tokens = usage.prompt_tokens, usage.completion_tokens
        record.cached_tokens, record.reasoning_tokens = usage.cached_tokens, usage.reasoning_tokens
        return record

    def numbers(self, relay: Relay) -> tuple[Usage, UsageSource, Decimal | None, str | None]:
        """The counts with their source, what that costs, and in which currency."""
        if (stands := relay.as_it_stands) is not None:
            return _usage_of(stands), stands.usage_source, stands.cost, stands.currency
        usage, source = self.usage(relay)
        return usage, source, *self._cost(relay, usage)

    def usage(self, relay: Relay) -> tuple[Usage, UsageSource]:
        """The counts, and whose the completion's is: the upstream's running one, a budget's, or an estimate."""
        generation = relay.generation
        if generation.counted.source is not UsageSource.NONE:
            return generation.counted.usage, generation.counted.source
        partial = generation.partial
        said = partial.usage or Usage()
        prompt = said.prompt_tokens
        if prompt is None and generation.prompt is not None:
            prompt = generation.prompt[0]
        made = said.completion_tokens
        source = UsageSource.NONE if partial.usage is None else UsageSource.UPSTREAM_RUNNING
        if relay.plan.counts and partial.counted_characters and (made is None or partial.outgrew_usage):
            counted = self._budgets.counted(generation.facts.uid)
            more = math.ceil(partial.counted_characters / CHARACTERS_A_TOKEN) if counted is None else counted
            made = max(made or 0, more)
            source = UsageSource.ESTIMATE if counted is None else UsageSource.TOKENIZER
        return Usage(prompt, made, said.cached_tokens, said.reasoning_tokens), source

    def about_cost(self, relay: Relay) -> float | None:
        """Its cost so far, but not to the last digit: by this many are put in order. None: it is not known."""
        if relay.generation.priced.cost is not None:
            return float(relay.generation.priced.cost)
        price, (usage, _) = self._price(relay), self.usage(relay)
        if price is None or usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        prompt, completion = usage.prompt_tokens, usage.completion_tokens
        return (float(price.input) * prompt + float(price.output) * completion) / 10**MILLION_DIGITS

    def _cost(self, relay: Relay, usage: Usage) -> tuple[Decimal | None, str | None]:
        priced = relay.generation.priced
        if priced.cost is not None:
            return priced.cost, priced.currency
        price = self._price(relay)
        try:
            amount = None if price is None else cost(price, usage)
        except ValueError:  # counts that nobody could pay for
            amount = None
        return amount, None if amount is None or price is None else price.currency

    def _price(self, relay: Relay) -> Price | None:
        generation = relay.generation
        uid, answered = generation.facts.uid, generation.partial.upstream_model
        known = self._prices.get(uid)
        if known is None or known[0] != answered:
            found = relay.rules.pricing.find(generation, relay.upstream.settings.base_url)
            known = self._prices[uid] = answered, found
            if len(self._prices) > 2 * len(self._registry) + _SLACK:
                live = {each.generation.facts.uid for each in self._registry}
                self._prices = {uid: price for uid, price in self._prices.items() if uid in live}
        return known[1]


def _usage_of(record: Record) -> Usage:
    return Usage(record.prompt_tokens, record.completion_tokens, record.cached_tokens, record.reasoning_tokens)
