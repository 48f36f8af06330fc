"""The terminal while `quell top` owns it: its second screen, its keys, its size; as it was when the block ends."""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Final

from proxy.cli.keys import single_keys

_ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J"
"""The second screen, without a cursor."""
_LEAVE: Final = "\x1b[0m\x1b[?25h\x1b[?1049l"
_TO_START, _TO_LINE_END, _TO_END = "\x1b[H", "\x1b[K", "\x1b[J"

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_SIGNALED: Final = 128

Handler = Callable[[int, FrameType | None], None]


class Screen:
    """A terminal that is entered. Ctrl-Z leaves it, `fg` enters it again."""

    def __init__(self, changed: Callable[[], None]) -> None:
        """`changed` is called when everything must be drawn anew: from a signal's handler."""
        self._changed = changed
        self._held: ExitStack | None = None

    def enter(self) -> None:
        """Take the terminal."""
        if self._held is not None:
            return
        with ExitStack() as stack:
            stack.enter_context(single_keys(sys.stdin.fileno()))
            stack.callback(self._write_anyway, _LEAVE)
            self._write(_ENTER)
            self._held = stack.pop_all()

    def leave(self) -> None:
        """Give the terminal back as it was."""
        held, self._held = self._held, None
        if held is not None:
            held.close()

    def draw(self, lines: list[str]) -> None:
        """Show these lines, as many as the screen has."""
        if self._held is not None:
            self._write(_TO_START + f"{_TO_LINE_END}\r\n".join(lines) + _TO_LINE_END + _TO_END)

    def size(self) -> tuple[int, int]:
        """Columns and lines that can be written: a last column is left, where some terminals would go on."""
        try:
            columns, lines = os.get_terminal_size(sys.stdout.fileno())
        except OSError:
            columns, lines = shutil.get_terminal_size()
        return max(10, (columns or 80) - 1), max(3, lines or 24)

    @staticmethod
    def _write(text: str) -> None:
        """Write all of it.

        Raises:
            OSError: the terminal is gone.
        """
        data = memoryview(text.encode(errors="replace"))
        while data:
            data = data[os.write(sys.stdout.fileno(), data) :]

    def _write_anyway(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._write(text)

    def stopped(self, _number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z: leave, and let the shell go on."""
        self.leave()
        os.kill(os.getpid(), signal.SIGSTOP)

    def continued(self, _number: int, _frame: FrameType | None) -> None:
        """`fg`: the shell may have changed the terminal meanwhile."""
        self.leave()
        self.enter()
        self._changed()

    def resized(self, _number: int, _frame: FrameType | None) -> None:
        """The window has another size."""
        self._changed()


@contextmanager
def whole_screen(changed: Callable[[], None]) -> Iterator[Screen]:
    """Own the terminal; see `Screen` for `changed`. A signal that ends the process gives it back first.

    Raises:
        SystemExit: such a signal has come.
    """
    screen = Screen(changed)
    handlers: dict[int, Handler] = {
        signal.SIGWINCH: screen.resized,
        signal.SIGTSTP: screen.stopped,
        signal.SIGCONT: screen.continued,
        **dict.fromkeys(_ENDING, _end),
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        screen.enter()
        yield screen
    finally:
        for number in (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH):
            signal.signal(number, before[number])  # nothing may enter the screen again
        screen.leave()
        for number in _ENDING:
            signal.signal(number, before[number])


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(_SIGNALED + number)
