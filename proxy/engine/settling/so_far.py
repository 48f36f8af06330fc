"""What a live generation has used so far, as far as that is known without counting anything anew.

It is for people who look on. What is billed is counted once, at the end, by the settler.
"""

from decimal import Decimal
from typing import Final

from proxy.core.prices import MILLION_DIGITS, Price, cost
from proxy.core.record import Record, UsageSource
from proxy.core.usage import CHARACTERS_A_TOKEN, Usage
from proxy.engine.limits.budgets import Budgets
from proxy.engine.registry import Registry
from proxy.engine.relaying.relay import Relay

_NONE: Final = UsageSource.NONE
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
        if generation.counted.source is not _NONE:
            return generation.counted.usage, generation.counted.source
        said = generation.partial.usage
        made, source = self._made(relay, said)
        cached, reasoning = (None, None) if said is None else (said.cached_tokens, said.reasoning_tokens)
        return Usage(_prompt(relay, said), made, cached, reasoning), source

    def tokens(self, relay: Relay) -> int | None:
        """Its completion tokens alone. By this many are put in order, so that nothing is made for it but a number."""
        counted = relay.generation.counted
        if counted.source is not _NONE:
            return counted.usage.completion_tokens
        return self._made(relay, relay.generation.partial.usage)[0]

    def about_cost(self, relay: Relay) -> float | None:
        """Its cost so far, but not to the last digit: by this many are put in order. None: it is not known."""
        generation = relay.generation
        if generation.priced.cost is not None:
            return float(generation.priced.cost)
        price = self._price(relay)
        if price is None:
            return None
        if generation.counted.source is not _NONE:
            prompt, made = generation.counted.usage.prompt_tokens, generation.counted.usage.completion_tokens
        else:
            said = generation.partial.usage
            prompt, (made, _) = _prompt(relay, said), self._made(relay, said)
        if prompt is None or made is None:
            return None
        return (float(price.input) * prompt + float(price.output) * made) / 10**MILLION_DIGITS

    def _made(self, relay: Relay, said: Usage | None) -> tuple[int | None, UsageSource]:
        """What one that nobody has counted at its end has made, and whose count that is; `said`: the upstream's."""
        partial = relay.generation.partial
        made, source = (None, _NONE) if said is None else (said.completion_tokens, UsageSource.UPSTREAM_RUNNING)
        characters = partial.counted_characters
        if not (characters and relay.plan.counts and (made is None or partial.outgrew_usage)):
            return made, source
        counted = self._budgets.counted(relay.generation.facts.uid)
        if counted is None:
            return max(made or 0, -(-characters // CHARACTERS_A_TOKEN)), UsageSource.ESTIMATE
        return max(made or 0, counted), UsageSource.TOKENIZER

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


def _prompt(relay: Relay, said: Usage | None) -> int | None:
    """The count of its prompt: the upstream's, else ours."""
    if said is not None and said.prompt_tokens is not None:
        return said.prompt_tokens
    return None if relay.generation.prompt is None else relay.generation.prompt[0]


def _usage_of(record: Record) -> Usage:
    return Usage(record.prompt_tokens, record.completion_tokens, record.cached_tokens, record.reasoning_tokens)
