"""The pure parts of the dialect assistants: what the model reads, how ends look, pages, steps."""

from typing import Any

import pytest

from proxy.core.conversation import Message, MessageStatus
from proxy.core.deltas import DeltaPartial
from proxy.core.errors import Refusal, Source, UpstreamErrorKind
from proxy.core.lifecycle import Cause, Outcome
from proxy.core.usage import Usage
from proxy.dialects.assistants import content, history
from proxy.dialects.assistants.ends import end_of
from proxy.dialects.assistants.errors import refused
from proxy.dialects.assistants.lists import part_of, read_page
from proxy.dialects.assistants.live import LiveRun, died
from proxy.engine.translating.translation import Over
from proxy.stores.conversations.memory import MemoryConversations


def a_message(text: str, role: str = "user", **more: Any) -> Message:
    """A kept message."""
    return Message("msg_1", "me", "assistants", role, 1.0, thread_id="thread_1", text=text, **more)


def a_run(**more: Any) -> dict[str, Any]:
    """As much of a run as the history reads."""
    return {"instructions": "Be.", "truncation_strategy": {"type": "auto", "last_messages": None}, **more}


def over(outcome: Outcome = Outcome.COMPLETED, cause: Cause | None = None, refusal: Refusal | None = None) -> Over:
    """The end of a generation that said nothing."""
    return Over(outcome, cause, refusal, Usage(), DeltaPartial(), 1.0, 2.0)


def test_the_chat() -> None:
    """The model reads the instructions, then the thread from its oldest message on, then the rounds of tools."""
    said = [a_message("newest"), a_message("", "assistant", content={"run_id": "r"}), a_message("oldest", "assistant")]
    rounds = [{"role": "tool", "tool_call_id": "c", "content": "1"}]
    assert history.fitting(a_run(), said, rounds, None) == [
        {"role": "system", "content": "Be."},
        {"role": "assistant", "content": "oldest"},
        {"role": "user", "content": "newest"},
        *rounds,
    ]


@pytest.mark.parametrize(("room", "texts"), [(40, ["b" * 40, "c" * 40]), (20, ["c" * 40]), (15, None), (3, None)])
def test_room(room: int, texts: list[str] | None) -> None:
    """The oldest messages are left out until the rest fits; the newest one and the instructions never are."""
    said = [a_message(letter * 40) for letter in "cba"]
    found = history.fitting(a_run(), said, [], room)
    assert (None if found is None else [each["content"] for each in found[1:]]) == texts


def test_a_number_of_messages() -> None:
    """With `last_messages` exactly so many are read; where they don't fit the run can't begin."""
    run = a_run(truncation_strategy={"type": "last_messages", "last_messages": 2})
    said = [a_message(letter * 40) for letter in "cba"]
    found = history.fitting(run, said, [], None)
    assert found is not None
    assert [each["content"][0] for each in found[1:]] == ["b", "c"]
    assert history.fitting(run, said, [], 25) is None


def test_estimates() -> None:
    """A prompt is estimated at a token for 4 characters and 4 for each message, calls of tools included."""
    parts = [{"type": "text", "text": "12345"}, {"type": "image_url", "image_url": {"url": "u"}}]
    assert history.estimate([{"role": "user", "content": "12345678"}]) == 6
    assert history.estimate([{"role": "user", "content": parts}]) == 6
    assert history.estimate([{"role": "assistant", "content": None, "tool_calls": ["12"]}]) == 6


@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "rate_limit_exceeded"), (400, "invalid_prompt"), (422, "invalid_prompt"), (404, "server_error")],
)
def test_refusals_of_an_upstream(status: int, code: str) -> None:
    """What an upstream refuses is a failed run, with the API's word for the reason."""
    end = end_of(over(Outcome.FAILED, refusal=Refusal(status, "rejected_upstream", "No.", source=Source.UPSTREAM)))
    assert (end.status, end.details) == ("failed", {"last_error": {"code": code, "message": "No."}})


@pytest.mark.parametrize(
    ("cause", "status", "reason"),
    [
        (Cause.CLIENT, "cancelled", "run_cancelled"),
        (Cause.OPERATOR, "cancelled", "run_cancelled"),
        (Cause.DEADLINE, "expired", "run_expired"),
        (Cause.SHUTDOWN, "failed", "run_failed"),
        (Cause.BUDGET, "failed", "run_failed"),
    ],
)
def test_stops(cause: Cause, status: str, reason: str) -> None:
    """Only who asked for a stop gets a cancelled run; time is expiry, and the server's own reasons are failures."""
    end = end_of(over(Outcome.CANCELLED, cause))
    assert (end.status, end.reason, end.is_cancel) == (status, reason, status == "cancelled")


def test_a_timeout_is_a_failure() -> None:
    """An upstream that takes too long has failed the run."""
    refusal = Refusal.upstream(UpstreamErrorKind.IDLE_TIMEOUT)
    assert end_of(over(Outcome.TIMED_OUT, refusal=refusal)).details["last_error"]["code"] == "server_error"


def test_calls_that_are_cut_by_our_bound() -> None:
    """Tool calls that are longer than what is kept are no calls: the run has failed."""
    partial = DeltaPartial(max_text=3)
    partial.add_tool_call(0, 0, ident="c", name="f", arguments='{"a": 1}')
    found = Over(Outcome.COMPLETED, None, None, Usage(), partial, 1.0, 2.0)
    assert end_of(found).status == "failed"


@pytest.mark.parametrize(
    ("status", "kept", "shown"),
    [
        (MessageStatus.COMPLETED, {}, ("completed", None)),
        (MessageStatus.COMPLETED, {"reason": "max_tokens"}, ("incomplete", "max_tokens")),
        (MessageStatus.CANCELLED, {"reason": "run_expired"}, ("incomplete", "run_expired")),
        (MessageStatus.INTERRUPTED, {}, ("incomplete", "run_failed")),
        (MessageStatus.IN_PROGRESS, {}, ("in_progress", None)),
    ],
)
def test_statuses_of_messages(status: MessageStatus, kept: dict[str, str], shown: tuple[str, str | None]) -> None:
    """A message is in progress, complete, or incomplete for a reason; and has the time of that, if it is over."""
    message = a_message("x", "assistant", status=status, ended_at=5.0, content={"run_id": "run_1", **kept})
    found = content.shown(message)
    details = found["incomplete_details"]
    assert (found["status"], details and details["reason"]) == shown
    assert (found["completed_at"], found["incomplete_at"]) == (
        5 if shown[0] == "completed" else None,
        5 if shown[0] == "incomplete" else None,
    )


def test_unknown_usage() -> None:
    """Usage that is not known of one generation is not known of the run; it is never 0."""
    live = LiveRun("me", MemoryConversations(), {"id": "run_1", "status": "queued", "last_error": None}, 1.0)
    assert live.count(Usage(1, 2)) == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    assert live.count(Usage(1, None)) is None
    assert live.count(Usage(1, 2)) is not None
    live.end("completed", 2.0)
    assert live.run["usage"] is None


def test_what_a_dead_process_left() -> None:
    """An object that is kept as active without a process has failed; one that was over stays as it was."""
    body = {"object": "thread.run.step", "status": "in_progress", "created_at": 7}
    found = died(body)
    assert (found["status"], found["failed_at"], found["last_error"]["code"]) == ("failed", 7, "server_error")
    assert died({**body, "status": "cancelled"})["status"] == "cancelled"


def test_pages_of_a_list_at_hand() -> None:
    """A list at hand is paged like a kept one, and an unknown cursor is refused by its name."""
    steps = [{"id": letter} for letter in "abcd"]

    def ids(query: str) -> tuple[str, bool]:
        found, more = part_of(read_page(query), steps)
        return "".join(each["id"] for each in found), more

    assert ids("limit=2") == ("dc", True)
    assert ids("limit=2&after=c") == ("ba", False)
    assert ids("order=asc&limit=2&before=d") == ("bc", True)
    assert ids("order=asc&after=a&before=d") == ("bc", False)
    with pytest.raises(Refusal, match="Invalid 'before'"):
        ids("before=z")


def test_codes() -> None:
    """Our own refusals of a request have no code on the wire, all others have theirs."""
    assert b'"code": null' in refused(Refusal.bad_request("invalid_request", "x")).body
    assert b'"code": "invalid_api_key"' in refused(Refusal.unauthorized()).body
