"""The canceller: the one way to stop. It does not know which dialect asked."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from proxy.core.begun import with_newer
from proxy.core.errors import Refusal
from proxy.core.generation import Identity, Stop
from proxy.core.headers import valid_task_id
from proxy.core.lifecycle import CancelResult, Outcome
from proxy.core.receipt import cancel_result
from proxy.core.record import Record
from proxy.engine.registry import Registry
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.elsewhere import Elsewhere
from proxy.engine.settling.whole_record import whole_record
from proxy.engine.telemetry.metrics import Metrics
from proxy.engine.translating.left_runs import LeftRuns
from proxy.engine.translating.run import Run
from proxy.engine.translating.runs import Runs
from proxy.stores.bus.port import BusUnavailableError
from proxy.stores.ledger.port import Ledger

log = structlog.get_logger()

UNCERTAIN: Final = "bus_unavailable"


class Canceller:
    """Stops generations by id, and says truthfully what became of it."""

    def __init__(
        self, registry: Registry, runs: Runs, ledger: Ledger, metrics: Metrics, now: Callable[[], float], replica: str
    ) -> None:
        self._registry = registry
        self._runs = runs
        self._ledger = ledger
        self._metrics = metrics
        self._now = now
        self._replica = replica
        self.left = LeftRuns()
        self.elsewhere: Elsewhere | None = None
        """The other replicas, where there are any."""

    async def cancel(
        self,
        identity: Identity | None,
        any_id: str,
        stop: Stop,
        *,
        dialect: str,
        confirm: float,
        user: str | None = None,
        asks_others: bool = True,
    ) -> Record | None:
        """Stop the generation that an id names: here, else where it runs, else say how it ended.

        Args:
            identity: whose ids are meant; None is the operator, who may stop anybody's.
            any_id: a task id or an alias.
            stop: who asks and why.
            dialect: for the metric only.
            confirm: seconds to wait for the upstream to be closed and the END to be on disk. Where the upstream is
                read on, only its client's end is waited for.
            user: the end user whose generations are meant; None: any. What is another's looks unknown.
            asks_others: other replicas are asked too.

        Returns:
            The record; still running in it means that the stop is not confirmed yet. None when the id is unknown or
            somebody else's.

        Raises:
            Refusal: 503, it means nothing here, and the other replicas can't be asked now; or a ledger that is shared
                says that another one runs it, which the stop did not reach.
        """
        name = None if identity is None else identity.name
        record, result = await self._cancel(name, any_id, stop, confirm, user, asks_others=asks_others)
        if record is None and name is not None and valid_task_id(any_id):
            self._registry.remember_stop(name, any_id, stop, self._now(), user)
        self._metrics.cancelled(dialect, stop.cause, result)
        if result == UNCERTAIN:
            raise Refusal.bus_unavailable()
        return record

    async def cancel_here(
        self, identity: str, any_id: str, stop: Stop, *, confirm: float, user: str | None
    ) -> Record | None:
        """The same for another replica, which counts it: only what is known here."""
        record, _ = await self._cancel(identity, any_id, stop, confirm, user, asks_others=False)
        return record

    async def _cancel(
        self, name: str | None, any_id: str, stop: Stop, confirm: float, user: str | None, *, asks_others: bool
    ) -> tuple[Record | None, str]:
        """The record, and what the metric calls the result."""
        told = self._stop_runs(name, any_id, stop, user)
        lives_here = self._registry.is_live(name, any_id)
        record = await self._in_memory(name, any_id, stop, confirm, user)
        is_certain = True
        if asks_others and not told and not lives_here:  # an id whose generation is over here may live elsewhere
            found, is_certain = await self._elsewhere(name, any_id, stop, confirm, user, record)
            record = found or record
        if record is None and not self._is_ambiguous(name, any_id):
            record = await self._ledger.find(name, any_id)
            if record is None or record.outcome is Outcome.RUNNING:  # it may have come while others were asked
                record = await self._in_memory(name, any_id, stop, confirm, user) or record
            if record is not None and record.outcome is Outcome.RUNNING and record.replica != self._replica:
                record, is_certain = None, False  # that another one began it is no proof that it heard of the stop
        if told:
            await asyncio.wait(told, timeout=confirm)
        if record is not None and user is not None and record.user != user:
            log.info("cancel.foreign_user", id=any_id)
            return None, "foreign_user"
        if record is not None:
            return record, cancel_result(record).value
        return None, "unknown_id" if is_certain else UNCERTAIN

    async def _elsewhere(
        self, name: str | None, any_id: str, stop: Stop, confirm: float, user: str | None, over_here: Record | None
    ) -> tuple[Record | None, bool]:
        """What other replicas say; False: they can't be asked now. `over_here` is what the id means here."""
        if self.elsewhere is None or name is None:
            return None, True
        try:
            record = await self.elsewhere.stop(name, any_id, stop, confirm=confirm, user=user, over_here=over_here)
        except BusUnavailableError:
            return None, False
        if record is not None and record.outcome is Outcome.INTERRUPTED:  # a ledger that is shared knows more
            kept = await self._ledger.find(name, record.message_id)
            is_it = kept is not None and kept.uid == record.uid and kept.outcome is not Outcome.RUNNING
            record = with_newer(kept, record) if kept is not None and is_it else record
        return record, True

    def _stop_runs(self, name: str | None, any_id: str, stop: Stop, user: str | None) -> list[asyncio.Task[None]]:
        """Stop the runs that an id means: also those that have no generation now.

        Gives what tells of those that waited: no generation's end says what becomes of them. It goes on by itself.
        """
        found = self._runs.keyed(name, any_id) or self._behind(name, any_id)
        meant = [run for run in found if user is None or run.user == user]
        stopped = [run for run in meant if run.request_stop(stop, self._now())]
        return [self.left.tell(run) for run in stopped if run.is_over]

    def _behind(self, name: str | None, any_id: str) -> list[Run]:
        """The run that waits behind the generation that an id means: the newest that had it, when none that lives has.

        An operator's id that means several means none.
        """
        registry = self._registry
        if registry.is_live(name, any_id):
            return []
        newest = registry.find_anybodys_finished(any_id) if name is None else registry.find_finished(name, any_id)
        waiting = self._runs.behind(name, any_id)
        found = [run for run in waiting if newest is None or run.has(newest.record.uid)]
        return found if len(found) == 1 else []

    async def cancel_all(self, relays: list[Relay], stop: Stop, *, dialect: str, confirm: float) -> list[Record]:
        """Stop many at once.

        Gives the records of those that this stop ended; a generation that was complete by then is not among them.
        Still running in one means, as in `cancel`, that it is not confirmed yet.
        """
        stopped = [relay for relay in relays if self.stop_relay(relay, stop)]
        await self._confirmed(stopped, confirm)
        records = [self._record_of(relay) for relay in stopped]
        for record in records:
            self._metrics.cancelled(dialect, stop.cause, cancel_result(record).value)
        return [record for record in records if cancel_result(record) is not CancelResult.ALREADY_FINISHED]

    async def _in_memory(
        self, name: str | None, any_id: str, stop: Stop, confirm: float, user: str | None
    ) -> Record | None:
        """Stop what lives under an id, or find what ended a short time ago."""
        registry = self._registry
        relay = registry.find_anybodys(any_id) if name is None else registry.find(name, any_id)
        if relay is None:
            found = registry.find_anybodys_finished(any_id) if name is None else registry.find_finished(name, any_id)
            return None if found is None else await whole_record(found, self._ledger)
        if user is not None and relay.generation.facts.user != user:
            return relay.generation.record(self._now())
        self.stop_relay(relay, stop)
        await self._confirmed([relay], confirm)
        return self._record_of(relay)

    def stop_relay(self, relay: Relay, stop: Stop) -> bool:
        """Stop a generation, and with it the run that it belongs to; True if this stop took effect."""
        run = relay.plan.run
        return relay.stop(stop) if run is None else run.request_stop(stop, self._now())

    def _is_ambiguous(self, name: str | None, any_id: str) -> bool:
        return name is not None and self._registry.is_ambiguous(name, any_id)

    def _record_of(self, relay: Relay) -> Record:
        """The record of a generation; the end by a stop that is not on disk yet must not look like one."""
        record = relay.generation.record(self._now())
        is_certain = relay.settled.done() or record.cause is None
        return record if is_certain else replace(record, outcome=Outcome.RUNNING)

    async def _confirmed(self, relays: list[Relay], seconds: float) -> None:
        waiting = [relay.released for relay in relays if not relay.released.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=seconds)
        for relay in relays:
            if not relay.released.done():
                self._metrics.unconfirmed(relay.upstream.name)
