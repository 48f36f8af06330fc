"""The native control API below every route: list, get, cancel, bulk cancel, events (`contract.md`, section 4)."""

import json
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from proxy.core.chosen import Chosen
from proxy.core.errors import Refusal
from proxy.core.generation import Stop
from proxy.core.lifecycle import Cause
from proxy.core.receipt import LIST_TEXT, receipt, shown
from proxy.core.record import Record
from proxy.edge.asked import (
    READS,
    check_method,
    json_object,
    last_event,
    page_size,
    reason_of,
    small_body,
)
from proxy.edge.cors import cors_headers
from proxy.edge.events import send_events
from proxy.edge.own_list import own_list
from proxy.edge.request import Request
from proxy.edge.runtime import Runtime
from proxy.engine.dialect import StopCall
from proxy.engine.engine import Engine
from proxy.engine.many import StoppedMany
from proxy.engine.registry import Finished
from proxy.engine.relay import Relay
from proxy.engine.whole_record import whole_record
from proxy.engine.wishes import is_text

ROOT = "/generations"


class Control:
    """What the owner of generations may do with them. Somebody else's id looks like an unknown one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @staticmethod
    def serves(rest: str) -> bool:
        """Whether a path behind the route's is served here; such a path is never passed on, whatever the method."""
        return rest == ROOT or rest.startswith(f"{ROOT}/")

    async def handle(self, request: Request, runtime: Runtime) -> web.StreamResponse:
        """Serve a path at or below `/generations`.

        Raises:
            Refusal: nothing is served there, or not by this method; or the call itself is refused.
        """
        http, (any_id, _, verb) = request.http, request.rest[len(ROOT) + 1 :].partition("/")
        match any_id, verb:
            case "", "":
                check_method(http, *READS)
                return await self._list(request)
            case "cancel", "":
                check_method(http, "POST")
                return await self._cancel_many(request, runtime)
            case _, "":
                check_method(http, *READS)
                return await self._get(request, any_id)
            case _, "cancel":
                check_method(http, "POST")
                record = await self._cancel(request, runtime, any_id, "native")
                return _json(request, receipt(record))
            case _, "events":
                check_method(http, "GET")
                return await self._events(request, runtime, any_id)
        raise Refusal.not_found()

    async def stop_by_dialect(self, request: Request, runtime: Runtime, call: StopCall) -> web.Response:
        """Serve a passed-through dialect's own stop route."""
        reply = call.reply(await self._cancel(request, runtime, call.any_id, request.dialect.name))
        headers = CIMultiDict([("Content-Type", reply.content_type), *reply.headers, *_own(request)])
        return web.Response(status=reply.status, body=reply.body, headers=headers)

    async def _cancel(self, request: Request, runtime: Runtime, any_id: str, dialect: str) -> Record:
        http, identity, settings = request.http, request.caller.identity, runtime.settings
        reason = reason_of(json_object(await small_body(http, settings.limits)))
        stop = Stop(Cause.CLIENT, identity.shown, reason)
        confirm = settings.cancellation.confirm_timeout
        record = await self._engine.canceller.cancel(identity, any_id, stop, dialect=dialect, confirm=confirm)
        if record is None:
            raise Refusal.not_found()
        return record

    async def _cancel_many(self, request: Request, runtime: Runtime) -> web.Response:
        fields = json_object(await small_body(request.http, runtime.settings.limits))
        identity = request.caller.identity
        chosen = _chosen(fields).of(identity.name)
        stop = Stop(Cause.CLIENT, identity.shown, reason_of(fields))
        confirm, engine = runtime.settings.cancellation.confirm_timeout, self._engine
        done = await engine.many.stop(chosen, stop, dialect="native", confirm=confirm, now=engine.now())
        return _json(request, {"object": "generation.cancel_many", **stopped_many(done)})

    async def _list(self, request: Request) -> web.Response:
        query, identity = request.http.query, request.caller.identity
        page = await own_list(self._engine, identity.name, page_size(query.get("limit")), query.get("cursor"))
        data = [shown(record, most=LIST_TEXT) for record in page.records]
        return _json(request, page.told(data))

    async def _get(self, request: Request, any_id: str) -> web.Response:
        found = await self._find(request, any_id)
        match found:
            case Relay():
                record = found.generation.record(self._engine.now())
            case Finished():
                record = await whole_record(found, self._engine.ledger)
            case _:
                record = found
        return _json(request, shown(record))

    async def _events(self, request: Request, runtime: Runtime, any_id: str) -> web.StreamResponse:
        after = last_event(request.http)
        found = await self._find(request, any_id)
        if isinstance(found, Record):
            raise Refusal(410, "events_gone", "The events of this generation are no longer kept. Its record is.")
        deadline = runtime.settings.limits.write_deadline
        return await send_events(request.http, found, after, deadline, _own(request), holds=True)

    async def _find(self, request: Request, any_id: str) -> Relay | Finished | Record:
        """What an id of this caller names: what lives, what ended a short time ago, or what only the ledger has.

        Raises:
            Refusal: 404, nothing; or it means several that live.
        """
        registry, name = self._engine.registry, request.caller.identity.name
        found = registry.find(name, any_id) or registry.find_finished(name, any_id)
        if found is not None:
            return found
        record = None if registry.is_ambiguous(name, any_id) else await self._engine.ledger.find(name, any_id)
        if record is None:
            raise Refusal.not_found()
        return record


def _own(request: Request) -> list[tuple[str, str]]:
    return [("Server", "quell"), *cors_headers(request.http, request.served.route.cors)]


def _json(request: Request, value: dict[str, Any]) -> web.Response:
    headers = CIMultiDict([("Content-Type", "application/json"), *_own(request)])
    return web.Response(body=json.dumps(value).encode(), headers=headers)


def stopped_many(done: StoppedMany) -> dict[str, Any]:
    """What a bulk stop did, as it is answered."""
    return {
        "stopped": done.stopped,
        "count": len(done.stopped),
        "unconfirmed": done.unconfirmed,
        "complete": done.complete,
        "unreachable": done.unreachable,
    }


def _chosen(fields: dict[str, Any]) -> Chosen:
    """Which generations a bulk cancel means: exactly one of user, tag, all."""
    match {name: value for name, value in fields.items() if name != "reason"}:
        case {"all": True, **rest} if not rest:
            return Chosen()
        case {"user": str(user), **rest} if not rest and is_text(user):
            return Chosen(user=user)
        case {"tag": dict(tag), **rest} if not rest and tag and _are_texts(tag):
            return Chosen(tags=tag)
    message = 'Say which generations: exactly one of {"user": "…"}, {"tag": {"name": "value"}}, {"all": true}.'
    raise Refusal.bad_request("invalid_selection", message)


def _are_texts(tag: dict[str, Any]) -> bool:
    return all(isinstance(value, str) and is_text(name) and is_text(value) for name, value in tag.items())
