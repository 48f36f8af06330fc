"""From bytes to a tree of YAML nodes with their positions. Strict: what is ambiguous in YAML is refused, located."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import yaml

from proxy.config_file.problems import START, Position
from proxy.core.called import called

LARGEST_FILE = 2**20
DEEPEST = 32
MOST_ALIASES = 100
MOST_NODES = 200_000
"""Of the tree with every alias written out: a file of 1 MiB without aliases stays below it."""

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ufeff\ufffe\uffff]")
_SECOND_DOCUMENT = "a second document (---) in the file; only one is read"


def start_from() -> str:
    """What to do without a config file."""
    return f"`{called()} init` writes a small one to start from"


class _Mark(Protocol):
    line: int
    column: int


class DocumentError(Exception):
    """The text is no YAML document that is read here; nothing behind this place was looked at."""

    def __init__(self, message: str, at: Position = START) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


@dataclass(slots=True)
class Word:
    """A scalar; `plain` when it stands without quotes."""

    text: str
    plain: bool
    at: Position


@dataclass(slots=True)
class Items:
    """A list."""

    items: list["Node"]
    at: Position


@dataclass(slots=True)
class Entries:
    """A mapping: the value of each key, and where the key stands."""

    entries: dict[str, tuple[Position, "Node"]]
    at: Position


Node = Word | Items | Entries
Report = Callable[[Position, str], None]


def decode(data: bytes) -> str:
    """The text of the file.

    Raises:
        DocumentError: too large, not UTF-8, or with control characters.
    """
    if len(data) > LARGEST_FILE:
        raise DocumentError(f"the file has {len(data)} bytes; at most {LARGEST_FILE} (1 MiB) are read")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = data[: error.start].decode("utf-8-sig")
        raise DocumentError("not UTF-8; save the file as UTF-8", _position_at_end(good)) from None
    control = _CONTROL.search(text)
    if control is not None:
        message = f"a control character (U+{ord(control[0]):04X})"
        raise DocumentError(message, _position_at_end(text[: control.start()]))
    return text


def compose(text: str, report: Report, hint: str | None = None) -> Node:
    """The tree of the one document in `text`. What can be skipped over goes to `report`.

    Args:
        text: the file's.
        report: takes the place and what is wrong there.
        hint: what to do about an empty file; None: that of a config file.

    Raises:
        DocumentError: it can't be read to its end.
    """
    try:
        found = _Composer(yaml.parse(text, Loader=yaml.CSafeLoader), report)
        return found.document(start_from() if hint is None else hint)
    except yaml.MarkedYAMLError as error:
        raise _explained(error, text.splitlines()) from None
    except yaml.YAMLError:
        raise DocumentError("not valid YAML") from None


def _position_at_end(text: str) -> Position:
    return Position(text.count("\n") + 1, len(text) - text.rfind("\n"))


def _position(event: yaml.Event) -> Position:
    return _marked(event.start_mark)


def _marked(mark: _Mark | None) -> Position:
    return START if mark is None else Position(mark.line + 1, mark.column + 1)


class _Composer:
    """Builds the tree from the parser's events."""

    def __init__(self, events: Iterator[yaml.Event], report: Report) -> None:
        self._events = events
        self._report = report
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._aliases = 0
        self._nodes = 0

    def document(self, hint: str) -> Node:
        next(self._events)  # the stream's start
        if isinstance(next(self._events), yaml.StreamEndEvent):
            raise DocumentError(f"the file is empty; {hint}")
        root = self._node(next(self._events), 0)
        next(self._events)  # the document's end
        following = next(self._events)
        if not isinstance(following, yaml.StreamEndEvent):
            raise DocumentError(_SECOND_DOCUMENT, _position(following))
        return root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        at = _position(event)
        if depth > DEEPEST:
            raise DocumentError(f"nested more than {DEEPEST} levels deep", at)
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, at)
        if not isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            raise DocumentError("not valid YAML", at)
        self._count(1, at)
        if event.tag is not None:
            self._report(at, f"tags are not read here; remove the {_short_tag(event.tag)}, and put text in quotes")
        before = self._nodes
        node = self._content(event, at, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._nodes - before + 1)
        return node

    def _content(self, event: yaml.Event, at: Position, depth: int) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return Word(event.value, event.implicit[0] or (event.tag is not None and not event.style), at)
        if isinstance(event, yaml.SequenceStartEvent):
            return Items(list(self._items(depth)), at)
        return Entries(self._entries(depth), at)

    def _items(self, depth: int) -> Iterator[Node]:
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            yield self._node(event, depth + 1)

    def _entries(self, depth: int) -> dict[str, tuple[Position, Node]]:
        entries: dict[str, tuple[Position, Node]] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            at = _position(event)
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if not isinstance(key, Word):
                self._report(at, "a key must be a single word; text with { or [ in it stands in quotes")
            elif key.text in entries:
                first = entries[key.text][0].line
                self._report(at, f"duplicate key '{key.text}', first on line {first}; keep one of them")
            elif key.text == "<<" and key.plain:
                self._report(at, "merge keys (<<) are not read here; write the keys out")
            else:
                entries[key.text] = (at, value)
        return entries

    def _alias(self, event: yaml.AliasEvent, at: Position) -> Node:
        known = self._anchors.get(event.anchor or "")
        if known is None:
            raise DocumentError(f"the alias *{event.anchor} has no anchor &{event.anchor} that ends before it", at)
        self._aliases += 1
        if self._aliases > MOST_ALIASES:
            raise DocumentError(f"more than {MOST_ALIASES} aliases", at)
        node, size = known
        self._count(size, at)
        return node

    def _count(self, nodes: int, at: Position) -> None:
        self._nodes += nodes
        if self._nodes > MOST_NODES:
            raise DocumentError(f"more than {MOST_NODES} values, with aliases written out", at)


def _short_tag(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _explained(error: yaml.MarkedYAMLError, lines: list[str]) -> DocumentError:
    """The parser's complaint in words that say what to do."""
    at = _marked(error.problem_mark or error.context_mark)
    problem = str(error.problem)
    line = lines[at.line - 1] if at.line <= len(lines) else ""
    character = line[at.column - 1 : at.column]
    if character == "\t":
        return DocumentError("a tab; YAML is indented with blanks only", at)
    if "${" in line and "flow" in str(error.context):
        return DocumentError('inside { } and [ ], ${…} must stand in quotes: "${…}"', at)
    if "cannot start any token" in problem:
        return DocumentError(f"a value can't start with {character}; put it in quotes", at)
    if problem.startswith("mapping values are not allowed"):
        return DocumentError("a colon out of place: check the indentation, and put text with ': ' in it in quotes", at)
    if "node content" in problem:
        return DocumentError("a value is missing or broken here; text with [ or { at its start stands in quotes", at)
    opened = _marked(error.context_mark)
    where = f" (in what began on line {opened.line})" if opened.line != at.line else ""
    hint = "; check indentation, quotes and brackets here and on the line before"
    return DocumentError(f"not valid YAML: {problem}{where}{hint}", at)
