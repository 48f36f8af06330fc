"""The write-ahead log of an SQLite file: which pages it has committed (fileformat2.html, section 4)."""

import struct
from pathlib import Path
from typing import Final

_HEADER: Final = 32
_FRAME: Final = 24
_MAGICS: Final = {0x377F0682: "<", 0x377F0683: ">"}
"""By the log's first word: in which order the words of what is summed are read."""


def committed_pages(path: Path, page_size: int) -> dict[int, bytes]:
    """Each page that is committed there, in its newest state; up to the first frame that is torn or of an older log.

    Raises:
        OSError: it can't be read.
    """
    data = path.read_bytes()
    if len(data) < _HEADER:
        return {}
    magic, _, size, _, salt_1, salt_2, *summed = struct.unpack_from(">8I", data)
    order = _MAGICS.get(magic)
    if order is None or size != page_size or _sum(order, data[:24], (0, 0)) != tuple(summed):
        return {}
    committed: dict[int, bytes] = {}
    waiting: dict[int, bytes] = {}
    pages = 0
    so_far = (summed[0], summed[1])
    for place in range(_HEADER, len(data) - _FRAME - page_size + 1, _FRAME + page_size):
        number, pages_after, one, two, sum_1, sum_2 = struct.unpack_from(">6I", data, place)
        page = data[place + _FRAME : place + _FRAME + page_size]
        so_far = _sum(order, page, _sum(order, data[place : place + 8], so_far))
        if (one, two) != (salt_1, salt_2) or so_far != (sum_1, sum_2):
            break
        waiting[number] = page
        if pages_after:
            committed |= waiting
            waiting, pages = {}, pages_after
    return {number: page for number, page in committed.items() if number <= pages}


def _sum(order: str, data: bytes, so_far: tuple[int, int]) -> tuple[int, int]:
    one, two = so_far
    for first, second in struct.iter_unpack(f"{order}2I", data):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two
