"""Many generations at once, on all replicas: bulk stops and lists of what lives. Each owner acts on its own."""

import asyncio
import heapq
import math
from dataclasses import replace

from proxy.core.chosen import Chosen
from proxy.core.generation import Stop
from proxy.core.lifecycle import CancelResult
from proxy.core.receipt import cancel_result
from proxy.core.record import Record
from proxy.engine.canceller import Canceller
from proxy.engine.registry import Registry
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.group import Group, Living, Missing, Origin, StoppedMany

Place = tuple[float, str]
"""Where a generation stands in a list: its start (seconds since the epoch) and its uid."""


class Many:
    """What is done to many. `group`: the other replicas, where there are any."""

    def __init__(self, registry: Registry, canceller: Canceller) -> None:
        self._registry = registry
        self._canceller = canceller
        self.group: Group | None = None

    def chosen_here(self, chosen: Chosen, now: float, age: float = 0.0) -> list[Relay]:
        """What is chosen of what lives here; with `age` as it was so many seconds before `now`."""
        then = now - age
        return [
            relay
            for relay in self._registry
            if chosen.takes(relay.generation.facts, then) and (not age or relay.generation.facts.started <= then)
        ]

    async def stop(
        self, chosen: Chosen, stop: Stop, *, dialect: Origin, confirm: float, now: float, dry: bool = False
    ) -> StoppedMany:
        """Stop what is chosen everywhere; `dry`: only say what that is."""
        here = self.stop_here(self.chosen_here(chosen, now), stop, dialect=dialect, confirm=confirm, dry=dry)
        if self.group is None:
            return await here
        done, elsewhere = await asyncio.gather(
            here, self.group.stop(chosen, stop, dialect=dialect, confirm=confirm, dry=dry)
        )
        return StoppedMany(
            elsewhere.unreachable,
            elsewhere.complete,
            done.matched + elsewhere.matched,
            done.stopped + elsewhere.stopped,
            done.unconfirmed + elsewhere.unconfirmed,
        )

    async def stop_here(
        self, relays: list[Relay], stop: Stop, *, dialect: Origin, confirm: float, dry: bool
    ) -> StoppedMany:
        """Stop these, which live here."""
        matched = [relay.generation.facts.task_id for relay in relays]
        if dry:
            return StoppedMany(matched=matched)
        records = await self._canceller.cancel_all(relays, stop, dialect=dialect, confirm=confirm)
        stopped = [record.task_id for record in records]
        unconfirmed = [each.task_id for each in records if cancel_result(each) is CancelResult.STOPPING]
        return StoppedMany(matched=matched, stopped=stopped, unconfirmed=unconfirmed)

    async def living_elsewhere(self, chosen: Chosen, before: Place, most: int, text: int) -> Living:
        """The newest of what is chosen and lives on other replicas, behind a place in a list; texts up to `text`."""
        if self.group is None:
            return Living()
        place = None if math.isinf(before[0]) else before
        return await self.group.living(chosen, place, most, text)

    def newest_here(self, chosen: Chosen, before: Place | None, most: int, text: int, now: float) -> list[Record]:
        """The same of what lives here."""
        found = [relay for relay in self.chosen_here(chosen, now) if before is None or place_of(relay) < before]
        newest = heapq.nlargest(most, found, key=place_of)
        return [clipped(relay.generation.record(now), text) for relay in newest]


def place_of(relay: Relay) -> Place:
    """Where a live generation stands in a list."""
    facts = relay.generation.facts
    return facts.started_wall, facts.uid


def clipped(record: Record, most: int) -> Record:
    """A record whose text is no longer than that; 0: it has none."""
    text = record.text
    if text is None or (most and len(text) <= most):
        return record
    return replace(record, text=text[:most] if most else None, text_clipped=bool(most) or record.text_clipped)


__all__ = ["Living", "Many", "Missing", "Place", "StoppedMany", "clipped", "place_of"]
