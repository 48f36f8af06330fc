"""Sessions of the page, and the one-time codes that begin them: in memory, by their hashes, and gone at a restart.

A session stands for the token that began it, so that it ends with that token.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

LIFE: Final = 12 * 3600
"""Seconds that a session lasts."""
CODE_LIFE: Final = 600
"""Seconds in which a one-time code can be used."""
MOST: Final = 1000
MOST_OF_ONE: Final = 100
"""Sessions at once, of all tokens and of one: then its oldest goes, so that nobody can end those of others."""
MOST_CODES: Final = 10

_RANDOM_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class _Begun:
    """`token`: the hash of the token that it stands for. `ends` is on the clock of the sessions."""

    token: bytes
    ends: float


class Sessions:
    """Those of one process: another worker knows none of them."""

    def __init__(self, now: Callable[[], float]) -> None:
        """`now` is a clock in seconds that only goes forward."""
        self._now = now
        self._sessions: OrderedDict[bytes, _Begun] = OrderedDict()
        self._codes: OrderedDict[bytes, _Begun] = OrderedDict()

    def begin(self, token: bytes) -> str:
        """Begin a session for the token with this hash; gives the secret that its holder shows from then on."""
        self._forget_ended()
        own = [key for key, begun in self._sessions.items() if begun.token == token]
        if len(own) >= MOST_OF_ONE:
            del self._sessions[own[0]]
        return _add(self._sessions, _Begun(token, self._now() + LIFE), MOST)

    def find(self, secret: str) -> bytes | None:
        """The hash of the token that a session stands for; None: there is no such session any more."""
        begun = self._sessions.get(digest_of(secret))
        return None if begun is None or begun.ends <= self._now() else begun.token

    def end(self, secret: str) -> None:
        """End a session, if there is one."""
        self._sessions.pop(digest_of(secret), None)

    def make_code(self, token: bytes) -> str:
        """A code that begins one session for the token with this hash, soon."""
        return _add(self._codes, _Begun(token, self._now() + CODE_LIFE), MOST_CODES)

    def redeem(self, code: str) -> bytes | None:
        """The hash of the token that a code stands for; None: it never was one, or is used, or too old."""
        begun = self._codes.pop(digest_of(code), None)
        return None if begun is None or begun.ends <= self._now() else begun.token

    def _forget_ended(self) -> None:
        now = self._now()
        while self._sessions and next(iter(self._sessions.values())).ends <= now:  # all last equally long
            self._sessions.popitem(last=False)


def _add(kept: OrderedDict[bytes, _Begun], begun: _Begun, most: int) -> str:
    secret = secrets.token_urlsafe(_RANDOM_BYTES)
    kept[digest_of(secret)] = begun
    while len(kept) > most:
        kept.popitem(last=False)
    return secret


def digest_of(secret: str) -> bytes:
    """What a secret is kept and looked up as: how long that takes tells nothing of it."""
    return sha256(secret.encode(errors="surrogatepass")).digest()
