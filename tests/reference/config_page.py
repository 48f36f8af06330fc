"""The page of the settings: every key of the config file and of the price file, from their schemas."""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from proxy.config_file.json_schema import config_schema, price_schema
from proxy.core.settings.scalar_types import DURATION_PATTERN, SIZE_PATTERN

NEEDED: Final = "needed"
_WORDS: Final = {DURATION_PATTERN: "duration", SIZE_PATTERN: "size"}
_HEAD: Final = """\
# Settings

Every key of the config file. `quell check FILE` holds a file against this, and names each error with its line and
column; `quell schema` prints the same as a JSON Schema, for editors. `config/full.yaml` has every key with its default.

- Unknown keys and keys that stand twice are errors.
- A duration has a unit: `250ms`, `30s`, `5m`, `1h30m`, `30d`. A size has one too: `32KiB`, `20MiB`.
- `${NAME}`, `${NAME:-default}` and `${NAME:?message}` in a text are filled in from the environment.
- A secret may stand in a file: the key with `_file` behind it.
- `NAME` in a heading is a name of your own: 1 to 64 of `A-Za-z0-9._:-`. `[]` is each entry of a list.

SIGHUP, and `POST /api/reload` on the admin listener, take a changed file as a whole or not at all.
"""


class Section(NamedTuple):
    """A table of keys. `path` is empty for the file itself."""

    path: str
    meaning: str
    schema: dict[str, Any]


def config_page() -> str:
    """The page."""
    parts = [_HEAD]
    for title, schema in (("Config file", config_schema()), ("Price file", price_schema())):
        parts.append(f"## {title}\n")
        definitions = schema.get("definitions", {})
        parts += [_section(section, definitions) for section in _sections(Section("", "", schema), definitions)]
    return "\n".join(parts)


def _section(section: Section, definitions: dict[str, Any]) -> str:
    needed = set(section.schema.get("required", ()))
    lines = [f"### {section.path}", ""] if section.path else []
    lines += [section.meaning, ""] if section.meaning else []
    lines += ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key, value in section.schema["properties"].items():
        below = _below(key, value, definitions)
        kind = f"see below: `{_join(section.path, below.path)}`" if below else _kind(value, definitions)
        cells = (
            f"`{key}`",
            kind,
            _default(key, value, needed, is_section=below is not None),
            _meaning(value, definitions),
        )
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines) + "\n"


def _sections(section: Section, definitions: dict[str, Any]) -> Iterator[Section]:
    """A section, and those below it, in the order of their keys."""
    yield section
    for key, value in section.schema["properties"].items():
        below = _below(key, value, definitions)
        if below is not None:
            yield from _sections(below._replace(path=_join(section.path, below.path)), definitions)


def _join(path: str, more: str) -> str:
    return f"{path}.{more}" if path else more


def _below(key: str, value: dict[str, Any], definitions: dict[str, Any]) -> Section | None:
    """The section that a key holds, or holds many of; None: a plain value."""
    for name, each in ((key, value), *_within(key, value)):
        found = _resolved(each, definitions)
        if "properties" in found:
            return Section(name, _meaning(value, definitions), found)
    return None


def _within(key: str, value: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What may stand in the entries of a value, with the name of an entry."""
    for each in (value, *value.get("anyOf", ()), *value.get("allOf", ())):
        if isinstance(each.get("items"), dict):
            yield f"{key}[]", each["items"]
        for pattern in each.get("patternProperties", {}).values():
            yield f"{key}.NAME", pattern
        if isinstance(each.get("additionalProperties"), dict):
            yield f"{key}.NAME", each["additionalProperties"]
        if "$ref" in each:
            yield key, each


def _resolved(value: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """What a reference leads to."""
    for each in (value, *value.get("allOf", ()), *value.get("anyOf", ())):
        if "$ref" in each:
            found: dict[str, Any] = definitions[each["$ref"].rpartition("/")[2]]
            return found
    return value


def _kind(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    """What may stand there, in words."""
    found = _resolved(value, definitions)
    if words := [f"`{each}`" for each in (*found.get("enum", ()), *([found["const"]] if "const" in found else ()))]:
        return ", ".join(words)
    if "anyOf" in found:
        kinds = [_kind(each, definitions) for each in found["anyOf"] if not _is_variable(each)]
        return " or ".join(dict.fromkeys(kinds))
    match found.get("type"):
        case "integer":
            words = ["whole number", f"from {found['minimum']}"] if "minimum" in found else ["whole number"]
        case "array":
            words = ["list of:", _kind(found.get("items", {}), definitions)]
        case "object":
            entries = [*found.get("patternProperties", {}).values(), found.get("additionalProperties", {})]
            words = ["table of:", _kind(entries[0] if isinstance(entries[0], dict) else {}, definitions)]
        case "string":
            address = "HOST:PORT" if ":" in str(found.get("examples", "")) else "text"
            words = [_WORDS.get(found.get("pattern", ""), address)]
        case plain:
            words = [str(plain or "any value")]
    return " ".join(words)


def _is_variable(value: dict[str, Any]) -> bool:
    """Whether it only says that a number may come from a variable."""
    return value.get("pattern") == r"\$\{"


def _default(key: str, value: dict[str, Any], needed: set[str], *, is_section: bool) -> str:
    if key in needed:
        return NEEDED
    if is_section and value.get("default") is None:
        return ""
    if "default" not in value:
        return "none"
    default = value["default"]
    if default is None or default in ([], {}):
        return "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _meaning(value: dict[str, Any], definitions: dict[str, Any]) -> str:
    return str(value.get("description") or _resolved(value, definitions).get("description", ""))


def _cell(text: str) -> str:
    """A text that stands in a table."""
    return text.replace("|", "\\|").replace("\n", " ")
