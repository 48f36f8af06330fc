"""Does a stop by id get through, and does the stream end for its client as it should."""

import time
from dataclasses import replace
from typing import Any, Final

from proxy.cli.admin_client import Exit
from proxy.cli.doctor.advice import BUFFERING, PATHS, advice
from proxy.cli.doctor.calls import Call, Calls
from proxy.cli.doctor.front import Answer, Front, FrontError
from proxy.cli.doctor.report import Finding, Verdict
from proxy.cli.doctor.seen import Seen

END_SECONDS: Final = 5.0
"""So long after a stop its stream may take to end here."""

_OK, _NOT_FOUND = 200, 404


def stop_by_id(calls: Calls, call: Call, seen: Seen, on_stop: str | None, kind: str, patience: float) -> Finding:
    """Stop a call as its client would, through the front, and see it end.

    `on_stop`: what a stop does at the upstream, None where that is not known.
    """
    call.find(seen)
    front, route, any_id = calls.front, calls.route, call.known_as or call.told_id or call.chosen
    path, body, began = f"{route}/generations/{any_id}/cancel", {"reason": "quell doctor"}, time.monotonic()
    try:
        answer = front.call("POST", path, body, patience=patience)
    except FrontError as error:
        return _failed(f"the stop got no answer: {error}", advice(PATHS, kind, route=route))
    receipt = answer.json()
    if answer.status != _OK or not isinstance(receipt, dict) or receipt.get("object") != "generation.cancel":
        return _refused(front, route, answer, kind, is_known=call.find(seen) is not None)
    closed = receipt.get("upstream_closed_ms")
    measured = {"answer_ms": _ms(answer.seconds), "upstream_closed_ms": closed}
    match receipt.get("result"):
        case "stopped":
            told = "arrived" if closed is None else f"arrived: the upstream was closed after {closed:.1f} ms"
            return _ended(call, began, told, measured, kind)
        case "stopping" if on_stop == "drain":
            return _ended(call, began, "arrived: the upstream is read on (on_stop: drain)", measured, kind)
        case "stopping":
            return _unconfirmed(_ended(call, began, "arrived, but the upstream is not closed yet", measured, kind))
        case _:
            told = "the call had ended before it could be stopped"
            return Finding("stop", Verdict.SKIP, told, ["take a --model that writes longer answers"], measured)


def _ended(call: Call, began: float, told: str, measured: dict[str, Any], kind: str) -> Finding:
    """Whether the stream ends here too, and as it should."""
    stream = call.stream
    stream.wait(lambda: stream.is_over, END_SECONDS)
    told += f", answered after {measured['answer_ms']:.0f} ms"
    if stream.ended_at is None:
        told += f", but the stream is still open here {END_SECONDS:g} s later: the front holds its end back"
        return Finding("stop", Verdict.FAIL, told, advice(BUFFERING, kind), measured)
    measured["stream_ended_ms"] = _ms(stream.ended_at - began)
    if not stream.ended_well:
        told += f", but the stream did not end as it should: {stream.failure or 'its end is missing'}"
        return Finding("stop", Verdict.FAIL, told, advice(BUFFERING, kind), measured)
    return Finding("stop", Verdict.OK, f"{told}, stream ended properly", (), measured)


def _unconfirmed(found: Finding) -> Finding:
    """The front has done its part; the upstream has not, unless it is meant to be read on."""
    if found.verdict is not Verdict.OK:
        return found
    return replace(found, verdict=Verdict.WARN, advice=["this is the upstream's doing, not the front's: see on_stop"])


def _refused(front: Front, route: str, answer: Answer, kind: str, *, is_known: bool) -> Finding:
    measured = {"status": answer.status}
    if answer.status == _NOT_FOUND and answer.error_code == "not_found":
        told = "the stop arrived at a Quell that does not know the id"
        lines = [
            "several replicas behind the front: they need a bus (bus.url)",
            "one replica: the front changes the caller's credential on one of the two paths",
        ]
        return Finding("stop", Verdict.FAIL, told, lines if is_known else lines[::-1], measured, Exit.NOT_CONFIRMED)
    whose = "Quell" if answer.error_code else "the front"
    told = f"the stop (POST {front.prefix}{route}/generations/ID/cancel) is answered with {answer.status} by {whose}"
    return _failed(told, advice(PATHS, kind, route=route), measured)


def _failed(told: str, lines: list[str], measured: dict[str, Any] | None = None) -> Finding:
    return Finding("stop", Verdict.FAIL, told, lines, measured or {}, Exit.NOT_CONFIRMED)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
