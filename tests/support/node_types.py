"""The required keys of the types of the official `openai` package for Node, read from its declarations.

They say more than Python's: a field that may be null, but must be there, is told from one that may be left out.
"""

import re
from functools import cache
from typing import Any

from support.node import FOLDER, node

FILE = "node_modules/openai/resources/responses/responses.d.ts"

ITEMS = {
    "message": "ResponseOutputMessage",
    "function_call": "ResponseFunctionToolCallItem",
    "reasoning": "ResponseReasoningItem",
    "output_text": "ResponseOutputText",
    "refusal": "ResponseOutputRefusal",
}
_EXTENDS = re.compile(r"^export interface (\w+)(?: extends (\w+))? \{$", re.MULTILINE)
_MEMBER = re.compile(r"^    (\w+)(\??): (.*)$", re.MULTILINE)


@cache
def required() -> dict[str, set[str]]:
    """The required keys of each interface at the top of the file."""
    node()
    text = (FOLDER / FILE).read_text()
    found: dict[str, set[str]] = {}
    parents: dict[str, str] = {}
    for start in _EXTENDS.finditer(text):
        body = text[start.end() : text.index("\n}\n", start.end())]
        found[start[1]] = {name for name, optional, _ in _MEMBER.findall(body) if not optional}
        if start[2]:
            parents[start[1]] = start[2]
    for name, parent in parents.items():
        found[name] = found[name] | found.get(parent, set())
    return found


@cache
def event_names() -> dict[str, str]:
    """The interface of each event, by its type."""
    text = (FOLDER / FILE).read_text()
    names = re.findall(r"^export interface (Response\w+Event) \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    literals = ((name, re.search(r"^    type: '([\w.]+)'", body, re.MULTILINE)) for name, body in names)
    return {literal[1]: name for name, literal in literals if literal}


def missing(found: dict[str, Any]) -> set[str]:
    """The required keys that an event, a response, an item or a part lacks, itself or in what is in it."""
    kind = found.get("type", "")
    name = "Response" if found.get("object") == "response" else event_names().get(kind) or ITEMS.get(kind)
    own = required()[name] - {"output_text"} if name else set()  # that one the client itself adds
    lacking = {f"{name}.{key}" for key in own - set(found)}
    for value in found.values():
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict):
                lacking |= missing(each)
    return lacking
