"""The JSON Schemas of config and price file, for editors: draft-07, made from the types that check the files."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from proxy.config_file.price_entries import PriceFile
from proxy.core.settings.scalar_types import DURATION_PATTERN, SIZE_PATTERN, duration_text, size_text
from proxy.core.settings.settings import Settings

_WITH_UNIT: dict[str, Callable[[Any], str]] = {DURATION_PATTERN: duration_text, SIZE_PATTERN: size_text}
_BY_NAME = frozenset({"$defs", "properties", "patternProperties"})
"""Their keys are names of our own, not words of JSON Schema."""
_LEFT_OUT = frozenset({"title", "format"})
"""Titles only repeat the name; formats are pydantic's own (path, password), which editors do not know."""
_NOT_TEXT = frozenset({"integer", "boolean"})
_VARIABLE = {"type": "string", "pattern": r"\$\{"}


def config_schema() -> dict[str, Any]:
    """The config file's schema as JSON-ready values."""
    return _schema(Settings, "Quell's config file", "Unknown keys are errors; durations and sizes have units.")


def price_schema() -> dict[str, Any]:
    """The price file's schema as JSON-ready values."""
    return _schema(PriceFile, "Quell's price list", "Unknown keys are errors; numbers and days stand in quotes.")


def _schema(kind: type[BaseModel], title: str, description: str) -> dict[str, Any]:
    schema = _converted(kind.model_json_schema(by_alias=True))
    described = {"title": title, "description": description}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, **described}


def _converted(part: Any) -> Any:
    if isinstance(part, list):
        return [_converted(item) for item in part]
    if not isinstance(part, dict):
        return part
    if "$ref" in part:
        return _reference(part)
    changed: dict[str, Any] = {}
    for key, value in part.items():
        if key in _BY_NAME:
            changed["definitions" if key == "$defs" else key] = {name: _converted(value[name]) for name in value}
        elif key not in _LEFT_OUT:
            changed[key] = _converted(value)
    if "default" in changed:
        changed["default"] = _default(changed)
    if "patternProperties" in changed:
        changed["additionalProperties"] = False
    return _or_variable(changed) if changed.get("type") in _NOT_TEXT else changed


def _reference(part: dict[str, Any]) -> dict[str, Any]:
    """Draft-07 ignores what stands beside a `$ref`."""
    target = {"$ref": part["$ref"].replace("#/$defs/", "#/definitions/")}
    beside = {key: value for key, value in part.items() if key not in {"$ref", "default", "title"}}
    if isinstance(part.get("default"), str):  # one word of several; a section has the defaults of its keys
        beside["default"] = part["default"]
    return {**beside, "allOf": [target]} if beside else target


def _default(part: dict[str, Any]) -> Any:
    """A default as one writes it: with its unit, and no object for an address."""
    value = part["default"]
    with_unit = _WITH_UNIT.get(part.get("pattern", ""))
    if with_unit is not None and isinstance(value, (int, float)):
        return with_unit(value)
    if isinstance(value, dict) and value.keys() == {"host", "port"}:
        return f"{value['host']}:{value['port']}"
    return value


def _or_variable(part: dict[str, Any]) -> dict[str, Any]:
    """A number or boolean may also come from a variable."""
    outside: dict[str, Any] = {key: part.pop(key) for key in ("description", "default") if key in part}
    return {**outside, "anyOf": [part, dict(_VARIABLE)]}
