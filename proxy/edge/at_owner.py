"""What only the owner of an id can answer in its dialect's words: stops, and looks at it. It is served there."""

from typing import Final

from proxy.core.errors import Refusal
from proxy.core.generation import Identity
from proxy.edge.runtime import Runtime
from proxy.engine.desk import Desk
from proxy.engine.dialect import AtOwner, Launch, PassThrough, PlainReply, PlainRequest, Serve, Watch
from proxy.engine.engine import Engine
from proxy.engine.observing import OwnerLostError
from proxy.engine.plan import Plan
from proxy.engine.reading import Reading
from proxy.stores.bus import BusUnavailableError
from proxy.stores.ports import LedgerUnavailableError

NOT_FOUND: Final = 404

Reply = PlainReply | Plan | Launch | Watch | PassThrough | Reading


def at_owner(endpoint: AtOwner, engine: Engine, route: str) -> Serve:
    """The endpoint as it is served here: by the owner, if that is another replica."""

    async def serve(request: PlainRequest, desk: Desk) -> Reply:
        elsewhere = engine.canceller.elsewhere
        if elsewhere is None or engine.knows(desk.identity.name, endpoint.any_id):
            return await endpoint.serve(request, desk)
        identity, any_id = desk.identity, endpoint.any_id
        reply: PlainReply | Reading | None
        try:
            if endpoint.looks and engine.observing is not None:
                reply = await engine.observing.look(identity, any_id, route, request)
            else:
                confirm = desk.cancellation.confirm_timeout
                reply = await elsewhere.serve(identity, any_id, route, request, confirm)
        except BusUnavailableError:
            return await _uncertain(endpoint, request, desk, Refusal.bus_unavailable())
        except OwnerLostError:
            return await _uncertain(endpoint, request, desk, _lost())
        return await endpoint.serve(request, desk) if reply is None else reply

    return serve


async def _uncertain(endpoint: AtOwner, request: PlainRequest, desk: Desk, otherwise: Refusal) -> Reply:
    """Its owner can't be asked: what our stores know is the answer, but that there is nothing is not true."""
    try:
        return await endpoint.serve(request, desk)
    except Refusal as refusal:
        if refusal.status == NOT_FOUND:
            raise otherwise from refusal
        raise


def _lost() -> Refusal:
    """503: the owner is dead, and what it left is in its own store; it may come back with that."""
    message = "The replica that ran this has died, and its store can't be read here."
    return Refusal.overloaded(5, "owner_lost", message)


async def serve_for_another(
    engine: Engine, runtime: Runtime, identity: Identity, route: str, request: PlainRequest
) -> PlainReply | None:
    """Serve a stop that another replica took in, asking nobody else; None: there is no such endpoint here."""
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
