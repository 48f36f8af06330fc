"""OpenTelemetry: what a collector gets of calls, stops and failures, and that nobody else notices."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from proxy.app import App, StartError
from proxy.core.settings.otel import OtelSettings
from proxy.edge.tracing import Tracing
from proxy.engine.telemetry import otel_export
from proxy.engine.telemetry.otel_export import Export
from proxy.stores.ledger.sqlite import SqliteLedger
from support.chat import UPSTREAM_ID, chat_events, chat_object
from support.client import RawClient
from support.http_bytes import header
from support.otlp import GotSpan, OtlpReceiver, otlp_receiver
from support.program import config_text
from support.proxy import RunningProxy, running_proxy, settings_of
from support.scripts import answer, events_then_hang, json_answer, sse_stream
from support.stops import CHAT, PLAIN, STREAM, call, settled, start, stop
from support.upstream import Script, ScriptedUpstream, scripted_upstream
from support.wait import eventually, within

SERVER, CLIENT = 2, 3
UNSET, ERROR = 0, 2
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
SAID = chat_events(8)[:-2]
WHOLE = chat_events(5, usage=True)


@pytest.fixture(autouse=True)
def _spans_go_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans wait for others only a moment."""
    monkeypatch.setattr(otel_export, "SPAN_SECONDS", 0.05)


@asynccontextmanager
async def observed(
    script: Script, folder: Path, **otel: Any
) -> AsyncIterator[tuple[RunningProxy, ScriptedUpstream, OtlpReceiver]]:
    """A proxy that tells a receiver of what it does."""
    async with otlp_receiver() as otlp, scripted_upstream(script) as up:
        settings = {"otel": {"endpoint": otlp.endpoint, "interval": "100ms", **otel}}
        async with running_proxy(config_text(up.base_url, observability=settings), folder) as proxy:
            yield proxy, up, otlp


async def told(otlp: OtlpReceiver, task_id: str) -> GotSpan:
    """The span of a generation's call, once it came."""
    found = await eventually(lambda: otlp.span(CLIENT, quell__task_id=task_id), what=f"the span of {task_id}")
    assert found is not None
    return found


def parent_of(up: ScriptedUpstream, index: int = 0) -> tuple[str, str, bool]:
    """The only `traceparent` that a request came up with: trace, span, and whether it is sampled."""
    (sent,) = [value for name, value in up.requests[index].headers if name.lower() == "traceparent"]
    version, trace, span, flags = sent.split("-")
    assert version == "00"
    return trace, span, bool(int(flags, 16) & 1)


async def test_a_complete_stream(tmp_path: Path) -> None:
    """A request's span is the parent of its call's span, which has the model, the counts and the first chunk's time."""
    async with observed(sse_stream(WHOLE), tmp_path) as (proxy, up, otlp), RawClient(proxy.port) as client:
        await start(client, "t-1", {**STREAM, "max_tokens": 50})
        assert (await client.answer()).events == WHOLE
        span = await told(otlp, "t-1")
        server = await eventually(lambda: otlp.span(SERVER, url__path=CHAT))
        assert server is not None
    assert (span.name, span.status) == ("chat scripted", UNSET)
    assert (span.trace_id, span.parent_id, server.parent_id) == (server.trace_id, server.span_id, "")
    assert server.name == "POST /v1"
    assert server.attributes["http.response.status_code"] == 200
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "scripted",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.response.model": "scripted",
        "gen_ai.response.id": UPSTREAM_ID,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": up.port,
        "quell.outcome": "completed",
        "quell.route": "/v1",
        "quell.usage.source": "upstream",
    }
    assert expected.items() <= span.attributes.items()
    assert 0 < span.attributes["gen_ai.response.time_to_first_chunk"] <= span.seconds
    assert not [name for name in span.attributes if name.startswith("quell.cancel")]
    assert (span.resource["service.name"], span.resource["service.instance.id"]) == ("quell", proxy.app.replica)
    assert parent_of(up) == (span.trace_id, span.span_id, True)


async def test_a_stop_is_no_error(tmp_path: Path) -> None:
    """The span of a stopped stream says who stopped it, where it was and how fast; its status stays unset."""
    async with (
        observed(events_then_hang(SAID), tmp_path) as (proxy, _, otlp),
        RawClient(proxy.port) as client,
        RawClient(proxy.port) as leaving,
    ):
        await start(client, "t-1")
        await client.until(b"data: ", len(SAID))
        receipt = (await stop(proxy, "t-1")).json()
        span = await told(otlp, "t-1")
        await start(leaving, "t-2")
        await leaving.until(b"data: ", len(SAID))
        leaving.fin()
        left = await told(otlp, "t-2")
    assert (span.status, span.attributes["quell.outcome"]) == (UNSET, "cancelled")
    assert (span.attributes["quell.cancel.cause"], span.attributes["quell.cancel.phase"]) == ("client", "streaming")
    assert span.attributes["quell.cancel.latency"] == receipt["upstream_closed_ms"] / 1000
    assert span.attributes["gen_ai.usage.output_tokens"] == receipt["usage"]["completion_tokens"]
    assert (left.status, left.attributes["quell.cancel.cause"]) == (UNSET, "disconnect")
    for each in (span, left):
        assert "error.type" not in each.attributes


@pytest.mark.parametrize(
    ("script", "kind", "status"),
    [
        (answer(503, b"{}"), "upstream_error", 503),
        (answer(401, b"{}"), "rejected_upstream", 401),
        (sse_stream(SAID, then="reset"), "truncated", 200),
    ],
)
async def test_a_failure_is_an_error(tmp_path: Path, script: Script, kind: str, status: int) -> None:
    """What failed upstream is an error of that kind; the request's span is one where the client got a 5xx."""
    async with observed(script, tmp_path) as (proxy, _, otlp), RawClient(proxy.port) as client:
        await start(client, "t-1")
        await client.answer()
        span = await told(otlp, "t-1")
        server = await eventually(lambda: otlp.span(SERVER, url__path=CHAT))
        assert server is not None
    assert (span.status, span.attributes["error.type"]) == (ERROR, kind)
    assert server.status == (ERROR if status >= 500 else UNSET)
    assert span.attributes["http.response.status_code"] == status


async def test_the_callers_trace_goes_on(tmp_path: Path) -> None:
    """A caller's trace is continued, its state is passed on, and what it did not sample is not told."""
    async with observed(json_answer(chat_object()), tmp_path) as (proxy, up, otlp):
        for sampled in ("01", "00"):
            parent = f"00-{TRACE}-{PARENT}-{sampled}"
            await call(proxy, "POST", CHAT, PLAIN, X_Task_Id=f"t-{sampled}", traceparent=parent, tracestate="vendor=1")
        span = await told(otlp, "t-01")
        server = await eventually(lambda: otlp.span(SERVER, url__path=CHAT))
        assert server is not None
        await settled(proxy)
    assert (span.trace_id, server.trace_id, server.parent_id, span.parent_id) == (TRACE, TRACE, PARENT, server.span_id)
    assert parent_of(up) == (TRACE, span.span_id, True)
    assert header(up.requests[0].headers, "tracestate") == "vendor=1"
    trace, own, is_sampled = parent_of(up, 1)
    assert (trace, is_sampled) == (TRACE, False)
    assert own != PARENT
    assert [each.attributes["quell.task_id"] for each in otlp.spans if each.kind == CLIENT] == ["t-01"]


async def test_the_log_names_the_trace(tmp_path: Path) -> None:
    """The line about a generation's end has the id of its trace."""
    async with observed(json_answer(chat_object()), tmp_path) as (proxy, _, otlp):
        with capture_logs(processors=[merge_contextvars]) as lines:
            await call(proxy, "POST", CHAT, PLAIN, X_Task_Id="t-1", traceparent=f"00-{TRACE}-{PARENT}-01")
            await told(otlp, "t-1")
            await settled(proxy)
    assert [each["trace_id"] for each in lines if each["event"] == "generation.end"] == [TRACE]


async def test_malformed_traces_begin_a_new_one(tmp_path: Path) -> None:
    """What is no trace is not passed on, and the call is served."""
    async with observed(json_answer(chat_object()), tmp_path) as (proxy, up, otlp):
        assert (await call(proxy, "POST", CHAT, PLAIN, X_Task_Id="t-1", traceparent="00-zz-1-01")).status == 200
        span = await told(otlp, "t-1")
    assert parent_of(up) == (span.trace_id, span.span_id, True)


async def test_gen_ai_metrics(tmp_path: Path) -> None:
    """Durations, first chunks and tokens are told as the conventions name them, under the bounded names of models."""
    headers = {"X-Collector-Key": "made-up"}
    async with (
        observed(sse_stream(WHOLE), tmp_path, headers=headers) as (proxy, _, otlp),
        RawClient(proxy.port) as client,
    ):
        await start(client, "t-1")
        await client.answer()
        tokens = await eventually(lambda: otlp.numbers("gen_ai.client.token.usage"))
        (duration,) = otlp.numbers("gen_ai.client.operation.duration")
        (first,) = otlp.numbers("gen_ai.client.operation.time_to_first_chunk")
    of = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "scripted"}
    assert sorted((each[0]["gen_ai.token.type"], each[1], each[2]) for each in tokens) == [
        ("input", 1, 7),
        ("output", 1, 5),
    ]
    assert duration[0] == {**of, "quell.outcome": "completed"}
    assert first[0] == of
    assert 0 < first[2] <= duration[2]
    assert all(each["X-Collector-Key"] == "made-up" for each in otlp.headers)


async def test_a_collector_that_is_away_holds_nothing_up(tmp_path: Path) -> None:
    """Without a collector calls are served as ever, the log says so, and the proxy ends in time."""
    settings = {"otel": {"endpoint": "http://127.0.0.1:9", "interval": "100ms"}}
    with capture_logs() as lines:
        async with (
            scripted_upstream(json_answer(chat_object())) as up,
            running_proxy(config_text(up.base_url, observability=settings), tmp_path) as proxy,
        ):
            for _ in range(3):
                assert (await call(proxy, "POST", CHAT, PLAIN)).status == 200
            await eventually(lambda: [each for each in lines if each["event"] == "otel.export_failed"])
            await within(proxy.app.stop(drain=False), "the proxy has ended")


async def test_the_end_waits_for_no_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the library would try to send what waits, the end comes when its time is over."""
    export, gives_up = Export(OtelSettings(endpoint="http://127.0.0.1:9"), "a"), threading.Event()
    monkeypatch.setattr(otel_export, "CLOSE_SECONDS", 0.01)
    monkeypatch.setattr(export.tracers, "shutdown", gives_up.wait)
    try:
        await within(asyncio.to_thread(export.close), "it has ended")
    finally:
        gives_up.set()


async def test_the_ledger_is_closed_before_the_last_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept goes before what is told: a process that is killed while it exports has its ledger in order."""
    order: list[str] = []
    close = SqliteLedger.close

    async def ledger_ends(ledger: SqliteLedger) -> None:
        await close(ledger)
        order.append("ledger")

    async def tracing_ends(_tracing: Tracing) -> None:
        order.append("tracing")

    monkeypatch.setattr(SqliteLedger, "close", ledger_ends)
    monkeypatch.setattr(Tracing, "close", tracing_ends)
    async with observed(json_answer(chat_object()), tmp_path):
        pass
    assert order == ["ledger", "tracing"]


async def test_a_slow_collector_does_not_stop_the_loop(tmp_path: Path) -> None:
    """While a collector takes its time over an export, calls are answered: exports have threads of their own."""
    async with observed(json_answer(chat_object()), tmp_path) as (proxy, _, otlp):
        otlp.answers.clear()
        await call(proxy, "POST", CHAT, PLAIN)
        await within(otlp.asked.wait(), "an export is on its way")
        assert (await call(proxy, "POST", CHAT, PLAIN)).status == 200
        otlp.answers.set()


async def test_without_its_packages_the_start_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint without the extra's packages is an error at the start that says what to install."""
    for name in [each for each in sys.modules if each.startswith("proxy.engine.telemetry.otel")]:
        monkeypatch.delitem(sys.modules, name)
    for name in [each for each in sys.modules if each.partition(".")[0] == "opentelemetry"]:
        monkeypatch.setitem(sys.modules, name, None)
    config = config_text("http://127.0.0.1:9/v1", observability={"otel": {"endpoint": "http://127.0.0.1:4318"}})
    with pytest.raises(StartError, match=r"install quell\[otel\]"):
        await App(settings_of(config, tmp_path), None).start()


async def test_nothing_of_it_without_an_endpoint(tmp_path: Path) -> None:
    """Without an endpoint no call is told of, and a caller's trace goes up as it came."""
    async with (
        scripted_upstream(json_answer(chat_object())) as up,
        running_proxy(config_text(up.base_url), tmp_path) as proxy,
    ):
        assert proxy.app.engine.telemetry is None
        await call(proxy, "POST", CHAT, PLAIN, traceparent=f"00-{TRACE}-{PARENT}-01")
        assert header(up.requests[0].headers, "traceparent") == f"00-{TRACE}-{PARENT}-01"
