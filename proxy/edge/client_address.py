"""Who the client is on the network: the peer of the socket, or whom a trusted proxy names."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from aiohttp import web
from multidict import CIMultiDictProxy

from proxy.core.headers import Forwarded

_UNKNOWN: Final = "unknown"
_SCHEMES: Final = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True)
class Client:
    """A client: its own address, and what an upstream is told about it."""

    address: str
    forwarded: Forwarded


class ClientAddresses:
    """Reads `X-Forwarded-*`, but only from peers within `trusted`; from anybody else they are ignored."""

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(trusted)
        self._trusts = lru_cache(maxsize=1024)(self._look_up)

    def of(self, request: web.BaseRequest) -> Client:
        """The client of a request."""
        peer = request.remote or _UNKNOWN
        host = request.headers.get("Host", "")
        if not self._networks or not self._trusts(peer):
            return Client(peer, Forwarded(peer, "http", host))
        headers = request.headers
        chain = [part.strip() for value in headers.getall("X-Forwarded-For", ()) for part in value.split(",")]
        client = self._first_stranger(chain, peer)
        addresses = ", ".join([*filter(None, chain), peer])
        return Client(client, Forwarded(addresses, _scheme(headers), _last(headers, "X-Forwarded-Host") or host))

    def _first_stranger(self, chain: Sequence[str], peer: str) -> str:
        """Walk from the nearest proxy outwards to the first address that is no trusted proxy's."""
        client = peer
        for named in reversed(chain):
            address = _plain(named)
            if address is None:
                break
            client = address
            if not self._trusts(address):
                break
        return client

    def _look_up(self, address: str) -> bool:
        plain = _plain(address)
        if plain is None:
            return False
        parsed = ip_address(plain)
        return any(parsed in network for network in self._networks)


def _plain(named: str) -> str | None:
    """The address in `1.2.3.4`, `1.2.3.4:80`, `::1` or `[::1]:80`; None for anything else."""
    bare = named
    if named.startswith("["):
        bare = named[1:].partition("]")[0]
    elif named.count(":") == 1:
        bare = named.partition(":")[0]
    try:
        address = ip_address(bare)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)


def _scheme(headers: CIMultiDictProxy[str]) -> str:
    scheme = _last(headers, "X-Forwarded-Proto").lower()
    return scheme if scheme in _SCHEMES else "http"


def _last(headers: CIMultiDictProxy[str], name: str) -> str:
    return headers.getall(name, ("",))[-1].rpartition(",")[2].strip()
