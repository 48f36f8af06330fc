"""Reading create requests, checked as Dify checks them; unknown fields are ignored, as there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.core.partial import safe_text
from proxy.core.settings.settings import RouteSettings
from proxy.dialects.dify.errors import invalid_param
from proxy.dialects.dify.fields import user_of
from proxy.dialects.dify.files import read_images
from proxy.dialects.dify.turn import Turn, read_inputs

MODES: Final = ("streaming", "blocking")


@dataclass(frozen=True, slots=True)
class Asked:
    """One create request."""

    user: str
    turn: Turn
    streams: bool


def read_request(found: Mapping[str, Any], route: RouteSettings) -> Asked:
    """Read what all create requests have. Whether required variables are there is not looked at yet.

    Raises:
        Refusal: 400 `invalid_param`, with the field at fault.
    """
    user = user_of(found)
    inputs = read_inputs(found.get("inputs"), route)
    mode = found.get("response_mode")
    if mode is not None and mode not in MODES:
        raise invalid_param("response_mode must be streaming or blocking.", "response_mode")
    query = found.get("query")
    if query is not None and not isinstance(query, str):
        raise invalid_param("query must be a string.", "query")
    turn = Turn(safe_text(query or ""), inputs, read_images(found.get("files")))
    return Asked(user, turn, mode == "streaming")
