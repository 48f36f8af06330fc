"""The forwarding: brings what is on disk here to the shared ledger all the time, and says how far behind it is.

A round that fails is tried again, later each time. The proxy needs none of it: an outage makes records wait, and is
told once.
"""

import asyncio
import contextlib
import random
import time
from typing import TYPE_CHECKING, Final

import structlog

from proxy.engine.failures import log_failure
from proxy.engine.telemetry.metrics import Metrics
from proxy.stores.ledger.port import LedgerUnavailableError

if TYPE_CHECKING:
    from proxy.stores.shared_ledger.ledger import SharedLedger

GATHER_SECONDS: Final = 0.5
"""How long is waited for more before a round: most generations are over by then, and are sent once."""

IDLE_SECONDS: Final = 2.0
"""Without anything to send, so often is asked what others have deleted, and looked what was deleted here."""

OWN_NAME: Final = "another live process has this name: give each its own in `replica`, or leave it at auto"
"""What to do about two processes of one name."""

RETRY_FIRST: Final = 0.5
RETRY_MOST: Final = 10.0

AGAIN_SECONDS: Final = 300.0
"""How often is said again what somebody must do, for as long as nobody did."""

log = structlog.get_logger("quell.ledger")


class Forwarding:
    """Calls the forwarder for as long as the process lives."""

    def __init__(self, ledger: "SharedLedger", metrics: Metrics) -> None:
        forwarder = ledger.forwarder
        self._ledger = ledger
        self._forwarder = forwarder
        self._metrics = metrics
        self._failures = 0
        self._tell_again_at = 0.0
        metrics.watch_forwarding(lambda: forwarder.pending, lambda: forwarder.lag)

    async def forward_forever(self) -> None:
        """Forward what comes."""
        while True:
            self._forwarder.awake.clear()
            overtaken = self._forwarder.overtaken
            try:
                more = await self._forwarder.round()
            except LedgerUnavailableError as error:
                await self._failed(str(error), error.hint)
            except Exception as error:  # noqa: BLE001 a defect of ours must not end it for good
                log_failure("ledger.forward_failed", error)
                await self._failed(type(error).__name__)
            else:
                self._succeeded()
                if came_late := self._forwarder.overtaken - overtaken:
                    log.warning("ledger.ends_came_late", records=came_late)
                if not more:
                    await self._wait()

    async def finish(self, seconds: float) -> None:
        """At the end of the process: forward the last records, if they are taken; others wait for the next start."""
        if self._failures:
            return
        with contextlib.suppress(LedgerUnavailableError):
            await self._forwarder.catch_up(seconds)

    async def end_last_life(self) -> None:
        """End what an earlier process of this replica's name ran; first is shared what its file knows of that.

        Then look whether that process, or another one of this name, lives.
        """
        while True:
            try:
                await self._forwarder.catch_up(RETRY_MOST)
                ended = await self._ledger.interrupt_own()
                break
            except LedgerUnavailableError:
                await asyncio.sleep(RETRY_MOST)
        if ended:
            self._metrics.interrupted(ended)
            log.info("ledger.last_life_ended", records=len(ended))
        await self._look_for_namesakes()

    async def _look_for_namesakes(self) -> None:
        """Say so, once, if another process that lives has this replica's name; what died has no lease soon."""
        seen: dict[str, float] | None = None
        while seen is None or seen:
            with contextlib.suppress(LedgerUnavailableError):
                found = await self._ledger.namesakes()
                if any(until > (seen or found).get(life, until) for life, until in found.items()):
                    log.error("ledger.name_taken", replica=self._forwarder.replica, hint=OWN_NAME)
                    return
                seen = found
            await asyncio.sleep(self._forwarder.lease / 2)

    async def _wait(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(IDLE_SECONDS):
                await self._forwarder.awake.wait()
        await asyncio.sleep(GATHER_SECONDS)

    def _succeeded(self) -> None:
        if self._failures:
            log.info("ledger.forward_recovered", failures=self._failures, pending=self._forwarder.pending)
        self._failures, self._tell_again_at = 0, 0.0

    async def _failed(self, why: str, hint: str = "") -> None:
        self._failures += 1
        self._metrics.forward_errors.inc()
        if hint:
            if time.monotonic() >= self._tell_again_at:
                self._tell_again_at = time.monotonic() + AGAIN_SECONDS
                log.error("ledger.forward_refused", why=why, hint=hint, pending=self._forwarder.pending)
        elif self._failures == 1:
            log.warning("ledger.forward_failing", why=why, pending=self._forwarder.pending)
        longest = min(RETRY_FIRST * 2 ** min(self._failures - 1, 16), RETRY_MOST)
        await asyncio.sleep(random.uniform(longest / 2, longest))  # noqa: S311 no secret is made of it
