"""What the types refuse, in words: which key, what was expected, what to do. A value is never repeated."""

import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from proxy.config_file.problems import Loc, did_you_mean, nearest
from proxy.core.settings.settings import Settings

_EXPECTED = {
    "string_type": "expected text; put it in quotes if it is meant as text",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "int_parsing_size": "expected a smaller number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "decimal_type": "expected a number such as 0.25",
    "decimal_parsing": "expected a number such as 0.25",
    "finite_number": "expected a finite number",
    "tuple_type": "expected a list, such as [a, b]",
    "model_type": "expected keys and values; without any, write {} or remove the key",
    "model_attributes_type": "expected keys and values; without any, write {} or remove the key",
    "mapping_type": "expected keys and values; without any, write {} or remove the key",
    "dict_type": "expected keys and values; without any, write {} or remove the key",
    "path_type": "expected the name of a file",
    "string_too_short": "is empty",
    "too_short": "at least one is needed",
    "string_pattern_mismatch": "expected 1 to 64 of A-Za-z0-9._:-",
}
_PATTERNS = {"^/": "a path starts with a slash", "^[A-Z]{3}$": "expected three capital letters, such as USD"}


def explain(error: ErrorDetails, value: object, root: type[BaseModel] = Settings) -> str:
    """The message for one refusal of `value`, in a file of the type `root`."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in {"value_error", "misplaced"}:
        return str(context.get("error") or context.get("message"))
    if kind in {"literal_error", "enum"}:
        return _one_of(value, _choices(str(context["expected"])))
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(str(context["pattern"]), _EXPECTED[kind])
    if kind in {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}:
        return _bound(context)
    if kind == "missing":
        return _missing(error["loc"], root)
    return _EXPECTED.get(kind, error["msg"])


def fields_at(loc: Loc, root: type[BaseModel] = Settings) -> dict[str, str]:
    """The keys that the section at `loc` knows, each with its help; empty where the keys are free names."""
    annotation: Any = root
    for part in loc:
        annotation = _inside(annotation, part)
    model = _model(annotation)
    if model is None:
        return {}
    return {field.alias or name: field.description or "" for name, field in model.model_fields.items()}


def unknown_key(loc: Loc, root: type[BaseModel] = Settings) -> str:
    """The message for a key that its section does not know."""
    word = str(loc[-1])
    return f"unknown key '{word}'{did_you_mean(word, list(fields_at(loc[:-1], root)))}"


def meant_by(loc: Loc, root: type[BaseModel] = Settings) -> Loc | None:
    """The place that an unknown key was probably meant for."""
    near = nearest(str(loc[-1]), fields_at(loc[:-1], root))
    return None if near is None else (*loc[:-1], near)


def _missing(loc: Loc, root: type[BaseModel]) -> str:
    return f"{loc[-1]} is missing: {fields_at(loc[:-1], root).get(str(loc[-1]), '')}".removesuffix(": ")


def _choices(expected: str) -> list[str]:
    return [word.strip(" '") for word in expected.replace(" or ", ", ").split(",")]


def _one_of(value: object, choices: list[str]) -> str:
    if choices == ["1"]:
        return "this program reads files of version 1; write version: 1"
    near = nearest(value, choices) if isinstance(value, str) else None
    expected = f"expected one of: {', '.join(choices)}"
    return f"{expected} (did you mean '{near}'?)" if near else expected


def _bound(context: Mapping[str, Any]) -> str:
    words = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
    return next(f"expected {word} {context[key]:g}" for key, word in words.items() if key in context)


def _inside(annotation: Any, part: str | int) -> Any:
    """The type of the key or item `part` of a type."""
    model = _model(annotation)
    if model is not None:
        known = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        return known.get(str(part))
    for candidate in _alternatives(annotation):
        arguments = get_args(candidate)
        if arguments:
            return arguments[1] if isinstance(part, str) and len(arguments) > 1 else arguments[0]
    return None


def _model(annotation: Any) -> type[BaseModel] | None:
    for kind in _alternatives(annotation):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def _alternatives(annotation: Any) -> list[Any]:
    """The types of a union, without None; Annotated is opened."""
    if hasattr(annotation, "__metadata__"):
        annotation = annotation.__origin__
    if get_origin(annotation) in {Union, types.UnionType}:
        return [kind for part in get_args(annotation) if part is not types.NoneType for kind in _alternatives(part)]
    return [annotation]
