"""The formats of an export: JSON lines, CSV and Parquet. All three have the same fields; unknown is null or empty."""

import csv
import importlib
import io
import json
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, BinaryIO, Final, Protocol

from proxy.cli.admin_client import CommandError
from proxy.cli.output import harmless
from proxy.core.money import COST_DIGITS
from proxy.core.receipt import HIDDEN, TIMES
from proxy.core.record import Record
from proxy.core.settled import TRUTH_COUNTS

FORMATS: Final = ("jsonl", "csv", "parquet")

_TRUTH: Final = ("source", "at", *TRUTH_COUNTS, "cost", "currency")
_WHOLE: Final = frozenset(
    {"revision", "characters", "max_tokens", "late_tokens", "saved_most", "saved_typical", *TRUTH_COUNTS}
)
_FRACTIONS: Final = frozenset({"elapsed_seconds", "upstream_closed_ms"})
_COST_WIDTH: Final = 28


class Writer(Protocol):
    """Writes records, as `core.settled.exported` shows them, to a file that is open for bytes."""

    def write(self, records: list[dict[str, Any]]) -> None:
        """Write some more."""
        ...

    def finish(self) -> None:
        """Write what comes last; the file stays open."""
        ...


def columns(*, text: bool) -> list[str]:
    """The columns of CSV and Parquet; a later truth has columns of its own, which begin with `truth_`."""
    fields = [name for name in Record.__slots__ if name not in HIDDEN and (text or name != "text")]
    return ["id", "revision", *fields, *(f"truth_{name}" for name in _TRUTH)]


def make_writer(name: str, file: BinaryIO, *, text: bool) -> Writer:
    """The writer of a format.

    Raises:
        CommandError: what it needs is not installed.
    """
    match name:
        case "csv":
            return _Csv(file, columns(text=text))
        case "parquet":
            return _Parquet(file, columns(text=text))
        case _:
            return _JsonLines(file)


class _JsonLines:
    """One JSON object a line."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, records: list[dict[str, Any]]) -> None:
        self._file.writelines(json.dumps(record).encode() + b"\n" for record in records)

    def finish(self) -> None:
        pass


class _Csv:
    """RFC 4180. No cell is a formula to a spreadsheet; tags and prices are JSON objects."""

    def __init__(self, file: BinaryIO, names: list[str]) -> None:
        self._file = file
        self._names = names
        self._write_rows([names])

    def write(self, records: list[dict[str, Any]]) -> None:
        self._write_rows([harmless(_as_text(value)) for value in _cells(record, self._names)] for record in records)

    def finish(self) -> None:
        pass

    def _write_rows(self, rows: Iterable[list[Any]]) -> None:
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        self._file.write(text.getvalue().encode())


class _Parquet:
    """Apache Parquet. Times are timestamps, costs exact decimals, tags a map, prices JSON texts."""

    def __init__(self, file: BinaryIO, names: list[str]) -> None:
        try:
            self._arrow: Any = importlib.import_module("pyarrow")
            parquet: Any = importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            raise CommandError("Parquet needs the package pyarrow: pip install 'quell[parquet]'") from error
        self._names = names
        self._schema = self._arrow.schema([(name, self._type(name)) for name in names])
        self._writer = parquet.ParquetWriter(file, self._schema)

    def write(self, records: list[dict[str, Any]]) -> None:
        if not records:
            return
        rows = [_cells(record, self._names) for record in records]
        arrays = [
            self._arrow.array([_as_value(name, row[at]) for row in rows], type=self._schema.field(name).type)
            for at, name in enumerate(self._names)
        ]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def finish(self) -> None:
        self._writer.close()

    def _type(self, name: str) -> Any:
        arrow, field = self._arrow, name.removeprefix("truth_")
        if field in _WHOLE:
            return arrow.int64()
        if field in _FRACTIONS:
            return arrow.float64()
        if field in TIMES or field == "at":
            return arrow.timestamp("ms", tz="UTC")
        if field == "cost":
            return arrow.decimal128(_COST_WIDTH, COST_DIGITS)
        if field == "text_clipped":
            return arrow.bool_()
        return arrow.map_(arrow.string(), arrow.string()) if field == "tags" else arrow.string()


def _cells(record: dict[str, Any], names: list[str]) -> list[Any]:
    truth = record["truth"] or {}
    flat = record | {f"truth_{name}": truth.get(name) for name in _TRUTH}
    return [flat[name] for name in names]


def _as_text(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


def _as_value(name: str, value: Any) -> Any:
    field = name.removeprefix("truth_")
    if value is None:
        return None
    if field in TIMES or field == "at":
        return datetime.fromisoformat(value)
    if field == "cost":
        return Decimal(value)
    if field == "tags":
        return list(value.items())
    return _as_text(value)
