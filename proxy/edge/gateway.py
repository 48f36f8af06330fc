"""The proxy's handler: from a request that was let in to the part that serves it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import unquote

from aiohttp import web
from multidict import CIMultiDict

from proxy.core.errors import Refusal
from proxy.core.generation import Identity
from proxy.core.headers import HeaderPair, downstream_headers
from proxy.core.paths import join, safe_target
from proxy.edge import downstream
from proxy.edge.at_owner import at_owner, serve_for_another
from proxy.edge.control import Control
from proxy.edge.cors import cors_headers, is_preflight, preflight
from proxy.edge.intake import respond
from proxy.edge.looking import Looking
from proxy.edge.pass_through import pass_through
from proxy.edge.passing_on import pass_on
from proxy.edge.request import Request
from proxy.edge.runtime import Runtime, Served
from proxy.edge.to_engine import admission_of, asker_of, body_of, headers_up, plain_of, plan_of
from proxy.edge.translated import observer, reply, watch
from proxy.engine.admission import Admission, Asker
from proxy.engine.dialect import (
    AtOwner,
    Dialect,
    Endpoint,
    Launch,
    ModelCall,
    PassThrough,
    PlanMaker,
    Refuse,
    Serve,
    StopCall,
    Watch,
)
from proxy.engine.engine import Engine
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.plan import Plan
from proxy.engine.relaying.readers import Opening, Reader
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.reading import Reading
from proxy.engine.translating.desk import Desk
from proxy.stores.ledger.port import LedgerUnavailableError


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
            dialect, endpoint = self._endpoint(served, http.method, unquote(sent))
            headers = [(name, value) for name, value in http.headers.items()]
            # An escaped letter is that letter for the upstream too, and must not lead around a rule. What must not be
            # unescaped, such as a slash, was refused above.
            request = Request(http, headers, served, unquote(sent), query, runtime.caller(headers), dialect)
            with served.upstream.in_use():
                return await self._dispatch(request, runtime, endpoint, sent)
        except Refusal as refusal:
            return self._refuse(http, served, dialect, refusal)
        except LedgerUnavailableError:
            return self._refuse(http, served, dialect, Refusal.ledger_unreadable())

    async def serve_for_another(self, identity: Identity, route: str, request: PlainRequest) -> PlainReply | None:
        """Serve a stop that another replica took in, see `at_owner.serve_for_another`."""
        return await serve_for_another(self._engine, self.runtime, identity, route, request)

    async def look_for_another(
        self, identity: Identity | None, route: str, request: PlainRequest, opening: Opening, *, skips: bool
    ) -> PlainReply | None:
        """Serve a look that another replica took in, see `engine.replicas.lending.LookHere`."""
        return await Looking(self._engine, self.runtime, request, opening).serve(identity, route, skips=skips)

    def _endpoint(self, served: Served, method: str, rest: str) -> tuple[Dialect, Endpoint | None]:
        """Who serves a request, and as what; None: the native control API does."""
        if self._control.serves(rest):
            return served.dialects[0], None
        return served.endpoint(method, rest)

    async def _dispatch(
        self, request: Request, runtime: Runtime, endpoint: Endpoint | None, sent: str
    ) -> web.StreamResponse:
        """Serve a request, whose path behind the route's was `sent` as it stands in the request's target."""
        served = request.served
        if endpoint is None:
            return await self._control.handle(request, runtime)
        if isinstance(endpoint, Refuse):
            raise endpoint.refusal
        if isinstance(endpoint, StopCall):
            return await self._control.stop_by_dialect(request, runtime, endpoint)
        if isinstance(endpoint, AtOwner):
            endpoint = at_owner(endpoint, self._engine, served.route.path)
        if callable(endpoint):
            return await self._serve(request, runtime, endpoint, sent)
        served.check_allowed(request.rest)
        if isinstance(endpoint, ModelCall):
            return await self._call_model(request, runtime, endpoint.plan)
        return await self._pass(request, runtime, sent, await body_of(request, runtime))

    async def _pass(self, request: Request, runtime: Runtime, sent: str, body: bytes) -> web.StreamResponse:
        """Pass a request on as it came."""
        served = request.served
        up = headers_up(request, runtime, identity_encoding=False)
        url = join(served.upstream.settings.base_url, sent, request.query)
        return await pass_through(request.http, served, url, up, body, runtime.settings.limits.write_deadline)

    async def _call_model(self, request: Request, runtime: Runtime, make: PlanMaker) -> web.StreamResponse:
        reader = Reader(holds=True)
        relay = await self._admit(request, runtime, make, reader)
        return await self._follow(request, runtime, relay, reader)

    async def _admit(self, request: Request, runtime: Runtime, make: PlanMaker, reader: Reader) -> Relay:
        """Have a model call admitted; what was read for it is not kept here for as long as it runs."""
        asker = asker_of(request, runtime)
        self._engine.check_room(asker)
        with self._claiming(asker) as asker:
            body = await body_of(request, runtime)
            began = time.perf_counter()
            plan = await plan_of(make, plain_of(request, body), request.served)
            relay = await self._start(admission_of(request, runtime, asker, plan), reader)
        self._engine.metrics.overhead.observe(time.perf_counter() - began)
        return relay

    @contextmanager
    def _claiming(self, asker: Asker) -> Iterator[Asker]:
        """Claim the chosen id among the replicas, while what follows goes on; what is not used is let go."""
        claim = self._engine.claim(asker.identity.name, asker.task_id)
        try:
            yield asker if claim is None else replace(asker, claim=claim)
        finally:
            if claim is not None:
                claim.close()

    async def _start(self, admission: Admission, reader: Reader | None) -> Relay:
        """Have a model call admitted, once its id is its own."""
        if (claim := admission.asker.claim) is not None:
            await claim.held()
        return await self._engine.let_in(admission, reader)

    async def _serve(self, request: Request, runtime: Runtime, serve: Serve, sent: str) -> web.StreamResponse:
        """Serve an endpoint of a dialect's own."""
        reader = Reader(holds=True)
        body = await body_of(request, runtime)
        found = await self._served(request, runtime, serve, body, reader)
        match found:
            case PassThrough():
                request.served.check_allowed(request.rest)
                return await self._pass(request, runtime, sent, body)
            case PlainReply():
                return reply(request, found)
            case Watch():
                told = observer(request)
                await watch(told, found, runtime.settings.limits.write_deadline)
                return told.response
            case Reading():
                return await self._pass_on(request, runtime, found)
            case Relay():
                return await self._follow(request, runtime, found, reader)

    async def _pass_on(self, request: Request, runtime: Runtime, reading: Reading) -> web.StreamResponse:
        """Answer with a stream of another replica's."""
        observing, deadline = self._engine.observing, runtime.settings.limits.write_deadline
        if observing is None:
            raise RuntimeError("a reading that comes from nowhere")
        headers = [("Server", "quell"), *cors_headers(request.http, request.served.route.cors)]
        return await pass_on(request.http, reading, observing, headers, deadline)

    async def _served(
        self, request: Request, runtime: Runtime, serve: Serve, body: bytes, reader: Reader
    ) -> PlainReply | Watch | PassThrough | Relay | Reading:
        """What an endpoint gives; a model call has been admitted."""
        cancellation, upstream = runtime.settings.cancellation, request.served.upstream
        asker, identity = asker_of(request, runtime), request.caller.identity
        desk = Desk(self._engine, identity, request.served.route, cancellation, asks_usage=upstream.usage.level)
        began = time.perf_counter()
        try:
            with self._claiming(asker) as asker:
                found = await serve(plain_of(request, body), desk)
                match found:
                    case Plan():
                        relay = await self._start(admission_of(request, runtime, asker, found), reader)
                        self._engine.metrics.overhead.observe(time.perf_counter() - began)
                        return relay
                    case Launch():
                        relay = await self._start(admission_of(request, runtime, asker, found.plan), None)
                        await relay.start_on_disk()
                        ours = (*found.reply.headers, *_ids(relay))
                        return replace(found.reply, headers=ours)
            return found
        finally:
            desk.leave()

    async def _follow(self, request: Request, runtime: Runtime, relay: Relay, reader: Reader) -> web.StreamResponse:
        """Answer with what a model call produces."""
        try:
            while relay.head is None:
                await reader.woken()
            return await self._answer(request, runtime, relay, reader)
        finally:
            relay.detach(reader)

    async def _answer(self, request: Request, runtime: Runtime, relay: Relay, reader: Reader) -> web.StreamResponse:
        head = relay.head
        ours = _ids(relay)
        if head is None:
            raise RuntimeError("answered before the head is known")
        if isinstance(head, Refusal):
            return self._refuse(request.http, request.served, request.dialect, head, ours)
        headers = downstream_headers(head.headers, stream=head.streamed) + ours
        headers += cors_headers(request.http, request.served.route.cors)
        deadline = runtime.settings.limits.write_deadline
        return await downstream.answer(request.http, relay, reader, head, headers, deadline)

    @staticmethod
    def _refuse(
        http: web.BaseRequest,
        served: Served,
        dialect: Dialect,
        refusal: Refusal,
        ours: list[HeaderPair] | None = None,
    ) -> web.Response:
        response = respond(refusal, dialect.refused(refusal))
        response.headers.extend(CIMultiDict([*(ours or ()), *cors_headers(http, served.route.cors)]))
        return response


def _ids(relay: Relay) -> list[HeaderPair]:
    facts = relay.generation.facts
    return [("X-Task-Id", facts.task_id), ("X-Message-Id", facts.message_id)]
