"""`GET /api/feed`: the live table as server-sent events, for everybody who looks at it.

One ticker looks four times a second for all readers, and runs only while there are any. A reader that is slow is told
nothing until it has taken what it has; then it gets the whole page anew, so that nothing piles up for it.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from proxy.core.errors import Refusal
from proxy.core.sse import comment, encode_event
from proxy.edge.admin_summary import Summary
from proxy.edge.downstream import SocketSink, begin
from proxy.edge.events import STREAM_HEADERS
from proxy.edge.live_view import LiveView, Window
from proxy.edge.runtime import Runtime
from proxy.engine.engine import Engine
from proxy.engine.failures import log_failure
from proxy.engine.tasks import Tasks
from proxy.stores.ports import LedgerUnavailableError

TICK_SECONDS: Final = 0.25
TICKS_OF_NUMBERS: Final = 4
"""Tokens and costs of the rows are looked at once in so many ticks."""
TICKS_OF_ASKING: Final = 8
"""Other replicas are asked once in so many ticks."""
TICKS_OF_SUMMARY: Final = 40
"""A sign of life, and the summary if it has changed, once in so many ticks."""
MOST_READERS: Final = 64

_HEAD: Final = (("Server", "quell"), ("X-Content-Type-Options", "nosniff"), *STREAM_HEADERS)
_RETRY: Final = b"retry: 1000\n"
"""Stands before the first event: milliseconds until a browser comes back."""
_HEARTBEAT: Final = comment("keep-alive")


@dataclass(slots=True, eq=False)
class FeedReader:
    """One who reads. What it is told goes out at once, or not at all."""

    sink: SocketSink
    is_over: bool = False
    _lags: bool = False
    _missed: bool = False
    _woken: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, data: bytes) -> None:
        """Hand over an event, unless what was told before still waits to be taken."""
        if self._lags:
            self._missed = True
        elif not self.sink.write(data):
            self._lags = True
            self._woken.set()

    def end(self) -> None:
        """Let it go."""
        self.is_over = True
        self._woken.set()

    async def stay(self, anew: Callable[[], bytes], deadline: float) -> None:
        """Stay until it is let go; what it missed is made up for by telling it `anew`.

        Raises:
            ConnectionError: it left, or took nothing for `deadline` seconds.
        """
        while not self.is_over:
            await self._woken.wait()
            self._woken.clear()
            if not self._lags:
                continue
            await self.sink.drained(deadline)
            self._lags = False
            if self._missed:
                self._missed = False
                self.tell(anew())


class _Shown:
    """A view with its readers."""

    def __init__(self, view: LiveView) -> None:
        self.view = view
        self.readers: set[FeedReader] = set()
        self.is_asking = False

    async def ask(self, confirm: float) -> None:
        """Ask the other replicas for their part of it."""
        self.is_asking = True
        try:
            await self.view.ask(confirm)
        finally:
            self.is_asking = False


class Feed:
    """Serves the feed."""

    def __init__(self, engine: Engine, summary: Summary, current: Callable[[], Runtime]) -> None:
        self._engine = engine
        self._summary = summary
        self._current = current
        self._shown: dict[tuple[tuple[str, str], ...], _Shown] = {}
        self._tasks = Tasks()
        self._is_ticking = False
        self._is_over = False
        self._number = 0
        self._told: dict[str, Any] | None = None
        """The summary that readers were told last."""

    async def serve(self, http: web.BaseRequest, runtime: Runtime) -> web.StreamResponse:
        """Send the page, then what changes, until the reader leaves or the proxy ends.

        Raises:
            Refusal: 400, a parameter can't be understood; 429, there are `MOST_READERS` already.
        """
        window = Window.read(http)
        if sum(len(shown.readers) for shown in self._shown.values()) >= MOST_READERS:
            raise Refusal.too_many(5, f"As many feeds are read as may be ({MOST_READERS}).")
        shown = self._shown.get(window.key) or await self._new(window, runtime)
        response, sink = await begin(http, 200, _HEAD, None)
        reader = FeedReader(sink, is_over=self._is_over)
        shown = self._shown.setdefault(window.key, shown)  # the last one that read it may have left meanwhile
        if not shown.readers:  # nobody else is told of what has changed since it was looked at
            shown.view.look(time.time(), numbers=True)
        shown.readers.add(reader)
        try:
            self._tick()
            reader.tell(_RETRY + self._page(shown))
            if self._told is None:
                await self._sum_up(runtime)
            await reader.stay(lambda: self._page(shown), runtime.settings.limits.write_deadline)
        finally:
            shown.readers.discard(reader)
        return response

    def end(self) -> None:
        """Let all readers go: the proxy ends."""
        self._is_over = True
        for shown in self._shown.values():
            for reader in shown.readers:
                reader.end()

    async def close(self) -> None:
        """Let all readers go, and end what runs for them."""
        self.end()
        await self._tasks.cancel()

    async def _new(self, window: Window, runtime: Runtime) -> _Shown:
        shown = _Shown(LiveView(self._engine, window))
        await shown.ask(runtime.settings.cancellation.confirm_timeout)
        return shown

    def _tick(self) -> None:
        """Look at what lives from now on, until nobody reads."""
        if not self._is_ticking and not self._is_over:
            self._is_ticking = True
            self._tasks.start(self._tick_on(), "tell the readers of the feed")

    async def _tick_on(self) -> None:
        number = 0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            number += 1
            self._shown = {key: shown for key, shown in self._shown.items() if shown.readers}
            if not self._shown:
                self._is_ticking, self._told = False, None
                return
            for shown in self._shown.values():
                try:
                    self._look(shown, number)
                except Exception as error:  # noqa: BLE001 one bad look must not end the feed of all
                    log_failure("feed.failed", error)
            if number % TICKS_OF_SUMMARY == 0:
                self._tell_all(_HEARTBEAT)
                self._tasks.start(self._sum_up(self._current()), "sum up for the readers of the feed")

    def _look(self, shown: _Shown, number: int) -> None:
        change = shown.view.look(time.time(), numbers=number % TICKS_OF_NUMBERS == 0)
        if change is not None:
            data = self._event("change", change)
            for reader in shown.readers:
                reader.tell(data)
        has_others = self._engine.many.group is not None
        if has_others and not shown.is_asking and number % TICKS_OF_ASKING == 0:
            confirm = self._current().settings.cancellation.confirm_timeout
            self._tasks.start(shown.ask(confirm), "ask the others for their live tables")

    async def _sum_up(self, runtime: Runtime) -> None:
        """Tell everybody the summary if it has changed; not while the ledger can't be read."""
        try:
            summary = await self._summary.now(runtime)
        except LedgerUnavailableError:
            return
        if summary != self._told:
            self._told = summary
            self._tell_all(self._event("summary", summary))

    def _tell_all(self, data: bytes) -> None:
        for shown in self._shown.values():
            for reader in shown.readers:
                reader.tell(data)

    def _page(self, shown: _Shown) -> bytes:
        """What makes a reader know as much as those who have read for long."""
        page = self._event("page", shown.view.page(time.time()))
        return page if self._told is None else page + self._event("summary", self._told)

    def _event(self, name: str, value: dict[str, Any]) -> bytes:
        self._number += 1
        return encode_event(json.dumps(value, separators=(",", ":")).encode(), name, str(self._number))
