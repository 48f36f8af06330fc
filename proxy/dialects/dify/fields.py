"""Reading the fields that several endpoints have, from bodies and queries. Everything wrong is a 400 that names it."""

import json
import re
import uuid
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from proxy.core.errors import Refusal
from proxy.core.request_body import MAX_USER, BodyError
from proxy.dialects.dify.errors import invalid_param
from proxy.engine.plain import PlainReply, PlainRequest
from proxy.engine.translating.desk import Desk

SUCCESS: Final = PlainReply(200, b'{"result": "success"}')
PAGE: Final = 20
MOST_ON_A_PAGE: Final = 100

_MOST_QUERY_FIELDS: Final = 100
_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_DIGITS: Final = re.compile("[0-9]{1,9}")


def json_reply(value: Any) -> PlainReply:
    """An answer in JSON."""
    return PlainReply(200, json.dumps(value).encode())


async def body_of(request: PlainRequest, desk: Desk) -> dict[str, Any]:
    """The body's object; a body that is empty has no fields.

    Raises:
        Refusal: 400 `bad_request`, it is not one strict JSON object.
    """
    try:
        return await desk.parse(request.body) if request.body.strip() else {}
    except BodyError as error:
        raise Refusal.bad_request("bad_request", error.message) from error


def query_of(request: PlainRequest) -> dict[str, str]:
    """The fields of the query; of one that is there twice the last.

    Raises:
        Refusal: 400 `invalid_param`, there are too many.
    """
    try:
        return dict(parse_qsl(request.query, keep_blank_values=True, max_num_fields=_MOST_QUERY_FIELDS))
    except ValueError as error:
        raise invalid_param(f"The query has more than {_MOST_QUERY_FIELDS} fields.") from error


def user_of(found: Mapping[str, Any]) -> str:
    """The end user, whom nobody checks: a name for what belongs together within one key.

    Raises:
        Refusal: 400 `invalid_param`, it is missing, empty, or no name.
    """
    user = found.get("user")
    if user is None or user == "":
        raise invalid_param("Arg user must be provided.", "user")
    if not isinstance(user, str):
        raise invalid_param("user must be a string.", "user")
    if len(user) > MAX_USER:
        raise invalid_param(f"user must have at most {MAX_USER} characters.", "user")
    if _UNPRINTABLE.search(user):
        raise invalid_param("user must have no control characters.", "user")
    return user


def flag_of(found: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """A boolean; null and absent are the default.

    Raises:
        Refusal: 400 `invalid_param`, it is something else.
    """
    value = found.get(name)
    if value is not None and not isinstance(value, bool):
        raise invalid_param(f"{name} must be true or false.", name)
    return default if value is None else value


def uuid_of(found: Mapping[str, Any], name: str) -> str | None:
    """A UUID in its usual form; null, blank and absent are None.

    Raises:
        Refusal: 400 `invalid_param`, it is no UUID.
    """
    value = found.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    plain = plain_uuid(value) if isinstance(value, str) else None
    if plain is None:
        raise invalid_param(f"{name} must be a UUID.", name)
    return plain


def plain_uuid(text: str) -> str | None:
    """A UUID in its usual form, whatever form it came in; None: it is none."""
    try:
        return str(uuid.UUID(text.strip()))
    except ValueError:
        return None


def limit_of(query: Mapping[str, str]) -> int:
    """How many objects a page may have.

    Raises:
        Refusal: 400 `invalid_param`, it is no number of 1 to 100.
    """
    text = query.get("limit") or str(PAGE)
    limit = int(text) if _DIGITS.fullmatch(text) else 0
    if not 1 <= limit <= MOST_ON_A_PAGE:
        raise invalid_param(f"limit must be a whole number of 1 to {MOST_ON_A_PAGE}.", "limit")
    return limit
