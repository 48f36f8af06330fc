"""From plain values to a typed section: what the types refuse becomes a problem at its place in the file."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from proxy.config_file.messages import explain, meant_by, unknown_key
from proxy.config_file.problems import Loc
from proxy.config_file.values import Findings
from proxy.core.settings.scalar_types import FROM_FILE

_M = TypeVar("_M", bound=BaseModel)


def validated(kind: type[_M], raw: Any, findings: Findings, at: Loc = ()) -> _M | None:
    """The section `kind` of the values that stand `at` a place of the file; None with what is wrong in `findings`."""
    try:
        return kind.model_validate(raw, context=FROM_FILE)
    except ValidationError as error:
        details = error.errors(include_url=False)
    meant = {meant_by(each["loc"], kind) for each in details if each["type"] == "extra_forbidden"}
    for each in details:
        if each["type"] != "missing" or each["loc"] not in meant:
            _note(each, kind, raw, findings, at)
    return None


def _note(each: ErrorDetails, kind: type[BaseModel], raw: Any, findings: Findings, at: Loc) -> None:
    """Turn one refusal into a problem at its place, unless that place has one already."""
    inside = _in_file(raw, each["loc"])
    loc, value = (*at, *inside), _value_at(raw, inside)
    counted_without_wrong_ones = each["type"] == "too_short" and value
    if findings.wrong(loc) or counted_without_wrong_ones:
        return
    if each["type"] == "extra_forbidden":
        findings.key_error(loc, unknown_key(inside, kind))
    elif loc[-1:] == ("[key]",):
        findings.key_error(loc[:-1], f"'{loc[-2]}' is no name; {explain(each, None, kind)}")
    elif each["type"] == "missing":
        findings.key_error(loc, explain(each, None, kind))
    else:
        if each["type"] == "misplaced":
            if any(wrong[:-1] == loc for wrong in findings.errors):
                return  # the section may only contradict itself because one of its values could not be read
            loc = (*loc, each["ctx"]["at"])
        source = f" (the file says {findings.emptied[loc]})" if loc in findings.emptied else ""
        findings.error(loc, explain(each, value, kind) + source)


def _in_file(raw: Any, loc: Loc) -> Loc:
    """The place without the index that a single word has where a list could stand."""
    return loc[:-1] if loc and isinstance(_value_at(raw, loc[:-1]), str) else loc


def _value_at(raw: Any, loc: Loc) -> Any:
    for part in loc:
        if isinstance(raw, dict):
            raw = raw.get(part)
        elif isinstance(raw, list) and isinstance(part, int):
            raw = raw[part]
        else:
            return None
    return raw
