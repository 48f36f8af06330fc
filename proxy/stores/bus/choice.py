"""Which of the generations that have an id is meant. Pure: both buses choose by it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from proxy.stores.bus.port import Place


@dataclass(frozen=True, slots=True)
class Candidate:
    """A generation that has the id: as its task id, or as an alias. `order` grows with each that is made known."""

    place: Place
    by_task_id: bool
    order: int


def owners(candidates: Sequence[Candidate]) -> set[str]:
    """The replicas whose leases decide which one is meant; none where that needs no deciding."""
    found = {each.place.replica for each in candidates if not each.place.is_over}
    return found if len(found) > 1 else set()


def choose(candidates: Sequence[Candidate], dead: Collection[str] = ()) -> Place | None:
    """The one that is meant, see `Bus.find`; what a dead replica left counts where nothing else lives."""
    living = [each for each in candidates if not each.place.is_over]
    living = [each for each in living if each.place.replica not in dead] or living
    if not living:
        return max(candidates, key=lambda each: each.order).place if candidates else None
    named = [each for each in living if each.by_task_id]
    if named:
        return max(named, key=lambda each: each.order).place
    return living[0].place if len(living) == 1 else None
