"""What replicas tell each other of their use, and how it is summed up. Pure.

Each replica has one entry for each account: the total that it has used, never a difference, so that telling it twice,
again after a restart, or again to a store that has lost everything counts it once. An entry is three whole numbers,
MILLISECONDS/COMPLETION_TOKENS/UNITS_OF_COST; whatever else stands there is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from proxy.core.money import COST_DIGITS, cost_of
from proxy.core.use import Account, Heard, Use

MOST_DIGITS: Final = 24
"""Digits of a number that is believed."""

_ENTRY: Final = re.compile(rb"[0-9]{1,%d}/[0-9]{1,%d}/[0-9]{1,%d}" % (MOST_DIGITS, MOST_DIGITS, MOST_DIGITS))
_NAME: Final = re.compile(rb"[!-~]{1,255}")
"""A replica's, see the settings."""
_MILLI: Final = 1000


@dataclass(frozen=True, slots=True)
class Merged:
    """What is known of one account's use: at others, by the names of replicas, and at this one. `told`: by entries.

    `refused`: so many entries are none.
    """

    others: Mapping[str, Use]
    own: Use | None
    told: Mapping[str, Use]
    refused: int

    def lacks(self, replica: str) -> bool:
        """Whether an entry says less than what is known, of a name that there may be one of."""
        if not _NAME.fullmatch(replica.encode(errors="replace")):
            return False
        return replica not in self.told or entry(self.told[replica]) != entry(self.others[replica])

    def elsewhere(self) -> Use:
        """What all others have used."""
        return sum(self.others.values(), Use())


def entry(use: Use) -> bytes:
    """What a replica tells of its use."""
    units = int(max(use.cost, Decimal(0)).scaleb(COST_DIGITS))
    return b"%d/%d/%d" % (max(round(use.seconds * _MILLI), 0), max(use.completion_tokens, 0), units)


def read_entry(said: bytes) -> Use | None:
    """What an entry says; None: it is none."""
    if _ENTRY.fullmatch(said) is None:
        return None
    milliseconds, tokens, units = map(int, said.split(b"/"))
    return Use(milliseconds / _MILLI, tokens, cost_of(units))


def merge(entries: Mapping[bytes, bytes], own: str, known: Mapping[str, Use]) -> Merged:
    """Sum up the entries of one account.

    Args:
        entries: by the names of replicas.
        own: this replica's name.
        known: what the ledger has of other names. An entry may be late or gone, so the larger number counts.
    """
    told: dict[str, Use] = {}
    refused = 0
    for name, said in entries.items():
        if (use := read_entry(said)) is not None and _NAME.fullmatch(name):
            told[name.decode()] = use
        else:
            refused += 1
    ours = told.pop(own, None)
    others = told | {name: larger(use, told.get(name)) for name, use in known.items()}
    return Merged(others, ours, told, refused)


def larger(one: Use, other: Use | None) -> Use:
    """The larger number of each."""
    return one if other is None else other + one.beyond(other)


class Exchange:
    """One account's next words to the others, and what becomes of it by theirs."""

    __slots__ = ("_own", "_replica", "account", "said")

    def __init__(self, account: Account, replica: str) -> None:
        """Say what is known now. Who has heard nothing yet only listens, so that no larger number is lost."""
        self.account = account
        self._own = account.own()
        self._replica = replica
        self.said: dict[str, bytes] = {}
        if account.heard is not None:
            self.said[replica] = entry(self._own)
            self.said |= {name: entry(account.past[name]) for name in account.heard.missing}

    def hear(self, entries: Mapping[bytes, bytes], at: float) -> int:
        """Take in what stands there now, at `at` monotonic seconds; gives how many entries are none."""
        account, name = self.account, self._replica
        merged = merge(entries, name, account.past)
        if account.heard is None and merged.own is not None:
            account.lost = merged.own.beyond(self._own)
            self._own = self._own + account.lost
        missing = tuple(past for past in account.past if merged.lacks(past))
        account.heard = Heard(merged.elsewhere(), self._own, at, entries.get(name.encode()), missing)
        return merged.refused


def is_untold(account: Account) -> bool:
    """Whether others do not know all that they should."""
    heard = account.heard
    return heard is None or bool(heard.missing) or heard.said != entry(account.own())
