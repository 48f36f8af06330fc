"""JSON Schema in few words, for the description of the HTTP API (OpenAPI 3.1, so JSON Schema 2020-12)."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
WHOLE: Final[Schema] = {"type": "integer"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
NUMBER: Final[Schema] = {"type": "number"}
YES_NO: Final[Schema] = {"type": "boolean"}
MOMENT: Final[Schema] = {"type": "string", "format": "date-time", "description": "UTC, with milliseconds."}
MONEY: Final[Schema] = {"type": "string", "description": "An exact decimal number.", "examples": ["0.0123"]}
TEXTS: Final[Schema] = {"type": "array", "items": TEXT}
TAGS: Final[Schema] = {"type": "object", "additionalProperties": TEXT}
ANYTHING: Final[Schema] = {}


def about(schema: Schema, description: str) -> Schema:
    """The same, with words for people."""
    return {**schema, "description": description}


def in_path_of(name: str) -> dict[str, Any]:
    """The parameter that stands in a path under this name."""
    words = {"description": "Any id of the generation: of its task, of its message, or the upstream's."}
    return {"name": name, "in": "path", "required": True, "schema": TEXT, **(words if name == "id" else {})}


def or_null(schema: Schema) -> Schema:
    """The same, or null where it is not known or there is none."""
    if "$ref" in schema:
        return {"oneOf": [schema, {"type": "null"}]}
    found = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        found["enum"] = [*schema["enum"], None]
    return found


def one_of_words(words: Iterable[str] | type[StrEnum]) -> Schema:
    """One of a few words."""
    return {"type": "string", "enum": [str(word) for word in words]}


def const(word: str) -> Schema:
    """Always this word."""
    return {"type": "string", "const": word}


def items(schema: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": schema}


def table(schema: Schema) -> Schema:
    """An object with any names, and these below them."""
    return {"type": "object", "additionalProperties": schema}


def obj(_may: dict[str, Schema] | None = None, **must: Schema) -> Schema:
    """An object that has all of these, perhaps some of the others, and nothing else. `from_` stands for `from`."""
    fields = {name.rstrip("_"): schema for name, schema in must.items()}
    return {
        "type": "object",
        "properties": {**fields, **(_may or {})},
        "required": list(fields),
        "additionalProperties": False,
    }


def ref(name: str) -> Schema:
    """The schema of this name."""
    return {"$ref": f"#/components/schemas/{name}"}
