"""The forms of `bus.url`."""

import pytest

from proxy.core.bus_address import BusAddress, parse_bus_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://valkey", BusAddress("single", (("valkey", 6379),), tls=False)),
        ("rediss://valkey:7000/2", BusAddress("single", (("valkey", 7000),), tls=True, db=2)),
        (
            "redis://quell:p%40ss@10.0.0.1/",
            BusAddress("single", (("10.0.0.1", 6379),), tls=False, username="quell", password="p@ss"),
        ),
        ("redis://:pw@[::1]:7000", BusAddress("single", (("::1", 7000),), tls=False, password="pw")),
        (
            "redis+sentinel://a,b:26380/main/3",
            BusAddress("sentinel", (("a", 26379), ("b", 26380)), tls=False, service="main", db=3),
        ),
        (
            "rediss+cluster://n-1:7001,n-2:7002?ca_file=/etc/ca.pem",
            BusAddress("cluster", (("n-1", 7001), ("n-2", 7002)), tls=True, ca_file="/etc/ca.pem"),
        ),
    ],
)
def test_every_form(url: str, expected: BusAddress) -> None:
    """One server, Sentinels and a Cluster are told apart by the scheme."""
    assert parse_bus_url(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://valkey", "starting with one of redis://, rediss://, redis+sentinel://"),
        ("redis:valkey", "starting with one of"),
        ("redis://", "names no host"),
        ("redis://:pw@", "names no host"),
        ("redis://a b", "starting with one of"),
        ("redis://a,b", "redis+sentinel://… or redis+cluster://…"),
        ("redis://a:0", "a valid host and port"),
        ("redis://a:65536", "a valid host and port"),
        ("redis://a:x", "a valid host and port"),
        ("redis://256.1.1.1", "is not an IPv4 address"),
        ("redis://a/main", "the number of a database"),
        ("redis+sentinel://a,b", "the name of the primary"),
        ("redis+sentinel://a/main/x", "the number of a database"),
        ("redis+cluster://a/0", "one database only"),
        ("rediss://a?timeout=3", "nothing behind a ?, or ca_file=FILE"),
        ("rediss://a?ca_file=", "nothing behind a ?, or ca_file=FILE"),
        ("redis://a?ca_file=x", "starts with rediss"),
    ],
)
def test_what_is_refused_says_what_was_expected(url: str, expected: str) -> None:
    """A URL of none of these forms is refused with what was expected, and without what was sent."""
    with pytest.raises(ValueError, match=expected.replace("?", r"\?").replace("+", r"\+")) as refused:
        parse_bus_url(url)
    assert "pw" not in str(refused.value)


def test_a_password_is_not_shown() -> None:
    """The address can be logged."""
    assert "secret" not in repr(parse_bus_url("redis://u:secret@h"))
