"""The API's error envelope and its texts. Sources: OpenAI's API reference, and what clients in the wild match."""

import json
from typing import Final

from proxy.core.errors import Refusal
from proxy.engine.plain import PlainReply

INVALID: Final = "invalid_request"
"""Our code of what the API refuses without a code of its own: `code` is null then."""


def invalid(param: str, expected: str) -> Refusal:
    """400: a field is missing or wrong; `expected` says what it should have been."""
    return Refusal.bad_request(INVALID, f"Invalid '{param}': expected {expected}.", param)


def refused_state(message: str) -> Refusal:
    """400: nothing is wrong with the request, but this can't be done now."""
    return Refusal.bad_request(INVALID, message)


def not_found(kind: str, any_id: str) -> Refusal:
    """404, the same for what is unknown and for what is somebody else's. `kind` as in "thread"."""
    return Refusal(404, INVALID, f"No {kind} found with id '{any_id}'.")


def uncancellable(status: str) -> Refusal:
    """400: a run that is over, or being cancelled."""
    return refused_state(f"Cannot cancel run with status '{status}'.")


def busy_for_message(thread_id: str, run_id: str) -> Refusal:
    """400: nothing is put into a thread on which a run is active."""
    return refused_state(f"Can't add messages to {thread_id} while a run {run_id} is active.")


def busy_for_run(thread_id: str, run_id: str) -> Refusal:
    """400: one active run for each thread."""
    return refused_state(f"Thread {thread_id} already has an active run {run_id}.")


def takes_no_outputs(status: str) -> Refusal:
    """400: the run does not wait for the results of tools."""
    return refused_state(f'Runs in status "{status}" do not accept tool outputs.')


def refused(refusal: Refusal) -> PlainReply:
    """A refusal as an answer."""
    error = {
        "message": refusal.message,
        "type": refusal.type,
        "param": refusal.param,
        "code": None if refusal.code == INVALID else refusal.code,
    }
    return PlainReply(refusal.status, json.dumps({"error": error}).encode(), tuple(refusal.headers.items()))
