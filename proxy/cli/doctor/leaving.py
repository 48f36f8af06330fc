"""Does the proxy notice, through the front, that a client has left: amid its stream, and before the first byte."""

import time
from typing import Final

from proxy.cli.admin_client import Exit
from proxy.cli.doctor.advice import ABORT, IDLE, TIMEOUT, advice
from proxy.cli.doctor.calls import Call, is_live, wait_until_noticed
from proxy.cli.doctor.report import Finding, Verdict
from proxy.cli.doctor.seen import Record, Seen

SLOW: Final = 1.0
"""Seconds from which on a disconnect that arrives is late: tokens are paid for meanwhile."""

_OK: Final = 200
_GOES_ON: Final = ("finish", "linger")


def leave(name: str, call: Call, seen: Seen, on_disconnect: str | None, kind: str, patience: float) -> Finding:
    """Drop a call that runs, and see whether the proxy notices.

    `on_disconnect`: the route's, None where it is not known.
    """
    before = call.find(seen)
    if not is_live(before):
        call.stream.drop()
        return _over_before(name, call, before)
    since = call.stream.drop()
    if on_disconnect in _GOES_ON:
        told = f"this route goes on when its client leaves (on_disconnect: {on_disconnect}), so that nothing shows"
        return Finding(name, Verdict.SKIP, told, ["examine a route with on_disconnect: cancel"])
    passed, record = wait_until_noticed(call, seen, since, patience)
    if passed is None:
        return _unnoticed(name, on_disconnect, kind, patience)
    return _noticed(name, passed, record or {}, kind)


def _over_before(name: str, call: Call, record: Record | None) -> Finding:
    status = call.stream.status
    if record is None and status not in {None, _OK}:
        told = f"the call was refused ({status})"
        hint = "is the proxy ready (quell health)? One that drains takes no new calls"
        return Finding(name, Verdict.SKIP, told, [hint])
    if record is None:
        told = "the proxy's view of the call could not be had"
        return Finding(name, Verdict.SKIP, told, ["give the proxy's admin listener with --admin"])
    told = f"the call was over before it could be left ({record.get('outcome')})"
    hint = call.stream.failure or "take a --model that writes longer answers"
    return Finding(name, Verdict.SKIP, told, [hint])


def _unnoticed(name: str, on_disconnect: str | None, kind: str, patience: float) -> Finding:
    told = f"the proxy has not noticed within {patience:g} s that the client left: the answer goes on, and is paid for"
    lines = advice(ABORT, kind)
    if on_disconnect is None:
        lines.append("or the route says on_disconnect: finish or linger, which shows like this from outside")
    return Finding(name, Verdict.FAIL, told, lines, {"waited_seconds": patience}, Exit.NOT_CONFIRMED)


def _noticed(name: str, passed: float, record: Record, kind: str) -> Finding:
    measured = {"noticed_ms": round(passed * 1000, 1), "outcome": record.get("outcome"), "cause": record.get("cause")}
    if record.get("cause") != "disconnect":
        why = record.get("cause") or record.get("error_kind") or "by itself"
        told = f"the call ended {passed:.1f} s later, but not by the disconnect: {record.get('outcome')}, {why}"
        return Finding(name, Verdict.FAIL, told, advice(ABORT, kind), measured, Exit.NOT_CONFIRMED)
    if passed >= SLOW:
        told = f"the proxy noticed after {passed:.1f} s; what came meanwhile is paid for"
        return Finding(name, Verdict.WARN, told, advice(ABORT, kind), measured)
    does = "reads on for the usage (on_stop)" if is_live(record) else "closed the upstream call"
    return Finding(name, Verdict.OK, f"the proxy noticed within {passed * 1000:.0f} ms, and {does}", (), measured)


def wait_until_known(call: Call, seen: Seen, patience: float) -> Record | None:
    """Wait until the proxy has the call, for leaving before the first byte; gives its record."""
    began = time.monotonic()
    while (record := call.find(seen)) is None and time.monotonic() - began < patience and not call.stream.is_over:
        time.sleep(seen.pause)
    return record


def keep_silent(call: Call, seconds: float, kind: str, patience: float) -> Finding:
    """Whether the front keeps a connection on which nothing comes for so long."""
    stream = call.stream
    stream.wait(lambda: bool(stream.event_times) or stream.is_over, seconds + patience)
    passed = (stream.ended_at or time.monotonic()) - stream.began
    if stream.event_times:
        return Finding("silence", Verdict.OK, f"a silence of {seconds:g} s is endured")
    if stream.is_over:
        what = stream.failure or f"answered with {stream.status}"
        told = f"the front ended a silent call after {passed:.1f} s ({what})"
    else:
        told = f"nothing came {passed - seconds:.0f} s after a silence of {seconds:g} s"
    return Finding("silence", Verdict.FAIL, told, [*advice(TIMEOUT, kind), IDLE], {"ended_seconds": round(passed, 1)})
