"""A disk that loses its power: of what was not synced, any part may be there, in sectors.

Names of files are as a journalling file system keeps them: of what was not synced, the first so many changes.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from support.disk_trace import Cut, Event, Made, Removed, Synced, Wrote

SECTOR: Final = 512


@dataclass(slots=True)
class _File:
    durable: bytearray = field(default_factory=bytearray)
    waiting: list[Wrote | Cut] = field(default_factory=list)

    def sync(self) -> None:
        for change in self.waiting:
            _apply(self.durable, change)
        self.waiting.clear()

    def after_a_cut(self, chance: random.Random) -> bytes:
        """Either the first so many of the changes, the last of them torn, or any sectors of any of them."""
        found = bytearray(self.durable)
        if chance.random() < 0.5:
            reached = chance.randrange(len(self.waiting) + 1)
            for change in self.waiting[:reached]:
                _apply(found, change)
            if reached < len(self.waiting):
                _tear(found, self.waiting[reached], chance, 0.5)
            return bytes(found)
        share = chance.random()
        for change in self.waiting:
            _tear(found, change, chance, share)
        return bytes(found)


class Disk:
    """A folder's files as the trace makes them. `do` follows it, `cut` says what a cut of the power leaves now."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        """Begin with these files, all of them durable."""
        self._durable_names = {name: _File(bytearray(data)) for name, data in files.items()}
        self._names = dict(self._durable_names)
        self._changes: list[tuple[str, _File | None]] = []

    def do(self, event: Event) -> None:
        """Follow the trace by one step."""
        match event:
            case Made(name):
                if name not in self._names:
                    self._rename(name, _File())
            case Removed(name):
                self._rename(name, None)
            case Synced(""):
                self._durable_names, self._changes = dict(self._names), []
            case Synced(name):
                self._names[name].sync()
            case Wrote(name) | Cut(name):
                self._names[name].waiting.append(event)

    def _rename(self, name: str, file: _File | None) -> None:
        self._changes.append((name, file))
        _point(self._names, name, file)

    def cut(self, folder: Path, chance: random.Random) -> None:
        """Write into a folder what is left."""
        names = dict(self._durable_names)
        for name, file in self._changes[: chance.randrange(len(self._changes) + 1)]:
            _point(names, name, file)
        for name, file in names.items():
            if not name.endswith(("-shm", ".lock")):
                (folder / name).write_bytes(file.after_a_cut(chance))


def _point(names: dict[str, _File], name: str, file: _File | None) -> None:
    if file is None:
        names.pop(name, None)
    else:
        names[name] = file


def _apply(found: bytearray, change: Wrote | Cut) -> None:
    if isinstance(change, Cut):
        del found[change.size :]
        found.extend(bytes(change.size - len(found)))
        return
    end = change.offset + len(change.data)
    found.extend(bytes(max(end - len(found), 0)))
    found[change.offset : end] = change.data


def _tear(found: bytearray, change: Wrote | Cut, chance: random.Random, share: float) -> None:
    """Some sectors of a change: each is there or not as a whole."""
    if isinstance(change, Cut):
        if chance.random() < share:
            _apply(found, change)
        return
    place = 0
    while place < len(change.data):
        size = min(SECTOR - (change.offset + place) % SECTOR, len(change.data) - place)
        if chance.random() < share:
            _apply(found, Wrote(change.name, change.offset + place, change.data[place : place + size]))
        place += size
