"""Refusals: what is answered instead of a result, and whose fault it is.

A refusal knows its status, a stable code for programs, and a sentence for people. It never carries what the client
sent, so it can be logged and answered as it is. Dialects render refusals in their own shape; the default is OpenAI's.
"""

import json
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self, assert_never


class Source(StrEnum):
    """Whose fault a refusal is."""

    DOWNSTREAM = "downstream"
    UPSTREAM = "upstream"
    OURS = "ours"


class UpstreamErrorKind(StrEnum):
    """How an upstream failed; also the `kind` of the error metric and the record's `error_kind`."""

    UNREACHABLE = "unreachable"
    DNS = "dns"
    TLS = "tls"
    CONNECT_TIMEOUT = "connect_timeout"
    HEADER_TIMEOUT = "header_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    TOTAL_TIMEOUT = "total_timeout"
    RESET = "reset"
    TRUNCATED = "truncated"
    BAD_ANSWER = "bad_answer"
    REDIRECT = "redirect"
    UPGRADED = "upgraded"


@dataclass(eq=False)
class Refusal(Exception):  # noqa: N818 an answer to the peer, not a failure of the program
    """An answer that ends a request before it has a result; raise it anywhere below the edge.

    `headers` go into the answer as they are; a `Connection: close` in them also closes the connection after it.
    `param` names the request's field at fault, as OpenAI's errors do.
    """

    status: int
    code: str
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    source: Source = Source.DOWNSTREAM

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message}"

    @property
    def closes(self) -> bool:
        """Whether the connection must be closed after this answer."""
        return self.headers.get("Connection") == "close"

    @classmethod
    def bad_request(cls, code: str, message: str, param: str | None = None) -> Self:
        """400: the request breaks a rule; the same request will be refused again."""
        return cls(400, code, message, param=param)

    @classmethod
    def unreadable(cls, status: int, code: str, message: str) -> Self:
        """A 4xx or 5xx after which the rest of the connection can't be trusted, so it is closed."""
        return cls(status, code, message, headers={"Connection": "close"})

    @classmethod
    def unauthorized(cls) -> Self:
        """401: the credential is missing or not one of the configured keys."""
        return cls(
            401,
            "invalid_api_key",
            "No valid API key was sent. Send one as 'Authorization: Bearer <key>'.",
            headers={"WWW-Authenticate": "Bearer"},
        )

    @classmethod
    def not_found(cls) -> Self:
        """404: always the same words, so that somebody else's id looks like an unknown one."""
        return cls(404, "not_found", "There is nothing with this id or path.")

    @classmethod
    def no_route(cls) -> Self:
        """404: no route's path begins the request's."""
        return cls(404, "not_found", "No route of this proxy begins this path. Is the client's base_url right?")

    @classmethod
    def too_large(cls, limit: int) -> Self:
        """413: the body is longer than `limit` bytes; what is left of it is not read."""
        return cls.unreadable(413, "request_too_large", f"The request body is longer than the limit of {limit} bytes.")

    @classmethod
    def body_timeout(cls) -> Self:
        """408: the body did not arrive in time."""
        return cls.unreadable(408, "request_timeout", "The request body arrived too slowly.")

    @classmethod
    def too_many(cls, retry_after: int, limit: str = "Too many requests are running or waiting.") -> Self:
        """429: as much runs or waits as may; `limit` says which one is reached, `retry_after` is in seconds."""
        return cls(
            429,
            "rate_limit_exceeded",
            f"{limit} Try again later.",
            type="rate_limit_error",
            headers={"Retry-After": str(retry_after)},
        )

    @classmethod
    def overloaded(
        cls, retry_after: int, code: str = "overloaded", message: str = "The proxy takes no new work now."
    ) -> Self:
        """503: we can't take new work now (full, draining, no ledger); `retry_after` is in seconds."""
        return cls(
            503,
            code,
            message,
            type="server_error",
            headers={"Retry-After": str(retry_after)},
            source=Source.OURS,
        )

    @classmethod
    def ledger_unreadable(cls) -> Self:
        """503: what has ended is not known now."""
        message = "The ledger can't be read now. What runs can still be stopped."
        return cls.overloaded(5, "ledger_unavailable", message)

    @classmethod
    def shutting_down(cls) -> Self:
        """503: we end, and what runs ends with us."""
        message = "The proxy is shutting down. Ask again in a moment, or another replica."
        return cls.overloaded(1, "shutting_down", message)

    @classmethod
    def id_in_use(cls) -> Self:
        """400: a running generation of the same caller has the chosen id."""
        message = "A generation with this task id is still running. Choose another id, or stop that one first."
        return cls.bad_request("task_id_in_use", message, "X-Task-Id")

    @classmethod
    def bus_unavailable(cls) -> Self:
        """503: other replicas can't be asked now, so nobody knows whether one of them runs what is meant."""
        message = "The other replicas can't be reached now, and this one does not run it. Try again."
        return cls.overloaded(1, "bus_unavailable", message)

    @classmethod
    def cancelled(cls, *, begun: bool = False) -> Self:
        """499: the generation was stopped before its response header went out; SDKs are told not to retry.

        `begun`: text had come, which is held back until a whole answer can be given.
        """
        when = "its answer was complete; its record has what is kept of it" if begun else "it produced an answer"
        return cls(
            499,
            "generation_cancelled",
            f"The generation was cancelled before {when}.",
            headers={"x-should-retry": "false"},
        )

    @classmethod
    def upstream(cls, kind: UpstreamErrorKind) -> Self:
        """502 or 504: the upstream failed before its answer could be passed on."""
        status, message = _upstream_answer(kind)
        return cls(status, f"upstream_{kind}", message, type="upstream_error", source=Source.UPSTREAM)

    @classmethod
    def internal(cls) -> Self:
        """500: a defect of ours; details are in the log only."""
        return cls(
            500,
            "internal_error",
            "The proxy failed on this request. Its log has the details.",
            type="server_error",
            source=Source.OURS,
        )


def _upstream_answer(kind: UpstreamErrorKind) -> tuple[int, str]:  # noqa: C901, PLR0912 one flat case for each kind
    match kind:
        case UpstreamErrorKind.UNREACHABLE:
            answer = 502, "The upstream refused the connection or has no way to it. Is it running, is base_url right?"
        case UpstreamErrorKind.DNS:
            answer = 502, "The upstream's host name could not be resolved. Check base_url and the resolver."
        case UpstreamErrorKind.TLS:
            answer = (
                502,
                (
                    "No secure connection to the upstream: its certificate or handshake was not accepted. The log says "
                    "why. The authority of a private certificate goes into the upstream's ca_file."
                ),
            )
        case UpstreamErrorKind.CONNECT_TIMEOUT:
            answer = 504, "The upstream did not accept the connection within timeouts.connect."
        case UpstreamErrorKind.HEADER_TIMEOUT:
            answer = 504, "The upstream accepted the request but sent no answer within timeouts.first_byte."
        case UpstreamErrorKind.IDLE_TIMEOUT:
            answer = 504, "The upstream fell silent in the middle of its answer for longer than timeouts.idle."
        case UpstreamErrorKind.TOTAL_TIMEOUT:
            answer = 504, "The upstream was still answering after timeouts.total."
        case UpstreamErrorKind.RESET:
            answer = 502, "The upstream broke the connection."
        case UpstreamErrorKind.TRUNCATED:
            answer = 502, "The upstream's answer ended before it was complete."
        case UpstreamErrorKind.BAD_ANSWER:
            answer = 502, "The upstream's answer is not valid HTTP."
        case UpstreamErrorKind.REDIRECT:
            answer = 502, "The upstream answered with a redirect, which is never followed. Put its target in base_url."
        case UpstreamErrorKind.UPGRADED:
            answer = 502, "The upstream tried to switch to another protocol."
        case _:
            assert_never(kind)
    return answer


def openai_error_body(refusal: Refusal) -> bytes:
    """The refusal as OpenAI's error object, the default of every route, in ASCII."""
    error = {"message": refusal.message, "type": refusal.type, "code": refusal.code, "param": refusal.param}
    return json.dumps({"error": error}).encode()
