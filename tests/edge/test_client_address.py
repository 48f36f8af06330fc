"""Whose X-Forwarded-* is believed."""

from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from proxy.core.headers import Forwarded
from proxy.edge.client_address import Client, ClientAddresses

PROXIES = ClientAddresses([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])
NOBODY = ClientAddresses([])


def client(addresses: ClientAddresses, peer: str, *headers: tuple[str, str]) -> Client:
    """The client of a request that came from `peer`."""
    pairs = CIMultiDict([("Host", "quell"), *headers])
    return addresses.of(make_mocked_request("GET", "/", headers=pairs).clone(remote=peer))


def test_a_strangers_claims_are_ignored() -> None:
    """From a peer that is not trusted, all forwarding headers are dropped (Z5)."""
    claims = [("X-Forwarded-For", "10.0.0.1"), ("X-Forwarded-Proto", "https"), ("X-Forwarded-Host", "bank")]
    for addresses in (PROXIES, NOBODY):
        assert client(addresses, "6.6.6.6", *claims) == Client("6.6.6.6", Forwarded("6.6.6.6", "http", "quell"))


@pytest.mark.parametrize(
    ("chain", "address"),
    [
        ("1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4, 10.1.1.1", "1.2.3.4"),
        ("6.6.6.6, nonsense, 10.1.1.1", "10.1.1.1"),
        ("1.2.3.4:5678", "1.2.3.4"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        ("10.1.1.1", "10.1.1.1"),
        ("", "10.0.0.9"),
    ],
)
def test_a_trusted_proxy_names_the_client(chain: str, address: str) -> None:
    """The client is the nearest address of the chain that is no trusted proxy; what lies beyond is not believed."""
    found = client(PROXIES, "10.0.0.9", ("X-Forwarded-For", chain), ("X-Forwarded-Proto", "https"))
    assert found.address == address
    assert found.forwarded == Forwarded(", ".join(filter(None, [chain, "10.0.0.9"])), "https", "quell")


def test_the_last_of_several_headers_counts() -> None:
    """Repeated headers are one chain; scheme and host are those that the nearest proxy added."""
    found = client(
        PROXIES,
        "fd00::1",
        ("X-Forwarded-For", "6.6.6.6"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Host", "evil"),
        ("X-Forwarded-Host", "evil, front"),
    )
    assert found == Client("1.2.3.4", Forwarded("6.6.6.6, 1.2.3.4, fd00::1", "http", "front"))
