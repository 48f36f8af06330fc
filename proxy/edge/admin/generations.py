"""What an operator sees of generations and does to them, whoever owns them (`contract.md`, section 6)."""

import time
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web
from multidict import CIMultiDict

from proxy.core.errors import Refusal
from proxy.core.generation import Identity, Stop
from proxy.core.headers import HeaderPair
from proxy.core.lifecycle import Cause, Outcome
from proxy.core.receipt import shown
from proxy.core.record import Record
from proxy.edge.admin.access import visitor_of
from proxy.edge.admin.answer import SAFE
from proxy.edge.admin.live_list import check_order, live_list
from proxy.edge.admin.live_view import order_of
from proxy.edge.admin.query import FILTERS, Selection, flag, json_fields, one_of, parameters, text_filters
from proxy.edge.admin.text import note_view, receipt_for, record_for
from proxy.edge.anybodys import find_anywhere
from proxy.edge.asked import last_event, page_size, reason_of, small_body
from proxy.edge.control import stopped_many
from proxy.edge.downstream import Observer, SocketSink
from proxy.edge.newest_first import newest_first
from proxy.edge.one_generation import about_one, events_gone, in_memory, tell_events
from proxy.edge.passing_on import pass_on
from proxy.edge.runtime import Runtime
from proxy.engine.engine import Engine
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.elsewhere import Unserved
from proxy.engine.replicas.reading import Reading
from proxy.stores.bus.port import BusUnavailableError, Place

OPERATOR: Final = "admin"
"""The label of stops by the admin API in the metrics, whoever asks for them."""

STATES: Final = ("live", "ended")

TEXTS: Final = ("yes", "no")
"""Whether a record is shown with its text."""


class AdminGenerations:
    """The calls below `/api/generations`. Each gives what is answered as JSON, but for the events."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(self, http: web.BaseRequest, _runtime: Runtime) -> dict[str, Any]:
        """Records, newest first, without their texts; what lives in any order, with the numbers so far."""
        given = parameters(http, (*FILTERS, "state", "limit", "cursor", "sort", "order"))
        selection, cursor = Selection.read(given), given.get("cursor")
        limit = page_size(given.get("limit"))
        state = one_of("state", given["state"], STATES) if "state" in given else None
        check_order(given, state)
        if state == "live":  # it is truer in memory than in the ledger
            return await live_list(self._engine, selection.chosen, order_of(given), limit, cursor)
        which = selection.record_filter("ended" if state else None, time.time())
        page = await newest_first(self._engine, which, None if state else selection.chosen, limit, cursor, 0)
        return page.told([shown(record, text=False) for record in page.records])

    async def get(self, http: web.BaseRequest, runtime: Runtime, any_id: str) -> dict[str, Any]:
        """One record, with its text unless that is not wanted, and with what tells by which calls it is stopped."""
        given = parameters(http, ("text",))
        seen = await find_anywhere(self._engine, any_id)
        record, upstream = seen.record, runtime.upstreams.get(seen.record.upstream)
        wants_text = one_of("text", given.get("text", TEXTS[0]), TEXTS) == TEXTS[0]
        told = record_for(http, record) if wants_text else shown(record, text=False)
        return {**told, "aliases": seen.aliases, "format": None if upstream is None else upstream.settings.format}

    async def events(self, http: web.BaseRequest, runtime: Runtime, any_id: str) -> web.StreamResponse:
        """The client-side stream again; whoever looks on here doesn't keep the generation alive."""
        parameters(http, ("after",))
        after = last_event(http)
        headers = list(SAFE.items())
        deadline = runtime.settings.limits.write_deadline
        seen = await find_anywhere(self._engine, any_id)
        if (place := seen.place) is not None:
            return await self._events_elsewhere(http, place, seen.record, after, headers, deadline)
        if seen.is_silent and seen.record.outcome is Outcome.INTERRUPTED:  # so says the ledger; its owner may run it on
            raise Refusal.bus_unavailable()
        observer = _NotedObserver(http, headers, seen.record.task_id)
        await tell_events(seen.here or seen.record, after, observer, deadline, holds=False)
        return observer.response

    async def _events_elsewhere(
        self,
        http: web.BaseRequest,
        place: Place,
        record: Record,
        after: int,
        headers: Sequence[HeaderPair],
        deadline: float,
    ) -> web.StreamResponse:
        observing = self._engine.observing
        if observing is None:
            raise events_gone()
        try:
            found = await observing.look_at(place, about_one(record.message_id, after))
        except BusUnavailableError:
            raise Refusal.bus_unavailable() from None
        match found:
            case Reading():
                note_view(http, record.task_id)
                return await pass_on(http, found, observing, headers, deadline)
            case Unserved(is_dead=False):
                raise Refusal.bus_unavailable()
            case Unserved() | None:
                raise events_gone()
        return web.Response(
            status=found.status,
            body=found.body,
            headers=CIMultiDict([*headers, *found.headers, ("Content-Type", found.content_type)]),
        )

    async def cancel(self, http: web.BaseRequest, runtime: Runtime, any_id: str) -> dict[str, Any]:
        """Stop one; the receipt says what became of it."""
        parameters(http, ())
        fields = json_fields(await small_body(http, runtime.settings.limits), ("reason",))
        stop = Stop(Cause.OPERATOR, visitor_of(http).name, reason_of(fields))
        return receipt_for(http, await self._stop(any_id, stop, runtime.settings.cancellation.confirm_timeout))

    async def _stop(self, any_id: str, stop: Stop, confirm: float) -> Record:
        """Stop what runs under an id, here or on another replica.

        Raises:
            Refusal: see `find_anywhere` and `Canceller.cancel`.
        """
        cancel = self._engine.canceller.cancel
        if isinstance(in_memory(self._engine, any_id), Relay):
            record = await cancel(None, any_id, stop, dialect=OPERATOR, confirm=confirm)
            if record is not None:
                return record
        seen = await find_anywhere(self._engine, any_id)
        whose, named = None, any_id
        if seen.here is None and seen.is_live:
            whose, named = Identity(seen.record.identity, seen.record.key_id), seen.record.message_id
        record = await cancel(whose, named, stop, dialect=OPERATOR, confirm=confirm)
        if record is None and seen.is_live:  # nobody took the stop
            raise Refusal.bus_unavailable()
        return record or seen.record

    async def cancel_many(self, http: web.BaseRequest, runtime: Runtime) -> dict[str, Any]:
        """Stop all that the filters select; with `dry_run` only say which."""
        parameters(http, ())
        body = await small_body(http, runtime.settings.limits)
        fields = json_fields(body, (*FILTERS, "state", "all", "dry_run", "reason"))
        selection, dry_run, reason = _selected(fields), flag(fields, "dry_run"), reason_of(fields)
        confirm, engine = runtime.settings.cancellation.confirm_timeout, self._engine
        stop = Stop(Cause.OPERATOR, visitor_of(http).name, reason)
        done = await engine.many.stop(
            selection.chosen, stop, dialect=OPERATOR, confirm=confirm, now=engine.now(), dry=dry_run
        )
        answer = {"object": "generation.cancel_many", "dry_run": dry_run, "matched": done.matched}
        return {**answer, **stopped_many(done)}


class _NotedObserver(Observer):
    """An operator who looks on: that is noted when the stream begins, for before it may be refused."""

    def __init__(self, http: web.BaseRequest, headers: Sequence[HeaderPair], task_id: str) -> None:
        super().__init__(http, headers)
        self._http = http
        self._task_id = task_id

    async def begin(self, generation: str, headers: Sequence[HeaderPair]) -> SocketSink:
        """Send the head of the stream."""
        sink = await super().begin(generation, headers)
        note_view(self._http, self._task_id)
        return sink


def _selected(fields: dict[str, Any]) -> Selection:
    """What a bulk cancel means: at least one filter, or expressly all."""
    selection, everything = Selection.read(text_filters(fields)), flag(fields, "all")
    if fields.get("state", "live") != "live":
        raise Refusal.bad_request("invalid_parameter", "Only live generations can be stopped.", "state")
    if selection.takes_all != everything:
        message = (
            f'Say which generations: at least one of {", ".join(FILTERS)}; or {{"all": true}} without any of them.'
        )
        raise Refusal.bad_request("invalid_selection", message)
    return selection
