"""Header rules: what may go up, what may come down, and who the caller is.

All functions take pairs of name and value in the order of the wire. They run on every request, so names are folded
once and looked up in frozen sets. Names are compared without case; what is passed on keeps its own case.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from proxy.core.errors import Refusal
from proxy.core.ids import public_name

HeaderPair = tuple[str, str]

MAX_VALUE: Final = 512
"""Longest header value, in characters, that we keep ourselves (ids, names, reasons)."""

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that speak about one connection only (RFC 9110, 7.6.1), never passed on in either direction."""

_CREDENTIAL_NAMES: Final = {
    "authorization": "Authorization",
    "x-api-key": "X-API-Key",
    "api-key": "api-key",
    "x-goog-api-key": "X-Goog-Api-Key",
}

CREDENTIALS: Final = frozenset(_CREDENTIAL_NAMES)
"""Where a caller may put its credential."""

OURS: Final = frozenset(
    {"x-task-id", "x-message-id", "x-user-id", "x-max-seconds", "x-max-tokens", "x-max-cost", "last-event-id"}
)
"""Request headers addressed to the proxy itself."""

PROTECTED: Final = (
    CREDENTIALS | OURS | {"host", "content-type", "content-length", "x-forwarded-for", "x-forwarded-host"}
) | {"x-forwarded-proto", "x-forwarded-port", "forwarded", "x-real-ip"}
"""Headers that a `Connection` header may not strip: doing so would switch off a check."""

_FORWARDING: Final = frozenset(
    {"forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-real-ip"}
)
_REROUTING: Final = frozenset(
    {"x-http-method", "x-http-method-override", "x-method-override", "x-original-url", "x-rewrite-url"}
)
_NOT_UP: Final = (
    HOP_BY_HOP | OURS | _FORWARDING | _REROUTING | {"accept-encoding", "content-length", "cookie", "host"}
) | {"x-conversation-id"}
"""Dropped on the way up. A llama-server that sees `X-Conversation-Id` goes on generating after a close; cookies belong
to our own origin; the rerouting ones could make an upstream serve another path than the one that was checked."""
_NOT_UP_OR_CREDENTIAL: Final = _NOT_UP | CREDENTIALS

_NOT_DOWN: Final = HOP_BY_HOP | {
    "alt-svc",
    "clear-site-data",
    "content-length",
    "nel",
    "report-to",
    "reporting-endpoints",
    "server",
    "set-cookie",
    "strict-transport-security",
    "x-message-id",
    "x-sendfile",
    "x-task-id",
}
_NOT_DOWN_PREFIXES: Final = ("access-control-", "x-accel-")
"""CORS is answered from our own config; `X-Accel-*` of an upstream would steer an nginx in front of us."""

_HARMLESS_NOMINATIONS: Final = frozenset({"close", "keep-alive", ""})
_TASK_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_STREAM_HEADERS: Final = ("X-Accel-Buffering", "no")
_STREAM_CACHING: Final = ("Cache-Control", "no-cache, no-transform")
_SERVER: Final = ("Server", "quell")
_IDENTITY_ENCODING: Final = ("Accept-Encoding", "identity")


@dataclass(frozen=True, slots=True)
class Forwarded:
    """What an upstream is told about the client: the chain of addresses, the client's scheme, and its Host."""

    addresses: str
    proto: str
    host: str


@dataclass(frozen=True, slots=True)
class Credential:
    """Who a caller is, as the SHA-256 (hex) of its bare credential; `digest` is None when it sent none.

    The credential itself is not kept.
    """

    digest: str | None

    @property
    def identity(self) -> str:
        """The full name of the caller, for comparing and storing."""
        return self.digest or "anonymous"

    @property
    def short(self) -> str:
        """The name that people are shown."""
        return public_name(self.identity)

    def __repr__(self) -> str:
        return f"Credential({self.short})"


ANONYMOUS: Final = Credential(None)


def upstream_headers(
    pairs: Iterable[HeaderPair],
    *,
    host: str,
    credentials: Sequence[HeaderPair] | None = None,
    forwarded: Forwarded | None = None,
    identity_encoding: bool = True,
) -> list[HeaderPair]:
    """The headers of the upstream request, without `Content-Length`, which belongs to whoever sends the body.

    `host` is the route's upstream's. `credentials` None lets the caller's own credential go up; otherwise all
    credential headers of the caller are replaced by these (see `credential_headers`; an empty sequence sends none).
    `identity_encoding` asks for an uncompressed answer; without it, nothing is said about encodings.

    Raises:
        Refusal: 400; `Connection` names a header that must arrive (see `PROTECTED`).
    """
    drop = _NOT_UP if credentials is None else _NOT_UP_OR_CREDENTIAL
    nominated: set[str] | None = None
    kept: list[HeaderPair] = [("Host", host)]
    for pair in pairs:
        name = pair[0].lower()
        if name in drop:
            if name == "connection":
                nominated = (nominated or set()) | nominations(pair[1])
        elif "_" not in name:
            kept.append(pair)
    if nominated:
        kept = [pair for pair in kept if pair[0].lower() not in nominated]
    if identity_encoding:
        kept.append(_IDENTITY_ENCODING)
    if forwarded is not None:
        kept.append(("X-Forwarded-For", forwarded.addresses))
        kept.append(("X-Forwarded-Proto", forwarded.proto))
        kept.append(("X-Forwarded-Host", forwarded.host))
    if credentials:
        kept.extend(credentials)
    return kept


def nominations(connection: str) -> set[str]:
    """The header names that one `Connection` value declares as its own, folded.

    Raises:
        Refusal: 400; one of them is in `PROTECTED`.
    """
    lowered = connection.lower()
    if lowered in _HARMLESS_NOMINATIONS:
        return set()
    names = {name.strip() for name in lowered.split(",")} - _HARMLESS_NOMINATIONS
    if not names.isdisjoint(PROTECTED):
        raise Refusal.bad_request(
            "invalid_connection_header", "The 'Connection' header must not name a header that the request depends on."
        )
    return names


def credential_headers(key: str, wire_format: str) -> tuple[HeaderPair, ...]:
    """The header that carries a configured key, in the way of the upstream's wire format."""
    match wire_format:
        case "anthropic":
            return (("X-Api-Key", key),)
        case "gemini":
            return (("X-Goog-Api-Key", key),)
        case _:
            return (("Authorization", f"Bearer {key}"),)


def downstream_headers(pairs: Iterable[HeaderPair], *, stream: bool) -> list[HeaderPair]:
    """The headers of the client's answer, made from the upstream's; the framing (`Content-Length`) is the caller's.

    `stream` adds what keeps caches and buffering proxies from holding events back. Headers that can't be written
    again (bytes that are no text, control characters other than tabs) are left out.
    """
    nominated: set[str] = set()
    kept: list[HeaderPair] = [_SERVER]
    caching = False
    for pair in pairs:
        name = pair[0].lower()
        if name in _NOT_DOWN:
            if name == "connection":
                nominated.update(part.strip() for part in pair[1].lower().split(","))
        elif not name.startswith(_NOT_DOWN_PREFIXES):
            if name == "cache-control":
                caching = True
            kept.append(pair)
    if not all(pair[1].isprintable() for pair in kept):
        kept = _writable(kept)
    nominated -= PROTECTED
    if nominated:
        kept = [pair for pair in kept if pair[0].lower() not in nominated]
    if stream:
        kept.append(_STREAM_HEADERS)
        if not caching:
            kept.append(_STREAM_CACHING)
    return kept


def _writable(pairs: list[HeaderPair]) -> list[HeaderPair]:
    spaced = [(name, value.replace("\t", " ")) for name, value in pairs]
    return [pair for pair in spaced if pair[1].isprintable()]


def identity_of(pairs: Iterable[HeaderPair]) -> Credential:
    """The caller's identity: from `Authorization`, `X-API-Key`, `api-key` or `X-Goog-Api-Key`.

    Raises:
        Refusal: 400; two credentials differ, or one has characters that no credential has.
    """
    found = bare_credential(pairs)
    return ANONYMOUS if found is None else Credential(sha256(found.encode("ascii")).hexdigest())


def bare_credential(pairs: Iterable[HeaderPair]) -> str | None:
    """The caller's credential without its scheme; None when it sent none.

    Raises:
        Refusal: see `identity_of`.
    """
    found: str | None = None
    place = ""
    for name, value in pairs:
        folded = name.lower()
        if folded not in CREDENTIALS:
            continue
        bare = _without_scheme(value) if folded == "authorization" else value.strip()
        if not bare:
            continue
        if found is not None and found != bare:
            raise _conflicting(place, folded)
        found, place = bare, folded
    if found is not None and not (found.isascii() and found.isprintable()):
        raise Refusal.bad_request("invalid_credential", "The credential has characters that no credential has.")
    return found


def _conflicting(one: str, other: str) -> Refusal:
    places = _CREDENTIAL_NAMES[one] + (" twice" if one == other else f" and {_CREDENTIAL_NAMES[other]}")
    message = f"The request carries two credentials that differ: {places}. Send one of them."
    return Refusal.bad_request("conflicting_credentials", message)


def _without_scheme(value: str) -> str:
    scheme, space, rest = value.strip().partition(" ")
    if space:
        return rest.lstrip()
    return "" if scheme.lower() == "bearer" else scheme


def check_value(name: str, value: str) -> str:
    """Let a header value be kept (in a record, a log line, a label): visible ASCII and spaces, up to `MAX_VALUE`.

    Raises:
        Refusal: 400, naming the header but not the value. Bytes of 0x80 and above arrive as lone surrogates, which
            no store could write.
    """
    if len(value) > MAX_VALUE or not (value.isascii() and value.isprintable()):
        raise _bad_value(name)
    return value


def _bad_value(name: str) -> Refusal:
    return Refusal.bad_request(
        "invalid_header",
        f"The {name} header must be plain ASCII without control characters, at most {MAX_VALUE} characters.",
        param=name,
    )


def valid_task_id(value: str) -> bool:
    """Whether a caller may choose this id: 1 to 128 of letters, digits and `._:-`, but not `.` or `..`."""
    return _TASK_ID.fullmatch(value) is not None and value not in {".", ".."}
