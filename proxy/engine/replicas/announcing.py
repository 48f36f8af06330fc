"""What this replica makes known of its generations to the others. None of it waits."""

from collections.abc import Callable
from dataclasses import replace

from proxy.core.begun import as_begun
from proxy.core.lifecycle import RunState
from proxy.core.record_bytes import record_bytes
from proxy.engine.relaying.relay import Relay
from proxy.engine.translating.run import Run
from proxy.stores.bus.port import Bus, Owned


class Announcing:
    """Makes a generation's ids known from its admission to its end.

    A run that waits for the results of tools is stopped by the ids of the generation it waits behind, so those stay
    known as living until the run is over or has its next one.
    """

    def __init__(self, bus: Bus, now: Callable[[], float]) -> None:
        self._bus = bus
        self._now = now
        self._held: dict[Run, list[tuple[str, bytes]]] = {}

    def began(self, relay: Relay) -> None:
        """A generation was admitted."""
        facts, plan = relay.generation.facts, relay.plan
        about = self._about(relay)
        name = facts.identity.name
        self._bus.own(Owned(facts.uid, name, facts.task_id, facts.message_id, plan.aliases, facts.user, about))
        if plan.run is not None:
            self._let_go(plan.run)

    def learned_id(self, relay: Relay, upstream_id: str) -> None:
        """It has one more id."""
        self._bus.alias(relay.generation.facts.uid, upstream_id, self._about(relay))

    def settled(self, relay: Relay) -> None:
        """Its record is written."""
        uid, run, about = relay.generation.facts.uid, relay.plan.run, self._about(relay)
        if run is not None and run.state is RunState.WAITING:
            self._held.setdefault(run, []).append((uid, about))
        else:
            self._bus.release(uid, about)

    def run_changed(self, run: Run) -> None:
        """A run has a new state."""
        if run.is_over:
            self._let_go(run)

    def _let_go(self, run: Run) -> None:
        for uid, about in self._held.pop(run, ()):
            self._bus.release(uid, about)

    def _about(self, relay: Relay) -> bytes:
        """Its record as of now. The text stays here: whoever may see it asks for it."""
        record = as_begun(relay.generation.record(self._now()))
        return record_bytes(record if record.text is None else replace(record, text=None))
