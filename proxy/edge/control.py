"""The native control API below every route: list, get, cancel, bulk cancel, events (`contract.md`, section 4)."""

import json
from collections import Counter
from typing import Any, Final

from aiohttp import web
from multidict import CIMultiDict

from proxy.core.begun import with_newer
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
from proxy.edge.downstream import Observer
from proxy.edge.one_generation import (
    ROOT,
    Found,
    about_one,
    events_gone,
    find_own,
    is_known_over,
    record_shown,
    tell_events,
)
from proxy.edge.own_list import own_list
from proxy.edge.passing_on import pass_on
from proxy.edge.request import Request
from proxy.edge.runtime import Runtime
from proxy.edge.translated import reply
from proxy.engine.dialect import StopCall
from proxy.engine.engine import Engine
from proxy.engine.replicas.elsewhere import Unserved
from proxy.engine.replicas.many import StoppedMany
from proxy.engine.replicas.reading import Reading
from proxy.engine.replicas.wishes import is_text
from proxy.stores.bus.port import BusUnavailableError

NOT_FOUND: Final = 404


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
                return await self._look(request, runtime, any_id, None)
            case _, "cancel":
                check_method(http, "POST")
                record = await self._cancel(request, runtime, any_id, "native")
                return _json(request, receipt(record))
            case _, "events":
                check_method(http, "GET")
                return await self._look(request, runtime, any_id, last_event(http))
        raise Refusal.not_found()

    async def stop_by_dialect(self, request: Request, runtime: Runtime, call: StopCall) -> web.Response:
        """Serve a passed-through dialect's own stop route."""
        told = call.reply(await self._cancel(request, runtime, call.any_id, request.dialect.name))
        headers = CIMultiDict([("Content-Type", told.content_type), *told.headers, *_own(request)])
        return web.Response(status=told.status, body=told.body, headers=headers)

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

    async def _look(self, request: Request, runtime: Runtime, any_id: str, after: int | None) -> web.StreamResponse:
        """The record of one generation, or its events behind number `after`: here, else where it runs."""
        engine, identity, deadline = self._engine, request.caller.identity, runtime.settings.limits.write_deadline
        if engine.observing is None or engine.runs_here(identity.name, any_id):
            return await self._here(request, any_id, after, deadline)
        asked, over_here = about_one(any_id, after), engine.over_here(identity.name, any_id)
        try:
            found = await engine.observing.look(identity, any_id, request.served.route.path, asked, over_here)
        except BusUnavailableError:
            return await self._without_owner(request, any_id, after, deadline, None)
        match found:
            case None:
                return await self._here(request, any_id, after, deadline)
            case Reading():
                return await pass_on(request.http, found, engine.observing, _own(request), deadline)
            case Unserved():
                return await self._without_owner(request, any_id, after, deadline, found)
        return reply(request, found)

    async def _here(self, request: Request, any_id: str, after: int | None, deadline: float) -> web.StreamResponse:
        found = await find_own(self._engine, request.caller.identity.name, any_id)
        return await self._told(request, found, after, deadline)

    async def _told(self, request: Request, found: Found, after: int | None, deadline: float) -> web.StreamResponse:
        if after is None:
            return _json(request, await record_shown(self._engine, found))
        observer = Observer(request.http, _own(request))
        await tell_events(found, after, observer, deadline, holds=True)
        return observer.response

    async def _without_owner(
        self, request: Request, any_id: str, after: int | None, deadline: float, unserved: Unserved | None
    ) -> web.StreamResponse:
        """What the ledger says where the owner does not; else what is known without it.

        Raises:
            Refusal: 503, nobody can know now; 410, the events are gone with their owner, or it is over.
        """
        found: Found | None
        try:
            found = await find_own(self._engine, request.caller.identity.name, any_id)
        except Refusal as refusal:
            if refusal.status != NOT_FOUND:
                raise
            found = None
        if after is not None and (found is None or isinstance(found, Record)):
            raise events_gone() if is_known_over(found, unserved) else Refusal.bus_unavailable()
        if found is None:
            if unserved is None or not unserved.is_dead:
                raise Refusal.bus_unavailable()
            found = unserved.record
        elif isinstance(found, Record) and unserved is not None:
            found = with_newer(found, unserved.record)
        return await self._told(request, found, after, deadline)


def _own(request: Request) -> list[tuple[str, str]]:
    return [("Server", "quell"), *cors_headers(request.http, request.served.route.cors)]


def _json(request: Request, value: dict[str, Any]) -> web.Response:
    headers = CIMultiDict([("Content-Type", "application/json"), *_own(request)])
    return web.Response(body=json.dumps(value).encode(), headers=headers)


def stopped_many(done: StoppedMany) -> dict[str, Any]:
    """What a bulk stop did, as it is answered: what is not confirmed yet is not among the stopped."""
    left = Counter(done.unconfirmed)
    stopped = []
    for task_id in done.stopped:
        if left[task_id]:
            left[task_id] -= 1
        else:
            stopped.append(task_id)
    return {
        "stopped": stopped,
        "count": len(stopped),
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
