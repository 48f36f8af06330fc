"""How OpenAI's models are told of functions: as types in TypeScript, not as the JSON schemas of the request.

Nobody documents it. The shape was found by others from prompts whose tokens OpenAI had counted in 2023
(https://hmarr.com/blog/counting-openai-tokens/). Of the 36 prompts that are published there, 20 of them with functions,
`core.prompt` gives OpenAI's own number for each.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

_DEEPEST: Final = 20
"""Levels of objects in objects; below them nothing is written any more."""
_DESCRIBED: Final = 2
"""Levels whose properties are told with their descriptions."""
_PLAIN: Final = {"string": "string", "number": "number", "integer": "number", "boolean": "boolean", "null": "null"}


def function_types(functions: Iterable[dict[str, Any]]) -> str:
    """The text for functions, each an object with `name`, `description` and `parameters` (or `input_schema`)."""
    lines = ["namespace functions {", ""]
    for function in functions:
        if description := _text(function, "description"):
            lines.append(f"// {description}")
        properties = list(_properties(_parameters(function), 0))
        name = _text(function, "name")
        lines += [f"type {name} = (_: {{", *properties, "}) => any;"] if properties else [f"type {name} = () => any;"]
        lines.append("")
    lines.append("} // namespace functions")
    return "\n".join(lines)


def _parameters(function: dict[str, Any]) -> dict[str, Any]:
    found = function.get("parameters", function.get("input_schema"))
    return found if isinstance(found, dict) else {}


def _properties(schema: dict[str, Any], level: int) -> Iterator[str]:
    properties, required = schema.get("properties"), schema.get("required")
    needed = required if isinstance(required, list) else []
    for name, found in properties.items() if isinstance(properties, dict) else ():
        kind = found if isinstance(found, dict) else {}
        if (description := _text(kind, "description")) and level < _DESCRIBED:
            yield f"{' ' * level}// {description}"
        yield f"{' ' * level}{name}{'' if name in needed else '?'}: {_type(kind, level)},"


def _type(schema: dict[str, Any], level: int) -> str:
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            return " | ".join(_type(each, level) for each in schema[key] if isinstance(each, dict))
    kind, choices = schema.get("type"), schema.get("enum")
    if isinstance(kind, list):
        return " | ".join(_alternatives(schema, kind, level))
    if isinstance(choices, list):
        return " | ".join(f'"{each}"' if isinstance(each, str) else str(each) for each in choices)
    if kind == "array":
        items = schema.get("items")
        return f"{_type(items, level)}[]" if isinstance(items, dict) else "any[]"
    if kind == "object" and level < _DEEPEST:
        return "\n".join(["{", *_properties(schema, level + 2), "}"])
    return _PLAIN.get(kind, "any") if isinstance(kind, str) else "any"


def _alternatives(schema: dict[str, Any], kinds: list[Any], level: int) -> Iterator[str]:
    """A type of several kinds; only the first object or array is written out, so that no schema can explode."""
    is_written = False
    for kind in kinds:
        holds_more = kind in ("array", "object")
        yield _type({**schema, "type": kind} if not (holds_more and is_written) else {"type": kind}, level)
        is_written = is_written or holds_more


def _text(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    return value if isinstance(value, str) else ""
