"""What a program asked of its disk, in order: the system calls of the real thing, as `strace` saw them.

A model of SQLite's calls would test the model. The trace has the data of every write, every sync once it returned, and
what the program said on standard output, so that what it acknowledged stands between the syncs before and after it.
"""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from support.victims import TESTS

_CALLS: Final = "pwrite64,fdatasync,fsync,ftruncate,openat,unlink,write"
_LINE: Final = re.compile(r"^(?P<pid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\((?P<rest>.*))")
_FD: Final = re.compile(r"^(\d+|AT_FDCWD)<([^>]*)>(?:, )?")
_DATA: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


@dataclass(frozen=True, slots=True)
class Wrote:
    """Bytes at a place of a file."""

    name: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    """A file made so long."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    """What was written to this file is on the disk; an empty name is the folder."""

    name: str


@dataclass(frozen=True, slots=True)
class Made:
    """A file opened, and made if it was not there."""

    name: str


@dataclass(frozen=True, slots=True)
class Removed:
    """A file's name taken away."""

    name: str


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of what it said."""

    text: bytes


Event: TypeAlias = Wrote | Cut | Synced | Made | Removed | Said


def can_trace() -> bool:
    """Whether there is an `strace` that may trace."""
    if shutil.which("strace") is None:
        return False
    return (
        subprocess.run(["strace", "-qq", "-e", "trace=none", "true"], check=False, capture_output=True).returncode == 0
    )


async def trace(module: str, path: Path, number: int, lines: int, log: Path) -> list[Event]:
    """Run a victim (see `support.victims`) until it has said so many lines, then kill it; gives all it did to its disk.

    Args:
        module: the victim.
        path: its database; what it does in that one's folder is what is given.
        number: its round.
        lines: so many.
        log: a file for the trace, 10 times as large as what is written.
    """
    tracer = await asyncio.create_subprocess_exec(
        *("strace", "-f", "-qq", "-xx", "-y", "-s", "1000000", "-e", f"trace={_CALLS}", "-e", "signal=none"),
        *("-o", str(log), sys.executable, "-m", module, str(path), str(number)),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}"},
        start_new_session=True,
    )
    assert tracer.stdout is not None
    try:
        async with asyncio.timeout(120):
            for _ in range(lines):
                assert await tracer.stdout.readline()
    finally:
        os.killpg(tracer.pid, 9)
        await tracer.stdout.read()
        await tracer.wait()
    return list(_events(log, path.parent))


def _events(log: Path, folder: Path) -> Iterator[Event]:
    waiting: dict[str, Event | None] = {}
    with log.open() as lines:
        for line in lines:
            found = _LINE.match(line)
            if found is None or not line.endswith("\n"):  # the tracer was killed with the rest
                continue
            pid = found["pid"]
            if found["resumed"]:
                event = waiting.pop(pid, None)
                if event is not None and " = -1 " not in line:
                    yield event
                continue
            event = _event(found["name"], found["rest"], folder)
            if not line.endswith("<unfinished ...>\n"):
                if event is not None and " = -1 " not in line:
                    yield event
            elif isinstance(event, Synced):  # it counts when it has returned, everything else when it begins
                waiting[pid] = event
            elif event is not None:
                yield event


def _event(name: str, rest: str, folder: Path) -> Event | None:
    """What a call did to a file of the folder, or to the folder itself (an empty name); None for anything else."""
    if name == "write":
        data = _DATA.search(rest)
        return Said(_bytes(data[1])) if rest.startswith("1<") and data else None
    if name in ("openat", "unlink"):
        data = _DATA.search(rest)
        file = _name_in(folder, _bytes(data[1]) if data else b"")
        if not file or (name == "openat" and "O_CREAT" not in rest):
            return None
        return Made(file) if name == "openat" else Removed(file)
    descriptor = _FD.match(rest)
    file = _name_in(folder, _bytes(descriptor[2]) if descriptor else b"")
    if descriptor is None or file is None:
        return None
    return _change(name, file, rest[descriptor.end() :])


def _change(name: str, file: str, rest: str) -> Event:
    if name in ("fdatasync", "fsync"):
        return Synced(file)
    if name == "ftruncate":
        return Cut(file, _numbers(rest)[0])
    data = _DATA.match(rest)
    assert data is not None, rest[:100]
    return Wrote(file, _numbers(rest[data.end() :])[1], _bytes(data[1]))


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _name_in(folder: Path, path: bytes) -> str | None:
    found = Path(os.fsdecode(path))
    if found == folder:
        return ""
    return found.name if found.parent == folder else None


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
