"""The address of a ledger in PostgreSQL.

    postgresql://[USER[:PASSWORD]@]HOST[:PORT][,HOST…]/DATABASE[?OPTIONS]

Of several hosts the one that takes writes is used. OPTIONS, as PostgreSQL's own programs take them: `host=/FOLDER` for
a socket in place of HOST; for TLS `sslmode` (disable, prefer, require, verify-ca, verify-full), `sslrootcert` (without
it, the authorities that the system trusts), `sslcert` and `sslkey`.
"""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, unquote

from proxy.core.settings.scalar_types import check_host

SCHEME: Final = "postgresql://"
SSL_MODES: Final = ("disable", "prefer", "require", "verify-ca", "verify-full")
_WITHOUT_TLS: Final = frozenset({"disable", "prefer"})
"""Modes in which what is said of TLS has no effect, or may have none."""
_FILES: Final = ("sslrootcert", "sslcert", "sslkey")
_OPTIONS: Final = frozenset({"host", "sslmode", *_FILES})
_TEXT: Final = re.compile(r"[!-~]+")
_HOST_AND_PORT: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ENCODE: Final = "; in USER and PASSWORD write @ as %40, / as %2F, # as %23, ? as %3F and % as %25"
_PORT: Final = 5432
_LAST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class LedgerAddress:
    """Where the shared ledger is. A host that begins with a slash is the folder of a socket."""

    hosts: tuple[tuple[str, int], ...]
    database: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sslmode: str = "prefer"
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None

    @property
    def is_decided(self) -> bool:
        """Whether it is decided who can read along: TLS is insisted on or waived, or it does not leave this machine."""
        local = all(host.startswith("/") or host in _LOOPBACK for host, _ in self.hosts)
        return local or self.sslmode != "prefer"

    @property
    def place(self) -> str:
        """Hosts and database, for people; nothing of it is secret."""
        shown = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return f"{shown}/{self.database}"


def parse_ledger_address(text: str) -> LedgerAddress:
    """Read a `ledger.url` of PostgreSQL.

    Raises:
        ValueError: it does not have the form above; says what was expected.
    """
    if not text.startswith(SCHEME) or not _TEXT.fullmatch(text) or "\\" in text or "#" in text:
        raise ValueError(
            f"expected {SCHEME}[USER[:PASSWORD]@]HOST[:PORT]/DATABASE, without blanks and in ASCII{_ENCODE}"
        )
    rest, _, query = text.removeprefix(SCHEME).partition("?")
    where, _, database = rest.partition("/")
    if "@" in database or "@" in query:  # part of a password would be taken for a port, and shown
        raise ValueError(
            f"expected no @ behind the first / or ?: percent-encode what is part of a name or password{_ENCODE}"
        )
    credentials, at, hosts = where.rpartition("@")
    username, colon, password = credentials.partition(":")
    if not database or "/" in database:
        raise ValueError(f"expected the name of the database behind the host: {SCHEME}HOST:PORT/quell{_ENCODE}")
    options = _options(query)
    return LedgerAddress(
        hosts=_hosts(hosts, options),
        database=unquote(database),
        username=unquote(username) or None if at else None,
        password=unquote(password) if colon else None,
        sslmode=options.get("sslmode", "prefer"),
        **{name: options.get(name) for name in _FILES},
    )


def _options(query: str) -> dict[str, str]:
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if unknown := sorted(options.keys() - _OPTIONS):
        raise ValueError(f"expected only {', '.join(sorted(_OPTIONS))} behind the ?, not {unknown[0]}")
    if len(options) != len(pairs) or "" in options.values() or (query and not pairs):
        raise ValueError("expected each option behind the ? once, as NAME=VALUE")
    if options.get("sslmode", "prefer") not in SSL_MODES:
        raise ValueError(f"expected sslmode to be one of {', '.join(SSL_MODES)}")
    if "sslkey" in options and "sslcert" not in options:
        raise ValueError("sslkey is the key of an sslcert, which is missing")
    if options.keys() & set(_FILES) and options.get("sslmode", "prefer") in _WITHOUT_TLS:
        raise ValueError("files of TLS need an sslmode that insists on it, such as sslmode=verify-full")
    return options


def _hosts(text: str, options: dict[str, str]) -> tuple[tuple[str, int], ...]:
    folder = options.get("host")
    if folder is None:
        return tuple(_host(each) for each in text.split(","))
    if text and not text.startswith(":"):
        raise ValueError("the host is named twice: before the database, and as an option")
    if not folder.startswith("/"):
        raise ValueError(
            "host= is the folder of a socket, such as /run/postgresql; other hosts stand before the database"
        )
    return ((folder, _port(text.removeprefix(":"))),)


def _host(text: str) -> tuple[str, int]:
    if not text or text.startswith(":"):
        raise ValueError("the URL names no host")
    found = _HOST_AND_PORT.fullmatch(text)
    if found is None:
        raise ValueError(f"expected a URL with a valid host and port{_ENCODE}")
    if found["host"]:
        check_host(found["host"])
    return found["six"] or found["host"], _port(found["port"] or "")


def _port(text: str) -> int:
    if not text:
        return _PORT
    if not text.isdigit() or not 0 < int(text) <= _LAST_PORT:
        raise ValueError("expected a URL with a valid host and port")
    return int(text)
