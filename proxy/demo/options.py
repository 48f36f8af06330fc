"""What a request may ask the demo upstream for: length, speed, silence and failures.

Under the body's key `demo`, or behind an `@` in the model's name for programs that can't send more fields:

    {"model": "demo", "demo": {"tokens": 400, "per_second": 80, "first_token_after": "2s",
                               "fail": {"how": "reset", "after_tokens": 10}}, …}
    {"model": "demo@tokens=400,per_second=80,fail.how=reset,fail.after_tokens=10", …}
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails

from proxy.core.errors import Refusal
from proxy.core.settings.scalar_types import Count, CountOrZero, DurationOrZero, Section, misplaced
from proxy.demo.text import PIECES

_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]+)?")

How = Literal["status", "reset", "truncate", "error_event", "hang"]


class Failure(Section):
    """How an answer fails: an error answer instead of it; or, after some tokens, RST, FIN, an error event, silence."""

    how: How = "status"
    status: int = Field(500, ge=400, le=599)
    after_tokens: CountOrZero = 0

    @model_validator(mode="after")
    def _status_comes_first(self) -> Self:
        if self.how == "status" and self.after_tokens:
            raise misplaced(
                "after_tokens",
                "an error status can't follow tokens; leave it out, or set fail.how to reset, truncate, "
                "error_event or hang",
            )
        return self


def _seconds(value: object) -> object:
    """Text that is a plain number is one: behind the `@` of a name everything is text."""
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else value


class DemoOptions(Section):
    """How the answer is made. `first_token_after` is in seconds, or a duration with its unit, such as 2s."""

    tokens: Annotated[Count, Field(le=1_000_000)] = len(PIECES)
    per_second: float = Field(40.0, gt=0, le=100_000, allow_inf_nan=False)
    first_token_after: Annotated[DurationOrZero, BeforeValidator(_seconds)] = Field(0.0, allow_inf_nan=False)
    fail: Failure | None = None


def read_options(body: dict[str, Any]) -> DemoOptions:
    """The options of a request; the body's go before those in the model's name.

    Raises:
        Refusal: 400, with the field at fault and what was expected.
    """
    in_body = body.get("demo", {})
    if not isinstance(in_body, dict):
        raise Refusal.bad_request("invalid_demo_option", "demo: expected an object, such as {'tokens': 400}.", "demo")
    try:
        return DemoOptions.model_validate(_from_name(str(body.get("model", ""))) | in_body)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = [*first["loc"], *([first["ctx"]["at"]] if first["type"] == "misplaced" else [])]
        field = ".".join(["demo", *map(str, where)])
        known = "; known are tokens, per_second, first_token_after and fail with how, status and after_tokens"
        hint = known if first["type"] == "extra_forbidden" else ""
        raise Refusal.bad_request("invalid_demo_option", f"{field}: {_words(first)}{hint}.", field) from None


def _words(error: ErrorDetails) -> str:
    """What was expected, in our own words where it was us who refused it."""
    return str(error["ctx"]["error"]) if error["type"] == "value_error" else error["msg"]


def _from_name(model: str) -> dict[str, Any]:
    """The options behind the `@` of a model's name, their values still text."""
    plain: dict[str, Any] = {}
    sections: dict[str, Any] = {}
    for part in filter(None, model.partition("@")[2].split(",")):
        path, equals, value = part.partition("=")
        if not equals:
            raise Refusal.bad_request(
                "invalid_demo_option",
                "model: expected options as name=value behind the @, such as tokens=400.",
                "model",
            )
        section, dot, key = path.partition(".")
        if dot:
            sections.setdefault(section, {})[key] = value
        else:
            plain[section] = value
    return sections | plain
