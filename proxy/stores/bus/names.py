"""The names of keys and channels at the bus. Identities and ids are in them as keyed hashes only.

Everything begins with a mark of the secret, so that two installations never take each other's; the one name that does
not is where that is noticed, see `strangers.py`.
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from proxy.core.letters import derive

_SIZE: Final = 12
"""Bytes of a hash: nobody can find two names that are the same without the secret."""

MARKS: Final = "quell:secrets"
"""The key of the marks of all secrets that are in use."""

_IDENTITIES: Final = 4096
"""So many identities' keys are not made again."""


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of one identity. They are in one slot of a Cluster, by the part in braces."""

    key: bytes
    prefix: str

    def hashed(self, any_id: str) -> str:
        """An id as a name has it."""
        return hashlib.blake2b(any_id.encode(errors="surrogatepass"), key=self.key, digest_size=_SIZE).hexdigest()

    @property
    def generations(self) -> str:
        """What the key of a generation begins with."""
        return f"{self.prefix}g:"

    @property
    def waits(self) -> str:
        """What the key of the stops that wait for an id begins with."""
        return f"{self.prefix}w:"

    @property
    def stops(self) -> str:
        """The key of the stops that are kept for owners."""
        return f"{self.prefix}stops"

    @property
    def live(self) -> str:
        """The key of what lives, and who owns it."""
        return f"{self.prefix}live"

    @property
    def waiting(self) -> str:
        """The key of the ids that stops wait for."""
        return f"{self.prefix}waiting"

    @property
    def streams(self) -> str:
        """The key of the processes that run its streams, and with a colon what their own keys begin with."""
        return f"{self.prefix}at"

    @property
    def used(self) -> str:
        """What the key of an account begins with."""
        return f"{self.prefix}used:"

    def id(self, any_id: str) -> str:
        """The key of an id."""
        return f"{self.prefix}i:{self.hashed(any_id)}"

    def user(self, user: str | None) -> str:
        """An end user as a waiting stop has it."""
        return "*" if user is None else self.hashed(f"user {user}")


class Names:
    """The names that one secret makes."""

    def __init__(self, secret: bytes) -> None:
        self._key = derive(secret, "names")
        self.secret_mark = derive(secret, "installation")[:4].hex()
        self.prefix = f"quell:{self.secret_mark}:"
        self._beat = f"{self.prefix}{{beat}}:"
        self.channels = f"{self.prefix}to:"
        self.of = lru_cache(maxsize=_IDENTITIES)(self._of)
        """The keys of an identity."""

    def _of(self, identity: str) -> Keys:
        tag = hashlib.blake2b(identity.encode(errors="surrogatepass"), key=self._key, digest_size=_SIZE).hexdigest()
        return Keys(self._key, f"{self.prefix}{{{tag}}}:")

    def lease(self, replica: str) -> str:
        """The key that a replica holds while it lives."""
        return f"{self._beat}lease:{replica}"

    def mail(self, replica: str) -> str:
        """The key of the letters that are kept for a replica until it has read them."""
        return f"{self._beat}mail:{replica}"

    def identities(self, replica: str) -> str:
        """The key of the prefixes of those whose generations a replica runs, or ran a short time ago."""
        return f"{self._beat}ids:{replica}"

    def burial(self, replica: str) -> str:
        """The key that one holds who sees to what a dead replica left."""
        return f"{self._beat}burial:{replica}"

    def at(self, prefix: str) -> Keys:
        """The keys of an identity of which only their prefix is known."""
        return Keys(self._key, prefix)

    @property
    def replicas(self) -> str:
        """The key of the replicas, by the time at which their leases end."""
        return f"{self._beat}replicas"

    @property
    def since(self) -> str:
        """The key that says since when the directory is not empty."""
        return f"{self._beat}since"

    def parcels(self, replica: str) -> str:
        """The key of what lies there for the readers of a replica."""
        return f"{self.prefix}parcels:{replica}"

    @property
    def mark(self) -> str:
        """The key that is another one when shared numbers were lost."""
        return f"{self._beat}mark"

    def channel(self, replica: str) -> str:
        """Where a replica listens."""
        return f"{self.channels}{replica}"

    def reply(self, number: str) -> str:
        """The key of an answer."""
        return f"{self.prefix}reply:{number}"
