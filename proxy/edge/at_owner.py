"""What only the owner of an id can answer in its dialect's words: stops, and looks at it. It is served there."""

from typing import Final

from proxy.core.errors import Refusal
from proxy.core.generation import Identity
from proxy.core.lifecycle import Outcome
from proxy.edge.runtime import Runtime
from proxy.engine.dialect import AtOwner, Launch, PassThrough, Serve, Watch
from proxy.engine.engine import Engine
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.relaying.plan import Plan
from proxy.engine.replicas.elsewhere import Unserved
from proxy.engine.replicas.reading import Reading
from proxy.engine.translating.desk import Desk
from proxy.stores.bus.port import BusUnavailableError
from proxy.stores.ledger.port import LedgerUnavailableError

NOT_FOUND: Final = 404

Reply = PlainReply | Plan | Launch | Watch | PassThrough | Reading


def at_owner(endpoint: AtOwner, engine: Engine, route: str) -> Serve:
    """The endpoint as it is served here: by the owner, if that is another replica."""

    async def serve(request: PlainRequest, desk: Desk) -> Reply:
        elsewhere, name, any_id = engine.canceller.elsewhere, desk.identity.name, endpoint.any_id
        if elsewhere is None or engine.runs_here(name, any_id):
            return await endpoint.serve(request, desk)
        over_here, confirm = engine.over_here(name, any_id), desk.cancellation.confirm_timeout
        reply: PlainReply | Reading | Unserved | None
        try:
            if endpoint.looks and engine.observing is not None:
                reply = await engine.observing.look(desk.identity, any_id, route, request, over_here)
            else:
                reply = await elsewhere.serve(
                    desk.identity, any_id, route, request, confirm, stops=endpoint.stops, over_here=over_here
                )
        except BusUnavailableError:
            return await _known(endpoint, request, desk, None)
        match reply:
            case None:
                return await endpoint.serve(request, desk)
            case Unserved(record) if record.outcome is Outcome.RUNNING and endpoint.unserved is not None:
                return await endpoint.unserved(record, desk)
            case Unserved():
                return await _known(endpoint, request, desk, reply)
        return reply

    return serve


async def _known(endpoint: AtOwner, request: PlainRequest, desk: Desk, unserved: Unserved | None) -> Reply:
    """The owner can't serve it: what our stores know is the answer, but that there is nothing they can't know.

    Then it is what the directory's record, if there is one, says in the dialect's words.
    """
    try:
        return await endpoint.serve(request, desk)
    except Refusal as refusal:
        if refusal.status != NOT_FOUND:
            raise
        if unserved is not None and endpoint.unserved is not None:
            return await endpoint.unserved(unserved.record, desk)
        is_lost = unserved is not None and unserved.is_dead
        raise (_lost() if is_lost else Refusal.bus_unavailable()) from refusal


def _lost() -> Refusal:
    """503: the owner is dead, and what it left is in its own store; it may come back with that."""
    message = "The replica that ran this has died, and its store can't be read here."
    return Refusal.overloaded(5, "owner_lost", message)


async def serve_for_another(
    engine: Engine, runtime: Runtime, identity: Identity, route: str, request: PlainRequest
) -> PlainReply | None:
    """Serve a stop or a change that another replica took in, asking nobody else; None: no such endpoint is here."""
    served = runtime.served(route)
    if served is None:
        return None
    dialect, endpoint = served.endpoint(request.method, request.rest)
    if not isinstance(endpoint, AtOwner) or endpoint.looks:
        return None
    cancellation, usage = runtime.settings.cancellation, served.upstream.usage.level
    desk = Desk(engine, identity, served.route, cancellation, asks_usage=usage, asks_others=False)
    try:
        found = await endpoint.serve(request, desk)
    except Refusal as refusal:
        return dialect.refused(refusal)
    except LedgerUnavailableError:
        return dialect.refused(Refusal.ledger_unreadable())
    finally:
        desk.leave()
    return found if isinstance(found, PlainReply) else None
