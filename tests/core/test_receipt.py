"""What is shown of a record, and the receipt of a cancel."""

from decimal import Decimal
from typing import Any

import pytest

from proxy.core.lifecycle import CancelResult, Cause, Outcome, Phase
from proxy.core.receipt import cancel_result, iso, receipt, shown, usage_of
from proxy.core.record import UsageSource
from support.records import a_record


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.25, "2023-11-14T22:13:20.250Z"),
        (1_700_000_000.9999, "2023-11-14T22:13:20.999Z"),
    ],
)
def test_times(seconds: float | None, text: str | None) -> None:
    """Times are ISO 8601 in UTC with milliseconds, and unknown ones null."""
    assert iso(seconds) == text


def test_a_record_is_shown_without_our_keys() -> None:
    """Neither the record's own key nor the owner's full name is shown; the text only where it may be read."""
    record = a_record("secret-uid", identity="secret-identity", key_id="acme", text="hello", cost=Decimal("0.0012"))
    fields = shown(record)
    assert "secret" not in str({name: value for name, value in fields.items() if name not in {"task_id", "message_id"}})
    assert (fields["object"], fields["text"], fields["cost"]) == ("generation", "hello", "0.0012")
    assert fields["started_at"] == "1970-01-01T00:16:40.000Z"
    assert set(fields) - set(shown(record, text=False)) == {"text"}


@pytest.mark.parametrize(("text", "seen"), [("abcd", "abc"), ("abc", "abc"), (None, None)])
def test_a_list_shows_the_beginning_of_a_text(text: str | None, seen: str | None) -> None:
    """A text that is longer than asked for is cut and said to be clipped; the record itself stays as it is."""
    record = a_record(text=text)
    fields = shown(record, most=3)
    assert (fields["text"], fields["text_clipped"]) == (seen, text != seen)
    assert (record.text, record.text_clipped) == (text, False)
    assert "text" not in shown(record, text=False, most=3)


@pytest.mark.parametrize(
    ("prompt", "completion", "total"), [(7, 5, 12), (None, 5, None), (7, None, None), (None, None, None), (0, 0, 0)]
)
def test_unknown_counts_are_null(prompt: int | None, completion: int | None, total: int | None) -> None:
    """A total is only given when both its parts are known."""
    record = a_record(prompt_tokens=prompt, completion_tokens=completion, usage_source=UsageSource.ESTIMATE)
    assert usage_of(record) == {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": total,
        "source": "estimate",
    }


@pytest.mark.parametrize(
    ("facts", "result", "status"),
    [
        ({"outcome": Outcome.CANCELLED, "cause": Cause.CLIENT}, "stopped", "cancelled"),
        ({"outcome": Outcome.CANCELLED, "cause": Cause.OPERATOR}, "stopped", "cancelled"),
        ({"outcome": Outcome.RUNNING, "cause": Cause.CLIENT}, "stopping", "cancelling"),
        ({"outcome": Outcome.CANCELLED, "cause": Cause.SHUTDOWN}, "already_finished", "cancelled"),
        ({"outcome": Outcome.CANCELLED, "cause": Cause.BUDGET}, "already_finished", "cancelled"),
        ({"outcome": Outcome.CLIENT_GONE, "cause": Cause.DISCONNECT}, "already_finished", "client_gone"),
        ({"outcome": Outcome.COMPLETED}, "already_finished", "completed"),
        ({"outcome": Outcome.FAILED, "error_kind": "reset"}, "already_finished", "failed"),
        ({"outcome": Outcome.INTERRUPTED}, "already_finished", "interrupted"),
    ],
)
@pytest.mark.parametrize("phase", Phase)
def test_the_result_is_what_happened(facts: dict[str, Any], result: str, status: str, phase: Phase) -> None:
    """A receipt calls stopped only what a person stopped; all else it says as the record does, its phase too."""
    record = a_record(phase=phase, **facts)
    found, seen = receipt(record), shown(record)
    assert cancel_result(record) is CancelResult(result)
    assert (found["result"], found["status"]) == (result, status)
    same = ("task_id", "message_id", "cause", "phase", "elapsed_seconds", "upstream_closed_ms")
    assert {name: found[name] for name in same} == {name: seen[name] for name in same}


def test_the_receipt_is_whole() -> None:
    """A receipt has exactly the documented fields, in their order."""
    record = a_record(
        outcome=Outcome.CANCELLED,
        cause=Cause.CLIENT,
        phase=Phase.WAITING,
        elapsed_seconds=2.31,
        upstream_closed_ms=1.8,
        characters=5,
        text="hello",
        prompt_tokens=12,
        completion_tokens=2,
        usage_source=UsageSource.TOKENIZER,
        late_tokens=3,
        saved_most=80,
        saved_typical=40,
    )
    assert list(receipt(record).items()) == [
        ("object", "generation.cancel"),
        ("task_id", "task-u1"),
        ("message_id", "message-u1"),
        ("result", "stopped"),
        ("status", "cancelled"),
        ("cause", "client"),
        ("phase", "waiting"),
        ("elapsed_seconds", 2.31),
        ("upstream_closed_ms", 1.8),
        ("partial", {"characters": 5, "text": "hello"}),
        (
            "usage",
            {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 14, "source": "tokenizer"},
        ),
        ("late_tokens", 3),
        ("saved_tokens", {"most": 80, "typical": 40}),
    ]
