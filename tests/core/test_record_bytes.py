"""Records as bytes, for other replicas."""

from dataclasses import replace
from decimal import Decimal

from proxy.core.lifecycle import Cause, Outcome, Phase
from proxy.core.record import Record, UsageSource
from proxy.core.record_bytes import record_bytes, record_of

RECORD = Record(
    uid="u",
    identity="key:acme",
    task_id="t",
    message_id="m",
    dialect="openai",
    route="/v1",
    upstream="up",
    started_at=1.5,
    key_id="acme",
    replica="a",
    tags={"team": "search"},
    outcome=Outcome.CANCELLED,
    cause=Cause.CLIENT,
    phase=Phase.STREAMING,
    usage_source=UsageSource.TOKENIZER,
    cost=Decimal("0.000000123"),
    text="Grüße",
)


def test_a_record_comes_back_as_it_was() -> None:
    """Every field survives, the cost to its last digit."""
    assert record_of(record_bytes(RECORD)) == RECORD


def test_half_a_character_costs_the_text_only() -> None:
    """A text with a lone surrogate can't be sent; all else of the record is."""
    expected = replace(RECORD, text=None, text_clipped=True)
    assert record_of(record_bytes(replace(RECORD, text="half \ud83d"))) == expected
    assert record_of(record_bytes(replace(RECORD, reason="half \ud83d"))) == replace(expected, reason="half \ufffd")


def test_what_is_no_record_is_none() -> None:
    """Bytes that have no record give None."""
    assert [record_of(data) for data in (b"", b"{}", b'{"uid": 1}', b"\xff")] == [None] * 4
