"""Slowing those who guess tokens: a wrong one costs a try, and tries come back slowly, for each address and for all.

Whoever has no try left is refused, with the right token too: else guessing would go on. The bound over all addresses is
against one who guesses from many. It does not lock out an address from which a right token came before, because in the
middle of an attack somebody must be able to stop what runs. And the same wrong token again is no guess: a script that
was forgotten when a token was exchanged locks nobody out.
"""

import ipaddress
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.errors import Refusal

TRIES: Final = 10
AGAIN: Final = 5.0
"""Of one address: tries at once, and seconds until one comes back."""
TRIES_OF_ALL: Final = 100
AGAIN_OF_ALL: Final = 0.5
"""The same for all addresses together."""
WRONG_ONES: Final = 10
"""Of one address so many wrong tokens are remembered, by their hashes; they cost nothing when they come again."""
MOST_ADDRESSES: Final = 1000
"""So many addresses are remembered, of either kind; of those that failed, the one that did so longest ago goes."""

_OWN_NETWORK: Final = 64
"""Bits of an IPv6 address that its holder does not choose freely."""


class Tries:
    """So many at once, and one more after each span of time."""

    __slots__ = ("_again", "_at", "_left", "_most")

    def __init__(self, most: int, again: float, now: float) -> None:
        self._most, self._again = most, again
        self._left, self._at = float(most), now

    def wait(self, now: float) -> float:
        """Seconds until there is one; 0: now."""
        return max(0.0, (1.0 - self._refilled(now)) * self._again)

    def spend(self, now: float) -> None:
        """One less."""
        self._left, self._at = max(0.0, self._refilled(now) - 1.0), now

    def _refilled(self, now: float) -> float:
        return min(float(self._most), self._left + (now - self._at) / self._again)


@dataclass(slots=True)
class _Failed:
    """What came from one address."""

    tries: Tries
    wrong: deque[bytes] = field(default_factory=lambda: deque(maxlen=WRONG_ONES))


class Attempts:
    """The tries that are left."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is a clock in seconds that only goes forward."""
        self._now = now
        self._of_all = Tries(TRIES_OF_ALL, AGAIN_OF_ALL, now())
        self._failed: OrderedDict[str, _Failed] = OrderedDict()
        self._known: OrderedDict[str, None] = OrderedDict()

    def check(self, address: str) -> None:
        """Let somebody try.

        Raises:
            Refusal: 429, too many tokens from there were wrong, or too many from everywhere.
        """
        place, now = _place(address), self._now()
        own = self._failed.get(place)
        wait = 0.0 if own is None else own.tries.wait(now)
        if place not in self._known:
            wait = max(wait, self._of_all.wait(now))
        if wait > 0:
            message = "Too many wrong tokens were sent. Wait, then send the right one."
            headers = {"Retry-After": str(math.ceil(wait))}
            raise Refusal(429, "too_many_attempts", message, type="rate_limit_error", headers=headers)

    def was_wrong(self, address: str, token: bytes) -> bool:
        """Whether a token with this hash came from there a short time ago, and was wrong."""
        own = self._failed.get(_place(address))
        return own is not None and token in own.wrong

    def failed(self, address: str, token: bytes) -> None:
        """A token with this hash came from there and was wrong."""
        place, now = _place(address), self._now()
        own = self._failed.pop(place, None) or _Failed(Tries(TRIES, AGAIN, now))
        own.wrong.append(token)
        own.tries.spend(now)
        self._of_all.spend(now)
        self._failed[place] = own
        _shorten(self._failed)

    def succeeded(self, address: str) -> None:
        """A token from there was right."""
        place = _place(address)
        self._known[place] = None
        self._known.move_to_end(place)
        _shorten(self._known)


def _shorten(kept: OrderedDict[str, Any]) -> None:
    while len(kept) > MOST_ADDRESSES:
        kept.popitem(last=False)


def _place(address: str) -> str:
    """What one holder of addresses has: an IPv4 address, or the network of an IPv6 one."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    plain = getattr(parsed, "ipv4_mapped", None) or parsed
    if isinstance(plain, ipaddress.IPv4Address):
        return str(plain)
    return str(ipaddress.ip_network((plain, _OWN_NETWORK), strict=False))
