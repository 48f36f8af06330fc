"""The proxy's handler: from a request that was let in to the part that serves it."""

import asyncio
import time
from functools import partial
from typing import Final
from urllib.parse import unquote

from aiohttp import web
from multidict import CIMultiDict

from proxy.core.errors import Refusal
from proxy.core.headers import HeaderPair, check_value, downstream_headers, upstream_headers, valid_task_id
from proxy.core.paths import join, safe_target
from proxy.edge import downstream
from proxy.edge.control import Control
from proxy.edge.cors import cors_headers, is_preflight, preflight
from proxy.edge.intake import read_body, respond
from proxy.edge.pass_through import pass_through
from proxy.edge.request import Request
from proxy.edge.runtime import Runtime, Served
from proxy.engine.dialect import Dialect, ModelCall, PlainRequest, StopCall
from proxy.engine.engine import Admission, Asker, Engine
from proxy.engine.plan import Call
from proxy.engine.readers import Reader
from proxy.engine.relay import Relay
from proxy.stores.ports import LedgerUnavailableError

LARGE_BODY: Final = 256 * 1024
"""A body from here on is parsed in a thread: it would hold everybody up for milliseconds."""


class Gateway:
    """Serves the proxy's listener. `runtime` is swapped by a reload; a request keeps the one it began with."""

    def __init__(self, engine: Engine, runtime: Runtime) -> None:
        self.runtime = runtime
        self._engine = engine
        self._control = Control(engine)

    async def handle(self, http: web.BaseRequest) -> web.StreamResponse:
        """Serve one request.

        Raises:
            Refusal: for a request that belongs to no route.
        """
        runtime = self.runtime
        path, query = safe_target(http.raw_path)
        served, sent = runtime.match(path)
        cors = served.route.cors
        if is_preflight(http, cors):
            return preflight(http, cors)
        dialect = served.dialects[0]
        try:
            headers = [(name, value) for name, value in http.headers.items()]
            # An escaped letter is that letter for the upstream too, and must not lead around a rule. What must not be
            # unescaped, such as a slash, was refused above.
            request = Request(http, headers, served, unquote(sent), query, runtime.caller(headers), dialect)
            with served.upstream.in_use():
                return await self._dispatch(request, runtime, sent)
        except Refusal as refusal:
            return self._refuse(http, served, dialect, refusal)
        except LedgerUnavailableError:
            message = "The ledger can't be read now. What runs can still be stopped."
            return self._refuse(http, served, dialect, Refusal.overloaded(5, "ledger_unavailable", message))

    async def _dispatch(self, request: Request, runtime: Runtime, sent: str) -> web.StreamResponse:
        """Serve a request, whose path behind the route's was `sent` as it stands in the request's target."""
        served, http, limits = request.served, request.http, runtime.settings.limits
        if self._control.serves(request.rest):
            return await self._control.handle(request, runtime)
        dialect, endpoint = served.endpoint(http.method, request.rest)
        if isinstance(endpoint, StopCall):
            return await self._control.stop_by_dialect(request, runtime, dialect, endpoint.any_id)
        _check_allowed(served, request.rest)
        if isinstance(endpoint, ModelCall):
            return await self._call_model(request, runtime, dialect)
        body = await read_body(http, limits.body, limits.body_deadline)
        up = self._headers_up(request, runtime, identity_encoding=False)
        url = join(served.upstream.settings.base_url, sent, request.query)
        return await pass_through(http, served, url, up, body, limits.write_deadline)

    async def _call_model(self, request: Request, runtime: Runtime, dialect: Dialect) -> web.StreamResponse:
        reader = Reader(holds=True)
        relay = await self._admit(request, runtime, dialect, reader)
        try:
            while relay.head is None:
                await reader.woken()
            return await self._answer(request, runtime, dialect, relay, reader)
        finally:
            relay.detach(reader)

    async def _admit(self, request: Request, runtime: Runtime, dialect: Dialect, reader: Reader) -> Relay:
        """Have a model call admitted; what was read for it is not kept here for as long as it runs."""
        limits, caller = runtime.settings.limits, request.caller
        asker = Asker(caller.identity, _chosen_id(request.http), limits.streams, caller.most)
        self._engine.check_room(asker)
        body = await read_body(request.http, limits.body, limits.body_deadline)
        began = time.perf_counter()
        relay = self._engine.admit(await self._ask(request, runtime, dialect, asker, body), reader)
        self._engine.metrics.overhead.observe(time.perf_counter() - began)
        return relay

    async def _ask(self, request: Request, runtime: Runtime, dialect: Dialect, asker: Asker, body: bytes) -> Admission:
        served, http, limits = request.served, request.http, runtime.settings.limits
        user = _single(http, "X-User-Id")
        plain = PlainRequest(
            method=http.method,
            rest=request.rest,
            query=request.query,
            content_type=http.content_type.lower(),
            body=body,
            user_header=None if user is None else check_value("X-User-Id", user),
        )
        settings = served.upstream.settings
        plan_it = partial(
            dialect.plan,
            plain,
            served.route,
            asks_usage=served.upstream.asks_usage,
            forbids_usage=settings.usage == "none",
        )
        plan = plan_it() if len(body) < LARGE_BODY else await asyncio.to_thread(plan_it)
        url = join(settings.base_url, plan.path, plan.query)
        call = Call(http.method, url, self._headers_up(request, runtime, identity_encoding=True), plan.body)
        return Admission(
            asker=asker,
            plan=plan,
            call=call,
            rules=served.rules,
            upstream=served.upstream,
            tags=served.route.tags,
            partial_text=limits.partial_text,
            text=runtime.settings.ledger.text,
            tape=limits.tape,
        )

    async def _answer(
        self, request: Request, runtime: Runtime, dialect: Dialect, relay: Relay, reader: Reader
    ) -> web.StreamResponse:
        head = relay.head
        ours = _ids(relay)
        if head is None:
            raise RuntimeError("answered before the head is known")
        if isinstance(head, Refusal):
            return self._refuse(request.http, request.served, dialect, head, ours)
        headers = downstream_headers(head.headers, stream=head.streamed) + ours
        headers += cors_headers(request.http, request.served.route.cors)
        deadline = runtime.settings.limits.write_deadline
        return await downstream.answer(request.http, relay, reader, head, headers, deadline)

    @staticmethod
    def _headers_up(request: Request, runtime: Runtime, *, identity_encoding: bool) -> list[HeaderPair]:
        client = runtime.addresses.of(request.http)
        return upstream_headers(
            request.headers,
            host=request.served.host,
            credentials=request.served.credentials,
            forwarded=client.forwarded,
            identity_encoding=identity_encoding,
        )

    @staticmethod
    def _refuse(
        http: web.BaseRequest,
        served: Served,
        dialect: Dialect,
        refusal: Refusal,
        ours: list[HeaderPair] | None = None,
    ) -> web.Response:
        reply = dialect.refused(refusal)
        response = respond(refusal, reply.body, reply.content_type)
        response.headers.extend(CIMultiDict([*(ours or ()), *cors_headers(http, served.route.cors)]))
        return response


def _ids(relay: Relay) -> list[HeaderPair]:
    facts = relay.generation.facts
    return [("X-Task-Id", facts.task_id), ("X-Message-Id", facts.message_id)]


def _chosen_id(http: web.BaseRequest) -> str | None:
    chosen = _single(http, "X-Task-Id")
    if chosen is not None and not valid_task_id(chosen):
        message = "X-Task-Id takes 1 to 128 of the characters A-Z a-z 0-9 . _ : - (and not '.' or '..' alone)."
        raise Refusal.bad_request("invalid_task_id", message, "X-Task-Id")
    return chosen


def _single(http: web.BaseRequest, name: str) -> str | None:
    """The value of a header that says one thing: of two, nobody could tell which one counts."""
    values = http.headers.getall(name, ())
    if len(values) > 1:
        raise Refusal.bad_request("invalid_header", f"The {name} header is there more than once.", name)
    return values[0] if values else None


def _check_allowed(served: Served, rest: str) -> None:
    """Raise 403 unless the route's `only` list, if it has one, has the path or one that it is below of."""
    only = served.route.only
    if only and not any(path in ("/", rest) or rest.startswith(f"{path}/") for path in only):
        message = "This path is not passed on: the route's `only` list does not have it."
        raise Refusal(403, "path_not_allowed", message, type="permission_error")
