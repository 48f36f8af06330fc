"""`GET /responses/{id}/input_items`: the request's own input, without what was said before it."""

import json
from typing import Final

from proxy.dialects.responses import query
from proxy.dialects.responses.fields import wrong
from proxy.dialects.responses.names import NAME
from proxy.dialects.responses.stored import find
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk
from proxy.stores.conversations.port import Window

DEFAULT: Final = 20
MOST: Final = 100


async def input_items(response_id: str, request: PlainRequest, desk: Desk) -> PlainReply:
    """A page of the items, the newest first unless `order` is `asc`."""
    asked = query.read_query(request.query)
    limit = query.whole(asked, "limit", 1, MOST) or DEFAULT
    order = asked.get("order", "desc")
    if order not in ("asc", "desc"):
        raise wrong("order", "asc or desc")
    await find(response_id, desk)
    after = asked.get("after") or None
    if order == "desc":
        window = Window(limit + 1, "newest", after or response_id)
    else:
        window = Window(limit + 1, "oldest", after)
    try:
        found, _ = await desk.conversations.messages(desk.owner(NAME), response_id, window)
    except KeyError:
        raise wrong("after", "the id of an input item of this response") from None
    items = [message.content for message in found if message.id != response_id]
    page = items[:limit]
    listed = {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(items) > limit,
    }
    return PlainReply(200, json.dumps(listed).encode())
