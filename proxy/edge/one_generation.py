"""One generation as its owner or an operator sees it: found here, its record, its events."""

from typing import Any, Final
from urllib.parse import parse_qs

from proxy.core.errors import Refusal
from proxy.core.lifecycle import Outcome
from proxy.core.receipt import shown
from proxy.core.record import Record
from proxy.edge.asked import after_event
from proxy.edge.events import send_events
from proxy.engine.engine import Engine
from proxy.engine.plain import PlainRequest
from proxy.engine.relaying.finished import Finished
from proxy.engine.relaying.readers import Opening
from proxy.engine.relaying.relay import Relay
from proxy.engine.replicas.elsewhere import Unserved
from proxy.engine.settling.whole_record import whole_record

ROOT: Final = "/generations"
EVENTS: Final = "events"

Found = Relay | Finished | Record


def about_one(any_id: str, after: int | None = None) -> PlainRequest:
    """The request for a record, or for the events behind one, as another replica is asked."""
    if after is None:
        return PlainRequest("GET", f"{ROOT}/{any_id}", "", "", b"")
    return PlainRequest("GET", f"{ROOT}/{any_id}/{EVENTS}", f"after={after}", "", b"")


def read_about(request: PlainRequest) -> tuple[str, int | None]:
    """The id and the number that `about_one` put there.

    Raises:
        Refusal: 404, another version of this program wrote it.
    """
    any_id, _, verb = request.rest.removeprefix(f"{ROOT}/").partition("/")
    if verb not in ("", EVENTS):
        raise Refusal.not_found()
    return any_id, after_event(parse_qs(request.query).get("after", ["0"])[0]) if verb else None


async def find_own(engine: Engine, name: str, any_id: str) -> Found:
    """What an id of this caller names: what lives, what ended a short time ago, or what only the ledger has.

    Raises:
        Refusal: 404, nothing; or it means several that live.
    """
    registry = engine.registry
    found = registry.find(name, any_id) or registry.find_finished(name, any_id)
    if found is not None:
        return found
    record = None if registry.is_ambiguous(name, any_id) else await engine.ledger.find(name, any_id)
    if record is None:
        raise Refusal.not_found()
    return record


def in_memory(engine: Engine, any_id: str) -> Relay | Finished | None:
    """For the operator: what is in memory under an id, whoever owns it.

    Raises:
        Refusal: 400, it means several live generations.
    """
    live = engine.registry.called(None, any_id)
    if len(live) > 1:
        raise ambiguous([relay.generation.facts.message_id for relay in live])
    return live[0] if live else engine.registry.find_anybodys_finished(any_id)


def ambiguous(message_ids: list[str]) -> Refusal:
    """400: an operator's id that means several live generations."""
    message = "Several live generations have this id. Name one by its message id: " + ", ".join(message_ids[:10])
    return Refusal.bad_request("ambiguous_id", message)


def unknown() -> Refusal:
    """404: an operator's id that means nothing."""
    return Refusal(404, "generation_not_found", "No generation has this id, or its record is no longer kept.")


async def find_anybodys(engine: Engine, any_id: str) -> Found:
    """For the operator: the same with the ledger.

    Raises:
        Refusal: 400, it means several; 404, nothing.
    """
    found = in_memory(engine, any_id) or await engine.ledger.find(None, any_id)
    if found is None:
        raise unknown()
    return found


async def record_shown(engine: Engine, found: Found) -> dict[str, Any]:
    """The record as it is shown, with its text."""
    match found:
        case Relay():
            return shown(found.generation.record(engine.now()))
        case Finished():
            return shown(await whole_record(found, engine.ledger))
        case _:
            return shown(found)


async def tell_events(found: Found, after: int, opening: Opening, deadline: float, *, holds: bool) -> None:
    """Send the events behind number `after`, see `send_events`.

    Raises:
        Refusal: 410, they are no longer kept; 503, another replica may have them, and can't be asked.
    """
    if isinstance(found, Record):
        raise events_gone() if is_known_over(found, None) else Refusal.bus_unavailable()
    await send_events(opening, found, after, deadline, holds=holds)


def is_known_over(record: Record | None, unserved: Unserved | None) -> bool:
    """Whether a generation is over for sure, so that nobody keeps its events.

    `record`: as the ledger has it; `unserved`: what is known without its owner. One that the ledger calls interrupted
    runs on where its owner merely stands still.
    """
    if unserved is not None and unserved.is_dead:
        return True
    if record is None or record.outcome is Outcome.RUNNING:
        return False
    may_run = unserved is not None and unserved.record.outcome is Outcome.RUNNING
    return record.outcome is not Outcome.INTERRUPTED or not may_run


def events_gone() -> Refusal:
    """410: there is a record, and no tape any more."""
    return Refusal(410, "events_gone", "The events of this generation are no longer kept. Its record is.")
