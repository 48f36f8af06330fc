"""What an operator sees of generations and does to them, whoever owns them (`contract.md`, section 6)."""

import time
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web
from multidict import CIMultiDict

from proxy.core.errors import Refusal
from proxy.core.generation import Stop
from proxy.core.headers import HeaderPair
from proxy.core.lifecycle import Cause
from proxy.core.receipt import receipt, shown
from proxy.edge.admin_query import FILTERS, Selection, flag, json_fields, one_of, parameters, text_filters
from proxy.edge.anybodys import Seen, find_elsewhere
from proxy.edge.asked import last_event, page_size, reason_of, small_body
from proxy.edge.downstream import Observer
from proxy.edge.newest_first import newest_first, newest_live
from proxy.edge.one_generation import about_one, events_gone, in_memory, record_shown, tell_events, unknown
from proxy.edge.passing_on import pass_on
from proxy.edge.runtime import Runtime
from proxy.engine.engine import Engine
from proxy.engine.observing import OwnerLostError
from proxy.engine.reading import Reading
from proxy.stores.bus import BusUnavailableError
from proxy.stores.ports import Page

OPERATOR: Final = "admin"
"""Who stands behind a stop that comes with the admin token, and its label in the metrics."""

STATES: Final = ("live", "ended")


class AdminGenerations:
    """The calls below `/api/generations`. Each gives what is answered as JSON, but for the events."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def list(self, http: web.BaseRequest, _runtime: Runtime) -> dict[str, Any]:
        """Records, newest first, without their texts."""
        given = parameters(http, (*FILTERS, "state", "limit", "cursor"))
        selection = Selection.read(given)
        limit = page_size(given.get("limit"))
        state = one_of("state", given["state"], STATES) if "state" in given else None
        page = await self._page(selection, state, limit, given.get("cursor"))
        data = [shown(record, text=False) for record in page.records]
        return {"object": "list", "data": data, "next_cursor": page.next_cursor}

    async def _page(self, selection: Selection, state: str | None, limit: int, cursor: str | None) -> Page:
        now = self._engine.now()
        live = [relay for relay in self._engine.registry if selection.takes(relay.generation.facts, now)]
        if state == "live":  # it is truer in memory than in the ledger
            return newest_live(self._engine, live, limit, cursor)
        which = selection.record_filter("ended" if state else None, time.time())
        return await newest_first(self._engine, which, [] if state else live, limit, cursor)

    async def get(self, http: web.BaseRequest, _runtime: Runtime, any_id: str) -> dict[str, Any]:
        """One record, with its text."""
        parameters(http, ())
        if (found := in_memory(self._engine, any_id)) is not None:
            return await record_shown(self._engine, found)
        return (await self._elsewhere(any_id)).record

    async def events(self, http: web.BaseRequest, runtime: Runtime, any_id: str) -> web.StreamResponse:
        """The client-side stream again; whoever looks on here doesn't keep the generation alive."""
        parameters(http, ("after",))
        after = last_event(http)
        headers = [("Server", "quell"), ("X-Content-Type-Options", "nosniff")]
        deadline = runtime.settings.limits.write_deadline
        if (found := in_memory(self._engine, any_id)) is None:
            return await self._events_elsewhere(http, any_id, after, headers, deadline)
        observer = Observer(http, headers)
        await tell_events(found, after, observer, deadline, holds=False)
        return observer.response

    async def _elsewhere(self, any_id: str) -> Seen:
        """What is not in memory here: as another replica has it, or the ledger.

        Raises:
            Refusal: see `find_elsewhere`; 404.
        """
        record = await self._engine.ledger.find(None, any_id)
        here = None if record is None else shown(record)
        seen = await find_elsewhere(self._engine.observing, any_id, here)
        if seen is None:
            raise unknown()
        return seen

    async def _events_elsewhere(
        self, http: web.BaseRequest, any_id: str, after: int, headers: Sequence[HeaderPair], deadline: float
    ) -> web.StreamResponse:
        observing, seen = self._engine.observing, await self._elsewhere(any_id)
        if observing is None or seen.replica is None:
            raise events_gone()
        try:
            found = await observing.look_at(seen.replica, about_one(seen.record["message_id"], after))
        except OwnerLostError:
            raise events_gone() from None
        except BusUnavailableError:
            raise Refusal.bus_unavailable() from None
        if isinstance(found, Reading):
            return await pass_on(http, found, observing, headers, deadline)
        if found is None:
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
        stop = Stop(Cause.OPERATOR, OPERATOR, reason_of(fields))
        in_memory(
            self._engine, any_id
        )  # refuses an id that means several, which the canceller would take for an ended one
        confirm = runtime.settings.cancellation.confirm_timeout
        record = await self._engine.canceller.cancel(None, any_id, stop, dialect=OPERATOR, confirm=confirm)
        if record is None:
            raise unknown()
        return receipt(record)

    async def cancel_many(self, http: web.BaseRequest, runtime: Runtime) -> dict[str, Any]:
        """Stop all that the filters select; with `dry_run` only say which."""
        parameters(http, ())
        body = await small_body(http, runtime.settings.limits)
        fields = json_fields(body, (*FILTERS, "state", "all", "dry_run", "reason"))
        selection, dry_run, reason = _selected(fields), flag(fields, "dry_run"), reason_of(fields)
        now = self._engine.now()
        relays = [relay for relay in self._engine.registry if selection.takes(relay.generation.facts, now)]
        matched = [relay.generation.facts.task_id for relay in relays]
        answer = {"object": "generation.cancel_many", "dry_run": dry_run, "matched": matched}
        if dry_run:
            return {**answer, "stopped": [], "unconfirmed": [], "count": 0}
        confirm = runtime.settings.cancellation.confirm_timeout
        stop = Stop(Cause.OPERATOR, OPERATOR, reason)
        records = await self._engine.canceller.cancel_all(relays, stop, dialect=OPERATOR, confirm=confirm)
        settled = {relay.generation.facts.uid for relay in relays if relay.settled.done()}
        unconfirmed = [record.task_id for record in records if record.uid not in settled]
        stopped = [record.task_id for record in records]
        return {**answer, "stopped": stopped, "unconfirmed": unconfirmed, "count": len(stopped)}


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
