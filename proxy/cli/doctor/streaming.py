"""Does a stream get through as it is: its head, its ids, and each event at once."""

import statistics
import time
from dataclasses import replace
from typing import Final

from proxy.cli.admin_client import Exit
from proxy.cli.doctor.advice import BUFFERING, COMPRESSION, HEADERS, IDLE, PATHS, TIMEOUT, advice
from proxy.cli.doctor.calls import Call
from proxy.cli.doctor.reaching import refusal
from proxy.cli.doctor.report import Finding, Verdict
from proxy.cli.doctor.seen import Record, Seen, Watch

ENOUGH_EVENTS: Final = 12
ENOUGH_SECONDS: Final = 2.5
"""A stream is looked at until both have come: a buffer of some kilobytes fills up within that time."""

FEWEST_EVENTS: Final = 5
BUNCH: Final = 3.0
"""Events that come together on average, from which on something gathers them."""
LATE: Final = 1.0
OFTEN_LATE: Final = 0.25
"""Seconds behind the proxy: once, and in the middle."""
PAIRS, A_LITTLE_LATE = 2.0, 0.05
"""The same from which on it could be better. What is late and comes singly has a long way, for which no front can."""

_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 401, 403, 404
_WAITING: Final = ("queued", "connecting", "waiting")


def head(call: Call, seen: Seen, kind: str, patience: float) -> Finding | None:
    """What is wrong with the answer's head, so that the stream can't be looked at; None if it is one."""
    stream = call.stream
    stream.wait(lambda: stream.status is not None or stream.is_over, patience)
    if stream.status is None:
        return _no_head(call, call.find(seen), kind, patience)
    if stream.is_stream:
        return None
    stream.wait(lambda: stream.is_over, patience)
    if stream.status == _OK:
        told = f"is answered as {stream.headers.get('content-type', 'nothing')}, not as a stream of events"
        return Finding("stream", Verdict.FAIL, told, advice(BUFFERING, kind))
    said = refusal(stream.body)
    told = f"the call is answered with {stream.status}{': ' if said else ''}{said}"
    code = {_UNAUTHORIZED: Exit.NOT_ALLOWED, _FORBIDDEN: Exit.NOT_ALLOWED, _NOT_FOUND: Exit.NOT_FOUND}
    lines = ["if the upstream says so: is --model one that it has?"] if said else advice(PATHS, kind, route="the route")
    return Finding("stream", Verdict.FAIL, told, lines, code=code.get(stream.status, Exit.FAILED))


def _no_head(call: Call, record: Record | None, kind: str, patience: float) -> Finding:
    if call.stream.is_over:
        told = f"the front broke it off: {call.stream.failure}"
        return Finding("stream", Verdict.FAIL, told, advice(TIMEOUT, kind))
    if record is None:
        told = f"nothing came within {patience:g} s, and the proxy knows nothing of the call"
        return Finding("stream", Verdict.FAIL, told, ["does the front hold requests back, or send them elsewhere?"])
    if record.get("phase") in _WAITING:
        told = f"the upstream has not answered within {patience:g} s; nothing can be said of the front"
        return Finding("stream", Verdict.FAIL, told, ["try a faster --model, or give it longer: --wait 60s"])
    told = f"nothing came within {patience:g} s, though the proxy sends: the front holds the whole answer back"
    return Finding("stream", Verdict.FAIL, told, advice(BUFFERING, kind))


def ids(call: Call, seen: Seen, kind: str) -> Finding:
    """Whether the ids pass in both directions."""
    call.find(seen)
    told_id = call.told_id
    if told_id == call.chosen:
        return Finding("ids", Verdict.OK, "X-Task-Id passes both ways")
    if told_id is None:
        told = "X-Task-Id is taken out of the answer: clients are not told what to stop"
        return Finding("ids", Verdict.FAIL, told, advice(HEADERS, kind))
    told = "X-Task-Id is taken out of the request: clients can't choose an id, and so not stop before the first byte"
    return Finding("ids", Verdict.FAIL, told, advice(HEADERS, kind))


def encoding(call: Call, kind: str) -> Finding:
    """Whether the front compresses the stream."""
    used = call.stream.headers.get("content-encoding", "identity")
    if used == "identity":
        return Finding("encoding", Verdict.OK, "the stream is not compressed")
    told = f"the front compresses the stream ({used}): most ways of doing that hold events back"
    return Finding("encoding", Verdict.WARN, told, advice(COMPRESSION, kind), {"encoding": used})


def pace(call: Call, watch: Watch | None, kind: str, patience: float, *, is_demo: bool) -> Finding:
    """Whether each event comes as soon as the proxy sends it."""
    stream = call.stream
    began = time.monotonic()

    def has_seen_enough() -> bool:
        if stream.is_over:
            return True
        return len(stream.event_times) >= ENOUGH_EVENTS and time.monotonic() - began >= ENOUGH_SECONDS

    stream.wait(has_seen_enough, max(patience, ENOUGH_SECONDS))
    come, sent = len(stream.event_times), dict(watch.times) if watch else {}
    if stream.is_over and not stream.ended_well:
        told = f"it broke off after {come} events: {stream.failure or 'the connection was closed'}"
        return Finding("stream", Verdict.FAIL, told, [*advice(TIMEOUT, kind), IDLE])
    if not stream.is_over and len(sent) - come > max(FEWEST_EVENTS, come):
        told = f"the proxy has sent {len(sent)} events, {come} of them have come: the front holds them back"
        return Finding(
            "stream", Verdict.FAIL, told, advice(BUFFERING, kind), {"events": come, "events_sent": len(sent)}
        )
    if come < FEWEST_EVENTS:
        told = f"only {come} events have come: too few to tell whether they come singly"
        return Finding("stream", Verdict.SKIP, told, ["take a --model that writes more, or faster"], {"events": come})
    found = _judged(call, sent, kind, is_demo=is_demo)
    if watch is not None and watch.refusal:
        return replace(found, advice=[*found.advice, f"judged from outside alone: {watch.refusal}"])
    return found


def _judged(call: Call, sent: dict[int, float], kind: str, *, is_demo: bool) -> Finding:
    times, pieces = call.stream.event_times, call.stream.piece_times
    bunch = len(times) / len(pieces)
    measured = {"events": len(times), "pieces": len(pieces), "seconds": round(times[-1] - times[0], 3)}
    lags = [max(0.0, at - sent[number]) for number, at in enumerate(times, 1) if number in sent]
    if len(lags) >= FEWEST_EVENTS:
        middle, most = statistics.median(lags), max(lags)
        measured |= {"behind_proxy_ms": round(middle * 1000, 1), "most_behind_proxy_ms": round(most * 1000, 1)}
        behind = f"{_ms(middle)} behind the proxy, at most {_ms(most)}"
        if most >= LATE or (middle >= OFTEN_LATE and bunch >= BUNCH):
            told = f"{len(times)} events came in {len(pieces)} pieces, {behind}: the front gathers them"
            return Finding("stream", Verdict.FAIL, told, advice(BUFFERING, kind), measured)
        if middle >= A_LITTLE_LATE and bunch >= PAIRS:
            told = f"{len(times)} events came in {len(pieces)} pieces, {behind}: the front waits a little for more"
            return Finding("stream", Verdict.WARN, told, advice(BUFFERING, kind), measured)
        return Finding("stream", Verdict.OK, f"{len(times)} events, {behind}", (), measured)
    if bunch >= BUNCH:
        told = f"{len(times)} events came in {len(pieces)} pieces: something gathers them"
        verdict = Verdict.FAIL if is_demo else Verdict.WARN  # the demo upstream sends them singly, others may not
        return Finding("stream", verdict, told, advice(BUFFERING, kind), measured)
    told = f"{len(times)} events in {len(pieces)} pieces over {times[-1] - times[0]:.1f} s"
    return Finding("stream", Verdict.OK, told, (), measured)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < OFTEN_LATE else f"{seconds:.1f} s"
