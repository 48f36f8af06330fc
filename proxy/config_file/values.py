"""From the tree of nodes to plain values, each with its place in the file: variables filled in, words resolved."""

import re
from dataclasses import dataclass, field
from typing import Any

from proxy.config_file.document import Entries, Items, Node, Word
from proxy.config_file.interpolate import Interpolator
from proxy.config_file.problems import START, Loc, Position, Problem, dotted, printable
from proxy.config_file.scalars import resolve

_LITERAL_KEY = re.compile(r"(?:sk-|gsk_|xai-|hf_|AIza)[A-Za-z0-9_-]{4,}")


@dataclass(slots=True)
class Findings:
    """What was found so far: positions by place, errors and warnings."""

    file: str
    interpolator: Interpolator
    keys: dict[Loc, Position] = field(default_factory=dict)
    values: dict[Loc, Position] = field(default_factory=dict)
    errors: dict[Loc, list[Problem]] = field(default_factory=dict)
    warnings: list[Problem] = field(default_factory=list)
    emptied: dict[Loc, str] = field(default_factory=dict)
    """What the file says where a variable left nothing: `${NAME}`."""

    def at(self, loc: Loc, *, key: bool = False) -> Position:
        """The position of a value (or of its key), or of the nearest thing around it that stands in the file."""
        if key and loc in self.keys:
            return self.keys[loc]
        while loc:
            found = self.values.get(loc) or self.keys.get(loc)
            if found is not None:
                return found
            loc = loc[:-1]
            if loc in self.keys:
                return self.keys[loc]
        return START

    def error(self, loc: Loc, message: str) -> None:
        """Note an error of the value at `loc`."""
        message = f"{dotted(loc)}: {message}" if loc else message
        self.errors.setdefault(loc, []).append(self._problem(loc, message, self.at(loc)))

    def key_error(self, loc: Loc, message: str) -> None:
        """Note an error of the key at `loc`; the message names it."""
        self.errors.setdefault(loc, []).append(self._problem(loc, message, self.at(loc, key=True)))

    def text_error(self, at: Position, message: str) -> None:
        """Note an error of the text, whatever key it belongs to."""
        self.errors.setdefault(("", *at), []).append(self._problem((), message, at))

    def warn(self, loc: Loc, message: str) -> None:
        """Note a warning about the value at `loc`."""
        self.warnings.append(self._problem(loc, f"{dotted(loc)}: {message}", self.at(loc)))

    def wrong(self, loc: Loc) -> bool:
        """True when the value at `loc`, or something around it, has an error already."""
        return any(loc[:length] in self.errors for length in range(1, len(loc) + 1))

    def problems(self) -> list[Problem]:
        """Every error, in the order of the file."""
        return sorted(problem for problems in self.errors.values() for problem in problems)

    def _problem(self, loc: Loc, message: str, at: Position) -> Problem:
        message = printable(self.interpolator.hide(message))
        return Problem(printable(self.file), at.line, at.column, message, printable(dotted(loc)))


def plain_values(node: Node, findings: Findings, loc: Loc = ()) -> Any:
    """The node as dict, list, text, number, boolean or None; what can't be read becomes None with an error."""
    findings.values[loc] = node.at
    if isinstance(node, Word):
        return _word(node, findings, loc)
    if isinstance(node, Items):
        return [plain_values(item, findings, (*loc, index)) for index, item in enumerate(node.items)]
    return _mapping(node, findings, loc)


def _mapping(node: Entries, findings: Findings, loc: Loc) -> dict[str, Any]:
    values = {}
    for key, (at, value) in node.entries.items():
        findings.keys[(*loc, key)] = at
        values[key] = plain_values(value, findings, (*loc, key))
    return values


def _word(word: Word, findings: Findings, loc: Loc) -> Any:
    try:
        value = resolve(word.text, loc[-1] if loc else None) if word.plain else word.text
        if not isinstance(value, str):
            return value
        if _LITERAL_KEY.search(value):
            findings.warn(loc, "looks like a key itself; keep it out of the file: ${NAME}, or a file named by …_file")
        filled = findings.interpolator.fill(value)
    except ValueError as error:
        findings.error(loc, str(error))
        return None
    if value and not filled:
        findings.emptied[loc] = value
    return filled
