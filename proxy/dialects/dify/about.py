"""What an app says of itself: `/info`, `/parameters`, `/meta`, `/site`. Front ends ask for it when they start."""

from typing import Any, Final

from proxy.core.settings.settings import RouteSettings
from proxy.dialects.dify.fields import json_reply
from proxy.dialects.dify.files import MOST_FILES
from proxy.dialects.dify.turn import declared
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk

MODE: Final = "chat"
"""Of Dify's modes the one that most front ends are made for; the route also serves the other two."""
_OFF: Final = {"enabled": False}


async def info(_request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /info`."""
    found = {"name": _name(desk.route), "description": "", "tags": [], "mode": MODE, "author_name": ""}
    return json_reply(found)


async def meta(_request: PlainRequest, _desk: Desk) -> PlainReply:
    """`GET /meta`: there are no tools."""
    return json_reply({"tool_icons": {}})


async def site(_request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /site`: how a web page of the app would look."""
    found = {
        "title": _name(desk.route),
        "chat_color_theme": None,
        "chat_color_theme_inverted": False,
        "icon_type": "emoji",
        "icon": "\N{ROBOT FACE}",
        "icon_background": "#FFEAD5",
        "icon_url": None,
        "description": "",
        "copyright": None,
        "privacy_policy": None,
        "custom_disclaimer": None,
        "default_language": "en-US",
        "show_workflow_steps": True,
        "use_icon_as_answer_icon": False,
    }
    return json_reply(found)


async def parameters(_request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /parameters`: the variables of the app, and which of Dify's features it has."""
    methods = ["remote_url"]
    image = {"enabled": True, "number_limits": MOST_FILES, "detail": "high", "transfer_methods": methods}
    found = {
        "opening_statement": "",
        "suggested_questions": [],
        "suggested_questions_after_answer": _OFF,
        "speech_to_text": _OFF,
        "text_to_speech": {**_OFF, "voice": "", "language": "", "autoPlay": "disabled"},
        "retriever_resource": _OFF,
        "annotation_reply": _OFF,
        "more_like_this": _OFF,
        "sensitive_word_avoidance": _OFF,
        "user_input_form": [_field(name, required) for name, required in declared(desk.route).items()],
        "file_upload": {"image": image},
        "system_parameters": {
            "file_size_limit": 15,
            "image_file_size_limit": 10,
            "audio_file_size_limit": 50,
            "video_file_size_limit": 100,
            "workflow_file_upload_limit": MOST_FILES,
        },
    }
    return json_reply(found)


def _field(name: str, required: bool) -> dict[str, Any]:
    return {"paragraph": {"label": name, "variable": name, "required": required, "default": ""}}


def _name(route: RouteSettings) -> str:
    return route.model or route.path
