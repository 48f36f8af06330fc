"""Use that counts over all replicas: what this one tells of its accounts, and what it hears of the others'."""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Final

from proxy.core.shared_use import Exchange, is_untold
from proxy.core.use import Account, Use, Window
from proxy.engine.limits.spending import Spending
from proxy.stores.bus.port import BusUnavailableError
from proxy.stores.bus.shared import Asked, SharedNumbers, Told

AT_ONCE: Final = 100
"""So many accounts are exchanged in one step: a server does nothing else meanwhile."""
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
        self._before: dict[Account, tuple[Use, float]] = {}

    @property
    def untold(self) -> int:
        """How many accounts wait to be told of."""
        return len(self._untold)

    def moved(self, accounts: Iterable[Account]) -> None:
        """What has been used of these is to be told, beside those that something runs on."""
        self._untold.update(dict.fromkeys(accounts))

    def near(self, spendings: Iterable[Spending], flush: float) -> set[Account]:
        """The accounts that may reach a limit within two flushes, as fast as all have used them since the last look."""
        now, seen, near = self._now(), dict[Account, tuple[Use, float]](), set[Account]()
        for spending in spendings:
            for budget, account in spending.terms.held:
                if account is None or spending.relay.generation.stop is not None:
                    continue
                use = account.counted(None)
                before, at = self._before.get(account, (use, now))
                ahead = use.beyond(before).times(math.ceil(2 * flush / max(now - at, _MILLI)))
                seen[account] = use, now
                if budget.limits.reached(use + ahead) is not None:
                    near.add(account)
        self._before = seen
        return near

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

    async def exchange(self, accounts: Collection[Account], *, first: bool = False) -> None:
        """Tell of these accounts, and hear of them; `first`: before whatever else is to be exchanged.

        Raises:
            BusUnavailableError: not all of them were heard of.
        """
        groups: defaultdict[str, list[tuple[Account, Window]]] = defaultdict(list)
        for account in accounts:
            if (window := account.window) is not None:
                groups[self._shared.group(window)].append((account, window))
        sent: list[tuple[list[Exchange], asyncio.Future[list[Told]]]] = []
        try:
            for pairs in groups.values():
                for start in range(0, len(pairs), AT_ONCE):
                    sent.append(self._send(pairs[start : start + AT_ONCE], first=first))
                    await asyncio.sleep(0)
            await self._hear_all(sent)
        finally:
            for _, answer in sent:
                answer.cancel()

    def _send(
        self, pairs: list[tuple[Account, Window]], *, first: bool
    ) -> "tuple[list[Exchange], asyncio.Future[list[Told]]]":
        wall = time.time()
        exchanges = [Exchange(account, self._replica) for account, _ in pairs]
        asked = [
            Asked(window, exchange.said, max(window.ends_at - wall, 0.0) + BEYOND_SECONDS)
            for exchange, (_, window) in zip(exchanges, pairs, strict=True)
        ]
        return exchanges, self._shared.exchange(asked, first=first)

    async def _hear_all(self, sent: "list[tuple[list[Exchange], asyncio.Future[list[Told]]]]") -> None:
        failure: BusUnavailableError | None = None
        for exchanges, answer in sent:
            try:
                self._hear(exchanges, await answer)
            except BusUnavailableError as error:
                failure = error
            await asyncio.sleep(0)
        if failure is not None:
            raise failure

    def _hear(self, exchanges: list[Exchange], answer: list[Told]) -> None:
        at = self._now()
        for exchange, told in zip(exchanges, answer, strict=True):
            self._refused(told.refused + exchange.hear(told.entries, at))
            if not exchange.account.live and is_untold(exchange.account):
                self._untold[exchange.account] = None
