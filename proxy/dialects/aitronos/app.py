"""The API's endpoints as functions of a request and the caller's desk.

Source: Aitronos' API documentation in its newest form (snake_case, `X-API-Key`), and its SDK.
"""

from collections.abc import Mapping
from functools import partial
from typing import Final

from proxy.core.errors import Refusal
from proxy.dialects.aitronos import catalog, errors, respond, threads
from proxy.dialects.aitronos.cancel import cancel, unserved
from proxy.dialects.aitronos.ids import NAME, thread_key
from proxy.dialects.aitronos.operations import OPERATIONS
from proxy.engine.dialect import AtOwner, Endpoint, Serve
from proxy.engine.plain import PlainReply

RESPONSE: Final = "/model/response"

_FIXED: Final[Mapping[str, Mapping[str, Serve]]] = {
    RESPONSE: {"POST": respond.respond},
    f"{RESPONSE}/stream": {"POST": respond.stream},
    f"{RESPONSE}/output-modes": {"GET": catalog.output_modes},
    f"{RESPONSE}/reasoning-levels": {"GET": catalog.reasoning_levels},
    "/models": {"GET": catalog.models},
    "/threads": {"GET": threads.listed, "POST": threads.create},
}


class Aitronos:
    """The dialect `aitronos`."""

    name: Final = NAME
    operations: Final = OPERATIONS

    def endpoint(self, method: str, rest: str) -> Endpoint | None:
        """The endpoints.

        Raises:
            Refusal: 405, one of them by another method.
        """
        serves = _FIXED.get(rest) or _of_thread(rest)
        if serves is None:
            return None
        if method not in serves:
            allowed = ", ".join(serves)
            raise Refusal(405, "method_not_allowed", f"This path takes {allowed}.", headers={"Allow": allowed})
        return serves[method]

    def refused(self, refusal: Refusal) -> PlainReply:
        """The API's error envelope."""
        return errors.refused(refusal)


def _of_thread(rest: str) -> Mapping[str, Serve | AtOwner] | None:
    """The endpoints below one thread's id."""
    match rest.split("/"):
        case ["", "model", "response", thread_id, "cancel"] if thread_id:
            return {"POST": AtOwner(thread_key(thread_id), partial(cancel, thread_id), unserved, stops=True)}
        case ["", "threads", thread_id] if thread_id:
            return {
                "GET": partial(threads.read, thread_id),
                "PATCH": partial(threads.update, thread_id),
                "DELETE": AtOwner(thread_key(thread_id), partial(threads.delete, thread_id), stops=True),
            }
        case ["", "threads", thread_id, "messages"] if thread_id:
            return {"GET": partial(threads.messages, thread_id)}
    return None
