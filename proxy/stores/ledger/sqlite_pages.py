"""Rows out of an SQLite file that SQLite itself no longer reads: each page is looked at for itself.

Only leaves of tables are read (https://www.sqlite.org/fileformat2.html, sections 1.6 and 2.1), wherever they are in the
file: a broken page costs its own rows, not those below or behind it. What the write-ahead log has committed counts.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

from proxy.stores.ledger.sqlite_wal import committed_pages

Value: TypeAlias = str | bytes | int | float | None

_TABLE_LEAF: Final = 0x0D
_HEADER: Final = 100
_USUAL_PAGE: Final = 4096
_LONGEST_VARINT: Final = 9
_INTEGER_SIZES: Final = (0, 1, 2, 3, 4, 6, 8)
_FLOAT: Final = 7
_ZERO: Final = 8
_ONE: Final = 9
_FIRST_BLOB: Final = 12


class UnreadableError(Exception):
    """A row, or a page, is not what it must be."""


class PageReader:
    """The pages of a database file, with those of its log in front of them. The file is only read."""

    def __init__(self, path: Path) -> None:
        """Read `path` and the log beside it.

        Raises:
            OSError: it can't be read.
        """
        self._file = path.open("rb")
        self._size = _page_size(self._file.read(_HEADER))
        log = path.with_name(path.name + "-wal")
        self._logged = committed_pages(log, self._size) if log.is_file() else {}
        in_file = path.stat().st_size // self._size
        self.count: Final = max(in_file, max(self._logged, default=0))
        """How many pages there are; they count from 1."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def page(self, number: int) -> bytes:
        """One page; shorter where the file ends within it."""
        if number in self._logged:
            return self._logged[number]
        self._file.seek((number - 1) * self._size)
        return self._file.read(self._size)

    def rows(self, number: int) -> Iterator[tuple[int, tuple[Value, ...]] | None]:
        """Row id and values of each row on a page, None for an unreadable one; nothing for pages of other kinds."""
        page = self.page(number)
        start = _HEADER if number == 1 else 0
        if len(page) < self._size or page[start] != _TABLE_LEAF:
            return
        cells = int.from_bytes(page[start + 3 : start + 5])
        if start + 8 + 2 * cells > len(page):
            yield None
            return
        for (place,) in struct.iter_unpack(">H", page[start + 8 : start + 8 + 2 * cells]):
            try:
                yield self._row(page, place)
            except (UnreadableError, IndexError, struct.error, UnicodeDecodeError):
                yield None

    def _row(self, page: bytes, place: int) -> tuple[int, tuple[Value, ...]]:
        length, place = _varint(page, place)
        row_id, place = _varint(page, place)
        if length > self.count * self._size:
            raise UnreadableError
        return _signed(row_id), _values(self._payload(page, place, length))

    def _payload(self, page: bytes, place: int, length: int) -> bytes:
        """The bytes of a row; what does not fit is on a chain of other pages."""
        usable = self._size
        most, least = usable - 35, (usable - 12) * 32 // 255 - 23
        if length <= most:
            return _exactly(page[place : place + length], length)
        here = least + (length - least) % (usable - 4)
        here = here if here <= most else least
        parts = [_exactly(page[place : place + here], here)]
        following = int.from_bytes(_exactly(page[place + here : place + here + 4], 4))
        missing = length - here
        while missing > 0:
            if not 0 < following <= self.count:
                raise UnreadableError
            overflow = _exactly(self.page(following), self._size)
            following = int.from_bytes(overflow[:4])
            parts.append(overflow[4 : 4 + min(missing, usable - 4)])
            missing -= len(parts[-1])
        return b"".join(parts)


def _page_size(header: bytes) -> int:
    found = int.from_bytes(header[16:18])
    size = 65536 if found == 1 else found
    return size if size in {1 << power for power in range(9, 17)} else _USUAL_PAGE


def _exactly(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise UnreadableError
    return data


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for count in range(_LONGEST_VARINT):
        byte = data[place + count]
        if count == _LONGEST_VARINT - 1:
            return value << 8 | byte, place + _LONGEST_VARINT
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 the bit that says that more follows
            return value, place + count + 1
    raise UnreadableError


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _values(payload: bytes) -> tuple[Value, ...]:
    end, place = _varint(payload, 0)
    if not 0 < end <= len(payload):
        raise UnreadableError
    kinds = []
    while place < end:
        kind, place = _varint(payload, place)
        kinds.append(kind)
    values = []
    for kind in kinds:
        value, place = _value(payload, place, kind)
        values.append(value)
    if place != len(payload):
        raise UnreadableError
    return tuple(values)


def _value(payload: bytes, place: int, kind: int) -> tuple[Value, int]:
    if kind in (_ZERO, _ONE):
        return kind - _ZERO, place
    if kind == _FLOAT:
        return float(struct.unpack_from(">d", payload, place)[0]), place + 8
    if kind < _FLOAT:
        size = _INTEGER_SIZES[kind]
        data = _exactly(payload[place : place + size], size)
        return (int.from_bytes(data, signed=True) if size else None), place + size
    if kind < _FIRST_BLOB:
        raise UnreadableError
    size = (kind - _FIRST_BLOB) // 2
    data = _exactly(payload[place : place + size], size)
    return (data.decode() if kind % 2 else data), place + size
