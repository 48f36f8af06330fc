"""Budgets at work: who may begin, and what was used. What has to stop because a limit is reached: `budget_looks`."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Final, TypeAlias

import structlog

from proxy.core.budget import Budget, Limit, Limits, Tally
from proxy.core.generation import Facts, Generation
from proxy.core.prices import cost
from proxy.core.record import Record
from proxy.core.settings.settings import BudgetSettings
from proxy.core.use import Account, Per, Subject, Use
from proxy.engine.limits.budget_looks import BudgetLooks
from proxy.engine.limits.budget_refusals import exhausted, price_unknown
from proxy.engine.limits.sharing import Sharing
from proxy.engine.limits.spending import Price, Spending, Terms
from proxy.engine.limits.standings import Standing, standing
from proxy.engine.relaying.plan import Plan, Rules
from proxy.engine.relaying.relay import Relay
from proxy.engine.settling.counting import Counter
from proxy.engine.telemetry.metrics import Metrics
from proxy.engine.upstreams.upstream import Upstream
from proxy.stores.ledger.port import Ledger, UsedFilter

log = structlog.get_logger()

TallyKey: TypeAlias = tuple[Per, float]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Budgets, with the tallies that have what was used within their windows."""

    budgets: tuple[Budget, ...]
    tallies: dict[TallyKey, Tally]


class Budgets:
    """One per process."""

    def __init__(
        self, ledger: Ledger, counter: Counter, metrics: Metrics, now: Callable[[], float], replica: str
    ) -> None:
        self._replica = replica
        self._sharing: Sharing | None = None
        self._ledger = ledger
        self._counter = counter
        self._metrics = metrics
        self._now = now
        self._budgets: tuple[Budget, ...] = ()
        self._tallies: dict[TallyKey, Tally] = {}
        self._spending: dict[str, Spending] = {}
        self.summing: Final = asyncio.Lock()
        """Held while the ledger's sums are taken over. Who changes an ended record's numbers there holds it until
        `count_left` has been told of them: else they would be in the sums, and come a second time."""
        self.looks: Final = BudgetLooks(self._spending, metrics, now)
        """At what runs."""

    # The settings.

    async def prepare(self, settings: Iterable[BudgetSettings], live: Callable[[], Iterable[Relay]]) -> Prepared:
        """Know what was used within the windows of these budgets, so that `hold` can begin with them.

        Args:
            settings: the budgets.
            live: gives what is not settled yet.

        Raises:
            LedgerUnavailableError: the ledger can't be read.
        """
        budgets = tuple(budget_of(each) for each in settings)
        tallies: dict[TallyKey, Tally] = {}
        for budget in budgets:
            if budget.window is not None and (key := (budget.per, budget.window)) not in tallies:
                async with self.summing:
                    tallies[key] = self._tallies.get(key) or await self._open(key, list(live()))
        return Prepared(budgets, tallies)

    async def _open(self, key: TallyKey, live: list[Relay]) -> Tally:
        """Begin to count, then add what the ledger has: what ends meanwhile must be counted once."""
        wall = time.time()
        self._tallies[key] = tally = Tally(*key)
        since = tally.begins_at(wall)
        try:
            for relay in live:
                self._join(relay, tally, wall)
            without = [relay.generation.facts.uid for relay in live]
            used = await self._ledger.used(UsedFilter(since, wall, tally.per == "user", tally.most, without))
        except BaseException:
            del self._tallies[key]
            raise
        if tally.begins_at(time.time()) == since:
            for row in used:
                use = Use(row.seconds, row.completion_tokens, row.cost)
                tally.account((row.identity, row.user), wall).add(use, row.replica, self._replica)
        return tally

    def _join(self, relay: Relay, tally: Tally, wall: float) -> None:
        facts = relay.generation.facts
        if tally.begins_at(facts.started_wall) != tally.begins_at(wall):
            return
        spending = self._spending.get(facts.uid)
        if spending is None:
            spending = self._spending[facts.uid] = Spending(relay, Terms((), ()), self._counter)
        spending.count_on(tally.account(_subject(tally, facts), wall))

    def hold(self, prepared: Prepared) -> None:
        """Let these budgets hold for all that is admitted from now on."""
        self._budgets, self._tallies = prepared.budgets, dict(prepared.tallies)
        for budget in self._budgets:
            self._metrics.expect_budget(budget)
        self._moved(self.accounts())

    def standings(self, wall: float) -> list[Standing]:
        """How each budget stands, in the order of the settings; `wall` is the time, in seconds since the epoch."""
        tallies = [self._tallies[each.per, each.window] if each.window is not None else None for each in self._budgets]
        away = self._away
        return [standing(each, tally, wall, away) for each, tally in zip(self._budgets, tallies, strict=True)]

    # Other replicas.

    def share(self, sharing: Sharing) -> None:
        """Count together with other replicas from now on."""
        self._sharing = self.looks.sharing = sharing

    @property
    def _away(self) -> int | None:
        return None if self._sharing is None else self._sharing.away

    def accounts(self) -> Iterator[Account]:
        """All accounts of the windows of now."""
        return (account for tally in self._tallies.values() for account in tally)

    def accounts_of(self, identity: str, user: str | None, wall: float) -> list[Account]:
        """Those that a call of a caller counts on in the windows of `wall`, in seconds since the epoch."""
        return [self._account(tally, tally.subject(identity, user), wall) for tally in self._tallies.values()]

    def _moved(self, accounts: Iterable[Account]) -> None:
        if self._sharing is not None:
            self._sharing.budgets.moved(accounts)

    # Admission.

    def admit(
        self, generation: Generation, plan: Plan, rules: Rules, upstream: Upstream, asked: Limits
    ) -> Terms | None:
        """What holds for a new generation, with the limits of its request's own headers; None: nothing does.

        Raises:
            Refusal: 429, a budget is used up; 400, a cost is limited and the price is not known.
        """
        if not (self._tallies or self._budgets or asked.any):
            return None
        facts = generation.facts
        self._check_left(facts)
        accounts = dict(
            zip(self._tallies, self.accounts_of(facts.identity.name, facts.user, facts.started_wall), strict=True)
        )
        held: list[tuple[Budget, Account | None]] = [
            (budget, None if budget.window is None else accounts[budget.per, budget.window]) for budget in self._budgets
        ]
        if asked.any:
            held.append((Budget("request", asked, asked=True), None))
        limited = [budget for budget, _ in held if budget.limits.cost is not None]
        price = _price(generation, rules, upstream) if limited and plan.counts else None
        if limited and price is None:
            raise price_unknown(limited[-1], plan.model, counts=plan.counts)
        return Terms(held, tuple(accounts.values()), price)

    def _check_left(self, facts: Facts) -> None:
        """Of several budgets that are used up the caller is told of the one that it has to wait for longest."""
        wall = facts.started_wall
        refused: tuple[float, Budget, Limit] | None = None
        for budget in self._budgets:
            if budget.window is None:
                continue
            tally = self._tallies[budget.per, budget.window]
            limit = budget.limits.reached(tally.use_of(_subject(tally, facts), wall, self._away))
            if limit is not None and (refused is None or tally.ends_at(wall) > refused[0]):
                refused = tally.ends_at(wall), budget, limit
        if refused is not None:
            ends, budget, limit = refused
            log.info("budget.refused", key=facts.identity.shown, per=budget.per, limit=limit, budget=budget.says(limit))
            self._metrics.budget_refusals_of(budget.per, limit).inc()
            raise exhausted(budget, limit, ends - wall)

    @staticmethod
    def _account(tally: Tally, subject: Subject, wall: float) -> Account:
        before = tally.forgotten
        account = tally.account(subject, wall)
        if tally.forgotten != before:
            forgotten = tally.forgotten - before
            log.warning("budget.forgotten", per=tally.per, window=tally.window, accounts=forgotten)
        return account

    def begin(self, relay: Relay, terms: Terms) -> None:
        """A generation was admitted on these terms."""
        self._spending[relay.generation.facts.uid] = Spending(relay, terms, self._counter)

    def counted(self, uid: str) -> int | None:
        """The completion tokens so far of a generation whose tokens are counted while it runs; None: they are not."""
        spending = self._spending.get(uid)
        return spending.use.completion_tokens if spending is not None and spending.counts else None

    def settle(self, relay: Relay) -> None:
        """A generation is over, counted and priced."""
        spending = self._spending.pop(relay.generation.facts.uid, None)
        if spending is not None:
            spending.settle(self._now())
            self._moved(spending.accounts)

    def count_left(self, before: Record, after: Record) -> None:
        """What a killed process left was counted and priced behind the start: its window has that from now on."""
        wall = time.time()
        tokens = (after.completion_tokens or 0) - (before.completion_tokens or 0)
        more = Use(0.0, tokens, (after.cost or Decimal(0)) - (before.cost or Decimal(0)))
        for tally in self._tallies.values():
            if tally.begins_at(after.started_at) == tally.begins_at(wall):
                account = tally.account(tally.subject(after.identity, after.user), wall)
                account.add(more, after.replica, self._replica)
                self._moved([account])


def _price(generation: Generation, rules: Rules, upstream: Upstream) -> Price | None:
    """What the tokens of a generation that begins cost; None: that is not known."""
    found = rules.pricing.find(generation, upstream.settings.base_url)
    return None if found is None else partial(cost, found)


def _subject(tally: Tally, facts: Facts) -> Subject:
    return tally.subject(facts.identity.name, facts.user)


def budget_of(settings: BudgetSettings) -> Budget:
    """A budget as the settings have it."""
    limits = Limits(settings.seconds, settings.completion_tokens, settings.cost)
    return Budget(settings.per, limits, settings.window)
