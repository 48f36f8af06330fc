"""The price list: which price counts for which model, upstream and day."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final

from proxy.core.prices import Price
from proxy.core.wildcards import Pattern

LONGEST_NAME: Final = 256
"""A model's name has at most so many characters; what is longer has no price."""

_NAMES_KEPT: Final = 1024
_DATE: Final = re.compile(r"[-@](?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{4})")
"""What providers put behind a model's name to say which state of it answered: `-2024-08-06`, `-20241022`, `-0613`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a price list. `upstream` None: all; `valid_from` None: since ever, else from midnight UTC on."""

    pattern: Pattern
    price: Price
    upstream: str | None = None
    valid_from: date | None = None

    @property
    def since(self) -> float:
        """From when on it counts, in seconds since the epoch."""
        day = self.valid_from
        return float("-inf") if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


class PriceList:
    """All prices of one file, at one version.

    No two entries are for the same models, upstream and day, and of two that match the same name one is more specific.
    """

    def __init__(self, version: str, currency: str, entries: Iterable[Entry]) -> None:
        """`version` names the list's exact content."""
        self.version = version
        self.currency = currency
        self.entries = tuple(entries)
        by_upstream: dict[str | None, list[Entry]] = {}
        for entry in self.entries:
            by_upstream.setdefault(entry.upstream, []).append(entry)
        self._scopes: Mapping[str | None, _Scope] = {name: _Scope(found) for name, found in by_upstream.items()}

    @property
    def models(self) -> set[str]:
        """The models that it names, without those that only a wildcard stands for."""
        return {entry.pattern.text for entry in self.entries if entry.pattern.is_plain}

    def find(self, asked: str | None, answered: str | None, upstream: str, at: float) -> Price | None:
        """The price that counts for a generation that started `at` (seconds since the epoch); None: there is none.

        Entries of the very upstream go before those of all. Then the model that answered goes before the one asked
        for, unless it is that one with a date behind its name: then both are one model. The most specific entry
        counts, and of that the newest that is not in the future. A bare `*` counts where nothing else does.
        """
        models = _models(asked, answered)
        for scope in (self._scopes.get(upstream), self._scopes.get(None)):
            found = None if scope is None else scope.find(models, at)
            if found is not None:
                return found.price
        return None


def _models(asked: str | None, answered: str | None) -> list[tuple[str, ...]]:
    """The models whose price may count, one after the other, each under all its names."""
    known = dict.fromkeys((answered, asked))
    names = [name for name in known if name is not None and len(name) <= LONGEST_NAME]
    if len(names) > 1 and names[0].startswith(names[1]) and _DATE.fullmatch(names[0], len(names[1])):
        return [(names[0], names[1])]
    return [(name,) for name in names]


class _Scope:
    """The entries of one upstream, or of all."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        ordered = _specific_first(entries)
        self._for_all = [entry for entry in ordered if entry.pattern.is_all]
        self._wild = [entry for entry in ordered if not (entry.pattern.is_plain or entry.pattern.is_all)]
        self._plain: dict[str, list[Entry]] = {}
        for entry in ordered:
            if entry.pattern.is_plain:
                self._plain.setdefault(entry.pattern.text, []).append(entry)
        self._matching = lru_cache(maxsize=_NAMES_KEPT)(self._look_up)

    def find(self, models: Iterable[tuple[str, ...]], at: float) -> Entry | None:
        """The entry that counts."""
        for entries in (*(self._matching(names) for names in models), self._for_all):
            for entry in entries:
                if entry.since <= at:
                    return entry
        return None

    def _look_up(self, names: tuple[str, ...]) -> list[Entry]:
        """Every entry for a model, in the order in which they count."""
        found = [entry for name in names for entry in self._plain.get(name, [])]
        return _specific_first(found + [e for e in self._wild if any(map(e.pattern.matches, names))])


def _specific_first(entries: Iterable[Entry]) -> list[Entry]:
    """The most specific first, of the same pattern the newest."""
    newest_first = sorted(entries, key=lambda entry: entry.since, reverse=True)
    return sorted(newest_first, key=lambda entry: entry.pattern, reverse=True)
