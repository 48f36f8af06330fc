"""The operator page: its files, and how one gets in and out.

The files are the same for everybody and hold no data, so that they need no login; the page asks `/api/me` who it is.
"""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs

from aiohttp import hdrs, web

from proxy.core.errors import Refusal
from proxy.edge.admin.access import AdminAccess, Proven, Visitor
from proxy.edge.admin.answer import HEADERS, SAFE, json_answer
from proxy.edge.admin.origin import check_origin
from proxy.edge.admin.query import json_fields
from proxy.edge.asked import READS, check_method, small_body
from proxy.edge.intake import respond
from proxy.edge.runtime import Runtime

PAGE: Final = "/ui"
FOLDER: Final = Path(__file__).resolve().parents[2] / "page"
INDEX: Final = "index.html"

SAFE_HEADERS: Final = {
    **SAFE,
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
"""On every answer below `/ui`: a browser runs and shows nothing there but these files."""

_KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_MOST_FIELDS: Final = 10
_UNAUTHORIZED: Final = 401


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file of the page. `tag` changes with its content; `packed` is the same for who takes gzip."""

    body: bytes
    packed: bytes
    kind: str
    tag: str


def read_page(folder: Path = FOLDER) -> dict[str, PageFile]:
    """The files of the page, by name."""
    found = {}
    for path in sorted(folder.iterdir()):
        kind = _KINDS.get(path.suffix)
        if kind is not None and path.is_file():
            body = path.read_bytes()
            found[path.name] = PageFile(body, gzip.compress(body, mtime=0), kind, sha256(body).hexdigest()[:32])
    return found


def _takes_gzip(http: web.BaseRequest) -> bool:
    """Whether a client takes gzip, by name; with a weight it is left alone, for that may be none."""
    given = ",".join(http.headers.getall(hdrs.ACCEPT_ENCODING, ()))
    return "gzip" in {each.strip().lower() for each in given.split(",")}


class AdminPage:
    """Serves what is at and below `/ui`, and the way there."""

    def __init__(self, access: AdminAccess, about: Callable[[Visitor], dict[str, Any]]) -> None:
        """Read the files. `about` gives what a visitor is told about itself."""
        self._access = access
        self._about = about
        self._files = read_page()

    @staticmethod
    def serves(path: str) -> bool:
        """Whether a path is one of the page's; whoever types the listener's address alone is led there."""
        return path in (PAGE, "/") or path.startswith(f"{PAGE}/")

    async def handle(self, http: web.BaseRequest, path: str, runtime: Runtime) -> web.StreamResponse:
        """Serve one request; a refusal is answered here, because it needs the page's headers too."""
        try:
            response = await self._serve(http, path.removeprefix(PAGE), runtime)
        except Refusal as refusal:
            response = respond(refusal)
        response.headers.update(SAFE_HEADERS)
        response.headers.setdefault(hdrs.CACHE_CONTROL, HEADERS[hdrs.CACHE_CONTROL])
        return response

    async def _serve(self, http: web.BaseRequest, below: str, runtime: Runtime) -> web.Response:
        match below:
            case "":
                check_method(http, *READS)
                is_login = http.method == "GET" and "once" in http.query  # a HEAD only looks where a link leads
                return self._log_in_once(http, http.query["once"]) if is_login else self._file(http, INDEX)
            case "/":
                check_method(http, *READS)
                return _see(PAGE)
            case "/login":
                check_method(http, "POST")
                return await self._log_in(http, runtime)
            case "/logout":
                check_method(http, "POST")
                return self._log_out(http)
            case _:
                check_method(http, *READS)
                return self._file(http, below.removeprefix("/"))

    def _file(self, http: web.BaseRequest, name: str) -> web.Response:
        file = self._files.get(name)
        if file is None:
            raise Refusal.not_found()
        packs = _takes_gzip(http)
        tag = f"{file.tag}-gzip" if packs else file.tag
        headers = {hdrs.CACHE_CONTROL: "no-cache", hdrs.ETAG: f'"{tag}"', hdrs.VARY: hdrs.ACCEPT_ENCODING}
        known = http.if_none_match or ()
        if any(each.value in (tag, "*") for each in known):
            return web.Response(status=304, headers=headers)
        headers |= {hdrs.CONTENT_TYPE: file.kind} | ({hdrs.CONTENT_ENCODING: "gzip"} if packs else {})
        return web.Response(body=file.packed if packs else file.body, headers=headers)

    def _log_in_once(self, http: web.BaseRequest, code: str) -> web.Response:
        """Begin a session for whoever has the code. The answer leads away from the address that has it in it."""
        proven = self._access.redeem(http, code)
        if proven is None:
            return _see(PAGE if self._access.by_cookie(http) else f"{PAGE}?login=once_used")
        return self._begun(http, _see(PAGE), proven, "once")

    async def _log_in(self, http: web.BaseRequest, runtime: Runtime) -> web.Response:
        """Begin a session for whoever has a token; a form is sent back to the page, a script is told who it is now."""
        check_origin(http, runtime.addresses, form=True)
        body = await small_body(http, runtime.settings.limits)
        if http.content_type == "application/json":
            proven = self._access.prove(http, _token_in(json_fields(body, ("token",))), "page")
            return self._begun(http, json_answer(self._about(proven.visitor)), proven, "page")
        try:
            proven = self._access.prove(http, _token_in(_form_fields(body)), "form")
        except Refusal as refusal:
            if refusal.status != _UNAUTHORIZED:
                raise
            return _see(f"{PAGE}?login=wrong")
        return self._begun(http, _see(PAGE), proven, "form")

    def _begun(self, http: web.BaseRequest, response: web.Response, proven: Proven, way: str) -> web.Response:
        self._access.begin_session(http, response, proven, way)
        return response

    def _log_out(self, http: web.BaseRequest) -> web.Response:
        self._access.check_page(http)
        response = json_answer({"object": "logout"})
        self._access.end_session(http, response)
        return response


def _see(place: str) -> web.Response:
    return web.Response(status=303, headers={hdrs.LOCATION: place})


def _token_in(fields: dict[str, Any]) -> str:
    token = fields.get("token")
    if not isinstance(token, str) or not token.strip():
        raise Refusal.bad_request("invalid_parameter", "token must be a string that is not empty.", "token")
    return token.strip()


def _form_fields(body: bytes) -> dict[str, Any]:
    try:
        fields = parse_qs(body.decode(), max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise Refusal.bad_request("invalid_form", "The body must be a form with the field token.") from None
    return {name: values[0] for name, values in fields.items()}
