"""The URLs, paths, origins and networks of the config file: what is refused, and the one form that is kept."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from proxy.core.ledger_address import SCHEME, parse_ledger_address
from proxy.core.settings.scalar_types import check_host

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_URL_TEXT = re.compile(r"[!-~]+")
_ROUTE_SEGMENT = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_DOTS = {".", "..", "%2e", ".%2e", "%2e.", "%2e%2e"}


def _split(text: str, schemes: tuple[str, ...]) -> SplitResult:
    expected = " or ".join(f"{scheme}://" for scheme in schemes)
    if not _URL_TEXT.fullmatch(text) or "\\" in text:
        raise ValueError(f"expected a URL starting with {expected}, without blanks and in ASCII")
    try:
        url = urlsplit(text)
        _ = url.port  # a bad port is only found when it is asked for
    except ValueError:
        raise ValueError("expected a URL with a valid host and port") from None
    if url.scheme not in schemes or not text[len(url.scheme) :].startswith("://"):
        raise ValueError(f"expected a URL starting with {expected}")
    if not url.hostname:
        raise ValueError("the URL names no host")
    _check_url_host(url.hostname)
    return url


def _check_url_host(host: str) -> None:
    if ":" in host:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.IPv6Address(host.partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
    else:
        check_host(host)
        try:
            address = ipaddress.IPv4Address(host)
        except ValueError:
            return
    if address.is_link_local:
        raise ValueError(f"{host} is a link-local address, where clouds keep their machine credentials; it is refused")


def check_base_url(text: str) -> str:
    """The base URL of an upstream, without a slash at its end.

    Raises:
        ValueError: not http(s), or with user, query, fragment, dot segments or a link-local host.
    """
    url = _split(text, ("http", "https"))
    if "@" in url.netloc:
        raise ValueError("a URL with a user or password would show up in logs; put the credential into api_key")
    if "?" in text or "#" in text:
        raise ValueError("expected a URL without query (?…) and fragment (#…): request paths are added at its end")
    segments = url.path.split("/")
    if any(segment.lower() in _DOTS for segment in segments) or "//" in url.path:
        raise ValueError("expected a URL path without empty, . and .. segments")
    return text.rstrip("/")


def check_proxy_url(text: str) -> str:
    """The URL of an HTTP proxy on the way to the upstream; it may carry a user and password.

    Raises:
        ValueError: not http(s), or with a path, query or fragment.
    """
    url = _split(text, ("http", "https"))
    if url.path not in {"", "/"} or "?" in text or "#" in text:
        raise ValueError("expected only http://HOST:PORT")
    return text.rstrip("/")


def check_service_url(schemes: tuple[str, ...]) -> AfterValidator:
    """A validator for the URL of a helping service (bus, sink) with one of these schemes."""

    def check(text: str) -> str:
        _split(text, schemes)
        return text

    return AfterValidator(check)


def check_ledger_url(text: str) -> str:
    """The ledger's URL.

    Raises:
        ValueError: neither `sqlite:///FILE` nor `postgresql://…`.
    """
    if text.startswith("sqlite:///"):
        if not text.removeprefix("sqlite:///").strip("/"):
            raise ValueError("the file's name is missing: sqlite:///quell.db, or sqlite:////var/lib/quell/quell.db")
        return text
    if text.startswith(SCHEME):
        for host, _ in parse_ledger_address(text).hosts:
            if not host.startswith("/"):
                _check_url_host(host)
        return text
    raise ValueError("expected sqlite:///FILE (four slashes for an absolute path) or postgresql://…")


def check_route_path(text: str) -> str:
    """The path of a route or an endpoint: `/` or `/seg/seg`, without a slash at its end.

    Raises:
        ValueError: no leading slash, or an empty, dot, encoded or otherwise ambiguous segment.
    """
    if not text.startswith("/"):
        raise ValueError(f"a path starts with a slash: /{text}")
    path = text.rstrip("/")
    for segment in path.split("/")[1:]:
        if segment.lower() in _DOTS:
            raise ValueError("expected a path without . and .. segments")
        if not _ROUTE_SEGMENT.fullmatch(segment):
            raise ValueError("expected a path of plain segments: no //, no blanks, no %, ?, # or backslash")
    return path or "/"


def check_origin(text: str) -> str:
    """A browser's origin as it stands in the `Origin` header, or `*`.

    Raises:
        ValueError: neither; an origin has no path and no slash at its end.
    """
    if text in {"*", "null"}:
        return text
    url = _split(text, ("http", "https"))
    if "@" in url.netloc or text != f"{url.scheme}://{url.netloc}":
        raise ValueError("expected an origin such as https://app.example.com, without a path or a slash at its end")
    if url.port == _DEFAULT_PORTS[url.scheme]:
        raise ValueError(f"browsers leave out :{url.port}, so that this would never match; leave it out too")
    return text.lower()


def parse_network(value: object) -> Network:
    """An address or a network in CIDR form.

    Raises:
        ValueError: neither, or bits are set behind the prefix.
    """
    if isinstance(value, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return value
    if not isinstance(value, str):
        raise ValueError("expected an address or a network such as 10.0.0.0/8")  # noqa: TRY004 - pydantic collects it
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        try:
            meant = ipaddress.ip_network(value, strict=False)
        except ValueError:
            raise ValueError("expected an address or a network such as 10.0.0.0/8") from None
        raise ValueError(f"bits are set behind the prefix; did you mean {meant}?") from None


def without_credentials(url: str) -> str:
    """The URL with what may be secret, user and password and the query, replaced by `***`."""
    head, at, tail = url.rpartition("@")
    scheme, mark, _ = head.partition("://")
    place, query, _ = (f"{scheme}://***@{tail}" if at and mark else url).partition("?")
    return f"{place}?***" if query else place


BaseUrl = Annotated[str, AfterValidator(check_base_url)]
ProxyUrl = Annotated[str, AfterValidator(check_proxy_url)]
LedgerUrl = Annotated[str, AfterValidator(check_ledger_url)]
RoutePath = Annotated[str, AfterValidator(check_route_path)]
Origin = Annotated[str, AfterValidator(check_origin)]
TrustedNetwork = Annotated[Network, BeforeValidator(parse_network), WithJsonSchema({"type": "string"})]
