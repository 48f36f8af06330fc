"""Serving requests that another replica took in and that only look at what runs here, asking nobody else."""

import json
from typing import Final

from proxy.core.errors import Refusal, openai_error_body
from proxy.core.generation import Identity
from proxy.edge.one_generation import ROOT, find_anybodys, find_own, read_about, record_shown, tell_events
from proxy.edge.runtime import Runtime, Served
from proxy.edge.translated import watch
from proxy.engine.dialect import AtOwner, Watch
from proxy.engine.engine import Engine
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.readers import Opening
from proxy.engine.translating.desk import Desk
from proxy.stores.ledger.port import LedgerUnavailableError


class Looking:
    """One such request."""

    def __init__(self, engine: Engine, runtime: Runtime, request: PlainRequest, opening: Opening) -> None:
        self._engine = engine
        self._deadline: Final = runtime.settings.limits.write_deadline
        self._runtime = runtime
        self._request = request
        self._opening = opening

    async def serve(self, identity: Identity | None, route: str, *, skips: bool) -> PlainReply | None:
        """See `engine.replicas.lending.LookHere`."""
        served = self._runtime.served(route)
        if identity is not None and served is None:
            return None
        try:
            if served is None or identity is None or self._request.rest.startswith(f"{ROOT}/"):
                return await self._one(identity)
            return await self._dialect(identity, served, skips=skips)
        except Refusal as refusal:
            return _refused(served, self._request, refusal)
        except LedgerUnavailableError:
            return _refused(served, self._request, Refusal.ledger_unreadable())

    async def _one(self, identity: Identity | None) -> PlainReply | None:
        """The record of one generation, or its events; `identity` None: the operator looks, and keeps nothing alive."""
        any_id, after = read_about(self._request)
        engine = self._engine
        found = await (find_anybodys(engine, any_id) if identity is None else find_own(engine, identity.name, any_id))
        if after is None:
            return PlainReply(200, json.dumps(await record_shown(engine, found)).encode())
        await tell_events(found, after, self._opening, self._deadline, holds=identity is not None)
        return None

    async def _dialect(self, identity: Identity, served: Served, *, skips: bool) -> PlainReply | None:
        _, endpoint = served.endpoint("GET", self._request.rest)
        if not isinstance(endpoint, AtOwner) or not endpoint.looks:
            return None
        usage, cancellation = served.upstream.usage.level, self._runtime.settings.cancellation
        desk = Desk(self._engine, identity, served.route, cancellation, asks_usage=usage, asks_others=False)
        try:
            found = await endpoint.serve(self._request, desk)
        finally:
            desk.leave()
        if isinstance(found, Watch) and not (skips and found.beginning):  # that is said otherwise each time
            await watch(self._opening, found, self._deadline)
        return found if isinstance(found, PlainReply) else None


def _refused(served: Served | None, request: PlainRequest, refusal: Refusal) -> PlainReply:
    """A refusal in the shape of whoever serves the request; the operator's is OpenAI's."""
    if served is None:
        return PlainReply(refusal.status, openai_error_body(refusal), tuple(refusal.headers.items()))
    dialect = served.dialects[0] if request.rest.startswith(f"{ROOT}/") else served.endpoint("GET", request.rest)[0]
    return dialect.refused(refusal)
