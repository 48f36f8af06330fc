"""Assistants: made, listed, read, changed, deleted. They are kept until they are deleted."""

from collections.abc import Mapping
from typing import Any, Final

from proxy.core.conversation import Item
from proxy.dialects.assistants import tools
from proxy.dialects.assistants.errors import not_found
from proxy.dialects.assistants.fields import MAX_INSTRUCTIONS, Fields, read_fields
from proxy.dialects.assistants.ids import ASSISTANT, NAME, fresh
from proxy.dialects.assistants.lists import deleted, listed, part, read_page, reply
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk

KIND: Final = "assistant"
MAX_NAME: Final = 256
MAX_DESCRIPTION: Final = 512

_NULLABLE: Final = ("name", "description", "instructions", "temperature", "top_p", "reasoning_effort")
"""What an update can take away again, by null."""


async def create(request: PlainRequest, desk: Desk) -> PlainReply:
    """`POST /assistants`."""
    fields = await read_fields(request.body, desk)
    found = _read(fields)
    model = found["model"] or desk.route.model
    if model is None:
        raise fields.wrong("model", "the name of a model")
    now = desk.wall()
    body = {
        "id": fresh(ASSISTANT),
        "object": KIND,
        "created_at": int(now),
        **found,
        "model": model,
        "tools": found["tools"] or [],
        "tool_resources": {},
        "metadata": found["metadata"] or {},
        "response_format": found["response_format"] or "auto",
    }
    await desk.conversations.add_items(Item(body["id"], desk.identity.name, NAME, KIND, now, body))
    return reply(_shown(body))


async def list_all(request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /assistants`."""
    page, owner = read_page(request.query), desk.owner(NAME)
    found, more = await part(page, lambda window: desk.conversations.items(owner, KIND, None, window))
    return listed([_shown(item.body) for item in found], more=more)


async def read(assistant_id: str, _request: PlainRequest, desk: Desk) -> PlainReply:
    """`GET /assistants/{id}`."""
    return reply(_shown(await find(assistant_id, desk)))


async def update(assistant_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """`POST /assistants/{id}`: what is given is replaced."""
    fields = await read_fields(request.body, desk)
    found = _read(fields)
    changes = {name: value for name, value in found.items() if value is not None}
    changes |= {name: found[name] for name in _NULLABLE if fields.has(name)}
    body = {**await find(assistant_id, desk), **changes}
    if not await desk.conversations.update_item(desk.owner(NAME), KIND, assistant_id, body, is_open=False):
        raise not_found(KIND, assistant_id)
    return reply(_shown(body))


async def delete(assistant_id: str, _request: PlainRequest, desk: Desk) -> PlainReply:
    """`DELETE /assistants/{id}`: its runs go on, and stay."""
    if not await desk.conversations.delete_items(desk.owner(NAME), KIND, assistant_id):
        raise not_found(KIND, assistant_id)
    return deleted(assistant_id, KIND)


async def find(assistant_id: str, desk: Desk) -> Mapping[str, Any]:
    """The caller's assistant.

    Raises:
        Refusal: 404, there is none with this id.
    """
    item = await desk.conversations.find_item(desk.owner(NAME), KIND, assistant_id)
    if item is None:
        raise not_found(KIND, assistant_id)
    return item.body


def _shown(body: Mapping[str, Any]) -> dict[str, Any]:
    """An assistant as the API shows it: its defaults, and without the one field that it takes and does not show."""
    found = {name: value for name, value in body.items() if name != "reasoning_effort"}
    return {**found, **tools.shown_sampling(body)}


def _read(fields: Fields) -> dict[str, Any]:
    """All fields of an assistant; None for those that are left out."""
    fields.refuse_any("tool_resources", tools.NO_FILES)
    return {
        "name": fields.string("name", MAX_NAME),
        "description": fields.string("description", MAX_DESCRIPTION),
        "model": tools.read_model(fields),
        "instructions": fields.string("instructions", MAX_INSTRUCTIONS),
        "tools": tools.read_tools(fields),
        "metadata": fields.metadata(),
        "response_format": tools.read_format(fields),
        **tools.read_sampling(fields),
        "reasoning_effort": fields.one_of("reasoning_effort", tools.EFFORTS),
    }
