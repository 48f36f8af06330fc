"""A program on a terminal of its own, as a person has it: keys go in, pictures come out, windows change their size.

async with on_terminal(["-m", "proxy", "top"], folder, columns=80, lines=24, QUELL_ADMIN=url) as terminal:
    await terminal.shows("streaming")
    terminal.press("q")
    assert await terminal.exit_code() == 0
    await terminal.is_given_back()
"""

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from support.program import environment
from support.wait import PATIENCE, eventually

TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.executable, sys.argv[1:])"
)
"""In the child: the terminal becomes its own, so that signals and sizes reach it; then it is the program."""

HOME, PICTURE_END = "\x1b[H", "\x1b[J"
"""What stands before a picture, and behind one in programs that draw over the last one."""
SECOND_SCREEN, FIRST_SCREEN, CURSOR = "\x1b[?1049h", "\x1b[?1049l", "\x1b[?25h"
T = TypeVar("T")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class TerminalProgram:
    """A program that runs on a terminal."""

    def __init__(self, arguments: Sequence[str], folder: Path, env: dict[str, str], size: tuple[int, int]) -> None:
        self._ours, self._theirs = pty.openpty()
        self.resize(*size)
        self._before = termios.tcgetattr(self._theirs)
        self._output = bytearray()
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, sys.executable, *arguments],
            cwd=folder,
            env=env,
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # nobody has the terminal any more
                return
            if not data:
                return
            self._output += data

    @property
    def output(self) -> str:
        """All that it has written."""
        return bytes(self._output).decode(errors="replace")

    @property
    def screen(self) -> list[str]:
        """The lines of its newest picture that is whole, without their styles."""
        told = self.output
        end = told.rfind(PICTURE_END)
        picture = told[: end if end >= 0 else None].rpartition(HOME)[2]
        return [line.rstrip() for line in _CONTROL.sub("", picture).split("\r\n")]

    @property
    def is_as_before(self) -> bool:
        """Whether the terminal is as it was: its modes, its first screen, its cursor."""
        told = self.output
        on_first = told.rfind(FIRST_SCREEN) >= told.rfind(SECOND_SCREEN)
        has_cursor = told.rfind(CURSOR) >= told.rfind("\x1b[?25l")
        return on_first and has_cursor and termios.tcgetattr(self._theirs) == self._before

    @property
    def has_single_keys(self) -> bool:
        """Whether each key is given at once, and not shown."""
        return not termios.tcgetattr(self._theirs)[3] & (termios.ICANON | termios.ECHO)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Give the window another size."""
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    async def shows(self, words: str) -> list[str]:
        """Wait until the newest picture has these words; gives its lines."""

        def has_words() -> list[str]:
            screen = self.screen
            return screen if any(words in line for line in screen) else []

        return await self._until(has_words, f"the screen shows {words!r}")

    async def writes(self, words: str) -> None:
        """Wait until it has written these words, for programs that draw no pictures."""
        await self._until(lambda: words in self.output, f"{words!r} is written")

    async def hides(self, words: str) -> None:
        """Wait until the newest picture has them no more."""
        await self._until(lambda: not any(words in line for line in self.screen), f"the screen hides {words!r}")

    async def has_lines(self, count: int) -> list[str]:
        """Wait until the newest picture has so many lines; gives them."""
        return await self._until(lambda: self.screen if len(self.screen) == count else [], f"{count} lines")

    async def _until(self, check: Callable[[], T], what: str) -> T:
        try:
            return await eventually(check, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}; the screen:\n" + "\n".join(self.screen)) from error

    async def is_given_back(self) -> None:
        """Wait until the terminal is as it was: what was written last may still be on its way."""
        await self._until(lambda: self.is_as_before, "the terminal is as before")

    async def is_stopped(self) -> None:
        """Wait until it is stopped, as by Ctrl-Z."""
        stat = Path(f"/proc/{self.process.pid}/stat")
        await eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", what="it is stopped")

    async def exit_code(self) -> int:
        """Wait for its end; gives its exit code, negative for a signal."""
        await eventually(lambda: self.process.poll() is not None, PATIENCE, f"it ends; its output: {self.output!r}")
        return self.process.returncode

    def close(self) -> None:
        """End it for good."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._theirs)
        self._reader.join(PATIENCE)
        os.close(self._ours)


@asynccontextmanager
async def on_terminal(
    arguments: Sequence[str], folder: Path, *, columns: int = 100, lines: int = 24, **env: str
) -> AsyncIterator[TerminalProgram]:
    """Start the Python interpreter with these arguments on a terminal; killed at the end if it still runs."""
    known = {key: value for key, value in environment(**env).items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
    program = TerminalProgram(arguments, folder, {"TERM": "xterm", **known, **env}, (columns, lines))
    try:
        yield program
    finally:
        await asyncio.to_thread(program.close)
