"""Entries of a price list of which nobody could say which one counts."""

from collections.abc import Iterable, Iterator, Mapping

from proxy.config_file.problems import Loc
from proxy.config_file.values import Findings
from proxy.core.price_list import Entry


def find_ties(places: Mapping[Loc, Entry], found: Findings) -> None:
    """An error for each entry that is there twice, and for each pattern that another one is as specific as."""
    first: dict[tuple[object, ...], Loc] = {}
    for loc, entry in places.items():
        same = first.setdefault((entry.pattern, entry.upstream, entry.valid_from), loc)
        if same != loc:
            message = (
                f"'{entry.pattern}' is priced on line {_line(found, same)} already; "
                "another price of it needs a valid_from or an upstream of its own"
            )
            found.key_error(loc, message)
    for earlier, later in _tied(places):
        message = (
            f"'{places[later].pattern}' and '{places[earlier].pattern}' (line {_line(found, earlier)}) match the same "
            "names, and none is more specific; add characters to one of them, or name the models"
        )
        found.key_error(later, message)


def _line(found: Findings, loc: Loc) -> int:
    return found.at(loc, key=True).line


def _tied(places: Mapping[Loc, Entry]) -> Iterator[tuple[Loc, Loc]]:
    """Pairs of places, in the order of the file, whose different patterns tie."""
    groups: dict[tuple[object, ...], dict[str, Loc]] = {}
    for loc, entry in places.items():
        if not entry.pattern.is_plain:
            groups.setdefault((entry.upstream, entry.pattern.rank), {}).setdefault(entry.pattern.text, loc)
    order = {loc: number for number, loc in enumerate(places)}
    for group in groups.values():
        for one, other in _neighbours(places, group.values()):
            if places[one].pattern.overlaps(places[other].pattern):
                yield (one, other) if order[one] < order[other] else (other, one)


def _neighbours(places: Mapping[Loc, Entry], group: Iterable[Loc]) -> Iterator[tuple[Loc, Loc]]:
    """Pairs that may overlap: the beginning of one begins the other's. Few do, however many there are."""
    ordered = sorted(group, key=lambda loc: places[loc].pattern.beginning)
    for number, one in enumerate(ordered):
        beginning = places[one].pattern.beginning
        for other in ordered[number + 1 :]:
            if not places[other].pattern.beginning.startswith(beginning):
                break
            yield one, other
