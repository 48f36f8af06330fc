"""The commands' side of the admin API: where it is, with which token, and what an answer means for the exit code.

Redirects are not followed and proxies of the environment are not used: the token goes to one address only.
"""

import contextlib
import functools
import json
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from enum import IntEnum
from http.client import HTTPConnection, HTTPException, HTTPSConnection, IncompleteRead
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import click

from proxy.config_file.problems import printable
from proxy.core.called import called
from proxy.core.sse import Event, Framer, events

DEFAULT_ADMIN: Final = "http://127.0.0.1:8485"
ADMIN_VARIABLE: Final = "QUELL_ADMIN"

PATIENCE: Final = 30.0
"""Seconds for an answer. A stop is answered within `cancellation.confirm_timeout`, 2 s by default."""

PAGE: Final = 100

_READ: Final = 65536

_OK: Final = 200
_UNAUTHORIZED: Final = 401
_FORBIDDEN: Final = frozenset({403, 421})
_NOT_FOUND: Final = 404


class Exit(IntEnum):
    """Exit codes of the commands."""

    DONE = 0
    FAILED = 1
    NOT_FOUND = 3
    ALREADY_FINISHED = 4
    NOT_ALLOWED = 5
    NOT_CONFIRMED = 6


class CommandError(Exception):
    """A command failed: what is wrong and what to do, and the exit code."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__("\n".join(map(printable, message.splitlines())))
        self.code = code


class NotServedError(CommandError):
    """What answers has no such call: it is of another version, or no admin listener."""


def tells_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command that raises `CommandError` say so on standard error and end with its exit code."""

    @functools.wraps(command)
    def told(**arguments: Any) -> None:
        try:
            command(**arguments)
        except CommandError as error:
            click.echo(f"quell: {error}", err=True)
            raise click.exceptions.Exit(error.code) from error

    return told


@dataclass(frozen=True, slots=True)
class Token:
    """The admin token, or the reason why there is none. `origin` says where it is from, or was looked for."""

    value: str | None = field(repr=False)
    origin: str


class AdminClient:
    """Calls the admin API of one proxy."""

    def __init__(self, url: str, token: Token) -> None:
        """Call the proxy at `url`.

        Raises:
            CommandError: `url` is no HTTP address.
        """
        self.url = url.rstrip("/")
        self._token = token
        try:
            parts = urlsplit(self.url)
            self._port = parts.port
        except ValueError as error:
            raise _bad_url(self.url) from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise _bad_url(self.url)
        self._host, self._is_tls, self._prefix = parts.hostname, parts.scheme == "https", parts.path

    def get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The answer of a GET below `/api`.

        Raises:
            CommandError: there is none, or it is a refusal.
        """
        return self._answer("GET", path, query, None)

    def post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The answer of a POST below `/api`; otherwise as `get`."""
        return self._answer("POST", path, None, body)

    def pages(
        self, query: Mapping[str, str], missing: Callable[[Mapping[str, Any]], None] = lambda _: None
    ) -> Iterator[dict[str, Any]]:
        """The generations of a list, page by page; `missing` is given the last page, which may say what is missing."""
        asked = {**query, "limit": str(PAGE)}
        while True:
            page = self.get("/generations", asked)
            yield from page["data"]
            if page["next_cursor"] is None:
                missing(page)
                return
            asked["cursor"] = page["next_cursor"]

    def lines(self, path: str, query: Mapping[str, str]) -> tuple[Message, bytes]:
        """Headers and body of a GET below `/api` that is answered with a JSON object a line; otherwise as `get`."""
        status, headers, body = self._exchange("GET", f"/api{path}?{urlencode(query)}", None, self.headers())
        if status == _OK and headers.get_content_type() == "application/x-ndjson":
            return headers, body
        try:
            raise self._refused(status, json.loads(body))
        except ValueError as error:
            raise self._other() from error

    def events(
        self, path: str, query: Mapping[str, str], begun: Callable[[Callable[[], None]], None] = lambda _leave: None
    ) -> Iterator[Event]:
        """The events of a stream below `/api`, as they come, until it ends; nothing may come for `PATIENCE` seconds.

        `begun` is given what ends it at once, from another thread: who waits for an event here sees to nothing else.

        Raises:
            NotServedError: there is no such stream.
            CommandError: it is refused, or breaks off.
        """
        target = f"/api{path}" + (f"?{urlencode(query)}" if query else "")
        with self._calling() as connection:
            connection.connect()
            begun(functools.partial(_cut, connection.sock))
            connection.request("GET", self._prefix + target, headers=self.headers())
            response = connection.getresponse()
            if response.status != _OK or response.headers.get_content_type() != "text/event-stream":
                raise self._no_stream(response.status, response.read())
            framer = Framer()
            while data := response.read1(_READ):
                yield from events(framer.push(data))

    def _no_stream(self, status: int, body: bytes) -> CommandError:
        try:
            answer = json.loads(body)
        except ValueError:
            return self._other()
        error = answer.get("error") if isinstance(answer, dict) else None
        if status == _NOT_FOUND and isinstance(error, dict) and error.get("code") == "not_found":
            return NotServedError(f"the proxy at {self.url} has no such stream")
        return self._refused(status, answer)

    def probe(self, path: str) -> tuple[int, Any]:
        """Status and JSON of a path that needs no token.

        Raises:
            CommandError: the proxy can't be reached, or what answers is no proxy.
        """
        return self._call("GET", path, None, {})

    def headers(self) -> dict[str, str]:
        """The headers that let a call in.

        Raises:
            CommandError: there is no token.
        """
        if self._token.value is None:
            message = (
                f"no admin token: looked for {self._token.origin}. Use --token-file, QUELL_ADMIN_TOKEN or --config, "
                "or call this in the folder where the proxy was started"
            )
            raise CommandError(message, Exit.NOT_ALLOWED)
        return {"Authorization": f"Bearer {self._token.value}"}

    def events_url(self, any_id: str) -> str:
        """The address of a generation's events."""
        return f"{self.url}/api/generations/{escaped(any_id)}/events"

    def _answer(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        target = f"/api{path}" + (f"?{urlencode(query)}" if query else "")
        headers = self.headers()
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        status, answer = self._call(method, target, data, headers)
        if status == _OK and isinstance(answer, dict):
            return answer
        raise self._refused(status, answer)

    def _call(self, method: str, target: str, data: bytes | None, headers: Mapping[str, str]) -> tuple[int, Any]:
        status, _, body = self._exchange(method, target, data, headers)
        try:
            return status, json.loads(body)
        except ValueError as error:
            raise self._other() from error

    def _exchange(
        self, method: str, target: str, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, Message, bytes]:
        with self._calling() as connection:
            connection.request(method, self._prefix + target, body=data, headers=dict(headers))
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    @contextlib.contextmanager
    def _calling(self) -> Iterator[HTTPConnection]:
        """A connection for one call.

        Raises:
            CommandError: in place of what goes wrong with it.
        """
        made = HTTPSConnection if self._is_tls else HTTPConnection
        connection = made(self._host, self._port, timeout=PATIENCE)
        try:
            yield connection
        except TimeoutError as error:
            raise CommandError(f"the proxy at {self.url} did not answer within {PATIENCE:.0f} s") from error
        except OSError as error:
            raise self._unreachable(error) from error
        except IncompleteRead as error:
            raise CommandError(f"the proxy at {self.url} broke off its answer; does it still run?") from error
        except HTTPException as error:
            raise self._other() from error
        finally:
            connection.close()

    def _unreachable(self, error: OSError) -> CommandError:
        why = (os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)).lower()
        message = f"can't reach the proxy at {self.url} ({why}). Does it run? Its admin address goes into --admin"
        return CommandError(message + " or QUELL_ADMIN")

    def _other(self) -> CommandError:
        return CommandError(f"what answers at {self.url} is no admin listener of Quell; give its address with --admin")

    def _refused(self, status: int, answer: Any) -> CommandError:
        error = answer.get("error") if isinstance(answer, dict) else None
        if not isinstance(error, dict):
            return self._other()
        message, code = str(error.get("message")), error.get("code")
        if status == _UNAUTHORIZED:
            if code != "invalid_admin_token":
                return self._other()
            message = (
                f"the proxy at {self.url} does not take the admin token from {self._token.origin}. "
                "Give that proxy's own: --config with its config file, or --token-file"
            )
            return CommandError(message, Exit.NOT_ALLOWED)
        if status == _NOT_FOUND:
            return CommandError(message, Exit.NOT_FOUND) if code == "generation_not_found" else self._other()
        return CommandError(message, Exit.NOT_ALLOWED if status in _FORBIDDEN else Exit.FAILED)


def _cut(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it is closed already
        sock.shutdown(socket.SHUT_RDWR)


def escaped(any_id: str) -> str:
    """An id as a segment of a path.

    Raises:
        CommandError: it can be no id.
    """
    if any_id in ("", ".", "..") or not any_id.isprintable() or set("/\\;%?#") & set(any_id):
        raise CommandError(f"this can be no id of a generation; `{called()} ps` lists the live ones", Exit.NOT_FOUND)
    return quote(any_id, safe=":")


def _bad_url(url: str) -> CommandError:
    expected = "the admin address must be a URL such as http://127.0.0.1:8485"
    if "://" not in url:
        return CommandError(f"{expected}; it begins with http:// or https://")
    return CommandError(f"{expected}, without user and password")
