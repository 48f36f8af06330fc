"""The sink against a receiver that fails, is slow, loses answers and refuses: everything gets there, nothing twice."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from proxy.core.settings.settings import SinkSettings
from proxy.engine.settling import sink as sink_module
from proxy.engine.settling.sink import CONSUMER, Sink
from proxy.engine.tasks import Tasks
from proxy.engine.telemetry.metrics import Metrics
from proxy.stores.ledger.purge import consumers_in_file
from proxy.stores.ledger.sqlite import SqliteLedger
from support.http_bytes import header
from support.ledgers import a_ledger, failing, locked
from support.meter import Behaviour, Meter, at_most, cut_answer, hang, lose_answer, refuse, say, take
from support.settled import over, settle, told
from support.upstream import ScriptedUpstream, scripted_upstream
from support.wait import eventually, within


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries again at once: how long the pauses are is looked at where it matters."""
    monkeypatch.setattr(sink_module, "RETRY_FIRST", 0.001)
    monkeypatch.setattr(sink_module, "RETRY_MOST", 0.002)


@asynccontextmanager
async def serving(ledger: SqliteLedger, url: str | None, metrics: Metrics, **settings: Any) -> AsyncIterator[Sink]:
    """A sink that serves this ledger, ended at the end as the program ends it."""
    sink = Sink(ledger.outbox, metrics, SinkSettings(url=url, **settings))
    tasks = Tasks()
    tasks.start(sink.serve_forever(), "sink")
    try:
        yield sink
    finally:
        await tasks.cancel()


@asynccontextmanager
async def a_scene(
    folder: Path, *behaviours: Behaviour, **settings: Any
) -> AsyncIterator[tuple[SqliteLedger, Meter, Sink, Metrics]]:
    """A ledger, a receiver that behaves like this, and a sink between them."""
    meter, metrics = Meter(*behaviours), Metrics()
    async with a_ledger(folder / "q.db") as ledger, scripted_upstream(meter) as up:
        async with serving(ledger, f"{up.origin}/events", metrics, **settings) as sink:
            yield ledger, meter, sink, metrics


async def served(ledger: SqliteLedger, position: int) -> None:
    """Wait until the ledger has it that the sink was served up to there."""

    async def reached() -> bool:
        return await ledger.outbox.position(CONSUMER) == position

    await eventually(reached, what=f"the sink is served up to {position}")


def counted(metrics: Metrics, result: str) -> float:
    """How many events had this result."""
    return metrics.registry.get_sample_value("quell_sink_events_total", {"result": result}) or 0.0


async def test_what_settles_is_sent(tmp_path: Path) -> None:
    """Ends and later truths arrive as events, in their order, with the token and the headers that are set."""
    settings = {"token": "s3cret", "headers": {"X-Tenant": "a"}, "source": "quell-eu"}
    async with a_scene(tmp_path, **settings) as (ledger, meter, _, metrics):
        await settle(ledger, over("b", text="words"), over("a"))
        await served(ledger, 2)
        await ledger.truths.attach([told("b")])
        await served(ledger, 3)
        assert list(meter.events) == ["b.1", "a.1", "b.2"]
        assert {event["source"] for event in meter.events.values()} == {"quell-eu"}
        assert "words" not in str(meter.events)
        assert header(meter.headers[0], "authorization") == "Bearer s3cret"
        assert header(meter.headers[0], "x-tenant") == "a"
        await eventually(lambda: counted(metrics, "delivered") == 3.0)
        await eventually(lambda: metrics.registry.get_sample_value("quell_sink_pending") == 0.0)


async def test_batches_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch has at most so many events, and at most so many bytes, but one event in any case."""
    meter, metrics = Meter(), Metrics()
    async with a_ledger(tmp_path / "q.db") as ledger, scripted_upstream(meter) as up:
        await settle(ledger, *(over(f"u{n}") for n in range(250)))
        async with serving(ledger, up.origin, metrics):
            await served(ledger, 250)
        assert meter.sizes == [100, 100, 50]
        await settle(ledger, over("large", user="u" * 9000), *(over(f"v{n}") for n in range(9)))
        monkeypatch.setattr(sink_module, "MOST_BYTES", 5000)
        async with serving(ledger, up.origin, metrics) as sink:
            await served(ledger, 260)
            await within(sink.caught_up(), "the sink has nothing left to send")
        assert meter.sizes[3] == 1
        assert 1 < max(meter.sizes[4:]) < 9
        assert list(meter.times.values()) == [1] * 260


@pytest.mark.parametrize(
    "behaviour",
    [say(500), say(429, [("Retry-After", "0")]), say(401), say(404), say(302, [("Location", "/other")]), lose_answer],
)
async def test_what_was_not_taken_is_sent_again(tmp_path: Path, behaviour: Behaviour) -> None:
    """After any failure the same batch goes again until it is taken; the log names the host once, and the end."""
    with capture_logs() as lines:
        async with a_scene(tmp_path, behaviour, behaviour, behaviour, take) as (ledger, meter, _, metrics):
            await settle(ledger, over())
            await served(ledger, 1)
            assert (list(meter.events), meter.sizes) == (["u1.1"], [1, 1, 1, 1])
            assert (counted(metrics, "failed"), counted(metrics, "delivered")) == (3.0, 1.0)
    told = [line for line in lines if line["event"].startswith("sink.")]
    assert [line["event"] for line in told] == ["sink.failing", "sink.recovered"]
    assert told[0]["host"] == "127.0.0.1"


async def test_an_answer_that_breaks_off_behind_its_head_counts(tmp_path: Path) -> None:
    """The status has said that the batch was taken."""
    async with a_scene(tmp_path, cut_answer) as (ledger, meter, _, _):
        await settle(ledger, over())
        await served(ledger, 1)
        assert meter.times == {"u1.1": 1}


async def test_a_silent_receiver_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that does not come in time is a failure, and its connection is closed."""
    monkeypatch.setattr(sink_module, "ANSWER_SECONDS", 0.2)
    async with a_scene(tmp_path, hang, take) as (ledger, meter, _, _):
        await settle(ledger, over())
        await served(ledger, 1)
        assert meter.sizes == [1, 1]


async def test_too_large_a_batch_is_halved(tmp_path: Path) -> None:
    """413 makes batches smaller until they fit; nothing is left out."""
    meter, metrics = Meter(at_most(3)), Metrics()
    async with a_ledger(tmp_path / "q.db") as ledger, scripted_upstream(meter) as up:
        await settle(ledger, *(over(f"u{n}") for n in range(20)))
        async with serving(ledger, up.origin, metrics):
            await served(ledger, 20)
        assert len(meter.events) == 20
        assert counted(metrics, "refused") > 0


async def test_a_refused_event_is_found_and_never_left_out(tmp_path: Path) -> None:
    """What goes before a refused event is delivered, the log names that one, and with its cause gone all goes on."""
    with capture_logs() as lines:
        async with a_scene(tmp_path, refuse("u5.1")) as (ledger, meter, _, _):
            await settle(ledger, *(over(f"u{n}") for n in range(9)))
            await eventually(lambda: sum(line["event"] == "sink.event_refused" for line in lines) > 2)
            assert list(meter.events) == [f"u{n}.1" for n in range(5)]
            assert {line["id"] for line in lines if line["event"] == "sink.event_refused"} == {"u5.1"}
            assert await ledger.purge(9e9) == (0, 5)
            meter._behaviours = [take]
            await served(ledger, 9)
            assert len(meter.events) == 9


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    """What was served before a restart does not come again; what was not, comes."""
    for number in range(3):
        async with a_scene(tmp_path) as (ledger, meter, _, _):
            await settle(ledger, over(f"u{number}"))
            await served(ledger, number + 1)
            assert list(meter.events) == [f"u{number}.1"]


async def test_a_position_that_was_lost_sends_again_what_is_known(tmp_path: Path) -> None:
    """A process that dies between the delivery and the disk delivers again, under the same ids."""
    meter, metrics = Meter(), Metrics()
    async with a_ledger(tmp_path / "q.db") as ledger, scripted_upstream(meter) as up:
        await settle(ledger, over("a"), over("b"))
        with pytest.MonkeyPatch.context() as patched:
            stuck: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            patched.setattr(ledger.outbox, "advance", lambda *_: stuck)
            async with serving(ledger, up.origin, metrics):
                await eventually(lambda: len(meter.times) == 2)
        async with serving(ledger, up.origin, metrics):
            await served(ledger, 2)
    assert meter.times == {"a.1": 2, "b.1": 2}


async def test_settings_may_change_at_any_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another address is served from where the old one was, at once; none at all means nobody, and spares nothing."""
    monkeypatch.setattr(sink_module, "RETRY_FIRST", 60.0)
    monkeypatch.setattr(sink_module, "RETRY_MOST", 60.0)
    async with a_scene(tmp_path, take, say(500)) as (ledger, _, sink, metrics), scripted_upstream(Meter()) as other:
        second: Any = other.script
        await settle(ledger, over("a"))
        await served(ledger, 1)
        await settle(ledger, over("b"))
        await eventually(lambda: counted(metrics, "failed") == 1.0)
        assert await ledger.purge(9e9) == (0, 1)
        sink.configure(SinkSettings(url=other.origin))
        await served(ledger, 2)
        assert list(second.events) == ["b.1"]
        sink.configure(SinkSettings())
        await settle(ledger, over("c"))
        assert await ledger.purge(9e9) == (0, 2)
        await within(sink.caught_up(), "there is nobody to wait for")
        assert list(second.events) == ["b.1"]


async def test_a_sink_is_known_before_it_was_served(tmp_path: Path) -> None:
    """A purge without this process has to know whom to spare records for, also while nothing was ever taken."""
    async with a_scene(tmp_path, say(500)) as (ledger, _, _, _):
        await eventually(lambda: consumers_in_file(ledger.path) == {CONSUMER}, what="the sink is known")
        assert await ledger.outbox.position(CONSUMER) == 0


async def test_a_ledger_that_takes_no_writes_is_waited_for(tmp_path: Path) -> None:
    """While the position can't be written nothing more is sent; then it goes on."""
    async with a_scene(tmp_path) as (ledger, meter, _, _):
        await settle(ledger, over("a"))
        await served(ledger, 1)
        with locked(tmp_path / "q.db"):
            last = ledger.end(over("b"))
            await failing(ledger)
        await last
        await served(ledger, 2)
        assert meter.times == {"a.1": 1, "b.1": 1}


async def test_any_misbehaviour_bills_once(tmp_path: Path) -> None:
    """A receiver that fails, loses and cuts answers at random, over restarts: each event is there, and billed once."""
    chance = random.Random(3)

    async def moody(conn: Any, meter: Meter, events: list[dict[str, Any]]) -> None:
        await chance.choice((take, lose_answer, cut_answer, say(500), say(413), at_most(2)))(conn, meter, events)

    meter, metrics = Meter(moody), Metrics()
    async with a_ledger(tmp_path / "q.db") as ledger, scripted_upstream(meter) as up:
        for round_ in range(10):
            await settle(ledger, *(over(f"u{round_}-{n}", completion_tokens=n) for n in range(20)))
            async with serving(ledger, up.origin, metrics):
                await reached_some(meter, up, chance.randrange(1, 20) + 20 * round_)
        meter._behaviours = [take]
        async with serving(ledger, up.origin, metrics):
            await served(ledger, 200)
    assert sum(event["data"]["completion_tokens"] for event in meter.events.values()) == 10 * sum(range(20))
    assert len(meter.events) == 200


async def reached_some(meter: Meter, up: ScriptedUpstream, count: int) -> None:
    """Wait until so many events were taken."""
    assert up.port
    await eventually(lambda: len(meter.events) >= min(count, 200), 30.0, f"{count} events were taken")


def test_settings_with_two_credentials_or_our_own_headers_are_refused() -> None:
    """One credential at most, and no header that Quell sets itself."""
    for wrong in (
        {"url": "https://a:b@h", "token": "t"},
        {"url": "https://h", "token": "t", "headers": {"authorization": "x"}},
        {"url": "https://h", "headers": {"Content-Type": "x"}},
        {"url": "https://h", "headers": {"a b": "x"}},
        {"url": "https://h", "source": ""},
    ):
        with pytest.raises(ValueError, match="SinkSettings"):
            SinkSettings.model_validate(wrong)
