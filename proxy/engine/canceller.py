"""The canceller: the one way to stop. It does not know which dialect asked."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from proxy.core.generation import Identity, Stop
from proxy.core.headers import valid_task_id
from proxy.core.lifecycle import Outcome
from proxy.core.receipt import cancel_result
from proxy.core.record import Record
from proxy.engine.metrics import Metrics
from proxy.engine.registry import Registry
from proxy.engine.relay import Relay
from proxy.stores.ports import Ledger


class Canceller:
    """Stops generations by id, and says truthfully what became of it."""

    def __init__(self, registry: Registry, ledger: Ledger, metrics: Metrics, now: Callable[[], float]) -> None:
        self._registry = registry
        self._ledger = ledger
        self._metrics = metrics
        self._now = now

    async def cancel(
        self, identity: Identity | None, any_id: str, stop: Stop, *, dialect: str, confirm: float
    ) -> Record | None:
        """Stop the generation that an id names: here, else say how it ended.

        Args:
            identity: whose ids are meant; None is the operator, who may stop anybody's.
            any_id: a task id or an alias.
            stop: who asks and why.
            dialect: for the metric only.
            confirm: seconds to wait for the upstream to be closed and the END to be on disk.

        Returns:
            The record; still running in it means that the stop is not confirmed yet. None when the id is unknown or
            somebody else's.
        """
        record = await self._stop_live(identity, any_id, stop, confirm)
        if record is None:
            record = await self._ended(identity, any_id)
        if record is None and identity is not None and valid_task_id(any_id):
            self._registry.remember_stop(identity.name, any_id, stop, self._now())
        result = "unknown_id" if record is None else cancel_result(record).value
        self._metrics.cancelled(dialect, stop.cause, result)
        return record

    async def cancel_all(self, relays: list[Relay], stop: Stop, *, dialect: str, confirm: float) -> list[Record]:
        """Stop many at once; gives the records of those that this stop took effect on."""
        stopped = [relay for relay in relays if relay.stop(stop)]
        await self._confirmed(stopped, confirm)
        for _ in stopped:
            self._metrics.cancelled(dialect, stop.cause, "stopped")
        return [relay.generation.record(self._now()) for relay in stopped]

    async def _stop_live(self, identity: Identity | None, any_id: str, stop: Stop, confirm: float) -> Record | None:
        registry = self._registry
        relay = registry.find_anybodys(any_id) if identity is None else registry.find(identity.name, any_id)
        if relay is None:
            return None
        relay.stop(stop)
        await self._confirmed([relay], confirm)
        if not relay.settled.done():  # the outcome may be known, but it is not durable yet
            record = relay.generation.record(self._now())
            return record if relay.generation.stop is None else _unconfirmed(record)
        return relay.generation.record(self._now())

    async def _ended(self, identity: Identity | None, any_id: str) -> Record | None:
        registry = self._registry
        if identity is None:
            finished = registry.find_anybodys_finished(any_id)
        else:
            finished = registry.find_finished(identity.name, any_id)
        if finished is not None:
            return finished.record
        return await self._ledger.find(None if identity is None else identity.name, any_id)

    @staticmethod
    async def _confirmed(relays: list[Relay], seconds: float) -> None:
        waiting = [relay.settled for relay in relays if not relay.settled.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=seconds)


def _unconfirmed(record: Record) -> Record:
    """A record whose end is not on disk yet must not look like an end."""
    return replace(record, outcome=Outcome.RUNNING)
