"""Every refusal that the program can answer with, read from its source: status, code, what it says, and where."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from support.program import ROOT

PROXY: Final = ROOT / "proxy"
LEFT_OUT: Final = frozenset({"demo"})
"""The demo upstream is no part of the proxy."""

_STATUS: Final = {"bad_request": 400, "overloaded": 503, "BodyError": 400}
"""Those that have a status of their own; their first arguments are code and message."""
_AFTER_A_NUMBER: Final = frozenset({"overloaded"})
"""Those whose first argument is how long to wait."""


@dataclass(frozen=True, slots=True, order=True)
class Found:
    """One refusal. `says` has what is put in when it is raised in braces; it is empty where that is all of it."""

    code: str
    status: int
    says: str
    where: str


def refusals() -> list[Found]:
    """All that can be read from the source, sorted."""
    files = (path for path in PROXY.rglob("*.py") if not LEFT_OUT & set(path.relative_to(PROXY).parts))
    return sorted({found for path in files for found in _of_file(path)})


def literals() -> set[str]:
    """Every text that stands in the source as a value."""
    trees = (ast.parse(path.read_text()) for path in PROXY.rglob("*.py"))
    return {
        node.value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def _of_file(path: Path) -> Iterator[Found]:
    tree = ast.parse(path.read_text())
    outside = _known(_values(tree.body))
    where = str(path.relative_to(PROXY).with_suffix("")).replace("/", ".")
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for function in functions:
        names, inside = outside | _defaults(function), _values(list(ast.walk(function)))
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            found = _refusal(call, names | _known(inside, before=call.lineno))
            if found is not None:
                yield Found(found[1], found[0], found[2], where)


def _refusal(call: ast.Call, names: dict[str, Any]) -> tuple[int, str, str] | None:
    """Status, code and text of a call that makes a refusal; None: it makes none, or one that only its run knows."""
    name = ast.unparse(call.func)
    kind = name.rpartition(".")[2]
    arguments: list[ast.expr | None] = list(call.args)
    if kind in _AFTER_A_NUMBER:
        named = {each.arg: each.value for each in call.keywords}
        code, message = (*arguments[1:], None, None)[:2]
        code, message = code or named.get("code"), message or named.get("message")
        arguments = [code or ast.Constant("overloaded"), message]
    if name in {"Refusal", "cls", "Invalid", "Refusal.unreadable", "cls.unreadable"}:
        if len(arguments) < 3:
            return None
        status, code, message = arguments[:3]
        number = _value(status, names)
    elif kind in _STATUS and (name == kind or name.startswith(("Refusal.", "cls."))):
        code, message = (*arguments, None, None)[:2]
        number = _STATUS[kind]
    else:
        return None
    word, says = _value(code, names), _value(message, names)
    if not isinstance(number, int) or not isinstance(word, str) or "{" in word:
        return None
    return number, word, says if isinstance(says, str) else ""


def _value(node: ast.expr | None, names: dict[str, Any]) -> Any:
    """What an expression is, as far as the source tells: a number, a text, or a text with places in braces."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.JoinedStr(values=parts):
            shown = (
                str(part.value) if isinstance(part, ast.Constant) else f"{{{_place(part)}}}"
                for part in parts
                if isinstance(part, (ast.Constant, ast.FormattedValue))
            )
            return "".join(shown)
        case ast.Name(id=name):
            return names.get(name)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            texts = [_value(each, names) for each in (left, right)]
            return "".join(each if isinstance(each, str) else "{…}" for each in texts)
    return None


def _place(part: ast.FormattedValue | ast.Constant) -> str:
    """The name of what is put in."""
    return part.value.id if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name) else "…"


def _values(nodes: list[Any]) -> list[tuple[int, str, ast.expr]]:
    """Where which name is given what, in order."""
    found = []
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found.append((node.lineno, name, value))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                found.append((node.lineno, name, value))
    return sorted(found, key=lambda each: each[0])


def _known(values: list[tuple[int, str, ast.expr]], *, before: int | None = None) -> dict[str, Any]:
    """What names are, as far as the source tells; the newest before a line counts."""
    found: dict[str, Any] = {}
    for line, name, value in values:
        if before is None or line <= before:
            found[name] = _value(value, found)
    return found


def _defaults(function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, Any]:
    """What the parameters of a function are where nobody says otherwise."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args]
    pairs = [*zip(reversed(named), reversed(arguments.defaults), strict=False)]
    pairs += [(name, value) for name, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value]
    return {name.arg: value for name, default in pairs if (value := _value(default, {})) is not None}
