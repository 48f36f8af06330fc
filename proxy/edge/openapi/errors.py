"""The refusals of the HTTP API as its description has them, with an example of each code that programs may meet."""

import json
from collections.abc import Collection
from typing import Any, Final

from proxy.core.errors import Refusal, openai_error_body
from proxy.core.roles import Role
from proxy.edge.admin.access import Visitor, text_not_allowed, unknown_token
from proxy.edge.asked import MAX_PAGE, READS
from proxy.edge.one_generation import events_gone, unknown
from proxy.edge.openapi.schema_words import TEXT, Schema, obj, or_null, ref
from proxy.engine.dialect import Dialect

ERROR_SCHEMAS: Final[dict[str, Schema]] = {
    "Error": obj(error=obj(message=TEXT, type=TEXT, code=or_null(TEXT), param=or_null(TEXT)))
}

_BAD: Final = f"limit must be a whole number from 1 to {MAX_PAGE}."
_REFUSALS: Final = (
    Refusal.bad_request("invalid_parameter", _BAD, "limit"),
    unknown_token(),
    Refusal(403, "role_not_allowed", "This needs the role operator. The token on-call has the role viewer."),
    text_not_allowed(Visitor("on-call", Role.VIEWER, text=False)),
    Refusal(403, "cross_site", "This call is refused: it comes from a page of another origin."),
    unknown(),
    Refusal(405, "method_not_allowed", f"This path takes {' and '.join(READS)}."),
    Refusal(
        409, "foreign_cursor", "This ledger never had so many records: the cursor is of another one.", param="after"
    ),
    events_gone(),
    Refusal.too_large(2**20),
    Refusal(421, "misdirected_request", "This listener is not known by that name."),
    Refusal(422, "config_rejected", "The new settings are not taken, the old ones stay:\nquell.yaml:4:5: unknown key"),
    Refusal.too_many(5, "As many feeds are read as may be (64)."),
    Refusal(429, "too_many_attempts", "Too many wrong tokens were sent.", headers={"Retry-After": "5"}),
    Refusal.ledger_unreadable(),
)
_OF_DIALECTS: Final = (
    Refusal.bad_request("invalid_json", "The body must be a JSON object."),
    Refusal.unauthorized(),
    Refusal.not_found(),
    Refusal.too_many(1),
    Refusal.overloaded(1),
)
_WORDS: Final = {
    400: "The call can't be understood; the message names the parameter or field and what was expected.",
    401: "There is no token, or it is not known.",
    403: "The token may not do that, or the call comes from another site.",
    404: "There is nothing with this id.",
    405: "The path is not served by this method.",
    409: "The cursor is of another ledger.",
    410: "The events are no longer kept.",
    413: "The body is too large.",
    421: "The listener is not known by the name in Host.",
    422: "The new settings have problems; all of them are named, and the old ones stay.",
    429: "There is no more room, or too many tries were made. Retry-After says when to come back.",
    503: "The ledger or another replica can't be reached now. What runs can still be stopped.",
}

ALWAYS: Final = (401, 403, 405, 421, 429)
"""What any call below /api may be refused with."""


def error_responses() -> dict[str, Any]:
    """The refusals of the admin API, by the names that operations refer to."""
    by_status: dict[int, list[Refusal]] = {}
    for refusal in _REFUSALS:
        by_status.setdefault(refusal.status, []).append(refusal)
    return {f"Error{status}": _response(refusals, _WORDS[status]) for status, refusals in by_status.items()}


def refused_with(*statuses: int) -> dict[str, Any]:
    """These refusals, for an operation."""
    return {str(status): {"$ref": f"#/components/responses/Error{status}"} for status in sorted(statuses)}


def _response(refusals: Collection[Refusal], description: str) -> dict[str, Any]:
    examples = {refusal.code: _example(openai_error_body(refusal)) for refusal in refusals}
    answer = {
        "description": description,
        "content": {"application/json": {"schema": ref("Error"), "examples": examples}},
    }
    if any("Retry-After" in refusal.headers for refusal in refusals):
        answer["headers"] = {"Retry-After": {"schema": TEXT, "description": "Seconds."}}
    return answer


def dialect_responses(dialect: Dialect) -> dict[str, Any]:
    """What the calls of a dialect may be refused with, in its own shape, by the names that operations refer to."""
    answers: dict[str, Any] = {}
    for refusal in _OF_DIALECTS:
        told = dialect.refused(refusal)
        content = {told.content_type: {"schema": ref("Object"), "examples": {refusal.code: _example(told.body)}}}
        answers.setdefault(_name(dialect, told.status), {"description": refusal.message, "content": content})
    return answers


def refused_by(dialect: Dialect) -> dict[str, Any]:
    """The same, for an operation."""
    statuses = sorted({dialect.refused(refusal).status for refusal in _OF_DIALECTS})
    return {str(status): {"$ref": f"#/components/responses/{_name(dialect, status)}"} for status in statuses}


def _name(dialect: Dialect, status: int) -> str:
    return f"{dialect.name}_{status}"


def _example(body: bytes) -> dict[str, Any]:
    return {"value": json.loads(body)}
