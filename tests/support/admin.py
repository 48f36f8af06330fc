"""The admin listener in tests: people with tokens of every kind, calls, a browser's cookies.

async with running_proxy(config_text(up.base_url, admin={"tokens": PEOPLE}), tmp_path) as proxy:
    await call(proxy.admin_port, "POST", "/api/reload", headers=token_of("vera"))
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from support.client import Answer, RawClient, request_bytes
from support.http_bytes import Headers
from support.program import ADMIN_TOKEN
from support.tiny_server import error_of

MAIN = "admin"
PEOPLE: list[dict[str, Any]] = [
    {"name": "vera", "role": "viewer", "token": "vera-0123456789abcdef"},
    {"name": "otto", "role": "operator", "token": "otto-0123456789abcdef"},
    {"name": "ada", "role": "admin", "token": "ada-0123456789abcdef"},
    {"name": "tess", "role": "viewer", "text": True, "token": "tess-0123456789abcdef"},
    {"name": "olga", "role": "operator", "text": True, "token": "olga-0123456789abcdef"},
]
FROM_PAGE: Headers = [("X-Quell-Page", "1")]
"""What the page sends along with its cookie."""

_SECRETS: dict[str, str] = {MAIN: ADMIN_TOKEN, **{each["name"]: each["token"] for each in PEOPLE}}


def secret_of(name: str) -> str:
    """Somebody's token."""
    return _SECRETS[name]


def token_of(name: str) -> Headers:
    """The header with somebody's token."""
    return [("Authorization", f"Bearer {_SECRETS[name]}")]


async def call(port: int, method: str, path: str, body: Any = b"", headers: Headers | None = None) -> Answer:
    """One request on a connection of its own. Of a stream of events only what comes at first is read."""
    async with RawClient(port) as client:
        await client.send(request_bytes(method, path, body, headers))
        return await client.answer(to_head=method == "HEAD")


def refused(answer: Answer) -> tuple[int, str]:
    """Status and code of an answer that must be an error in OpenAI's shape."""
    return answer.status, error_of(answer.body)["code"]


def cookies_in(answer: Answer) -> list[str]:
    """The Set-Cookie headers of an answer."""
    return [value for name, value in answer.headers if name.lower() == "set-cookie"]


def cookie_of(answer: Answer) -> Headers:
    """The cookie that an answer sets, as a browser sends it back."""
    (cookie,) = cookies_in(answer)
    return [("Cookie", cookie.partition(";")[0])]


async def log_in(port: int, name: str = MAIN, headers: Sequence[tuple[str, str]] = ()) -> Headers:
    """Log in on the page with somebody's token; gives the cookie as a browser sends it."""
    answer = await form(port, secret_of(name), headers)
    assert (answer.status, answer.header("Location")) == (303, "/ui"), answer.body
    return cookie_of(answer)


async def form(port: int, token: str, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """The login form, sent with a token."""
    kind = ("Content-Type", "application/x-www-form-urlencoded")
    return await call(port, "POST", "/ui/login", f"token={quote(token)}".encode(), [kind, *headers])
