"""Spending: what one generation under budgets has used so far, told to the accounts that it counts on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, TypeAlias

from proxy.core.budget import Budget, Limit
from proxy.core.encodings import encoding_for
from proxy.core.lifecycle import Outcome
from proxy.core.partial import Partial
from proxy.core.record import Record
from proxy.core.usage import Usage
from proxy.core.use import Account, Use
from proxy.engine.relaying.relay import Relay
from proxy.engine.settling.counted import NOT_SENT, prompt_tokens
from proxy.engine.settling.counting import Counter
from proxy.engine.settling.running_count import RunningCount

Price: TypeAlias = Callable[[Usage], Decimal | None]
"""What so many tokens of one model cost, at the prices of the generation's start; None: too little is known."""

_FAR: Final = 2
"""No two tokenizers differ so much: a total that is so far below what has come was told before it came."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a generation from its start to its end, over a reload too.

    `held`: each budget with the account that its limits are compared with; None: the generation's own use. `accounts`:
    all that its use counts on. `price` is there when a cost is limited.
    """

    held: Sequence[tuple[Budget, Account | None]]
    accounts: Sequence[Account]
    price: Price | None = None


class Spending:
    """The use of one generation. Its tokens are counted while it runs only where a budget asks for that."""

    __slots__ = (
        "_count",
        "_counted",
        "_counted_then",
        "_counter",
        "_over",
        "_seen",
        "_told",
        "accounts",
        "counts",
        "relay",
        "terms",
        "use",
    )

    def __init__(self, relay: Relay, terms: Terms, counter: Counter) -> None:
        self.relay = relay
        self.terms = terms
        self.accounts = list(terms.accounts)
        self.use = Use()
        self.counts = any(budget.limits.counts for budget, _ in terms.held)
        """Whether its tokens are looked at while it runs."""
        self._over = False
        self._counter = counter
        self._count = RunningCount(counter, self._encoding()) if self.counts and relay.plan.counts else None
        self._counted = self._counted_then = 0
        self._seen = 0
        self._told: int | None = None
        for account in self.accounts:
            account.live += 1

    def count_on(self, account: Account) -> None:
        """Let one more account have its use."""
        account.move(Use(), self.use)
        account.live += 1
        self.accounts.append(account)

    def tick(self, now: float) -> None:
        """See how long it has run by now, in monotonic seconds; what is read on behind a stop counts as it stands."""
        if (record := self.relay.as_it_stands) is not None:
            self._charge(now, _usage_of(record), record.cost)
            return
        self._move(Use(self._seconds(now), self.use.completion_tokens, self.use.cost))

    async def count(self, now: float) -> None:
        """The same, and its tokens and their cost."""
        if self.relay.as_it_stands is not None:
            self.tick(now)
            return
        partial = self.relay.generation.partial
        tokens = await self._tokens(partial)
        cost = await self._cost(partial, tokens)
        if not self._over:  # it may have ended meanwhile
            self._move(Use(self._seconds(now), tokens, cost))

    def reached(self, away: int | None = None) -> tuple[Budget, Limit] | None:
        """The budget that is used up, if any is; an answer that is whole is only stopped for its time.

        `away`: see `Account.counted`.
        """
        generation = self.relay.generation
        if generation.stop is not None or generation.outcome is not Outcome.RUNNING:
            return None
        for budget, account in self.terms.held:
            limit = budget.limits.reached(self.use if account is None else account.counted(away))
            if limit == "seconds" or (limit and not generation.partial.complete(eof_clean=False)):
                return budget, limit
        return None

    def settle(self, now: float) -> None:
        """Its generation is over, counted and priced: what is billed is what was used."""
        self._over = True
        generation = self.relay.generation
        self._charge(now, generation.counted.usage, generation.priced.cost)
        for account in self.accounts:
            account.live -= 1

    def _charge(self, now: float, usage: Usage, cost: Decimal | None) -> None:
        """What is billed is what was used."""
        if cost is None:
            cost = self._priced(usage)
        if usage.completion_tokens is None:  # unknown; what was seen of it is at least something
            usage = Usage(completion_tokens=self.use.completion_tokens)
            cost = cost if cost is not None or not usage.completion_tokens else self.use.cost
        self._move(Use(self._seconds(now), usage.completion_tokens or 0, Decimal(0) if cost is None else cost))

    def _seconds(self, now: float) -> float:
        generation = self.relay.generation
        ended = now if generation.ended is None else generation.ended
        return max(ended - generation.facts.started, 0.0)

    def _move(self, use: Use) -> None:
        for account in self.accounts:
            account.move(self.use, use)
        self.use = use

    async def _tokens(self, partial: Partial) -> int:
        """The completion tokens so far: the upstream's last total, and what has come behind it by our own count."""
        told = None if partial.usage is None else partial.usage.completion_tokens
        if self._count is not None and partial.counted_characters != self._seen:
            self._seen = partial.counted_characters
            self._counted = await self._count.update(partial)
        if told is not None and told != self._told and told * _FAR >= self._counted:
            self._told, self._counted_then = told, self._counted
        return (self._told or 0) + max(self._counted - self._counted_then, 0)

    def _priced(self, usage: Usage) -> Decimal | None:
        try:
            return None if self.terms.price is None else self.terms.price(usage)
        except ValueError:  # counts that nobody could pay for
            return None

    async def _cost(self, partial: Partial, completion: int) -> Decimal:
        if self.terms.price is None or self.relay.generation.phase in NOT_SENT:
            return self.use.cost
        known = partial.usage or Usage()
        prompt = known.prompt_tokens if known.prompt_tokens is not None else await self._prompt_tokens()
        cost = self._priced(Usage(prompt, completion, known.cached_tokens, known.reasoning_tokens))
        return self.use.cost if cost is None else cost

    async def _prompt_tokens(self) -> int | None:
        if self._count is None:
            return None
        relay = self.relay
        tokens, _ = await prompt_tokens(relay.generation, relay.plan, self._counter, self._encoding())
        return tokens

    def _encoding(self) -> str:
        return encoding_for(self.relay.plan.model or "", self.relay.upstream.settings.encoding)


def _usage_of(record: Record) -> Usage:
    return Usage(record.prompt_tokens, record.completion_tokens, record.cached_tokens, record.reasoning_tokens)
