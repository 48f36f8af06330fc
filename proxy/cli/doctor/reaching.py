"""The first checks: is there a front, is there a Quell behind it, and which model can be asked."""

import json
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.cli.admin_client import Exit
from proxy.cli.doctor.advice import DIRECT, OTHER, PATHS, advice, kind_of
from proxy.cli.doctor.front import Answer, Front, FrontError
from proxy.cli.doctor.report import Finding, Verdict

DEMO: Final = "demo"
DEMO_STREAM: Final = "demo@tokens=4000,per_second=20"
"""The demo upstream's answer for these checks: events far enough from each other to tell whether they come singly."""

_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 401, 403, 404
_REDIRECTS: Final = range(300, 400)
_GATEWAY: Final = (502, 503, 504)
_NAMED: Final = 5


def reach(front: Front, route: str, routes: list[str], patience: float) -> tuple[list[Finding], str, bool]:
    """Whether a Quell answers at a route, which kind of front answers, and whether to go on.

    `routes`: the paths of the proxy's routes, where they are known.
    """
    place = f"{front.url}{route}"
    try:
        answer = front.call("GET", f"{route}/generations?limit=1", patience=patience)
    except FrontError as error:
        told = f"can't be reached at {front.url}: {error}"
        return [Finding("front", Verdict.FAIL, told, ["is the address right, and does the front run?"])], OTHER, False
    kind = kind_of(answer.headers)
    ms, is_new = answer.seconds * 1000, answer.version == "HTTP/1.1"
    who = "Quell itself, or a front that leaves no trace" if kind == DIRECT else answer.headers.get("server", "no name")
    found = Finding(
        "front",
        Verdict.OK if is_new else Verdict.WARN,
        f"answers in {ms:.0f} ms: {who}, {answer.version}",
        []
        if answer.version == "HTTP/1.1"
        else ["a front that answers by HTTP/1.0 can't keep connections: let it speak 1.1"],
        {"answer_ms": round(ms, 1), "server": answer.headers.get("server"), "version": answer.version},
    )
    if _is_list(answer.json()):
        return [found, Finding("quell", Verdict.OK, f"Quell answers at {place}")], kind, True
    return [found, _no_quell(front, route, routes, answer, kind, patience)], kind, False


def _is_list(told: Any) -> bool:
    return isinstance(told, dict) and told.get("object") == "list" and "next_cursor" in told


def _no_quell(front: Front, route: str, routes: list[str], answer: Answer, kind: str, patience: float) -> Finding:
    status, message = answer.status, answer.error_message
    if status in _REDIRECTS:
        told = f"redirects to {answer.headers.get('location', 'nowhere')} ({status})"
        return Finding("quell", Verdict.FAIL, told, ["use that address: a client's POST does not survive a redirect"])
    if status in (_UNAUTHORIZED, _FORBIDDEN):
        told = f"refuses this caller ({status}{': ' if message else ''}{message})"
        lines = [
            "give a caller's key with --key-file or $QUELL_KEY" if front.key is None else "is this key the right one?"
        ]
        return Finding("quell", Verdict.FAIL, told, lines, code=Exit.NOT_ALLOWED)
    if status in _GATEWAY:
        told = f"the front does not reach what is behind it ({status})"
        lines = ["does Quell run, at the address that the front has for it? Is it ready (quell health)?"]
        return Finding("quell", Verdict.FAIL, told, lines)
    if answer.error_code == "not_found" and _is_admin(front, patience):
        told = f"{front.url} is the admin listener, which serves no callers"
        return Finding("quell", Verdict.FAIL, told, ["give the front's address"], code=Exit.NOT_FOUND)
    if answer.error_code == "not_found":
        known = f" (it has {', '.join(routes)})" if routes else ""
        called = urlsplit(front.url).path + route or "/"
        told = f"a proxy answers, but none of its routes begins with {called}{known}"
        lines = ["--route names the path of a route, as the front is called for it"]
        return Finding("quell", Verdict.FAIL, told, lines, code=Exit.NOT_FOUND)
    told = f"what answers at {front.url}{route} is no Quell (status {status})"
    return Finding("quell", Verdict.FAIL, told, advice(PATHS, kind, route=route), code=Exit.NOT_FOUND)


def _is_admin(front: Front, patience: float) -> bool:
    try:
        answer = front.call("GET", "/livez", patience=patience, with_key=False)
    except FrontError:
        return False
    return bool(answer.json() == {"status": "live"})


def choose_model(front: Front, route: str, wanted: str | None, patience: float) -> tuple[str | None, Finding | None]:
    """The model to ask: the one that was named, the demo upstream's, or the only one there is."""
    if wanted is not None:
        return DEMO_STREAM if wanted == DEMO else wanted, None
    try:
        answer = front.call("GET", f"{route}/models", patience=patience)
        known = _names(answer)
        why = "" if known else f" (the list of models is answered with {answer.status})"
    except FrontError as error:
        known, why = [], f" (the list of models: {error})"
    if DEMO in known:
        return DEMO_STREAM, None
    if len(known) == 1:
        return known[0], None
    some = f", such as {', '.join(known[:_NAMED])}" if known else ""
    lines = [f"name one with --model{some}; it is asked three times, and stopped after some words"]
    return None, Finding("model", Verdict.FAIL, f"which model to ask is not known{why}", lines)


def _names(answer: Answer) -> list[str]:
    told = answer.json()
    data = told.get("data") if answer.status == _OK and isinstance(told, dict) else None
    if not isinstance(data, list):
        return []
    return [str(each["id"]) for each in data if isinstance(each, dict) and each.get("id")]


def refusal(body: bytes) -> str:
    """What an error answer says, in one line."""
    try:
        error = json.loads(body)["error"]
        return str(error["message"] if isinstance(error, dict) else error)
    except (ValueError, KeyError, TypeError):
        return ""
