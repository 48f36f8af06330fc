"""The loop of `quell top`: waits for keys, news and the clock, and draws."""

import contextlib
import os
import queue
import select
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.cli.admin_client import AdminClient, CommandError
from proxy.cli.keys import ESCAPE_SECONDS, KeyReader
from proxy.cli.stop import sentence, stop_one
from proxy.cli.top.board import Board, Do, StopIt
from proxy.cli.top.frame import frame, height_of_table
from proxy.cli.top.screen import Screen, whole_screen
from proxy.cli.top.source import News, Source
from proxy.cli.top.view import Known, View

TICK: Final = 1.0
"""Seconds after which the ages are drawn anew."""

APART: Final = 0.1
"""Seconds between two pictures at least: a slow line must not lag behind."""

_READ: Final = 1024


def run_top(client: AdminClient) -> None:
    """Show what runs until somebody quits.

    Raises:
        CommandError: the proxy refuses for good.
    """
    bell = _Bell()
    try:
        with whole_screen(bell.ring) as screen:
            _Loop(client, screen, bell).run()
    finally:
        bell.close()


class _Bell:
    """Wakes the loop, from a thread or a signal's handler."""

    def __init__(self) -> None:
        self._out, self.heard = socket.socketpair()
        self._out.setblocking(False)
        self.heard.setblocking(False)

    def ring(self) -> None:
        """Wake it."""
        with contextlib.suppress(OSError):  # full: it wakes anyway; closed: it is over
            self._out.send(b"!")

    def answer(self) -> None:
        """Be quiet again."""
        with contextlib.suppress(BlockingIOError):
            while self.heard.recv(_READ):
                pass

    def close(self) -> None:
        """Give back what it holds."""
        self._out.close()
        self.heard.close()


@dataclass(slots=True)
class _Loop:
    client: AdminClient
    screen: Screen
    bell: _Bell
    view: View = field(default_factory=View)
    board: Board = field(default_factory=Board)
    _news: "queue.SimpleQueue[Callable[[], None]]" = field(default_factory=queue.SimpleQueue)
    _shown: list[Known] = field(default_factory=list)
    _at: int = -1
    _drawn: float = 0.0
    _is_over: bool = False
    _failure: CommandError | None = None

    def run(self) -> None:
        """Until somebody quits, or the terminal is gone.

        Raises:
            CommandError: the proxy refuses for good.
        """
        source = Source(self.client, self._later(self._take), self._later(self._fail))
        source.ask(self.board.asked)
        keys = KeyReader()
        try:
            while not self._is_over:
                self._draw()
                for key in self._pressed(keys):
                    self._press(key, source)
                while not self._news.empty():
                    self._news.get()()
        except OSError:  # the terminal is gone
            return
        finally:
            source.end()
        if self._failure is not None:
            raise self._failure

    def _pressed(self, keys: KeyReader) -> list[str]:
        """Wait for keys, news, or the clock; gives the keys.

        Raises:
            OSError: the terminal is gone.
        """
        terminal = sys.stdin.fileno()
        patience = ESCAPE_SECONDS if keys.is_waiting else TICK
        ready, _, _ = select.select([terminal, self.bell.heard], [], [], patience)
        self.bell.answer()
        if terminal not in ready:
            return [] if ready else keys.nothing_more()
        data = os.read(terminal, _READ)
        if not data:
            raise OSError("no terminal")
        return keys.take(data)

    def _later(self, call: Callable[[Any], None]) -> Callable[[Any], None]:
        """The same, called by the loop itself a moment later."""

        def told(value: Any) -> None:
            self._news.put(lambda: call(value))
            self.bell.ring()

        return told

    def _take(self, news: News) -> None:
        match news.kind:
            case "page":
                self.view.take_page(news.told)
                self.view.is_polled = bool(news.told.get("polled"))
            case "change":
                self.view.take_change(news.told)
            case "summary":
                self.view.summary = news.told
            case _:
                self.view.trouble = news.told["words"]

    def _fail(self, error: CommandError) -> None:
        self._failure, self._is_over = error, True

    def _press(self, key: str, source: Source) -> None:
        action = self.board.press(key, self._shown, self._at, height_of_table(self.screen.size()[1]))
        if isinstance(action, StopIt):
            self.board.message = f"stopping {action.shown} …"
            threading.Thread(target=self._stop, args=(action,), daemon=True).start()
        elif action is Do.QUIT:
            self._is_over = True
        elif action is Do.ASK_AGAIN:
            source.ask(self.board.asked)
        self._settle()

    def _stop(self, action: StopIt) -> None:
        """In a thread: a stop takes as long as the upstream needs to be closed."""
        extra = {"reason": action.reason} if action.reason else {}
        try:
            told = sentence(stop_one(self.client, action.message_id, extra))
        except CommandError as error:
            told = f"{action.shown}: {error}"
        self._later(self._say)(told)

    def _say(self, words: str) -> None:
        self.board.message = words

    def _settle(self) -> None:
        height = height_of_table(self.screen.size()[1])
        self._at = self.board.settle(self._shown, self._at, height)

    def _draw(self) -> None:
        now = time.monotonic()
        if now - self._drawn < APART:
            time.sleep(max(0.0, APART - (now - self._drawn)))
        if not self.board.paused:
            self._shown = self.board.asked.chosen(self.view.rows)
        self._settle()
        size, styled = self.screen.size(), not os.environ.get("NO_COLOR")
        lines = frame(
            self.client.url, self.view, self.board, self._shown, self._at, size, self.view.clock(), styled=styled
        )
        self.screen.draw(lines)
        self._drawn = time.monotonic()
