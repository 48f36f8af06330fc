"""The native control API below every route: list, get, cancel, bulk cancel, events (`contract.md`, section 4)."""

import json
from collections.abc import Callable
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from proxy.core.errors import Refusal
from proxy.core.generation import Identity, Stop
from proxy.core.lifecycle import Cause
from proxy.core.receipt import receipt, shown
from proxy.core.record import Record
from proxy.edge.cors import cors_headers
from proxy.edge.events import send_events
from proxy.edge.intake import read_body
from proxy.edge.request import Request
from proxy.edge.runtime import Runtime
from proxy.engine.dialect import Dialect
from proxy.engine.engine import Engine
from proxy.engine.relay import Relay
from proxy.stores.ports import RecordFilter

MAX_REASON = 500
PAGE = 20
MAX_PAGE = 100
CANCEL = "/cancel"
EVENTS = "/events"


class Control:
    """What the owner of generations may do with them. Somebody else's id looks like an unknown one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def handle(self, request: Request, runtime: Runtime) -> web.StreamResponse:
        """Serve a path at or below `/generations`; nothing there is ever passed on."""
        method, path = request.http.method, request.rest.removeprefix("/generations")
        if not path:
            _only(method, "GET")
            return await self._list(request)
        if path == CANCEL:
            _only(method, "POST")
            return await self._cancel_many(request, runtime)
        any_id, slash, verb = path[1:].partition("/")
        if not slash:
            _only(method, "GET")
            return _json(request, shown(await self._record(request.caller.identity, any_id)))
        if slash + verb == CANCEL:
            _only(method, "POST")
            reason = _reason(_fields(await _small_body(request, runtime)))
            record = await self._cancel(request, runtime, any_id, reason, "native")
            return _json(request, receipt(record))
        if slash + verb == EVENTS:
            _only(method, "GET")
            return await self._events(request, runtime, any_id)
        raise Refusal.not_found()

    async def stop_by_dialect(
        self, request: Request, runtime: Runtime, dialect: Dialect, any_id: str, body: bytes
    ) -> web.Response:
        """Serve a dialect's own stop route."""
        record = await self._cancel(request, runtime, any_id, _reason(_fields(body)), dialect.name)
        reply = dialect.stopped(record)
        headers = CIMultiDict([("Content-Type", reply.content_type), *reply.headers, *_own(request)])
        return web.Response(status=reply.status, body=reply.body, headers=headers)

    async def _cancel(
        self, request: Request, runtime: Runtime, any_id: str, reason: str | None, dialect: str
    ) -> Record:
        identity = request.caller.identity
        stop = Stop(Cause.CLIENT, identity.shown, reason)
        confirm = runtime.settings.cancellation.confirm_timeout
        record = await self._engine.canceller.cancel(identity, any_id, stop, dialect=dialect, confirm=confirm)
        if record is None:
            raise Refusal.not_found()
        return record

    async def _cancel_many(self, request: Request, runtime: Runtime) -> web.Response:
        fields = _fields(await _small_body(request, runtime))
        chosen = _chosen(fields)
        identity = request.caller.identity
        relays = [relay for relay in self._engine.registry if _is_own(relay, identity) and chosen(relay)]
        stop = Stop(Cause.CLIENT, identity.shown, _reason(fields))
        confirm = runtime.settings.cancellation.confirm_timeout
        records = await self._engine.canceller.cancel_all(relays, stop, dialect="native", confirm=confirm)
        ids = [record.task_id for record in records]
        return _json(request, {"object": "generation.cancel_many", "stopped": ids, "count": len(ids)})

    async def _record(self, identity: Identity, any_id: str) -> Record:
        engine = self._engine
        relay = engine.registry.find(identity.name, any_id)
        if relay is not None:
            return relay.generation.record(engine.now())
        finished = engine.registry.find_finished(identity.name, any_id)
        record = finished.record if finished else await engine.ledger.find(identity.name, any_id)
        if record is None:
            raise Refusal.not_found()
        return record

    async def _list(self, request: Request) -> web.Response:
        query, identity = request.http.query, request.caller.identity
        limit = _limit(query.get("limit"))
        try:
            page = await self._engine.ledger.page(RecordFilter(identity=identity.name), limit, query.get("cursor"))
        except ValueError as error:
            raise Refusal.bad_request("invalid_cursor", "This cursor was not given out here.", "cursor") from error
        data = [shown(self._current(identity, record)) for record in page.records]
        return _json(request, {"object": "list", "data": data, "next_cursor": page.next_cursor})

    def _current(self, identity: Identity, record: Record) -> Record:
        """What the ledger has of a live generation is as old as its last flush: take the newer truth."""
        relay = self._engine.registry.find(identity.name, record.task_id)
        if relay is None or relay.generation.facts.uid != record.uid:
            return record
        return relay.generation.record(self._engine.now())

    async def _events(self, request: Request, runtime: Runtime, any_id: str) -> web.StreamResponse:
        identity, http = request.caller.identity, request.http
        after = _after(http)
        relay = self._engine.registry.find(identity.name, any_id)
        finished = None if relay else self._engine.registry.find_finished(identity.name, any_id)
        if relay is None and finished is None:
            if await self._engine.ledger.find(identity.name, any_id) is None:
                raise Refusal.not_found()
            raise Refusal(410, "events_gone", "The events of this generation are no longer kept. Its record is.")
        deadline = runtime.settings.limits.write_deadline
        tape = relay.tape if relay else finished.tape if finished else None
        if tape is None:
            raise RuntimeError("neither live nor finished")
        return await send_events(http, relay, tape, after, deadline, _own(request), holds=True)


def _own(request: Request) -> list[tuple[str, str]]:
    return [("Server", "quell"), *cors_headers(request.http, request.served.route.cors)]


def _json(request: Request, value: dict[str, Any]) -> web.Response:
    headers = CIMultiDict([("Content-Type", "application/json"), *_own(request)])
    return web.Response(body=json.dumps(value).encode(), headers=headers)


def _only(method: str, allowed: str) -> None:
    if method != allowed:
        raise Refusal(405, "method_not_allowed", f"This path takes {allowed}.", headers={"Allow": allowed})


async def _small_body(request: Request, runtime: Runtime) -> bytes:
    limits = runtime.settings.limits
    return await read_body(request.http, min(limits.body, 64 * 1024), limits.body_deadline)


def _fields(body: bytes) -> dict[str, Any]:
    """The JSON object of a control call; an empty body is an empty object."""
    if not body.strip():
        return {}
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal.bad_request("invalid_json", "The body must be a JSON object, or empty.") from None
    if not isinstance(fields, dict):
        raise Refusal.bad_request("invalid_json", "The body must be a JSON object, or empty.")
    return fields


def _reason(fields: dict[str, Any]) -> str | None:
    reason = fields.get("reason")
    if reason is None:
        return None
    if not isinstance(reason, str) or len(reason) > MAX_REASON:
        message = f"reason must be a string of at most {MAX_REASON} characters."
        raise Refusal.bad_request("invalid_reason", message, "reason")
    return reason


def _chosen(fields: dict[str, Any]) -> Callable[[Relay], bool]:
    """Which generations a bulk cancel means: exactly one of user, tag, all."""
    match {name: value for name, value in fields.items() if name != "reason"}:
        case {"all": True, **rest} if not rest:
            return lambda _relay: True
        case {"user": str(user), **rest} if not rest:
            return lambda relay: relay.generation.facts.user == user
        case {"tag": dict(tag), **rest} if not rest and tag:
            return lambda relay: tag.items() <= relay.generation.facts.tags.items()
    message = 'Say which generations: exactly one of {"user": "…"}, {"tag": {"name": "value"}}, {"all": true}.'
    raise Refusal.bad_request("invalid_selection", message)


def _is_own(relay: Relay, identity: Identity) -> bool:
    return relay.generation.facts.identity.name == identity.name


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_PAGE):
        raise Refusal.bad_request("invalid_limit", f"limit must be a whole number from 1 to {MAX_PAGE}.", "limit")
    return int(text)


def _after(http: web.BaseRequest) -> int:
    text = http.query.get("after") or http.headers.get("Last-Event-ID") or "0"
    if not (text.isascii() and text.isdigit() and len(text) < 16):  # noqa: PLR2004 beyond any stream's length
        raise Refusal.bad_request("invalid_event_id", "after (or Last-Event-ID) must be an event's number.", "after")
    return int(text)
