"""Calls through the front proxy, as any client makes them: without proxies of the environment, without redirects."""

import contextlib
import json
import os
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead, RemoteDisconnected
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.cli.admin_client import CommandError

_VERSIONS: Final = {10: "HTTP/1.0", 11: "HTTP/1.1"}


class FrontError(Exception):
    """A call through the front got no answer; the words say why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case; of several the last."""
    body: bytes
    version: str
    seconds: float

    def json(self) -> Any:
        """The body as JSON, None if it is none."""
        with contextlib.suppress(ValueError):
            return json.loads(self.body)
        return None

    @property
    def error_code(self) -> str | None:
        """The code of an error in OpenAI's shape."""
        told = self.json()
        error = told.get("error") if isinstance(told, dict) else None
        return str(error.get("code")) if isinstance(error, dict) else None

    @property
    def error_message(self) -> str:
        """Its words, empty if there are none."""
        told = self.json()
        error = told.get("error") if isinstance(told, dict) else None
        return str(error.get("message") or "") if isinstance(error, dict) else ""


@dataclass(frozen=True, slots=True)
class Front:
    """The address at which clients reach the proxy. `prefix` is what stands before every path."""

    is_tls: bool
    host: str
    port: int | None
    prefix: str
    key: str | None = field(repr=False)
    context: ssl.SSLContext | None = None

    @classmethod
    def at(cls, url: str, key: str | None, ca_file: Path | None) -> "Front":
        """The front at a URL.

        Raises:
            CommandError: it is no HTTP address, or the certificates can't be read.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise _bad_url() from error
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise _bad_url()
        context = None
        if parts.scheme == "https":
            try:
                context = ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
            except (OSError, ssl.SSLError) as error:
                raise CommandError(f"{ca_file}: can't be read as certificates ({error})") from error
        return cls(parts.scheme == "https", parts.hostname, port, parts.path.rstrip("/"), key, context)

    @property
    def url(self) -> str:
        """The address as text."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"{'https' if self.is_tls else 'http'}://{host}{port}{self.prefix}"

    def connect(self, patience: float) -> HTTPConnection:
        """A connection that is not made yet; each of its waits may last `patience` seconds."""
        if self.is_tls:
            return HTTPSConnection(self.host, self.port, timeout=patience, context=self.context)
        return HTTPConnection(self.host, self.port, timeout=patience)

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, patience: float, with_key: bool = True
    ) -> Answer:
        """A whole answer.

        Raises:
            FrontError: there is none.
        """
        connection, began = self.connect(patience), time.monotonic()
        try:
            with told_plainly(patience):
                response = self.send(connection, method, path, body, with_key=with_key)
                data = response.read()
        finally:
            connection.close()
        return Answer(response.status, headers_of(response), data, version_of(response), time.monotonic() - began)

    def send(
        self,
        connection: HTTPConnection,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        with_key: bool = True,
    ) -> HTTPResponse:
        """Send a request, and wait for the head of its answer; raises what the connection raises."""
        told = {"Accept": "*/*", "User-Agent": "quell-doctor", **(headers or {})}
        if self.key is not None and with_key:
            told["Authorization"] = f"Bearer {self.key}"
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            told["Content-Type"] = "application/json"
        connection.request(method, self.prefix + path, body=data, headers=told)
        return connection.getresponse()


def headers_of(response: HTTPResponse) -> dict[str, str]:
    """The headers of an answer, by their names in lower case."""
    return {name.lower(): value for name, value in response.getheaders()}


def version_of(response: HTTPResponse) -> str:
    """The HTTP version of an answer."""
    return _VERSIONS.get(response.version, f"HTTP version {response.version}")


@contextmanager
def told_plainly(patience: float) -> Iterator[None]:
    """Say in plain words what goes wrong with a connection.

    Raises:
        FrontError: something did.
    """
    try:
        yield
    except RemoteDisconnected as error:
        raise FrontError("it closed the connection without an answer") from error
    except IncompleteRead as error:
        raise FrontError("it closed the connection in the middle of the answer") from error
    except TimeoutError as error:
        raise FrontError(f"no answer within {patience:g} s") from error
    except ssl.SSLCertVerificationError as error:
        raise FrontError(f"its certificate is not trusted ({error.verify_message}); --ca-file names its CA") from error
    except ssl.SSLError as error:
        raise FrontError(f"TLS fails ({error.reason or error}); is it https that is spoken there?") from error
    except OSError as error:
        raise FrontError(
            (os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)).lower()
        ) from error
    except HTTPException as error:
        raise FrontError(f"what comes is no HTTP answer ({type(error).__name__})") from error


def _bad_url() -> CommandError:
    return CommandError("URL must be the front's address, such as https://llm.example.com, without user and password")
