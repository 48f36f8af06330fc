"""The sink: sends what has settled to somebody else's address, at least once, in the order of the outbox.

Its position is in the ledger, and moves on only when a batch was taken. Whoever receives a batch a second time (its
answer was lost, or the process died before the position was on disk) tells each event by its source and id.

A batch that is refused as it is (400, 413, 422) is halved until the event at fault stands alone. That one is never
left out: it would be missing on a bill. It is sent again once a minute, with an error in the log each time, and what is
behind it waits; purges spare all of it.
"""

import asyncio
import contextlib
import random
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import structlog
from aiohttp import hdrs

from proxy.core.cloud_event import BATCH_TYPE, batch, cloud_event
from proxy.core.settings.settings import SinkSettings
from proxy.engine.failures import log_failure
from proxy.engine.telemetry.metrics import Metrics
from proxy.stores.ledger.outbox import Outbox
from proxy.stores.ledger.port import LedgerUnavailableError

CONSUMER: Final = "sink"
"""Under this name the ledger keeps how far the sink has been served."""

MOST_EVENTS: Final = 100
MOST_BYTES: Final = 256 * 1024
"""Of one batch; a single event that is larger goes alone."""

ANSWER_SECONDS: Final = 30.0
_ANSWER_BYTES: Final = 64 * 1024
RETRY_FIRST: Final = 0.5
RETRY_MOST: Final = 60.0
_WAIT_MOST: Final = 300.0
"""Seconds that a `Retry-After` may ask for."""

_AS_IT_IS: Final = frozenset({400, 413, 422})
"""Statuses that blame what was sent, and not when or by whom."""

log = structlog.get_logger("quell.sink")


class Verdict(Enum):
    """What became of a batch."""

    DELIVERED = "delivered"
    FAILED = "failed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for a batch; `why` and `wait` (seconds) only where it was not taken."""

    verdict: Verdict
    why: str = ""
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that go together, and the position behind them."""

    events: list[bytes]
    first_id: str
    position: int


class Sink:
    """Serves one address. `configure` may change it, or turn it off, at any time."""

    def __init__(self, outbox: Outbox, metrics: Metrics, settings: SinkSettings) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._settings = settings
        self._changed = asyncio.Event()
        self._size = MOST_EVENTS
        self._failures = 0
        self._waits_for_more = False
        self._hold()

    def configure(self, settings: SinkSettings) -> None:
        """Take new settings; they hold from the next batch on, and a pause ends at once."""
        if settings != self._settings:
            self._settings = settings
            self._hold()
            self._failures = 0
            self._changed.set()
            self._outbox.grew.set()

    async def serve_forever(self) -> None:
        """Serve, for as long as there is an address."""
        connector = aiohttp.TCPConnector(limit=1)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS),
            trust_env=False,
        ) as session:
            while True:
                try:
                    await self._serve(session)
                except LedgerUnavailableError as error:
                    await self._failed(Answer(Verdict.FAILED, f"the ledger: {error}"))
                except Exception as error:  # noqa: BLE001 a defect of ours must not end the sink for good
                    log_failure("sink.failed", error)
                    await self._failed(Answer(Verdict.FAILED, type(error).__name__))

    async def caught_up(self) -> None:
        """Wait until everything has been served; at once where nobody is, or nothing is taken."""
        while self._settings.url is not None and not self._failures:
            if self._waits_for_more and not self._outbox.grew.is_set():
                return
            await asyncio.sleep(0.01)  # only at the end of the process, and for a second or two

    def _hold(self) -> None:
        self._outbox.hold(CONSUMER, held=self._settings.url is not None)
        if self._settings.url is None:
            self._metrics.sink_pending.set(0)

    async def _serve(self, session: aiohttp.ClientSession) -> None:
        """Serve from where the ledger says."""
        position: int | None = None
        while True:
            self._changed.clear()
            settings = self._settings
            self._outbox.grew.clear()
            if settings.url is None:
                await self._changed.wait()
                continue
            if position is None:
                position = await self._outbox.position(CONSUMER)
                self._outbox.advance(CONSUMER, position)  # soon known, also to a purge without this process
            self._metrics.sink_pending.set(await self._outbox.pending(position))
            if (found := await self._next(position, settings)) is None:
                self._waits_for_more = True
                await self._outbox.grew.wait()
                self._waits_for_more = False
                continue
            answer = await self._post(session, settings.url, found, settings)
            self._metrics.sink_events.labels(answer.verdict.value).inc(len(found.events))
            if answer.verdict is Verdict.DELIVERED:
                await self._outbox.advance(CONSUMER, found.position)
                position = found.position
                self._delivered()
            elif answer.verdict is Verdict.REFUSED and len(found.events) > 1:
                self._size = len(found.events) // 2
            else:
                await self._failed(answer, found)

    async def _next(self, position: int, settings: SinkSettings) -> Batch | None:
        page = await self._outbox.after(position, self._size)
        if not page.settled:
            return None

        def build() -> Batch:
            events: list[bytes] = []
            room = MOST_BYTES
            for each in page.settled:
                event = cloud_event(each, settings.source)
                room -= len(event) + 1
                if events and room < 0:
                    break
                events.append(event)
            return Batch(events, page.settled[0].id, page.settled[len(events) - 1].number)

        return await asyncio.to_thread(build)

    async def _post(self, session: aiohttp.ClientSession, url: str, found: Batch, settings: SinkSettings) -> Answer:
        headers = {name: value.get_secret_value() for name, value in settings.headers.items()}
        if settings.token is not None:
            headers[hdrs.AUTHORIZATION] = f"Bearer {settings.token.get_secret_value()}"
        headers[hdrs.CONTENT_TYPE] = f"{BATCH_TYPE}; charset=utf-8"
        sending = session.post(url, data=batch(found.events), headers=headers, allow_redirects=False)
        try:
            async with sending as response:
                # The status has said it; the rest is for nobody.
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    await response.content.read(_ANSWER_BYTES)
                return _judged(response)
        except TimeoutError:
            return Answer(Verdict.FAILED, f"no answer within {ANSWER_SECONDS:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Answer(Verdict.FAILED, type(error).__name__)

    def _delivered(self) -> None:
        if self._failures:
            log.info("sink.recovered", failures=self._failures)
        self._failures = 0
        self._size = min(self._size * 2, MOST_EVENTS)

    async def _failed(self, answer: Answer, found: Batch | None = None) -> None:
        """Say so once (of a refused event each time), and wait: longer each time, and never in step with others."""
        self._failures += 1
        if answer.verdict is Verdict.REFUSED and found is not None:
            log.error("sink.event_refused", id=found.first_id, why=answer.why, again_in=RETRY_MOST)
            await self._pause(RETRY_MOST)
            return
        if self._failures == 1:
            log.error("sink.failing", host=urlsplit(self._settings.url or "").hostname, why=answer.why)
        longest = min(RETRY_FIRST * 2 ** min(self._failures - 1, 16), RETRY_MOST)
        await self._pause(max(random.uniform(longest / 2, longest), answer.wait))  # noqa: S311 no secret is made of it

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
                self._changed.clear()


def _judged(response: aiohttp.ClientResponse) -> Answer:
    if HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES:
        return Answer(Verdict.DELIVERED)
    verdict = Verdict.REFUSED if response.status in _AS_IT_IS else Verdict.FAILED
    asked = response.headers.get(hdrs.RETRY_AFTER, "")
    wait = min(float(asked), _WAIT_MOST) if asked.isascii() and asked.isdigit() else 0.0
    return Answer(verdict, f"status {response.status}", wait)
