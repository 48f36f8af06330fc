"""Whether a browser's request comes from our own page (the Fetch standard's `Origin`, and `Sec-Fetch-Site`)."""

from typing import Final

from aiohttp import hdrs, web

from proxy.core.errors import Refusal
from proxy.edge.client_address import ClientAddresses

PAGE_HEADER: Final = "X-Quell-Page"
"""A page of another origin can't send it: the browser would ask us first, and is told nothing."""

_FETCH_SITE: Final = "Sec-Fetch-Site"
_FORM_WITHOUT_REFERRER: Final = "null"
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


def check_page_header(http: web.BaseRequest) -> None:
    """Let in what carries our page's header.

    Raises:
        Refusal: 403, it does not.
    """
    if http.headers.get(PAGE_HEADER) != "1":
        raise _cross_site(f"a call with the page's cookie needs the header {PAGE_HEADER}: 1")


def check_reader(http: web.BaseRequest) -> None:
    """Let in a read with the page's cookie that the page, or whoever typed its address, asks for.

    A page of another port of this host is of the same site: a browser sends the cookie along with what it loads from
    here. It can't read the answers, but it could use up places, and have looks at texts logged that nobody took.

    Raises:
        Refusal: 403, a page of another origin asks for it.
    """
    if http.headers.get(_FETCH_SITE, "none") not in ("same-origin", "none"):
        raise _cross_site("it comes from a page of another origin")


def check_origin(http: web.BaseRequest, addresses: ClientAddresses, *, form: bool = False) -> None:
    """Let in what does not say that it comes from elsewhere.

    `form`: a form of our page may have sent it; its origin is `null`, because the page tells nobody its address.

    Raises:
        Refusal: 403, it says so.
    """
    if http.headers.get(_FETCH_SITE, "same-origin") != "same-origin":
        raise _cross_site("it comes from a page of another origin")
    origin = http.headers.get(hdrs.ORIGIN)
    if origin is None or (form and origin == _FORM_WITHOUT_REFERRER):
        return
    scheme, _, place = origin.lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    host = addresses.of(http).forwarded.host.lower()
    if port is None or place.removesuffix(port) != host.removesuffix(port):
        raise _cross_site(
            "its Origin is not the host that it was sent to. A proxy in front must say that host in X-Forwarded-Host, "
            "and be one of trusted_proxies"
        )


def _cross_site(why: str) -> Refusal:
    return Refusal(403, "cross_site", f"This call is refused: {why}.")
