"""How the calls of an upstream went lately: errors by kind, the last of each, and its state."""

from typing import Any

import pytest

from proxy.core.lifecycle import Cause, Outcome
from proxy.engine.upstreams.news import ERROR_SECONDS, UpstreamNews
from support.records import a_record


def news(*ended: dict[str, Any], status: int | None = 200) -> UpstreamNews:
    """What is known after these generations, each of which ended with these facts."""
    found = UpstreamNews()
    for number, facts in enumerate(ended):
        known = {"outcome": Outcome.COMPLETED, "ended_at": 1000.0 + number, "first_token_at": 1000.0}
        found.settled(a_record(f"u{number}", **(known | facts)), status)
    return found


BROKEN = {"outcome": Outcome.FAILED, "error_kind": "reset", "first_token_at": None}
SLOW = {"outcome": Outcome.TIMED_OUT, "error_kind": "idle_timeout"}
REJECTED = {"outcome": Outcome.FAILED, "error_kind": "rejected_upstream"}


def test_one_that_was_never_called_is_unused() -> None:
    """Nothing is known of an upstream without calls, and nothing is made up."""
    found = UpstreamNews().of("openai")
    assert (found.state(), found.errors(0.0), found.last_error, found.last_success) == ("unused", {}, None, None)


def test_errors_are_counted_by_kind_for_five_minutes() -> None:
    """Each kind has its count, and what is older than five minutes is forgotten; the last error stays."""
    found = news(BROKEN, BROKEN, SLOW).of("openai")
    assert found.errors(1003.0) == {"idle_timeout": 1, "reset": 2}
    assert found.errors(1000.0 + ERROR_SECONDS + 1) == {}
    assert found.last_error == (1002.0, "idle_timeout")
    assert found.state() == "failing"


def test_an_answer_after_the_error_is_well() -> None:
    """The last call decides: one good answer, ended or still running, and it is ok again."""
    assert news(BROKEN, {}).of("openai").state() == "ok"
    assert news({}, BROKEN).of("openai").state() == "failing"
    assert news(BROKEN).of("openai").state(answered=1000.5) == "ok"
    assert news(BROKEN).of("openai").last_success is None


def test_a_stopped_answer_is_a_good_one() -> None:
    """Who was answered and then stopped has no reason to call the upstream bad."""
    stopped = {"outcome": Outcome.CANCELLED, "cause": Cause.CLIENT}
    assert news(stopped).of("openai").state() == "ok"
    unanswered = {**stopped, "first_token_at": None}
    assert news(unanswered).of("openai").state() == "unused"


@pytest.mark.parametrize(("status", "state"), [(400, "unused"), (404, "unused"), (401, "failing"), (403, "failing")])
def test_a_rejected_call_is_its_callers_unless_the_credential_is_refused(status: int, state: str) -> None:
    """A bad request says nothing of the upstream; a refused credential will be refused again."""
    found = news(REJECTED, status=status).of("openai")
    assert found.state() == state
    assert found.errors(1001.0) == {"rejected_upstream": 1}


def test_no_room_of_ours_is_no_failure_of_the_upstream() -> None:
    """A call that waited for a slot in vain is counted, and does not make the upstream fail."""
    found = news({**BROKEN, "error_kind": "queue_timeout"}).of("openai")
    assert (found.state(), found.errors(1001.0)) == ("unused", {"queue_timeout": 1})
