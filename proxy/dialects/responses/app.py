"""The endpoints below `/responses` as functions of a request and the caller's desk. Source: OpenAI's API reference."""

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

from proxy.core.errors import Refusal, openai_error_body
from proxy.core.settings.route import EMULATION
from proxy.dialects.responses.cancel import cancel, unserved
from proxy.dialects.responses.create import create
from proxy.dialects.responses.input_items import input_items
from proxy.dialects.responses.names import ROOT
from proxy.dialects.responses.operations import OPERATIONS
from proxy.dialects.responses.retrieve import delete, retrieve
from proxy.engine.dialect import AtOwner, Serve, Watch
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk


class Responses:
    """What serves an `openai` route's Responses API with `responses: emulate`."""

    name: Final = EMULATION
    operations: Final = OPERATIONS

    def endpoint(self, method: str, rest: str) -> Serve | AtOwner | None:
        """Everything at and below `/responses` is ours, in whatever letters: nothing of it reaches the upstream.

        Raises:
            Refusal: 404, nothing is served there; 405, not by this method.
        """
        plain = rest.removesuffix("/")
        if plain.lower() != ROOT and not plain.lower().startswith(f"{ROOT}/"):
            return None
        serves = _serves(plain)
        if serves is None:
            raise Refusal.not_found()
        if method not in serves:
            allowed = ", ".join(serves)
            raise Refusal(405, "method_not_allowed", f"This path takes {allowed}.", headers={"Allow": allowed})
        return serves[method]

    def refused(self, refusal: Refusal) -> PlainReply:
        """OpenAI's error object."""
        return PlainReply(refusal.status, openai_error_body(refusal), tuple(refusal.headers.items()))


def _serves(path: str) -> Mapping[str, Serve | AtOwner] | None:
    match path.split("/"):
        case ["", "responses"]:
            return {"POST": create}
        case ["", "responses", response_id] if response_id:
            deletes = AtOwner(response_id, partial(delete, response_id), stops=True)
            return {"GET": _looks(response_id, retrieve), "DELETE": deletes}
        case ["", "responses", response_id, "cancel"] if response_id:
            return {"POST": AtOwner(response_id, partial(cancel, response_id), unserved, stops=True)}
        case ["", "responses", response_id, "input_items"] if response_id:
            return {"GET": _looks(response_id, input_items)}
    return None


def _looks(response_id: str, serve: Callable[[str, PlainRequest, Desk], Awaitable[PlainReply | Watch]]) -> AtOwner:
    """An endpoint that looks at a response, where that is made."""
    return AtOwner(response_id, partial(serve, response_id), looks=True)
