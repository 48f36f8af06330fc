"""What an admin call asks for: query parameters and JSON fields. A refusal names the parameter, not what was sent."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from aiohttp import web

from proxy.config_file.problems import did_you_mean, nearest
from proxy.core.chosen import Chosen
from proxy.core.errors import Refusal
from proxy.core.moments import parse_moment
from proxy.core.partial import safe_text
from proxy.core.settings.scalar_types import parse_duration
from proxy.edge.asked import json_object
from proxy.stores.ledger.port import RecordFilter
from proxy.stores.ledger.usage import Span

_MAY_BE_HALF: Final = rb"\ud"
"""How the escape of a surrogate begins, one half of which may stand alone."""

FILTERS: Final = ("user", "key", "route", "model", "tag", "older_than")


@dataclass(frozen=True, slots=True)
class Selection:
    """Which generations are meant: all that fit every filter given. None means any."""

    user: str | None = None
    key: str | None = None
    route: str | None = None
    model: str | None = None
    tag: tuple[str, str] | None = None
    older_than: float | None = None
    """Seconds since the start."""

    @classmethod
    def read(cls, given: dict[str, str]) -> Self:
        """The selection that the filters among these parameters make.

        Raises:
            Refusal: 400, a filter can't be understood.
        """
        tag, older = given.get("tag"), given.get("older_than")
        return cls(
            user=given.get("user"),
            key=given.get("key"),
            route=given.get("route"),
            model=given.get("model"),
            tag=None if tag is None else tag_of(tag),
            older_than=None if older is None else duration("older_than", older),
        )

    @property
    def takes_all(self) -> bool:
        """Whether there is no filter at all."""
        return self == type(self)()

    @property
    def chosen(self) -> Chosen:
        """The same for what lives, here and on other replicas."""
        tags = {} if self.tag is None else dict((self.tag,))
        return Chosen(
            user=self.user, key=self.key, route=self.route, model=self.model, tags=tags, older_than=self.older_than
        )

    def record_filter(self, state: Literal["live", "ended"] | None, wall: float) -> RecordFilter:
        """The same for the ledger; `wall` is now, in seconds since the epoch."""
        return RecordFilter(
            user=self.user,
            key_id=self.key,
            route=self.route,
            model=self.model,
            tag=self.tag,
            state=state,
            started_before=None if self.older_than is None else wall - self.older_than,
        )


def parameters(http: web.BaseRequest, known: Iterable[str]) -> dict[str, str]:
    """The query's parameters.

    Raises:
        Refusal: 400; one is unknown (the nearest known one is named), empty, or there twice.
    """
    names, given = sorted(known), {}
    for name, value in http.query.items():
        _check_known("query parameter", name, names)
        if not value:
            raise Refusal.bad_request("invalid_parameter", f"{name} is empty. Give it a value, or leave it out.", name)
        if name in given:
            raise Refusal.bad_request("invalid_parameter", f"{name} is given twice.", name)
        given[name] = value
    return given


def json_fields(body: bytes, known: Iterable[str]) -> dict[str, Any]:
    """The JSON object of a call; an empty body is an empty object. Its texts can be stored and sent, see `safe_text`.

    Raises:
        Refusal: 400; no object, or a field is unknown (the nearest known one is named).
    """
    fields = json_object(body)
    if _MAY_BE_HALF in body.lower():
        fields = json.loads(safe_text(json.dumps(fields, ensure_ascii=False)))
    names = sorted(known)
    for name in fields:
        _check_known("field", name, names)
    return fields


def flag(fields: dict[str, Any], name: str) -> bool:
    """A field that is true or false, false when it is not there.

    Raises:
        Refusal: 400, it is something else.
    """
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise Refusal.bad_request("invalid_parameter", f"{name} must be true or false.", name)
    return value


def text_filters(fields: dict[str, Any]) -> dict[str, str]:
    """The filters among a body's fields, as text; a tag may also be an object of one name and its value.

    Raises:
        Refusal: 400, one is neither.
    """
    filters: dict[str, str] = {}
    for name in FILTERS:
        value = fields.get(name)
        match value:
            case None:
                continue
            case dict() if name == "tag" and len(value) == 1 and all(isinstance(one, str) for one in value.values()):
                filters[name] = ":".join(next(iter(value.items())))
            case str() if value:
                filters[name] = value
            case _:
                raise Refusal.bad_request("invalid_parameter", f"{name} must be a string that is not empty.", name)
    return filters


def duration(name: str, text: str) -> float:
    """Seconds of a parameter such as `10m`.

    Raises:
        Refusal: 400, it is no duration.
    """
    try:
        return parse_duration(text)
    except ValueError:
        message = f"{name} must be a duration such as 30s, 10m, 2h or 7d."
        raise Refusal.bad_request("invalid_parameter", message, name) from None


def one_of(name: str, text: str, words: Iterable[str]) -> str:
    """A parameter that must be one of a few words.

    Raises:
        Refusal: 400, it is another one.
    """
    known = tuple(words)
    if text not in known:
        message = f"{name} must be one of: {', '.join(known)}."
        near = nearest(text, known)
        hint = f" Did you mean {near}?" if near else ""
        raise Refusal.bad_request("invalid_parameter", message + hint, name)
    return text


def span(given: dict[str, str], now: float) -> Span:
    """The parameters `since` and `until`; `now` is in seconds since the epoch.

    Raises:
        Refusal: 400, one is no point in time, or nothing lies between the two.
    """
    found = Span(_moment("since", given, now), _moment("until", given, now))
    if found.since is not None and found.until is not None and found.since >= found.until:
        raise Refusal.bad_request("invalid_parameter", "until must be later than since.", "until")
    return found


def _moment(name: str, given: dict[str, str], now: float) -> float | None:
    try:
        return parse_moment(given[name], now) if name in given else None
    except ValueError as error:
        raise Refusal.bad_request("invalid_parameter", f"{name}: {error}.", name) from None


def tag_of(text: str) -> tuple[str, str]:
    """The parameter `tag`: a name and its value.

    Raises:
        Refusal: 400, it is not `name:value`.
    """
    name, colon, value = text.partition(":")
    if not (name and colon):
        raise Refusal.bad_request("invalid_parameter", "tag must be name:value, such as team:search.", "tag")
    return name, value


def _check_known(kind: str, name: str, known: list[str]) -> None:
    if name in known:
        return
    near = did_you_mean(name, known) if known else " (this call takes none)"
    raise Refusal.bad_request("unknown_parameter", f"There is a {kind} that is not known here{near}.")
