"""What an operator sees of one generation, wherever it runs: all other replicas are asked, as it may be anybody's."""

import asyncio
import json
from dataclasses import dataclass
from typing import Any, Final

from proxy.core.errors import Refusal
from proxy.edge.one_generation import about_one, ambiguous
from proxy.engine.dialect import PlainReply
from proxy.engine.observing import Observing, OwnerLostError
from proxy.stores.bus import BusUnavailableError

_RUNNING: Final = "running"
_FOUND: Final = 200
_AMBIGUOUS: Final = 400


@dataclass(frozen=True, slots=True)
class Seen:
    """A record as it is shown; `replica` says who has it, None: this one's ledger."""

    record: dict[str, Any]
    replica: str | None


async def find_elsewhere(observing: Observing | None, any_id: str, here: dict[str, Any] | None) -> Seen | None:
    """The generation that an id means, which is not in memory here; `here` is what the ledger has.

    What lives goes before what is over, the newer before the older.

    Raises:
        Refusal: 400, it means several that live; 503, nothing was found, and not everybody could be asked.
    """
    seen = [] if here is None else [Seen(here, None)]
    if observing is not None:
        try:
            seen += await _ask_all(observing, any_id)
        except BusUnavailableError:
            if here is None:
                raise Refusal.bus_unavailable() from None
    living = {one.record["message_id"]: one for one in seen if one.record["outcome"] == _RUNNING and one.replica}
    if len(living) > 1:
        raise ambiguous(list(living))
    return max(living.values() or seen, key=lambda one: one.record["started_at"], default=None)


async def _ask_all(observing: Observing, any_id: str) -> list[Seen]:
    names = await observing.others()
    answers = await asyncio.gather(*(_ask(observing, name, any_id) for name in names))
    told = zip(names, answers, strict=True)
    seen = [Seen(json.loads(each.body), name) for name, each in told if each is not None and _has_it(each)]
    if not seen and any(each is None for each in answers):
        raise BusUnavailableError
    return seen


async def _ask(observing: Observing, name: str, any_id: str) -> PlainReply | None:
    """What a replica answers; None: it can't be known."""
    try:
        found = await observing.look_at(name, about_one(any_id))
    except OwnerLostError:
        return PlainReply(0, b"")
    except BusUnavailableError:
        return None
    return found if isinstance(found, PlainReply) else None


def _has_it(answer: PlainReply) -> bool:
    """Whether a replica has a record.

    Raises:
        Refusal: 400, the id means several there.
    """
    if answer.status == _AMBIGUOUS:
        error = json.loads(answer.body)["error"]
        raise Refusal.bad_request(error["code"], error["message"])
    return answer.status == _FOUND
