"""Sharing: limits that hold over all replicas while the bus can be used, and by this replica's share while it can't."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from proxy.core.use import Account
from proxy.engine.failures import log_failure
from proxy.engine.limits.shared_budgets import SharedBudgets
from proxy.engine.limits.shared_streams import SharedStreams
from proxy.engine.limits.spending import Spending
from proxy.engine.registry import Registry
from proxy.engine.telemetry.metrics import Metrics
from proxy.stores.bus.port import Bus, BusUnavailableError
from proxy.stores.bus.shared import SharedNumbers

ASK_SECONDS: Final = 0.25
"""How long the others may take before this replica goes on with its share: a start waits for that once."""
ROUND_SECONDS: Final = 2.0
"""How long a look at all of it may take: nothing waits for that."""
TOLD_AT_ONCE: Final = 200
"""So many accounts on which nothing runs are told of in one flush."""
AGAIN_SECONDS: Final = 5.0
"""How often all is exchanged again: a server may forget some of it without a word, and what others used while nothing
ran here is to be known when the bus goes away."""
WARN_SECONDS: Final = 60.0
KEEPS_A_LEASE: Final = 4
LOOKS_NEAR: Final = 4
"""So many looks a flush near a limit."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How limits are shared.

    `flush`: how often all is exchanged, in seconds. `lease`: how long a replica's streams count without a sign of life.
    `shares`: so many replicas are expected, and each has one share of so many while the bus is away.
    """

    flush: float
    lease: float
    shares: int


@dataclass(slots=True)
class Place:
    """One stream's place among all replicas' ones. `is_full`: there is none."""

    held: tuple[str, int] | None = None
    is_full: bool = False


class Sharing:
    """One per process."""

    def __init__(
        self,
        bus: Bus,
        numbers: SharedNumbers,
        registry: Registry,
        metrics: Metrics,
        now: Callable[[], float],
        rhythm: Rhythm,
    ) -> None:
        """Ready to open.

        Args:
            bus: whose state is ours.
            numbers: what is counted together.
            registry: what runs here.
            metrics: of this replica.
            now: gives monotonic seconds.
            rhythm: how often, and with how many.
        """
        self._bus = bus
        self._numbers = numbers
        self._metrics = metrics
        self._now = now
        self._rhythm = rhythm
        self.streams = SharedStreams(numbers, registry, self._refused)
        self.budgets = SharedBudgets(numbers, bus.replica, now, self._refused)
        self.all_accounts: Callable[[], Iterable[Account]] = lambda: ()
        """Gives every account of the windows of now."""
        self._answers = False
        self._mark: str | None = None
        self._kept_at = self._said_at = now()
        self._warn_at = now()
        self._sharing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin. Without the others it begins with its share."""
        self._metrics.limits_shared.set(0)
        await self._numbers.open()
        if self._bus.is_up:
            await self._try(self._round(), ASK_SECONDS)
        self._sharing = asyncio.get_running_loop().create_task(self._share_forever(), name="share limits")

    async def close(self) -> None:
        """Tell the others the last of it."""
        if self._sharing is not None:
            self._sharing.cancel()
            await asyncio.wait([self._sharing])
            if self.away is None:
                await self._try(self._last_round(), ROUND_SECONDS)
        self._answers = False
        await self._numbers.close()

    @property
    def away(self) -> int | None:
        """None: limits are kept together with the others. Else this replica has one share of so many."""
        return None if self._answers and self._bus.is_up else self._rhythm.shares

    def share_of(self, most: int) -> int:
        """How many streams of a caller may run here, of so many at all replicas."""
        away = self.away
        return most if away is None else -(-most // away)

    # Before a start.

    async def reserve(self, identity: str, most: int | None, accounts: Collection[Account], place: "Place") -> None:
        """Ask the others for what a start needs: room for one more stream (`most` None: it needs none), and use."""
        if most is None:
            await self.ask(accounts)
        elif not accounts:
            await self._take(identity, most, place)
        else:
            await asyncio.gather(self.ask(accounts), self._take(identity, most, place))

    async def _take(self, identity: str, most: int, place: "Place") -> None:
        number = await self.take(identity, most)
        place.is_full = number is None
        place.held = None if number is None else (identity, number)

    def give_back(self, place: "Place") -> None:
        """A start came to nothing."""
        if place.held is not None:
            self.streams.give_back(*place.held)

    async def take(self, identity: str, most: int) -> int | None:
        """A number for one more stream of a caller; None: the others have no room for it."""
        if self.away is None:
            try:
                async with asyncio.timeout(ASK_SECONDS):
                    return await self.streams.take(identity, most)
            except (BusUnavailableError, TimeoutError) as error:
                self._failed(error)
        return self.streams.take_alone(identity)

    async def ask(self, accounts: Collection[Account]) -> None:
        """Hear of these accounts what was not heard within the last flush."""
        old = self._now() - self._rhythm.flush
        unheard = [account for account in accounts if account.heard is None or account.heard.at < old]
        if self.away is None and unheard:
            await self._try(self.budgets.exchange(unheard, first=True), ASK_SECONDS)

    # Once a flush.

    @property
    def soon(self) -> float:
        """In how many seconds to look again near a limit: others are only heard of as of when they looked."""
        return self._rhythm.flush / LOOKS_NEAR

    async def look(self, spendings: Sequence[Spending]) -> set[Account]:
        """Exchange what all of this counts on; gives the accounts that are near a limit."""
        await self.exchange({account for each in spendings for account in each.accounts})
        return self.budgets.near(spendings, self._rhythm.flush) if self.away is None else set()

    async def exchange(self, accounts: Collection[Account]) -> None:
        """Tell the others of these accounts and hear of them, if they can be asked now."""
        if self.away is None and accounts:
            await self._try(self.budgets.exchange(accounts), ROUND_SECONDS)

    async def _share_forever(self) -> None:
        """Every flush look whether the others know what they should, and tell them."""
        while True:
            await asyncio.sleep(self._rhythm.flush)
            if self._bus.is_up:
                await self._try(self._round(), ROUND_SECONDS)
            elif self._answers:
                self._failed(BusUnavailableError("the bus is down"))

    async def _round(self) -> None:
        now, mark = self._now(), await self._numbers.mark()
        if mark != self._mark or not self._answers or now > self._said_at + AGAIN_SECONDS:
            self._said_at = now
            self.budgets.moved(self.all_accounts())
        if mark != self._mark or not self._answers:
            self.streams.lost()
        self._mark = mark
        if now >= self._kept_at + self._rhythm.lease / KEEPS_A_LEASE:
            self._kept_at = now
            await self.streams.keep()
        await self.streams.say_unsaid()
        await self.budgets.tell(TOLD_AT_ONCE)
        if not self._answers:
            self._answers = True
            self._metrics.limits_shared.set(1)
            log.info("limits.shared")

    async def _last_round(self) -> None:
        await self.streams.say_unsaid()
        while (untold := self.budgets.untold) > 0:
            await self.budgets.tell(untold)

    async def _try(self, work: Awaitable[None], seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await work
        except (BusUnavailableError, TimeoutError) as error:
            self._failed(error)
        except Exception as error:  # noqa: BLE001 limits must go on by themselves, whatever was wrong here
            log_failure("limits.failed", error)
            self._failed(error)

    def _failed(self, error: Exception) -> None:
        if self._answers:
            self._answers = False
            self._metrics.limits_shared.set(0)
            why = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
            log.warning("limits.by_share", shares=self._rhythm.shares, bus=self._bus.place, why=why)

    def _refused(self, entries: int) -> None:
        if entries:
            self._metrics.limits_refused.inc(entries)
            if self._now() >= self._warn_at:
                self._warn_at = self._now() + WARN_SECONDS
                log.warning("limits.refused", hint="something else than replicas of one version writes to the bus")
