"""What lives on this replica, as rows in an order; and what other replicas are told of it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from proxy.core.chosen import Chosen
from proxy.core.lifecycle import Outcome, Phase
from proxy.core.live_row import STATES, Entry, Live, LiveCounts, LiveSort, LiveState, Order, behind, numbers, state_of
from proxy.core.record import Record
from proxy.engine.registry import Registry
from proxy.engine.relaying.finished import Finished
from proxy.engine.relaying.relay import Relay
from proxy.engine.settling.so_far import SoFar
from proxy.engine.upstreams.open_calls import OpenCalls


class LiveHere:
    """The live table of this replica. Nothing of it is kept, and nothing is made but what is asked for."""

    def __init__(self, registry: Registry, so_far: SoFar, calls: OpenCalls, now: Callable[[], float]) -> None:
        self._registry = registry
        self._calls = calls
        self._so_far = so_far
        self._now = now
        self._keys: Final[Mapping[LiveSort, Callable[[Relay], Any]]] = {
            "age": lambda relay: -relay.generation.facts.started_wall,
            "state": lambda relay: STATES.index(_state(relay)),
            "route": lambda relay: relay.generation.facts.route,
            "upstream": lambda relay: relay.generation.facts.upstream,
            "model": lambda relay: relay.generation.facts.model,
            "key": lambda relay: relay.generation.facts.identity.shown,
            "user": lambda relay: relay.generation.facts.user,
            "tokens": so_far.tokens,
            "cost": so_far.about_cost,
            "replica": lambda relay: relay.generation.facts.replica,
        }

    @property
    def changes(self) -> int:
        """Has changed when something began or ended."""
        return self._registry.changes

    def entries(self, chosen: Chosen, sort: LiveSort) -> list[Entry[Relay]]:
        """What is chosen, ready to be put in order."""
        key, now, everything = self._keys[sort], self._now(), chosen == Chosen()
        return [
            (key(relay), relay.generation.facts.started_wall, relay.generation.facts.uid, relay)
            for relay in self._registry
            if everything or chosen.takes(relay.generation.facts, now)
        ]

    def live(self, relay: Relay) -> Live:
        """One of them as it is now."""
        return Live(self._so_far.record(relay, self._now()), _state(relay))

    def whole(self, relay: Relay) -> Record:
        """The record of one of them with its text, and while it runs with the numbers so far."""
        generation, now = relay.generation, self._now()
        if generation.record(now, text=False).outcome is Outcome.RUNNING:
            return self._so_far.record(relay, now, text=True)
        return generation.record(now)  # numbers that are not billed would look like those that are

    def numbers(self, relay: Relay) -> dict[str, Any]:
        """What has grown of one of them, as its row has it."""
        usage, source, cost, currency = self._so_far.numbers(relay)
        return numbers(usage.completion_tokens, source, relay.generation.partial.characters, cost, currency)

    @staticmethod
    def mark(relay: Relay) -> tuple[Any, ...]:
        """What of a row is news at once: numbers can wait, but not where it is and whether it was stopped."""
        generation = relay.generation
        is_told = relay.as_it_stands is not None
        return generation.phase, generation.reads_on, generation.stop, generation.partial.upstream_id, is_told

    def page(self, chosen: Chosen, order: Order, most: int, place: Entry[None] | None) -> tuple[list[Live], int]:
        """The first `most` of what is chosen behind a place in the order, and how many are chosen in all."""
        entries = self.entries(chosen, order.sort)
        return [self.live(relay) for *_, relay in behind(entries, order, place)[:most]], len(entries)

    def counts(self) -> LiveCounts:
        """How many live, and how many calls are orphans, of those too that live no more."""
        relays = list(self._registry)
        return LiveCounts(
            len(relays),
            sum(relay.read_on is not None for relay in relays),
            sum(relay.generation.phase is Phase.QUEUED for relay in relays),
            sum(calls.orphans for calls in self._calls.by_upstream().values()),
        )

    def over(self, uids: Iterable[str]) -> list[Record]:
        """The records of those that ended here a short time ago."""
        found = (self._registry.find_uid(uid) for uid in uids)
        return [each.record for each in found if isinstance(each, Finished)]


def _state(relay: Relay) -> LiveState:
    generation = relay.generation
    return state_of(generation.phase, reads_on=generation.reads_on, has_begun=generation.first_token is not None)
