"""Later truths in a CSV file: which column means what, and everything that is wrong with it, line by line."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from proxy.cli.admin_client import CommandError
from proxy.config_file.problems import nearest
from proxy.core.money import cost_units
from proxy.core.settled import TRUTH_COUNTS

FIELDS: Final = ("upstream_id", "upstream", *TRUTH_COUNTS, "cost", "currency")

SHOWN: Final = 20
"""Wrong lines that are named; the others are counted."""

_MOST_TOKENS: Final = 10**12
_CURRENCY: Final = 3
_LONGEST: Final = 256


@dataclass(frozen=True, slots=True)
class Line:
    """One line's truth, as the admin API takes it."""

    number: int
    truth: dict[str, Any]


class _WrongError(Exception):
    """What is wrong with one cell."""


def check_file(path: Path, mapped: Mapping[str, str], source: str, currency: str | None) -> int:
    """Read the whole file, and give how many truths it has.

    Raises:
        CommandError: it can't be read, lacks a column, or some lines are wrong, which are all counted.
    """
    wrong: list[str] = []
    good = 0
    for found in _lines(path, mapped, source, currency):
        if isinstance(found, Line):
            good += 1
        else:
            wrong.append(found)
    if wrong:
        more = [f"… and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        raise CommandError("\n".join([f"{path}: nothing was attached:", *wrong[:SHOWN], *more]))
    return good


def read_file(path: Path, mapped: Mapping[str, str], source: str, currency: str | None) -> Iterator[Line]:
    """The truths of a file that was checked.

    Raises:
        CommandError: it can't be read any more.
    """
    return (found for found in _lines(path, mapped, source, currency) if isinstance(found, Line))


def _lines(path: Path, mapped: Mapping[str, str], source: str, currency: str | None) -> Iterator[Line | str]:
    """Each line's truth, or what is wrong with it."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = _columns(path, next(reader, []), mapped)
            for cells in reader:
                if cells:
                    yield _line(path, reader.line_num, columns, cells, {"source": source, "currency": currency})
    except OSError as error:
        raise CommandError(f"{path}: can't be read ({str(error.strerror).lower()})") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: is no text in UTF-8") from error
    except csv.Error as error:
        raise CommandError(f"{path}:{reader.line_num}: is no CSV ({error})") from error


def _columns(path: Path, heads: Sequence[str], mapped: Mapping[str, str]) -> dict[str, int]:
    """Where each field is. A head names its field, unless `mapped` says otherwise (field to head)."""
    places: dict[str, int] = {}
    for field in FIELDS:
        head = mapped.get(field, field)
        if heads.count(head) > 1:
            raise CommandError(f"{path}: has two columns {head}; which is {field}?")
        if head in heads:
            places[field] = heads.index(head)
        elif field in mapped:
            near = nearest(head, heads)
            hint = f"; did you mean {near}?" if near else f"; there are: {', '.join(heads)}"
            raise CommandError(f"{path}: has no column {head}{hint}")
    if "upstream_id" not in places:
        raise CommandError(f"{path}: has no column upstream_id; name the one that is it: --map upstream_id=HEAD")
    if not {"cost", *TRUTH_COUNTS} & set(places):
        raise CommandError(f"{path}: has no column with tokens or cost; name it: --map completion_tokens=HEAD")
    return places


def _line(
    path: Path, number: int, columns: Mapping[str, int], cells: Sequence[str], fixed: Mapping[str, str | None]
) -> Line | str:
    if len(cells) <= max(columns.values()):
        return f"{path}:{number}: has fewer cells than the first line has heads"
    try:
        given = {field: cells[place].strip() for field, place in columns.items()}
        truth = {"source": fixed["source"], **{field: _value(field, text) for field, text in given.items() if text}}
        _check(truth, fixed["currency"])
    except _WrongError as error:
        return f"{path}:{number}: {error}"
    return Line(number, truth)


def _check(truth: dict[str, Any], currency: str | None) -> None:
    if "upstream_id" not in truth:
        raise _WrongError("upstream_id: is empty")
    if not {"cost", *TRUTH_COUNTS} & set(truth):
        raise _WrongError("says nothing: it needs a token count or a cost")
    if "cost" not in truth:
        truth.pop("currency", None)
    elif currency is not None:
        truth.setdefault("currency", currency)
    elif "currency" not in truth:
        raise _WrongError("currency: is empty; name it for all lines: --currency USD")


def _value(field: str, text: str) -> Any:
    if field in TRUTH_COUNTS:
        if not (text.isascii() and text.isdigit() and int(text) <= _MOST_TOKENS):
            raise _WrongError(f"{field}: expected a whole number such as 1250")
        return int(text)
    if field == "cost":
        try:
            cost_units(Decimal(text))
        except (InvalidOperation, ValueError):
            raise _WrongError("cost: expected a decimal number from 0 to 9000000, such as 0.0125") from None
    if field == "currency" and not is_currency(text):
        raise _WrongError("currency: expected three capital letters, such as USD")
    if len(text) > _LONGEST:
        raise _WrongError(f"{field}: expected at most {_LONGEST} characters")
    return text


def is_currency(text: str) -> bool:
    """Whether it is the code of a currency."""
    return len(text) == _CURRENCY and text.isascii() and text.isalpha() and text.isupper()
