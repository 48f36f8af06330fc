"""What an operator sees of generations and does to them, whoever owns them (`contract.md`, section 6)."""

import time
from collections.abc import Iterable
from typing import Any, Final

from aiohttp import web

from proxy.core.errors import Refusal
from proxy.core.generation import Identity, Stop
from proxy.core.lifecycle import Cause, Outcome
from proxy.core.receipt import receipt, shown
from proxy.core.record import Record
from proxy.edge.admin_query import FILTERS, Selection, flag, json_fields, one_of, parameters, text_filters
from proxy.edge.asked import last_event, page_size, reason_of, small_body
from proxy.edge.control import stopped_many
from proxy.edge.events import send_events
from proxy.edge.newest_first import Listing, newest_first, newest_live
from proxy.edge.runtime import Runtime
from proxy.engine.engine import Engine
from proxy.engine.registry import Finished
from proxy.engine.relay import Relay
from proxy.engine.whole_record import whole_record

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
        return page.told([shown(record, text=False) for record in page.records])

    async def _page(self, selection: Selection, state: str | None, limit: int, cursor: str | None) -> Listing:
        if state == "live":  # it is truer in memory than in the ledger
            return await newest_live(self._engine, selection.chosen, limit, cursor)
        which = selection.record_filter("ended" if state else None, time.time())
        return await newest_first(self._engine, which, None if state else selection.chosen, limit, cursor, 0)

    async def get(self, http: web.BaseRequest, _runtime: Runtime, any_id: str) -> dict[str, Any]:
        """One record, with its text."""
        parameters(http, ())
        found, ledger = self._find(any_id), self._engine.ledger
        if isinstance(found, Relay):
            return shown(found.generation.record(self._engine.now()))
        record = await whole_record(found, ledger) if found else await ledger.find(None, any_id)
        if record is None:
            raise _unknown()
        return shown(record)

    async def events(self, http: web.BaseRequest, runtime: Runtime, any_id: str) -> web.StreamResponse:
        """The client-side stream again; whoever looks on here doesn't keep the generation alive."""
        parameters(http, ("after",))
        after = last_event(http)
        found = self._find(any_id)
        if found is None:
            if await self._engine.ledger.find(None, any_id) is None:
                raise _unknown()
            raise Refusal(410, "events_gone", "The events of this generation are no longer kept. Its record is.")
        headers = [("Server", "quell"), ("X-Content-Type-Options", "nosniff")]
        deadline = runtime.settings.limits.write_deadline
        return await send_events(http, found, after, deadline, headers, holds=False)

    async def cancel(self, http: web.BaseRequest, runtime: Runtime, any_id: str) -> dict[str, Any]:
        """Stop one; the receipt says what became of it."""
        parameters(http, ())
        fields = json_fields(await small_body(http, runtime.settings.limits), ("reason",))
        stop = Stop(Cause.OPERATOR, OPERATOR, reason_of(fields))
        confirm = runtime.settings.cancellation.confirm_timeout
        record = await self._stop(any_id, stop, confirm)
        if record is None:
            raise _unknown()
        return receipt(record)

    async def _stop(self, any_id: str, stop: Stop, confirm: float) -> Record | None:
        """Stop what runs under an id, here or on another replica.

        Raises:
            Refusal: 400, the id means several that live; 503, it means nothing here, and others can't be asked.
        """
        engine = self._engine
        here = self._find(any_id)  # refuses an id that means several, which the canceller would take for an ended one
        group = engine.many.group
        if isinstance(here, Relay) or group is None:
            return await engine.canceller.cancel(None, any_id, stop, dialect=OPERATOR, confirm=confirm)
        there = await group.find(None, any_id)
        living = [record for record in there.records if record.outcome is Outcome.RUNNING]
        if len(living) > 1:
            raise _several(record.message_id for record in living)
        if not living:
            record = await engine.canceller.cancel(None, any_id, stop, dialect=OPERATOR, confirm=confirm)
            found = record or max(there.records, key=lambda each: each.started_at, default=None)
            if found is None and not there.complete:
                raise Refusal.bus_unavailable()
            return found
        whose = Identity(living[0].identity, living[0].key_id)
        return await engine.canceller.cancel(whose, living[0].message_id, stop, dialect=OPERATOR, confirm=confirm)

    async def cancel_many(self, http: web.BaseRequest, runtime: Runtime) -> dict[str, Any]:
        """Stop all that the filters select; with `dry_run` only say which."""
        parameters(http, ())
        body = await small_body(http, runtime.settings.limits)
        fields = json_fields(body, (*FILTERS, "state", "all", "dry_run", "reason"))
        selection, dry_run, reason = _selected(fields), flag(fields, "dry_run"), reason_of(fields)
        confirm, engine = runtime.settings.cancellation.confirm_timeout, self._engine
        stop = Stop(Cause.OPERATOR, OPERATOR, reason)
        done = await engine.many.stop(
            selection.chosen, stop, dialect=OPERATOR, confirm=confirm, now=engine.now(), dry=dry_run
        )
        answer = {"object": "generation.cancel_many", "dry_run": dry_run, "matched": done.matched}
        return {**answer, **stopped_many(done)}

    def _find(self, any_id: str) -> Relay | Finished | None:
        """What is in memory under an id.

        Raises:
            Refusal: 400, it means several live generations.
        """
        registry = self._engine.registry
        relay = registry.find_anybodys(any_id)
        if relay is not None:
            return relay
        if several := [one.generation.facts.message_id for one in registry if _is_called(one, any_id)]:
            raise _several(several)
        return registry.find_anybodys_finished(any_id)


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


def _is_called(relay: Relay, any_id: str) -> bool:
    generation = relay.generation
    return any_id in (generation.facts.task_id, generation.facts.message_id, generation.partial.upstream_id)


def _several(message_ids: Iterable[str]) -> Refusal:
    named = ", ".join(list(message_ids)[:10])
    message = f"Several live generations have this id. Name one by its message id: {named}"
    return Refusal.bad_request("ambiguous_id", message)


def _unknown() -> Refusal:
    return Refusal(404, "generation_not_found", "No generation has this id, or its record is no longer kept.")
