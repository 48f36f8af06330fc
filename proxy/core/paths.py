"""Request targets: which paths are let in, and how the upstream's URL is made from them.

A path that any server behind us could read differently than we do is refused, never repaired: a repaired one could
reach another part of the upstream with the upstream's key.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from proxy.core.errors import Refusal

_PLAIN_PATH: Final = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,=:@/]*")
_PATH: Final = re.compile(r"/(?:[A-Za-z0-9\-._~!$&'()*+,=:@/]|%[0-9A-Fa-f]{2})*")
_QUERY: Final = re.compile(r"(?:[!\"$&-~]|%(?!00)[0-9A-Fa-f]{2})*")
_AMBIGUOUS_WHEN_DECODED: Final = re.compile(rb"[\x00-\x1f\x7f/\\;%?#]")
_DOT_SEGMENTS: Final = frozenset({".", ".."})


def safe_target(raw: str) -> tuple[str, str]:
    """Split a raw request target into path and query, both still as they were sent.

    Raises:
        Refusal: 400; the target is not a plain path, or one that could mean another path to somebody else: dot
            segments (also escaped), backslashes, empty segments, escaped slashes, control characters, parameters
            after `;`, escapes of escapes, fragments, anything outside ASCII.
    """
    path, _, query = raw.partition("?")
    if _PLAIN_PATH.fullmatch(path) is None:
        _check_escaped(path)
    elif "/." in path and not _DOT_SEGMENTS.isdisjoint(path.split("/")):
        raise _refused("it has a '.' or '..' segment")
    if "//" in path:
        raise _refused("it has an empty segment ('//')")
    if query and _QUERY.fullmatch(query) is None:
        raise _refused("its query has a character that must be escaped")
    return path, query


def join(base_url: str, rest: str, query: str) -> str:
    """The upstream's URL: `base_url`, then `rest` (empty, or a path that `safe_target` let in), then the query.

    Give it to `yarl.URL(..., encoded=True)`: anything else would normalize it.
    """
    url = base_url.rstrip("/") + rest
    return f"{url}?{query}" if query else url


def _check_escaped(path: str) -> None:
    if _PATH.fullmatch(path) is None:
        raise _refused("it must start with '/' and have nothing in it but letters, digits, -._~!$&'()*+,=:@/ and %XX")
    for segment in path.split("/"):
        decoded = unquote_to_bytes(segment)
        if _AMBIGUOUS_WHEN_DECODED.search(decoded) is not None:
            raise _refused("it has an escaped slash, backslash, semicolon, percent sign or control character")
        if decoded in {b".", b".."}:
            raise _refused("it has a '.' or '..' segment")


def _refused(why: str) -> Refusal:
    return Refusal.bad_request("invalid_path", f"The request's path is not accepted: {why}.")
