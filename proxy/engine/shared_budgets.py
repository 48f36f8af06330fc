"""Use that counts over all replicas: what this one tells of its accounts, and what it hears of the others'."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Final

from proxy.core.shared_use import Exchange, is_untold
from proxy.core.use import Account, Use
from proxy.engine.spending import Spending
from proxy.stores.shared import Asked, SharedNumbers, Told

AT_ONCE: Final = 100
"""So many accounts of one caller are exchanged in one step: a server does nothing else meanwhile."""
BEYOND_SECONDS: Final = 60.0
"""So long behind a window's end its sums are known: what began in it may still run, and clocks differ."""

_MILLI: Final = 0.001


class SharedBudgets:
    """One per process. `refused` is told of entries that made no sense."""

    def __init__(
        self, numbers: SharedNumbers, replica: str, now: Callable[[], float], refused: Callable[[int], None]
    ) -> None:
        self._shared = numbers
        self._replica = replica
        self._now = now
        self._refused = refused
        self._untold: dict[Account, None] = {}
        self._before: dict[Account, Use] = {}
        self._before_at = now()

    @property
    def untold(self) -> int:
        """How many accounts wait to be told of."""
        return len(self._untold)

    def moved(self, accounts: Iterable[Account]) -> None:
        """What has been used of these is to be told, beside those that something runs on."""
        self._untold.update(dict.fromkeys(accounts))

    def are_near(self, spendings: Iterable[Spending], flush: float) -> bool:
        """Whether a limit may be reached within two flushes, as fast as all have used it since this was last asked."""
        now, before = self._now(), self._before
        ahead = math.ceil(2 * flush / max(now - self._before_at, _MILLI))
        self._before = {}
        self._before_at = now
        is_near = False
        for spending in spendings:
            for budget, account in spending.terms.held:
                if account is not None:
                    self._before[account] = use = account.counted(None)
                    grown = use.beyond(before.get(account, use))
                    is_near = is_near or budget.limits.reached(use + grown.times(ahead)) is not None
        return is_near

    async def tell(self, most: int) -> None:
        """Tell of up to so many accounts that moved.

        Raises:
            BusUnavailableError: the others can't be told now.
        """
        chosen = [account for account, _ in zip(self._untold, range(most), strict=False)]
        await self.exchange(chosen)
        for account in chosen:
            if not is_untold(account):
                self._untold.pop(account, None)

    async def exchange(self, accounts: Collection[Account]) -> None:
        """Tell of these accounts, and hear of them.

        Raises:
            BusUnavailableError: not all of them were heard of.
        """
        wall = time.time()
        by_caller: defaultdict[str, list[tuple[Exchange, Asked]]] = defaultdict(list)
        for account in accounts:
            if (window := account.window) is not None:
                exchange = Exchange(account, self._replica)
                seconds = max(window.ends_at - wall, 0.0) + BEYOND_SECONDS
                by_caller[window.subject[0]].append((exchange, Asked(window, exchange.said, seconds)))
        sent = [
            pairs[start : start + AT_ONCE] for pairs in by_caller.values() for start in range(0, len(pairs), AT_ONCE)
        ]
        asking = [self._shared.exchange(pairs[0][1].window.subject[0], [asked for _, asked in pairs]) for pairs in sent]
        answers = await asyncio.gather(*asking, return_exceptions=True)
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        for pairs, answer in zip(sent, answers, strict=True):
            if not isinstance(answer, BaseException):
                self._hear(pairs, answer)
        if failures:
            raise failures[0]

    def _hear(self, pairs: list[tuple[Exchange, Asked]], answer: list[Told]) -> None:
        at = self._now()
        for (exchange, asked), told in zip(pairs, answer, strict=True):
            if refused := exchange.hear(told.entries, at):
                self._shared.drop(asked.window, refused)
            self._refused(told.refused + len(refused))
            if not exchange.account.live and is_untold(exchange.account):
                self._untold[exchange.account] = None
