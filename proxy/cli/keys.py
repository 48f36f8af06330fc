"""Single keys from a terminal: its mode while they are read, and what the bytes mean."""

import codecs
import contextlib
import os
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final, TextIO

ESCAPE_SECONDS: Final = 0.1
"""So long after an escape character without more it was the Escape key. Over ssh the rest of an arrow may lag."""

_ESC: Final = "\x1b"


class Key(StrEnum):
    """Keys that are no character."""

    UP = "up"
    DOWN = "down"
    PAGE_UP = "page up"
    PAGE_DOWN = "page down"
    HOME = "home"
    END = "end"
    ENTER = "enter"
    ESCAPE = "escape"
    BACKSPACE = "backspace"
    CLEAR = "clear"


_PLAIN: Final = {
    "\r": Key.ENTER,
    "\n": Key.ENTER,
    "\x7f": Key.BACKSPACE,
    "\x08": Key.BACKSPACE,
    "\x15": Key.CLEAR,
}
_FINAL: Final = {"A": Key.UP, "B": Key.DOWN, "H": Key.HOME, "F": Key.END}
_NUMBERED: Final = {"1": Key.HOME, "4": Key.END, "5": Key.PAGE_UP, "6": Key.PAGE_DOWN, "7": Key.HOME, "8": Key.END}


class KeyReader:
    """Turns what a terminal sends into keys: `Key`, or a character of its own. Unknown sequences are none."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self._rest = ""

    @property
    def is_waiting(self) -> bool:
        """Whether an escape character has come that may be the begin of more."""
        return bool(self._rest)

    def take(self, data: bytes) -> list[str]:
        """The keys that are known now."""
        text = self._rest + self._decoder.decode(data)
        self._rest = ""
        keys: list[str] = []
        while text:
            key, text = self._first(text)
            if self._rest:
                break
            if key:
                keys.append(key)
        return keys

    def nothing_more(self) -> list[str]:
        """The keys that are known when nothing has followed an escape character for `ESCAPE_SECONDS`."""
        waiting, self._rest = self._rest, ""
        return [Key.ESCAPE] if waiting == _ESC else []

    def _first(self, text: str) -> tuple[str, str]:
        """The first key, empty for none, and what is left; what is not whole yet is kept."""
        first = text[0]
        if first != _ESC:
            return _PLAIN.get(first, first if first.isprintable() else ""), text[1:]
        if len(text) == 1:
            self._rest = text
            return "", ""
        if text[1] not in "[O":
            return Key.ESCAPE, text[1:]
        for at, char in enumerate(text[2:], 2):
            if "@" <= char <= "~":
                parameter = text[2:at]
                return (_NUMBERED.get(parameter, "") if char == "~" else _FINAL.get(char, "")), text[at + 1 :]
        self._rest = text
        return "", ""


def is_ours(stream: TextIO) -> bool:
    """Whether a stream is a terminal whose keys go to this process: in the background they go to the shell."""
    try:
        return stream.isatty() and os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # closed, or no terminal of ours
        return False


@contextmanager
def single_keys(terminal: int) -> Iterator[None]:
    """Have each key of the terminal at once and unseen; signals such as Ctrl-C stay. As it was when the block ends."""
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
