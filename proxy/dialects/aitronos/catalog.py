"""What can be chosen: output modes, levels of reasoning, models. Source: Aitronos' API documentation."""

import json
from typing import Any, Final

from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk

_MODES: Final = {
    "text": "Text, usually with Markdown (the default).",
    "plain": "The model is asked for plain text without formatting.",
    "blocks": "Typed blocks, each as soon as it is whole; the same as structured.",
}
_LEVELS: Final = {
    "off": "Nothing is asked of the model.",
    "low": "Little reasoning.",
    "medium": "Some reasoning (the default).",
    "high": "Much reasoning.",
    "maximum": "As much reasoning as the model offers; the same as high.",
}


async def output_modes(request: PlainRequest, desk: Desk) -> PlainReply:  # noqa: ARG001 the same for everybody
    """`GET /model/response/output-modes`."""
    modes = [{"mode": mode, "description": said, "is_default": mode == "text"} for mode, said in _MODES.items()]
    return reply({"success": True, "output_modes": modes})


async def reasoning_levels(request: PlainRequest, desk: Desk) -> PlainReply:  # noqa: ARG001 the same for everybody
    """`GET /model/response/reasoning-levels`."""
    levels = [{"level": name, "description": said, "is_default": name == "medium"} for name, said in _LEVELS.items()]
    return reply({"success": True, "reasoning_levels": levels})


async def models(request: PlainRequest, desk: Desk) -> PlainReply:  # noqa: ARG001 nothing in it matters
    """`GET /models`: the route's model. Others may be named in a request; which ones there are, the upstream knows."""
    name = desk.route.model
    found = [] if name is None else [_model(name)]
    return reply({"models": found, "total_count": len(found)})


def _model(name: str) -> dict[str, Any]:
    return {
        "id": f"mdl_{name}",
        "key": name,
        "name": name,
        "description": None,
        "provider": None,
        "is_visible_in_ui": True,
        "is_deprecated": False,
        "availability_status": "general_availability",
        "capabilities": ["text"],
    }


def reply(found: Any) -> PlainReply:
    """A JSON answer."""
    return PlainReply(200, json.dumps(found).encode())
