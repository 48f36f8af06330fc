"""The address of a bus: one Redis or Valkey server, one that Sentinels know, or a Cluster.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]                      one server
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT],HOST…/NAME[/DB]  the primary that these Sentinels call NAME
    redis+cluster://[USER:PASSWORD@]HOST[:PORT],HOST…             a Cluster, by some of its nodes

With `rediss` in place of `redis` all of it goes over TLS; `?ca_file=FILE` names the authority of a private certificate.
"""

import re
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote

from proxy.core.settings.scalar_types import check_host

Kind = Literal["single", "sentinel", "cluster"]

_SCHEMES: Final[dict[str, tuple[Kind, bool]]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_TEXT: Final = re.compile(r"[!-~]+")
_HOST_AND_PORT: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]]+))(?::(?P<port>[0-9]{1,5}))?")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_LAST_PORT: Final = 65535
_MOST_DB: Final = 3
"""Digits of a database's number."""


@dataclass(frozen=True, slots=True)
class BusAddress:
    """Where the bus is. `service` is the name that Sentinels know the primary by."""

    kind: Kind
    hosts: tuple[tuple[str, int], ...]
    tls: bool
    service: str = ""
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    @property
    def place(self) -> str:
        """Hosts, and which database or primary of theirs, for people; nothing of it is secret."""
        shown = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        return "/".join(filter(None, (shown, self.service, "" if self.kind == "cluster" else str(self.db))))


def parse_bus_url(text: str) -> BusAddress:
    """Read a `bus.url`.

    Raises:
        ValueError: it has none of the forms above; says what was expected.
    """
    scheme, mark, rest = text.partition("://")
    if scheme not in _SCHEMES or not mark or not _TEXT.fullmatch(text) or "\\" in text or "#" in text:
        raise ValueError(f"expected a URL starting with one of {', '.join(f'{name}://' for name in _SCHEMES)}")
    kind, tls = _SCHEMES[scheme]
    rest, _, query = rest.partition("?")
    where, _, path = rest.partition("/")
    credentials, at, hosts = where.rpartition("@")
    username, colon, password = credentials.partition(":")
    service, db = _path(kind, path)
    return BusAddress(
        kind=kind,
        hosts=_hosts(kind, hosts),
        tls=tls,
        service=service,
        db=db,
        username=unquote(username) or None if at else None,
        password=unquote(password) if colon else None,
        ca_file=_ca_file(query, tls=tls),
    )


def check_bus_url(text: str) -> str:
    """A `bus.url`, as it is.

    Raises:
        ValueError: see `parse_bus_url`.
    """
    parse_bus_url(text)
    return text


def _hosts(kind: Kind, text: str) -> tuple[tuple[str, int], ...]:
    usual = _SENTINEL_PORT if kind == "sentinel" else _REDIS_PORT
    named = text.split(",")
    if kind == "single" and len(named) > 1:
        raise ValueError("several hosts are several servers: redis+sentinel://… or redis+cluster://…")
    return tuple(_host(each, usual) for each in named)


def _host(text: str, usual: int) -> tuple[str, int]:
    if not text or text.startswith(":"):
        raise ValueError("the URL names no host")
    found = _HOST_AND_PORT.fullmatch(text)
    if found is None or not 0 < int(found["port"] or usual) <= _LAST_PORT:
        raise ValueError("expected a URL with a valid host and port")
    if found["host"]:
        check_host(found["host"])
    return found["six"] or found["host"], int(found["port"] or usual)


def _path(kind: Kind, path: str) -> tuple[str, int]:
    """The service's name and the database's number."""
    service, db = "", path
    if kind == "sentinel":
        service, _, db = path.partition("/")
        if not _NAME.fullmatch(service):
            raise ValueError("expected the name of the primary behind the hosts: redis+sentinel://HOST,HOST/NAME")
    if kind == "cluster" and path:
        raise ValueError("a Cluster has one database only: expected nothing behind the hosts")
    if db and not (db.isascii() and db.isdigit() and len(db) <= _MOST_DB):
        raise ValueError("expected the number of a database behind the last slash, such as redis://HOST:6379/0")
    return service, int(db or 0)


def _ca_file(query: str, *, tls: bool) -> str | None:
    asked = dict(parse_qsl(query, keep_blank_values=True))
    if query and (set(asked) != {"ca_file"} or not asked["ca_file"]):
        raise ValueError("expected nothing behind a ?, or ca_file=FILE")
    if query and not tls:
        raise ValueError("ca_file needs a URL that starts with rediss")
    return asked.get("ca_file")
