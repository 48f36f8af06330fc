import pytest

from proxy.core.ledger_address import LedgerAddress, parse_ledger_address

REFUSED = [
    ("postgres://db/quell", "expected postgresql://"),
    ("postgresql://db", "name of the database"),
    ("postgresql://db/", "name of the database"),
    ("postgresql://db/a/b", "name of the database"),
    ("postgresql:///quell", "names no host"),
    ("postgresql://db:0/quell", "valid host and port"),
    ("postgresql://db:99999/quell", "valid host and port"),
    ("postgresql://db/quell?sslmod=require", "not sslmod"),
    ("postgresql://db/quell?sslmode=maybe", "sslmode to be one of"),
    ("postgresql://db/quell?sslmode=require&sslmode=disable", "once"),
    ("postgresql://db/quell?sslkey=/k&sslmode=require", "sslcert, which is missing"),
    ("postgresql://db/quell?sslrootcert=/ca.pem", "insists"),
    ("postgresql://db/quell?host=/run/postgresql", "named twice"),
    ("postgresql:///quell?host=db", "folder of a socket"),
    ("postgresql://d b/quell", "without blanks"),
    ("postgresql://user:12345/canary@host", "percent-encode"),
    ("postgresql://user:12345/canary@host/quell", "percent-encode"),
    ("postgresql://user:12345/1?canary@host/quell", "percent-encode"),
    ("postgresql://user:canary?1@host/quell", "percent-encode"),
    ("postgresql://me:p#ss@db/quell", "# as %23"),
    ("postgresql://me:p/ss@db/quell", "/ as %2F"),
    ("postgresql://me:p?ss@db/quell", r"\? as %3F"),
    ("postgresql://me:pa:ss/db", "@ as %40"),
]


def test_the_parts_of_an_address_are_read() -> None:
    """Hosts with their ports, the credentials decoded, and the options of TLS."""
    url = "postgresql://me:p%40ss@db.example,[::1]:6543/quell?sslmode=verify-full&sslrootcert=/ca.pem"
    assert parse_ledger_address(url) == LedgerAddress(
        hosts=(("db.example", 5432), ("::1", 6543)),
        database="quell",
        username="me",
        password="p@ss",
        sslmode="verify-full",
        sslrootcert="/ca.pem",
    )
    assert parse_ledger_address("postgresql://me@:6432/q?host=/run/pg").hosts == (("/run/pg", 6432),)


def test_what_is_shown_of_an_address_is_no_secret() -> None:
    """The place and the representation have hosts and database, and never the password."""
    address = parse_ledger_address("postgresql://me:canary@db,[::1]:6543/quell")
    assert address.place == "db:5432,[::1]:6543/quell"
    assert "canary" not in repr(address) + address.place


@pytest.mark.parametrize(("url", "expected"), REFUSED)
def test_a_wrong_address_is_refused(url: str, expected: str) -> None:
    """The message says what was expected."""
    with pytest.raises(ValueError, match=expected) as refused:
        parse_ledger_address(url)
    assert "canary" not in str(refused.value)
