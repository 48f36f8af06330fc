"""`GET /api/feed`: the live table as server-sent events, for everybody who looks at it.

One ticker looks four times a second for all readers, and runs only while there are any; where there is much to look
at it looks more seldom, and never at two views without a turn for other work. A reader that is slow is told nothing
until it has taken what it has; then it gets the whole page anew, so that nothing piles up for it.
"""

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from proxy.core.sse import comment, encode_event
from proxy.edge.admin.access import visitor_of
from proxy.edge.admin.answer import SAFE
from proxy.edge.admin.live_view import LiveView, Window
from proxy.edge.admin.places import Places
from proxy.edge.admin.shared_order import SharedOrder
from proxy.edge.admin.summary import Summary
from proxy.edge.downstream import SocketSink, begin
from proxy.edge.events import STREAM_HEADERS
from proxy.edge.pace import Pace
from proxy.edge.runtime import Runtime
from proxy.engine.engine import Engine
from proxy.engine.failures import log_failure
from proxy.engine.tasks import Tasks
from proxy.stores.ledger.port import LedgerUnavailableError

TICK_SECONDS: Final = 0.25
NUMBERS_SECONDS: Final = 1.0
"""Tokens and costs of the rows are looked at so often."""
ASKING_SECONDS: Final = 2.0
"""Other replicas are asked so often."""
SUMMARY_SECONDS: Final = 10.0
"""A sign of life, and the summary if it has changed, come so often; no rest is longer."""
FRESH_SECONDS: Final = 1.0
"""While anything begins or ends the summary is made so often, and once more behind it: the ledger is a little late.
What it has of today is then up to two of these old."""
MOST_READERS: Final = 64
MOST_OF_ONE: Final = 16
"""Readers with one token: the rest of the places is for others."""

_HEAD: Final = (*SAFE.items(), *STREAM_HEADERS)
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


class _Due:
    """Says when something is to be done again; between two looks there are `TICK_SECONDS` at least."""

    def __init__(self, seconds: float, now: float) -> None:
        self._seconds = seconds
        self._at = now + seconds

    def is_now(self, now: float) -> bool:
        """Whether it is to be done in this tick; asked once in each."""
        if now < self._at - TICK_SECONDS / 2:
            return False
        self._at = now + self._seconds
        return True


class _Shown:
    """A view with its readers."""

    def __init__(self, view: LiveView) -> None:
        self.view = view
        self.readers: set[FeedReader] = set()
        self.is_asking = False

    async def ask(self) -> None:
        """Ask the other replicas for their part of it."""
        self.is_asking = True
        try:
            await self.view.ask()
        finally:
            self.is_asking = False


class Feed:
    """Serves the feed."""

    def __init__(self, engine: Engine, summary: Summary) -> None:
        self._engine = engine
        self._summary = summary
        self._orders = SharedOrder(engine.live)
        self._shown: dict[tuple[tuple[str, str], ...], _Shown] = {}
        self._tasks = Tasks()
        self._places = Places("feeds")
        self._is_ticking = False
        self._summing: asyncio.Task[None] | None = None
        self._is_over = False
        self._number = 0
        self._changes, self._changed_at = (-1, False), float("-inf")
        """Of what the summary counts: its number, and when it was seen, on the engine's clock."""
        self._told: dict[str, Any] | None = None
        """The summary that readers were told last."""

    async def serve(self, http: web.BaseRequest, runtime: Runtime) -> web.StreamResponse:
        """Send the page, then what changes, until the reader leaves or the proxy ends.

        Raises:
            Refusal: 400, a parameter can't be understood; 429, there are `MOST_READERS` already, or `MOST_OF_ONE` with
                this token.
        """
        window = Window.read(http)
        with self._places.taken(visitor_of(http).name, most=MOST_READERS, most_of_one=MOST_OF_ONE):
            return await self._serve(http, window, runtime.settings.limits.write_deadline)

    async def _serve(self, http: web.BaseRequest, window: Window, deadline: float) -> web.StreamResponse:
        shown = self._shown.get(window.key) or await self._new(window)
        response, sink = await begin(http, 200, _HEAD, None)
        reader = FeedReader(sink, is_over=self._is_over)
        shown = self._shown.setdefault(window.key, shown)  # the last one that read it may have left meanwhile
        if not shown.readers:  # nobody else is told of what has changed since it was looked at
            shown.view.look(time.time(), numbers=True)
            self._orders.forget()
        shown.readers.add(reader)
        try:
            self._tick()
            reader.tell(_RETRY + self._page(shown))
            if self._told is None:
                await self._sum_up()
            await reader.stay(lambda: self._page(shown), deadline)
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

    async def _new(self, window: Window) -> _Shown:
        shown = _Shown(LiveView(self._engine, window, self._orders))
        await shown.ask()
        return shown

    def _tick(self) -> None:
        """Look at what lives from now on, until nobody reads."""
        if not self._is_ticking and not self._is_over:
            self._is_ticking = True
            self._tasks.start(self._tick_on(), "tell the readers of the feed")

    async def _tick_on(self) -> None:
        clock = self._engine.now
        pace = Pace(TICK_SECONDS, SUMMARY_SECONDS, clock)
        spans = (NUMBERS_SECONDS, ASKING_SECONDS, SUMMARY_SECONDS, FRESH_SECONDS)
        numbers_due, asking_due, summary_due, fresh_due = (_Due(seconds, clock()) for seconds in spans)
        while True:
            await asyncio.sleep(pace.rest())
            self._orders.forget()
            self._shown = {key: shown for key, shown in self._shown.items() if shown.readers}
            if not self._shown:
                self._is_ticking, self._told = False, None
                return
            now = clock()
            numbers, asks = numbers_due.is_now(now), asking_due.is_now(now)
            for shown in list(self._shown.values()):
                with pace.work():
                    self._look(shown, numbers=numbers, asks=asks)
                await asyncio.sleep(0)  # streams go before
            self._orders.forget()
            is_due = summary_due.is_now(now)
            if is_due:
                self._tell_all(_HEARTBEAT)
            wants = is_due or (fresh_due.is_now(now) and self._is_stale())
            if wants and (self._summing is None or self._summing.done()):
                self._summing = self._tasks.start(self._sum_up(), "sum up for the readers of the feed")

    def _look(self, shown: _Shown, *, numbers: bool, asks: bool) -> None:
        try:
            change = shown.view.look(time.time(), numbers=numbers)
        except Exception as error:  # noqa: BLE001 one bad look must not end the feed of all
            log_failure("feed.failed", error)
            return
        if change is not None:
            if any(row["state"] == "reading_on" for row in change["rows"]):
                self._changed_at = self._engine.now()
            data = self._event("change", change)
            for reader in shown.readers:
                reader.tell(data)
        if asks and self._engine.many.group is not None and not shown.is_asking:
            self._tasks.start(shown.ask(), "ask the others for their live tables")

    def _is_stale(self) -> bool:
        """Whether something has happened that the summary may not have yet."""
        changes = (self._engine.live.changes, self._engine.draining)
        if changes != self._changes:
            self._changes, self._changed_at = changes, self._engine.now()
        return self._summary.today_at < self._changed_at + FRESH_SECONDS / 2

    async def _sum_up(self) -> None:
        """Tell everybody the summary if it has changed; not while the ledger can't be read."""
        try:
            summary = await self._summary.now()
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
